/** What holds for every HTTP request, whatever it asks for: bodies, methods, origins, upgrades, and what a refusal says. */
import { randomUUID } from "node:crypto";
import { connect } from "node:net";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { sizes } from "../../runtime/limits.js";
import { type TestServer, useServer } from "../support/harness.js";
import { until } from "../support/live-clients.js";

const call = JSON.stringify({ path: "marketplace:listCategories", args: {} });
const surfaces = [
  ["/api/query", call],
  ["/api/auth/login", "{}"],
] as const;

/** What comes back on a bare connection for these bytes, until there is nothing more for a moment or it ends. */
async function exchange(server: TestServer, bytes: string, isWhole: (reply: string) => boolean): Promise<string> {
  const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
  let reply = "";
  let ended = false;
  socket.on("data", (data) => (reply += data));
  socket.on("close", () => (ended = true));
  socket.write(bytes);
  await until(
    () => ended || isWhole(reply),
    () => `the whole of ${reply}`,
  );
  socket.destroy();
  return reply;
}

describe("bodies", () => {
  const server = useServer("sqlite");
  const post = async (path: string, body: Uint8Array | string, headers: Record<string, string> = {}) => {
    const response = await fetch(server.url + path, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: body as string,
    });
    return (await response.json()) as { status?: string; message?: string; error?: string };
  };

  test("a mark of byte order in front is no part of the JSON", async () => {
    expect(await post("/api/query", `\ufeff${call}`)).toMatchObject({ status: "success" });
  });

  test("gzip and Brotli are read", async () => {
    for (const [encoding, body] of [
      ["gzip", gzipSync(call)],
      ["x-gzip", gzipSync(call)],
      ["br", brotliCompressSync(call)],
      ["identity", call],
    ] as const) {
      expect(await post("/api/query", body, { "Content-Encoding": encoding }), encoding).toMatchObject({
        status: "success",
      });
    }
  });

  test.each(surfaces)("what is not read is 415 and named, at %s", async (path, text) => {
    const utf16 = Buffer.from(text, "utf16le");
    for (const [headers, body, named] of [
      [{ "Content-Encoding": "deflate" }, deflateSync(text), "deflate"],
      [{ "Content-Encoding": "gzip, br" }, gzipSync(text), "gzip, br"],
      [{ "Content-Type": "application/json; charset=utf-16le" }, utf16, "utf-16le"],
      [{}, Buffer.concat([Buffer.from([0xff, 0xfe]), utf16]), "UTF-16"],
    ] as const) {
      const reply = await post(path, body, headers);
      expect(reply, named).toMatchObject({ error: "Unsupported Media Type", message: expect.stringContaining(named) });
    }
  });

  test.each(surfaces)("a plain body that claims to be compressed is 400, and a bomb 413, at %s", async (path, text) => {
    for (const encoding of ["gzip", "br"]) {
      expect(await post(path, text, { "Content-Encoding": encoding }), encoding).toMatchObject({
        error: "Bad Request",
        message: `The body is not ${encoding}, as its Content-Encoding says`,
      });
    }
    const bomb = gzipSync(Buffer.alloc(4 * sizes.bodyBytes));
    expect(await post(path, bomb, { "Content-Encoding": "gzip" })).toMatchObject({ error: "Payload Too Large" });
  });
});

describe("bodies that become larger than they came", () => {
  const server = useServer("sqlite", { config: { rateLimits: true } });

  test("count as large before they are inflated, so that a thousand of a kilobyte take no gigabyte", async () => {
    const body = gzipSync(Buffer.alloc(sizes.bodyBytes - 1_024, " "));
    expect(body.length).toBeLessThan(2_048);
    const headers = { "Content-Type": "application/json", "Content-Encoding": "gzip" };
    const replies = await Promise.all(
      Array.from({ length: 100 }, () => fetch(`${server.url}/api/query`, { method: "POST", headers, body })),
    );
    const statuses = replies.map(({ status }) => status);
    // What was inflated is no JSON; the rest found no room for it.
    expect(new Set(statuses)).toEqual(new Set([400, 429]));
    await Promise.all(replies.map((reply) => reply.text()));
  });
});

