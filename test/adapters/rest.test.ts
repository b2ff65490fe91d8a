import { describe, expect, test } from "vitest";
import { type Route, restRoutes } from "../../adapters/rest-routes.js";
import { errorCodes } from "../../runtime/errors.js";
import { databases, useServer } from "../support/harness.js";
import { echoCart, runs } from "../support/rest-echo.js";
import { argumentsOf } from "../support/routes.js";

const json = { "Content-Type": "application/json" };

describe.each(databases)("the REST surface on %s", (database) => {
  const server = useServer(database, { modules: echoCart });
  const rest = (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
    server.nobody.rest(method, path, body, headers);

  describe("what goes into a call", () => {
    test("the query of a GET: declared names only, an empty value counts as absent, pages are clamped", async () => {
      const reply = await rest("GET", "/api/cart?page=0&limit=9999&search=a%20%E6%BD%AE&unknown=1&__proto__=2");
      expect([reply.status, reply.body]).toEqual([200, { page: 1, limit: 100, search: "a 潮", caller: "anonymous" }]);
      expect((await rest("GET", "/api/cart?search=&page=&limit=")).body).toEqual({
        page: 1,
        limit: 20,
        caller: "anonymous",
      });
      expect((await rest("GET", "/api/cart?page=-7&limit=0")).body).toMatchObject({ page: 1, limit: 1 });
    });

    test("a page that is no number is a validation error", async () => {
      const reply = await rest("GET", "/api/cart?page=two");
      expect([reply.status, reply.text]).toEqual([
        400,
        '{"error":"Validation Error","message":"Invalid arguments: page: must be a whole number","details":[{"path":"page","message":"must be a whole number"}]}',
      ]);
    });

    test("the body: null counts as absent, unknown keys are ignored whatever they hold", async () => {
      const agent = await server.agent();
      const reply = await agent.rest(
        "POST",
        "/api/cart?name=query",
        '{"name":"Alice","note":null,"unknown":{"$x":1},"__proto__":{"a":1},"constructor":2}',
      );
      expect([reply.status, reply.body]).toEqual([201, { name: "Alice", caller: agent.agentId }]);
    });

    test("null inside a value stays null", async () => {
      const agent = await server.agent();
      const { body } = await agent.rest("POST", "/api/cart", { name: "Alice", payload: { a: null, b: [null] } });
      expect(body.payload).toEqual({ a: null, b: [null] });
    });

    test("a required field that is null is missing", async () => {
      const agent = await server.agent();
      const reply = await agent.rest("POST", "/api/cart", { name: null });
      expect([reply.status, reply.body.error, reply.body.details]).toEqual([
        400,
        "Validation Error",
        [{ path: "name", message: "Invalid input: expected string, received undefined" }],
      ]);
    });

    test("the path wins over the body, and is decoded once", async () => {
      const reply = await rest("DELETE", "/api/cart/a%2Fb%2520%E6%BD%AE", { cartItemId: "other" });
      expect(reply.body).toEqual({ cartItemId: "a/b%20潮" });
    });

    test("broken percent-encoding is a name like any other", async () => {
      for (const part of ["%", "%zz", "%ff", "a%"]) {
        expect((await rest("DELETE", `/api/cart/${part}`)).body).toEqual({ cartItemId: part });
      }
      expect((await rest("DELETE", "/api/cart/%00")).status).toBe(400);
    });

    test("no body, an empty body and an empty body that says it is JSON are an empty object", async () => {
      expect((await rest("DELETE", "/api/cart")).body).toEqual({ message: "Cleared" });
      expect((await rest("DELETE", "/api/cart", "", json)).body).toEqual({ message: "Cleared" });
      expect((await rest("DELETE", "/api/cart", "  \n", json)).body).toEqual({ message: "Cleared" });
      expect((await rest("DELETE", "/api/cart", "", { "Content-Type": "text/plain" })).status).toBe(200);
    });

    test.each([
      ["{", 400, "Bad Request", "The body is not valid JSON"],
      ["[]", 400, "Bad Request", "The body must be a JSON object"],
      ["null", 400, "Bad Request", "The body must be a JSON object"],
      ['"text"', 400, "Bad Request", "The body must be a JSON object"],
      ["7", 400, "Bad Request", "The body must be a JSON object"],
    ])("the body %s is refused", async (body, status, error, message) => {
      const reply = await rest("DELETE", "/api/cart", body, json);
      expect([reply.status, reply.text]).toEqual([status, JSON.stringify({ error, message })]);
    });

    test("another content type with a body is 415", async () => {
      for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"]) {
        const reply = await rest("DELETE", "/api/cart", "{}", { "Content-Type": type });
        expect([reply.status, reply.text]).toEqual([
          415,
          '{"error":"Unsupported Media Type","message":"Send the body as Content-Type: application/json"}',
        ]);
      }
      for (const type of ["application/json; charset=utf-8", "APPLICATION/JSON", "application/merge-patch+json"]) {
        expect((await rest("DELETE", "/api/cart", "{}", { "Content-Type": type })).status).toBe(200);
      }
    });

    test("a body over 1 MiB is 413, and no UTF-8 is 400", async () => {
      const large = await rest("DELETE", "/api/cart", { filler: "x".repeat(1024 * 1024) });
      expect([large.status, large.text]).toEqual([
        413,
        '{"error":"Payload Too Large","message":"The body is too large (max 1048576 bytes)"}',
      ]);
      const response = await fetch(`${server.url}/api/cart`, {
        method: "DELETE",
        headers: json,
        body: Buffer.from([0x7b, 0xff, 0x7d]),
      });
      expect([response.status, await response.text()]).toEqual([
        400,
        '{"error":"Bad Request","message":"The body is not valid UTF-8"}',
      ]);
    });
  });

  describe("who is calling (clawrent.md section 1)", () => {
    test("no credential and a bad one are told apart", async () => {
      const none = await rest("POST", "/api/cart", { name: "Alice" });
      expect([none.status, none.text]).toEqual([401, '{"error":"Unauthorized","message":"Authentication required"}']);
      for (const headers of [
        { Authorization: "Bearer agt_clawrent_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" },
        { Authorization: "Bearer eyJ.no.token" },
        { Authorization: "Bearer undefined" },
        { Authorization: "Bearer" },
        { Authorization: "Basic eDp5" },
        { "x-api-key": "key_clawrent_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" },
        { "x-api-key": "x" },
      ] as Record<string, string>[]) {
        const reply = await rest("POST", "/api/cart", { name: "Alice" }, headers);
        expect([reply.status, reply.text]).toEqual([
          401,
          '{"error":"Unauthorized","message":"Token expired or invalid"}',
        ]);
      }
    });

    test("a JWT, an API key and an agent token stand for the same account", async () => {
      const alice = await server.user("Alice");
      const { agentToken, id, name, slug } = (
        await alice.rest("POST", "/api/agents", {
          name: "Reader",
          slug: `reader-${database}`,
          description: "Reads contracts aloud",
        })
      ).body;
      const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });
      const me = (headers: Record<string, string>) => rest("GET", "/api/auth/me", undefined, headers);

      const byToken = await me(bearer(alice.credential));
      expect(byToken.body).toMatchObject({ id: alice.userId, email: alice.email });
      expect((await me({ "x-api-key": alice.apiKey })).text).toBe(byToken.text);
      expect((await me(bearer(alice.apiKey))).text).toBe(byToken.text);
      expect((await me(bearer(agentToken))).body).toEqual({ ...byToken.body, agent: { id, name, slug } });
      // An agent token goes into `Authorization` only.
      expect((await me({ "x-api-key": agentToken })).status).toBe(401);

      const mine = await rest("GET", "/api/agents/my", undefined, bearer(agentToken));
      expect(mine.body.data).toMatchObject([{ id }]);
    });

    test("Authorization comes before x-api-key, and a bad one is not made good", async () => {
      const [alice, bob] = await Promise.all([server.user("Alice"), server.user("Bob")]);
      const both = await alice.rest("GET", "/api/auth/me", undefined, { "x-api-key": bob.apiKey });
      expect(both.body.id).toBe(alice.userId);
      const bad = { Authorization: "Bearer eyJ.no.token", "x-api-key": bob.apiKey };
      expect((await rest("GET", "/api/auth/me", undefined, bad)).status).toBe(401);
    });

    test("an agent without an owner has no account to act for", async () => {
      const reply = await (await server.agent()).rest("GET", "/api/auth/me");
      expect([reply.status, reply.body]).toEqual([
        403,
        { error: "Forbidden", message: expect.stringContaining("with a token that its owner made") },
      ]);
    });

    test("on a public route a good credential is known, and a bad one counts as none", async () => {
      const agent = await server.agent();
      expect((await agent.rest("GET", "/api/cart")).body.caller).toBe("agent");
      for (const headers of [{ Authorization: "Bearer nonsense" }, { "x-api-key": "nonsense" }] as Record<
        string,
        string
      >[]) {
        const reply = await rest("GET", "/api/cart", undefined, headers);
        expect([reply.status, reply.body.caller]).toEqual([200, "anonymous"]);
      }
    });
  });

  describe("what comes out of one (clawrent.md section 3)", () => {
    const expected: Record<string, [number, string]> = {
      invalid_args: [400, "Bad Request"],
      failed_precondition: [400, "Bad Request"],
      unauthenticated: [401, "Unauthorized"],
      insufficient_funds: [402, "Payment Required"],
      forbidden: [403, "Forbidden"],
      not_found: [404, "Not Found"],
      conflict: [409, "Conflict"],
      expired: [410, "Gone"],
      too_large: [413, "Payload Too Large"],
      unsupported_media_type: [415, "Unsupported Media Type"],
      rate_limited: [429, "Too Many Requests"],
      unavailable: [503, "Service Unavailable"],
      internal: [500, "Internal Server Error"],
    };

    test.each(Object.keys(errorCodes))("a refusal with the code %s", async (code) => {
      const [status, error] = expected[code] ?? [];
      const reply = await rest("PATCH", "/api/cart/1", { code, data: { status: "shut", count: 5 } });
      expect([reply.status, reply.text]).toEqual([
        status,
        JSON.stringify({ error, message: "No, and here is why", status: "shut", count: 5 }),
      ]);
      expect(reply.headers.get("content-type")).toBe("application/json");
    });

    test("issues become details", async () => {
      const issues = [{ path: "amount", message: "Too much" }];
      const reply = await rest("PATCH", "/api/cart/1", { code: "invalid_args", data: { issues, index: 2 } });
      expect(reply.text).toBe(
        '{"error":"Validation Error","message":"No, and here is why","details":[{"path":"amount","message":"Too much"}],"index":2}',
      );
    });

    test("what is wrong with one part of a request has the error of that part", async () => {
      const issues = [{ path: "items.1", message: "No, and here is why" }];
      const reply = await rest("PATCH", "/api/cart/1", { code: "conflict", data: { issues, item: 1 } });
      expect([reply.status, reply.text]).toEqual([
        409,
        '{"error":"Conflict","message":"No, and here is why","details":[{"path":"items.1","message":"No, and here is why"}],"item":1}',
      ]);
    });

    test("429 and 503 say when to try again", async () => {
      const limited = await rest("PATCH", "/api/cart/1", { code: "rate_limited", data: { retryAfterMs: 1_500 } });
      expect(limited.headers.get("retry-after")).toBe("2");
      const unavailable = await rest("PATCH", "/api/cart/1", { code: "unavailable" });
      expect(unavailable.headers.get("retry-after")).toBe("1");
    });

    test("a fault says nothing of the exception, but which request it was", async () => {
      const reply = await rest("DELETE", "/api/cart/broken");
      expect(reply.status).toBe(500);
      expect(reply.text).toMatch(
        /^\{"error":"Internal Server Error","message":"Something went wrong here\. The log knows it as request [0-9a-f]{16}\."\}$/,
      );
    });
  });

  describe("addresses and methods", () => {
    test("an unknown address below a REST path is 404 in REST's words", async () => {
      for (const path of [
        "/api/cart/1/2",
        "/api/cart/",
        "/api/agents/me/nothing",
        "/api/sessions//end",
        "/api/mcp/x",
      ]) {
        const reply = await rest("GET", path);
        expect([reply.status, reply.text], path).toEqual([
          404,
          '{"error":"Not Found","message":"There is nothing at this address"}',
        ]);
      }
      // What is none of REST's stays RPC's to refuse.
      expect((await rest("GET", "/api/cartoon")).body).toMatchObject({ errorData: { code: "not_found" } });
    });

    test("a known address with another method is 405 and says which it takes", async () => {
      const reply = await rest("PUT", "/api/cart", {});
      expect([reply.status, reply.text]).toEqual([
        405,
        '{"error":"Method Not Allowed","message":"Use GET or POST or DELETE"}',
      ]);
      expect(reply.headers.get("allow")).toBe("GET, POST, DELETE, HEAD, OPTIONS");
      expect((await rest("POST", "/api/cart/1", {})).headers.get("allow")).toBe("PATCH, DELETE, OPTIONS");
    });

    test("HEAD is a GET without its body; OPTIONS is a preflight", async () => {
      const head = await rest("HEAD", "/api/cart");
      expect([head.status, head.text, head.headers.get("content-type")]).toEqual([200, "", "application/json"]);
      expect((await rest("HEAD", "/api/cart/1")).status).toBe(405);

      const preflight = await rest("OPTIONS", "/api/cart/1", undefined, { Origin: "https://example.org" });
      expect(preflight.status).toBe(204);
      expect(preflight.headers.get("access-control-allow-origin")).toBe("https://example.org");
      expect(preflight.headers.get("access-control-allow-methods")).toBe("GET, POST, PUT, PATCH, DELETE, OPTIONS");
      expect(preflight.headers.get("access-control-allow-headers")).toContain("X-Api-Key");
    });

    test("every answer names the origin, so that a page may read it", async () => {
      for (const path of ["/api/cart", "/api/cart/1", "/api/cart/1/2"]) {
        const reply = await rest("GET", path, undefined, { Origin: "https://example.org" });
        expect(reply.headers.get("access-control-allow-origin")).toBe("https://example.org");
      }
    });
  });

  describe("every list of the table (clawrent.md section 2.1)", () => {
    const declared = (route: Route) => argumentsOf(server.server.registry, route);

    test("is a page of data, and clamps what is out of range", async () => {
      const admin = await server.admin();
      const lists = restRoutes.filter((route) => route.method === "GET" && declared(route).includes("page"));
      expect(lists.length).toBeGreaterThan(10);
      for (const { path } of lists.filter((list) => list.path !== "/api/cart")) {
        const reply = await admin.rest("GET", `${path}?page=-3&limit=100000&unknown=1`);
        const { data, total, page, limit } = reply.body;
        expect([reply.status, Array.isArray(data), typeof total, page, limit], path).toEqual([
          200,
          true,
          "number",
          1,
          100,
        ]);
        const refused = await admin.rest("GET", `${path}?limit=many`);
        expect([refused.status, refused.body.error, refused.body.details[0].path], path).toEqual([
          400,
          "Validation Error",
          "limit",
        ]);
      }
    });
  });

  describe("a document by its path (clawrent.md section 8.1)", () => {
    test("is found by slashes and percent-encoding, as clients write them", async () => {
      const admin = await server.admin();
      const write = async (doc: object) => {
        const { id, path } = (await admin.rest("POST", "/api/mcp/docs", doc)).body;
        expect((await admin.rest("POST", `/api/mcp/docs/${id}/publish`)).status).toBe(200);
        return { id, path };
      };
      const folder = await write({ type: "folder", title: "指南" });
      const { id, path } = await write({ type: "document", title: "Tides 潮", parentId: folder.id, content: "Moon" });
      expect(path).toBe("指南/tides-潮");
      for (const written of [encodeURI(path), encodeURIComponent(path), `/${encodeURI(path)}`]) {
        const reply = await rest("GET", `/api/mcp/docs/by-path/${written}`);
        expect([reply.status, reply.body.id, reply.body.content], written).toEqual([200, id, "Moon"]);
      }
      for (const written of ["tree", "search", "%E6%8C", "指南/none", ".."]) {
        const reply = await rest("GET", `/api/mcp/docs/by-path/${written}`);
        expect(reply.status, written).toBe(404);
      }
    });
  });

  describe("Idempotency-Key", () => {
    test("a repeated write gets the first answer, with its status, and runs once", async () => {
      const agent = await server.agent();
      const key = { "Idempotency-Key": "one" };
      const before = runs.add;
      const answers = [
        await agent.rest("POST", "/api/cart", { name: "Alice" }, key),
        await agent.rest("POST", "/api/cart", { unknown: 1, name: "Alice" }, key),
      ];
      expect(answers.map(({ status }) => status)).toEqual([201, 201]);
      expect(answers[1]?.text).toBe(answers[0]?.text);
      expect(runs.add).toBe(before + 1);
    });

    test("a repeated refusal is the same refusal", async () => {
      const agent = await server.agent();
      const key = { "Idempotency-Key": "refused" };
      const before = runs.add;
      const one = await agent.rest("POST", "/api/cart", { name: "refused" }, key);
      const two = await agent.rest("POST", "/api/cart", { name: "refused" }, key);
      expect([one.status, two.status, two.text]).toEqual([409, 409, one.text]);
      expect(runs.add).toBe(before + 1);
    });

    test("the key of another call is 422, and a key that is none 400", async () => {
      const agent = await server.agent();
      const key = { "Idempotency-Key": "two" };
      await agent.rest("POST", "/api/cart", { name: "Alice" }, key);
      const reused = await agent.rest("POST", "/api/cart", { name: "Bob" }, key);
      expect([reused.status, reused.text]).toEqual([
        422,
        '{"error":"Unprocessable Entity","message":"This Idempotency-Key was used for another call. Use a new key for a new call."}',
      ]);
      const spaced = await agent.rest("POST", "/api/cart", { name: "Bob" }, { "Idempotency-Key": "a b" });
      expect([spaced.status, spaced.body.error]).toEqual([400, "Bad Request"]);
    });

    test("RPC and REST share the key: they are two ways to the same call", async () => {
      const agent = await server.agent();
      const key = { "Idempotency-Key": "three" };
      const before = runs.add;
      const value = await agent.call("cart:add", { name: "Alice" }, key);
      const reply = await agent.rest("POST", "/api/cart", { name: "Alice" }, key);
      expect([reply.status, reply.body]).toEqual([201, value]);
      expect(runs.add).toBe(before + 1);
    });
  });
});
