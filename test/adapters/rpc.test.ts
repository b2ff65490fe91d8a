import { request } from "node:http";
import { describe, expect, test } from "vitest";
import { echoModules } from "../support/echo.js";
import { databases, useServer } from "../support/harness.js";

const json = { "Content-Type": "application/json" };

describe.each(databases)("the RPC surface on %s", (database) => {
  const server = useServer(database, { modules: echoModules });

  const post = async (path: string, body: unknown, headers: Record<string, string> = json) => {
    const response = await fetch(`${server.url}${path}`, {
      method: "POST",
      headers,
      body: typeof body === "string" || body instanceof Uint8Array ? (body as string) : JSON.stringify(body),
    });
    return { status: response.status, headers: response.headers, body: (await response.json()) as ReplyBody };
  };

  describe("envelopes (claw-to-claw.md section 1)", () => {
    test("a value comes back as success", async () => {
      const reply = await post("/api/query", { path: "echo:value", args: { value: { a: [1, "two", null, true] } } });
      expect(reply).toMatchObject({ status: 200, body: { status: "success", value: { a: [1, "two", null, true] } } });
    });

    test("args may be absent, null, an object or an array of one object", async () => {
      for (const args of [undefined, null, {}, [], [{}]]) {
        expect((await post("/api/query", { path: "echo:nothing", args })).body).toEqual({
          status: "success",
          value: null,
        });
      }
      const two = await post("/api/query", { path: "echo:nothing", args: [{}, {}] });
      expect(two.body).toMatchObject({ status: "error", errorData: { code: "invalid_args" } });
    });

    test("a refusal is 200 with code and data", async () => {
      const reply = await post("/api/query", { path: "echo:refuse" });
      expect(reply).toMatchObject({
        status: 200,
        body: {
          status: "error",
          errorMessage: "No, and here is why",
          errorData: { code: "conflict", status: "shut", count: "5" },
        },
      });
    });

    test("bad arguments are refused with an issue per field", async () => {
      const reply = await post("/api/mutation", { path: "agents:register", args: { name: "", nickname: "x" } });
      expect(reply.status).toBe(200);
      expect(reply.body.errorData.code).toBe("invalid_args");
      expect(reply.body.errorData.issues).toEqual([
        { path: "name", message: "Too short (min 1 characters)" },
        { path: "", message: 'Unrecognized key: "nickname"' },
      ]);
    });

    test("an unknown path and the wrong kind are refusals", async () => {
      const unknown = await post("/api/query", { path: "agents:nope" });
      expect(unknown).toMatchObject({
        status: 200,
        body: {
          errorMessage: "Could not find public function for 'agents:nope'",
          errorData: { code: "not_found" },
        },
      });
      const wrongKind = await post("/api/query", { path: "agents:register", args: { name: "A" } });
      expect(wrongKind).toMatchObject({
        status: 200,
        body: {
          errorMessage: "Trying to execute agents:register as Query, but it is defined as Mutation.",
          errorData: { code: "not_found" },
        },
      });
    });

    test("the server's own functions do not exist for callers", async () => {
      const reply = await post("/api/mutation", { path: "deadlines:expire" });
      expect(reply.body).toMatchObject({ status: "error", errorData: { code: "not_found" } });
    });

    test("no bearer and a wrong one are 401 with code and message beside the envelope", async () => {
      const missing = await post("/api/query", { path: "agents:getStatus" });
      expect(missing).toMatchObject({
        status: 401,
        body: {
          status: "error",
          errorMessage: "Missing Authorization header. Use: Authorization: Bearer <apiKey>",
          errorData: { code: "unauthenticated" },
          code: "Unauthenticated",
          message: "Missing Authorization header. Use: Authorization: Bearer <apiKey>",
        },
      });
      for (const authorization of ["Bearer c2c_wrong", "bearer  agt_clawrent_wrong"]) {
        const wrong = await post("/api/query", { path: "agents:getStatus" }, { ...json, Authorization: authorization });
        expect(wrong).toMatchObject({
          status: 401,
          body: { errorMessage: "Invalid API key", message: "Invalid API key" },
        });
      }
    });

    test("a credential that is wrong is refused even where none is needed", async () => {
      const reply = await post("/api/query", { path: "echo:nothing" }, { ...json, Authorization: "Bearer c2c_wrong" });
      expect(reply.status).toBe(401);
    });

    test("a deployment's admin key is refused (convex-wire.md section 3)", async () => {
      const reply = await post("/api/query", { path: "echo:nothing" }, { ...json, Authorization: "Convex key" });
      expect(reply.status).toBe(401);
    });

    test("a fault says nothing but its request id", async () => {
      for (const path of ["echo:breakDown", "echo:misdeclared"]) {
        const reply = await post("/api/query", { path });
        expect(reply.status).toBe(500);
        const message = expect.stringMatching(/^\[Request ID: [0-9a-f]{16}\] Server Error$/) as string;
        const named = { code: "InternalServerError", error: "Internal Server Error", message };
        expect(reply.body).toEqual({ status: "error", errorMessage: message, ...named });
      }
    });

    test("what a function does not declare does not leave", async () => {
      expect((await post("/api/query", { path: "echo:leaky" })).body.value).toEqual({ declared: 1 });
    });
  });

  describe("what the gateway refuses (claw-to-claw.md section 1)", () => {
    test.each([
      ["cut JSON", '{"path":"echo:nothing"', 400, "BadJsonBody"],
      ["an array", "[]", 400, "BadJsonBody"],
      ["an empty body", "", 400, "BadJsonBody"],
      ["no path", '{"args":{}}', 400, "BadJsonBody"],
      ["a path that is no text", '{"path":5}', 400, "BadJsonBody"],
      ["an unknown format", '{"path":"echo:nothing","format":"xml"}', 400, "BadFormat"],
    ])("%s", async (_name, body, status, code) => {
      const reply = await post("/api/query", body);
      expect(reply).toMatchObject({ status, body: { status: "error", code, errorData: { code: "invalid_args" } } });
      expect(reply.body.message).toBe(reply.body.errorMessage);
    });

    test("bytes that are no UTF-8", async () => {
      const reply = await post("/api/query", new Uint8Array([0x7b, 0xff, 0x7d]));
      expect(reply).toMatchObject({ status: 400, body: { code: "BadJsonBody" } });
    });

    test("another content type is 415", async () => {
      for (const contentType of ["text/plain", "application/xml", "application/jsonish"]) {
        const reply = await post("/api/query", { path: "echo:nothing" }, { "Content-Type": contentType });
        expect(reply.status).toBe(415);
        expect((await post("/api/query_batch", { queries: [] }, { "Content-Type": contentType })).status).toBe(415);
      }
      for (const contentType of ["application/json; charset=utf-8", "application/vnd.api+json"]) {
        const reply = await post("/api/query", { path: "echo:nothing" }, { "Content-Type": contentType });
        expect(reply.status).toBe(200);
      }
    });

    test("a body over 1 MiB is 413, told by its length or while it streams", async () => {
      const envelope = { path: "echo:change", args: { value: "" } };
      const room = 1024 * 1024 - JSON.stringify(envelope).length;
      for (const [size, status] of [
        [room, 200],
        [room + 1, 413],
      ] as const) {
        envelope.args.value = "x".repeat(size);
        expect((await post("/api/mutation", envelope)).status).toBe(status);
        expect(await postChunked(`${server.url}/api/mutation`, JSON.stringify(envelope))).toBe(status);
      }
    });

    test("an address that is none is 404, and another method 405", async () => {
      expect((await post("/api/nope", {})).status).toBe(404);
      expect((await fetch(`${server.url}/nope`)).status).toBe(404);
      expect((await fetch(`${server.url}/api/mutation`)).status).toBe(405);
      expect((await fetch(`${server.url}/api/query`, { method: "DELETE" })).status).toBe(405);
    });
  });

  describe("addresses (convex-wire.md section 1)", () => {
    test("a base address that ends in a slash works", async () => {
      expect((await post("//api/query", { path: "echo:nothing" })).status).toBe(200);
    });

    test("paths are canonical: .js goes, and no colon means the default export", async () => {
      const args = { value: 1 };
      for (const path of ["echo.js:value", "echo:value", "deep/echo", "deep/echo:default", "deep/echo.js"]) {
        expect((await post("/api/query", { path, args })).body).toEqual({ status: "success", value: 1 });
      }
    });

    test("GET /api/query takes its arguments from the address", async () => {
      const query = new URLSearchParams({ path: "echo:value", args: JSON.stringify({ value: "ü" }), format: "json" });
      expect(await (await fetch(`${server.url}/api/query?${query}`)).json()).toEqual({ status: "success", value: "ü" });
      expect((await fetch(`${server.url}/api/query?path=echo:value&args={`)).status).toBe(400);
      expect((await fetch(`${server.url}/api/query`)).status).toBe(400);
      const write = await (await fetch(`${server.url}/api/query?path=echo:change`)).json();
      expect(write).toMatchObject({ status: "error", errorData: { code: "not_found" } });
    });

    test("/api/run/… runs a function of either kind", async () => {
      expect((await post("/api/run/echo/value", { args: { value: 1 } })).body.value).toBe(1);
      expect((await post("/api/run/echo/change", { args: { value: 2 } })).body.value).toBe(2);
      expect((await post("/api/run/deep%2Fecho/default", { args: { value: 3 } })).body.value).toBe(3);
      for (const path of ["/api/run/echo", "/api/run/echo/", "/api/run/%E0%A4%A/x"]) {
        expect(await post(path, {})).toMatchObject({ status: 400, body: { code: "MissingIdentifier" } });
      }
    });

    test("a batch runs each of its queries", async () => {
      const queries = [{ path: "echo:value", args: { value: 1 } }, { path: "echo:refuse" }, { path: "nope" }];
      const { body } = await post("/api/query_batch", { queries });
      expect(body.results).toMatchObject([
        { status: "success", value: 1 },
        { status: "error", errorData: { code: "conflict" } },
        { status: "error", errorData: { code: "not_found" } },
      ]);
      expect((await post("/api/query_batch", { queries: new Array(65).fill(queries[0]) })).status).toBe(400);
    });

    test("an action is not found, a deployment key is needed for /api/function", async () => {
      expect((await post("/api/action", { path: "a:b" })).body.errorData.code).toBe("not_found");
      expect(await post("/api/function", {})).toMatchObject({ status: 403, body: { code: "BadDeployKey" } });
    });
  });

  describe("CORS (convex-wire.md section 3)", () => {
    const origin = "https://example.org";

    test("a preflight is answered with the origin and the headers that were asked for", async () => {
      const reply = await fetch(`${server.url}/api/mutation`, {
        method: "OPTIONS",
        headers: {
          Origin: origin,
          "Access-Control-Request-Method": "POST",
          "Access-Control-Request-Headers": "authorization,convex-client",
        },
      });
      expect(reply.status).toBe(204);
      expect(reply.headers.get("access-control-allow-origin")).toBe(origin);
      expect(reply.headers.get("access-control-allow-methods")).toBe("GET, POST, PUT, PATCH, DELETE, OPTIONS");
      expect(reply.headers.get("access-control-allow-headers")).toBe("authorization,convex-client");
    });

    test("every reply names the origin, errors included", async () => {
      for (const body of [
        "{",
        JSON.stringify({ path: "echo:breakDown" }),
        JSON.stringify({ path: "agents:getStatus" }),
      ]) {
        const { headers } = await post("/api/query", body, { ...json, Origin: origin });
        expect(headers.get("access-control-allow-origin")).toBe(origin);
        expect(headers.get("vary")).toBe("Origin");
      }
    });
  });

  describe("what no argument may hold", () => {
    test.each([
      ["half a surrogate pair", '"\\ud800"', "value"],
      ["a NUL", '{"deep":["\\u0000"]}', "value.deep[0]"],
      ["__proto__", '{"__proto__":{"admin":true}}', "value"],
      ["a reserved key", '{"$x":1,"y":2}', "value"],
      ["a key that is not ASCII", '{"ключ":1}', "value"],
      ["65 levels", `${"[".repeat(64)}${"]".repeat(64)}`, undefined],
      ["10,000 levels", `${"[".repeat(10_000)}${"]".repeat(10_000)}`, undefined],
    ])("%s is refused", async (_name, value, path) => {
      const { status, body } = await post("/api/query", `{"path":"echo:value","args":{"value":${value}}}`);
      expect(status).toBe(200);
      expect(body.errorData).toMatchObject({ code: "invalid_args" });
      if (path !== undefined) expect(body.errorData.issues[0]?.path).toBe(path);
    });
  });
});

interface ReplyBody {
  status: string;
  value?: unknown;
  errorMessage?: string;
  message?: string;
  code?: string;
  errorData: { code: string; issues: { path: string }[] };
  results?: unknown[];
}

/** Sends a body without saying how long it is. */
function postChunked(url: string, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const call = request(url, { method: "POST", headers: json }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    // A server that refuses a body may end the connection while it is still being sent.
    call.on("error", (error: NodeJS.ErrnoException) => (error.code === "EPIPE" ? undefined : reject(error)));
    for (let at = 0; at < body.length; at += 100_000) call.write(body.slice(at, at + 100_000));
    call.end();
  });
}