describe("addresses", () => {
  const server = useServer("sqlite");

  test("the head of a stream has no body, and nothing is logged as a fault", async () => {
    const url = `${server.url}/api/subscribe?path=marketplace:listCategories&args=%7B%7D`;
    const head = await fetch(url, { method: "HEAD" });
    expect([head.status, head.headers.get("content-type"), await head.text()]).toEqual([
      200,
      "text/event-stream; charset=utf-8",
      "",
    ]);
    expect((await fetch(`${server.url}/api/subscribe?path=agents:getStatus`, { method: "HEAD" })).status).toBe(200);
  });

  test("a person who mistypes an address gets a page, a program JSON", async () => {
    const page = await fetch(`${server.url}/claims/x`, { headers: { Accept: "text/html,*/*;q=0.8" } });
    expect([page.status, page.headers.get("content-type")]).toEqual([404, "text/html; charset=utf-8"]);
    expect(await page.text()).toContain("There is nothing here");
    const json = await fetch(`${server.url}/claims/x`, { headers: { Accept: "*/*" } });
    expect(await json.json()).toMatchObject({ error: "Not Found", message: "There is nothing at this address" });
  });

  test("a socket's address that is asked without an upgrade says what is missing", async () => {
    for (const path of [
      "/ws/agent",
      "/ws/session",
      "/ws/group",
      "/ws/agent/consumer",
      "/api/sync",
      "/api/1.48.0/sync",
    ]) {
      const response = await fetch(server.url + path);
      expect([response.status, response.headers.get("upgrade")], path).toEqual([426, "websocket"]);
      expect(await response.json()).toMatchObject({
        error: "Upgrade Required",
        message: expect.stringContaining("Upgrade"),
      });
    }
  });

  test("every refusal under /api/ has an error and a message", async () => {
    const json = { "Content-Type": "application/json" };
    for (const [path, init] of [
      ["/api/nothing", {}],
      ["/api/query", { method: "DELETE" }],
      ["/api/query", { method: "POST", body: "{", headers: json }],
      ["/api/query", { method: "POST", body: call, headers: { "Content-Type": "text/plain" } }],
      ["/api/query", { method: "POST", body: call, headers: { ...json, Authorization: "Bearer c2c_wrong" } }],
      ["/api/run/x", { method: "POST", body: "{}", headers: json }],
      ["/api/function", { method: "POST" }],
      ["/api/query_batch", { method: "POST", body: "{}", headers: json }],
      ["/api/subscribe", {}],
      ["/api/subscribe", { method: "POST" }],
      ["/api/agents/x/y/z", {}],
      ["/api/agents/me", {}],
      ["/api/auth/login", { method: "POST", body: "[]", headers: json }],
    ] as [string, RequestInit][]) {
      const response = await fetch(server.url + path, init);
      expect(response.ok, path).toBe(false);
      const reply = (await response.json()) as { error?: unknown; message?: unknown };
      expect([typeof reply.error, typeof reply.message], `${path}: ${JSON.stringify(reply)}`).toEqual([
        "string",
        "string",
      ]);
    }
  });

  test("a field that is wrong is named as the caller wrote it", async () => {
    const user = await server.user("Alice");
    const reply = await user.rest("GET", "/api/sessions?status=sleeping");
    expect(reply.status).toBe(400);
    expect(reply.body.message).toContain("status: ");
    expect(reply.body.details[0].path).toBe("status");
  });
});

describe("upgrades", () => {
  const server = useServer("sqlite");
  const handshake = (target: string) =>
    `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
  const offer = (path: string) =>
    `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`;

  test("a WebSocket can be asked for by its whole address", async () => {
    for (const target of ["/api/sync", "//api/sync", "http://pool.example/api/sync", "http://pool.example//api/sync"]) {
      expect(await exchange(server, handshake(target), (reply) => reply.includes("\r\n\r\n")), target).toMatch(
        /^HTTP\/1.1 101 /,
      );
    }
  });

  test("of offers of HTTP/2 on one connection each gets its answer, and none leaves a listener behind", async () => {
    const warnings: Error[] = [];
    const note = (warning: Error) => warnings.push(warning);
    process.on("warning", note);
    const count = (reply: string) => reply.split("HTTP/1.1 200").length - 1;
    const two = await exchange(server, offer("/livez") + offer("/readyz"), (reply) => count(reply) === 2);
    expect([count(two), two.includes("alive"), two.includes("ready")]).toEqual([2, true, true]);
    const behindAPlainOne = `GET /livez HTTP/1.1\r\nHost: x\r\n\r\n${offer("/readyz")}`;
    expect(count(await exchange(server, behindAPlainOne, (reply) => count(reply) === 2))).toBe(2);
    const many = offer("/livez").repeat(30);
    expect(count(await exchange(server, many, (reply) => count(reply) === 30))).toBe(30);
    process.off("warning", note);
    expect(warnings).toEqual([]);
  });
});

describe("CORS_ORIGINS", () => {
  const server = useServer("sqlite", {
    config: { corsOrigins: ["https://app.example"], publicUrl: "https://pool.example/base" },
  });
  const closeCode = (origin: string | undefined) => {
    const ws = new WebSocket(`${server.url.replace("http", "ws")}/api/sync`, origin === undefined ? {} : { origin });
    return new Promise((resolve) => {
      ws.on("close", resolve);
      ws.on("error", () => {});
      // One that may stay is asked something, so that it is known to be served.
      ws.on("open", () => ws.send("nonsense"));
    });
  };

  test("pages of the listed sites and of the server itself may call, and programs may", async () => {
    for (const origin of ["https://app.example", "https://pool.example", undefined]) {
      const headers: Record<string, string> = { "Content-Type": "application/json", ...(origin && { Origin: origin }) };
      const response = await fetch(`${server.url}/api/query`, { method: "POST", headers, body: call });
      expect(response.status, origin).toBe(200);
      expect(await closeCode(origin), origin).not.toBe(1008);
    }
  });

  test("pages of others may not, by no method and over no socket", async () => {
    for (const origin of ["https://evil.example", "http://app.example", "null"]) {
      for (const method of ["POST", "OPTIONS", "GET"]) {
        const headers = { "Content-Type": "text/plain", Origin: origin };
        const response = await fetch(`${server.url}/api/query`, {
          method,
          headers,
          ...(method === "POST" && { body: call }),
        });
        expect([response.status, response.headers.get("access-control-allow-origin")], origin).toEqual([403, null]);
      }
      expect(await closeCode(origin), origin).toBe(1008);
    }
  });
});

describe("a /48 of IPv6", () => {
  const server = useServer("sqlite", { config: { rateLimits: true, trustProxy: true } });

  test("has a wider limit than each of its networks, whatever network its calls come from", async () => {
    const signIn = async (address: string) => {
      const response = await fetch(`${server.url}/api/auth/login`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Forwarded-For": address },
        body: JSON.stringify({ email: `${randomUUID()}@example.com`, password: "wrong password" }),
      });
      return response.status;
    };
    let refused = 0;
    let asked = 0;
    // Twenty a minute for each /64, sixteen times that for all of them.
    for (let network = 0; network < 18 && refused === 0; network += 1) {
      const statuses = await Promise.all(
        Array.from({ length: 20 }, (_, host) => signIn(`2001:db8:1:${network.toString(16)}::${host + 1}`)),
      );
      asked += statuses.length;
      refused += statuses.filter((status) => status === 429).length;
    }
    expect([asked, refused]).toEqual([340, 20]);
    expect(await signIn("2001:db8:2::1")).toBe(401);
  });
});
