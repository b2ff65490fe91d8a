/**
 * Garbage in: generated arguments for every function from callers of every kind, and raw bytes at every address. The
 * server may refuse anything, but it answers and never breaks. What it stores: stored-text.test.ts. `TEST_LONG=1`
 * multiplies the counts.
 */
import { connect } from "node:net";
import fc from "fast-check";
import { type Logger, pino } from "pino";
import { describe, expect, test } from "vitest";
import type { ZodObject } from "zod";
import { coordination, modules } from "../../functions/index.js";
import { Registry } from "../../runtime/call/registry.js";
import { argumentsOf, callersOf, makeWorld, type World } from "../support/fuzz-world.js";
import { databases, hour, useServer } from "../support/harness.js";
import { toJson } from "../support/nasty.js";

const times = process.env.TEST_LONG === "1" ? 2 : 1;
const callsPerFunction = 200 * times;
const rawRequests = 5_000 * times;

/** Faults, which are ours: the log has a line for each. */
function collectFaults(): { faults: string[]; log: Logger } {
  const faults: string[] = [];
  return { faults, log: pino({ level: "error" }, { write: (line: string) => faults.push(line) }) };
}

const registry = new Registry(modules);
const ofCoordination = new Registry(coordination).functions;

describe.each(databases)("generated calls on %s", (database) => {
  const { faults, log } = collectFaults();
  const server = useServer(database, { log });
  let world: World | undefined;

  test.each([...registry.functions.keys()])(`%s answers ${callsPerFunction} of them`, async (path) => {
    const system = ofCoordination.has(path) ? "coordination" : "marketplace";
    if (!world) world = await makeWorld(server);
    else if (system === "marketplace") await world.renew();
    const definition = registry.find(path);
    if (!definition) throw new Error(`${path} is missing`);
    const names = Object.keys((definition.args as ZodObject).shape);
    const perRun = 20;
    const call = fc.record({
      args: argumentsOf(path, names, world.valuesOf(system)),
      credential: callersOf(definition.auth, world),
      format: fc.constantFrom("json", "convex_encoded_json"),
      key: fc.option(fc.constantFrom("one", "two", "three"), { freq: 4, nil: undefined }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(call, { minLength: perRun, maxLength: perRun }), async (calls) => {
        await Promise.all(
          calls.map(async ({ args, credential, format, key }) => {
            const body = `{"path":${JSON.stringify(path)},"format":"${format}","args":${toJson(args)}}`;
            const response = await fetch(`${server.url}/api/${definition.kind}`, {
              method: "POST",
              headers: {
                "Content-Type": "application/json",
                ...credential,
                ...(key ? { "Idempotency-Key": key } : {}),
              },
              body,
            });
            const text = await response.text();
            const about = `${body.slice(0, 2_000)} → ${response.status} ${text.slice(0, 500)}`;
            // 403 is for the caller who is suspended, 503 for who asks for long work while others wait for it.
            const answers = [200, 400, 401, 403, 413, ...(definition.aside ? [503] : [])];
            expect(answers, about).toContain(response.status);
            const envelope = JSON.parse(text) as { status: string; value: unknown; errorData?: { code: string } };
            if (envelope.status === "success") {
              if (format === "json") expect(definition.returns.safeParse(envelope.value).success, about).toBe(true);
            } else expect(envelope.errorData?.code, about).toMatch(/^[a-z_]+$/);
          }),
        );
        // Not in the condition above, so that the calls which caused it are shown.
        expect(faults.splice(0)).toEqual([]);
      }),
      { numRuns: callsPerFunction / perRun },
    );
  });

  test("the server is well after all of it", async () => {
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
    const { alice, bob, threadId } = await server.negotiatingPair();
    await alice.send(threadId, "proposal");
    expect((await bob.send(threadId, "accept")).threadStatus).toBe("awaiting_approval");
    const admin = await server.admin();
    const audited = await admin.call("admin:audit");
    expect(audited.findings.filter(({ ok }: { ok: boolean }) => !ok)).toEqual([]);
    await server.advance(6 * 24 * hour);
    expect((await admin.call("admin:audit")).ok).toBe(true);
    expect(faults).toEqual([]);
  });
});

/** How long the server may stay silent before the client gives up on the rest of its request. */
const patienceMs = 400;

/** Sends the bytes as they are; resolves with what came back until the server hung up. */
function exchange(url: string, bytes: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    const parts: Buffer[] = [];
    const impatient = setTimeout(() => socket.end(), patienceMs);
    const stuck = setTimeout(() => {
      socket.destroy();
      reject(new Error(`No end within 10 s: ${bytes.subarray(0, 300).toString("latin1")}`));
    }, 10_000);
    socket.on("data", (part) => parts.push(part));
    // A server that has answered may cut off what it no longer wants to read.
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(impatient);
      clearTimeout(stuck);
      resolve(Buffer.concat(parts).toString("latin1"));
    });
    socket.write(bytes);
  });
}

const addresses = [
  ...["query", "mutation", "action", "query_ts", "query_at_ts", "query_batch", "function", "debug_event", "health"].map(
    (name) => `/api/${name}`,
  ),
  "/api/run/agents/register",
  "/api/run/messages/send",
  "/api/run/a/b/c/d",
  "/api/run/%00/%ff",
  "/api/run/",
  "/api/1.48.0/sync",
  "/api/sync",
  "//api/query",
  "/api/query?path=agents:getStatus&args=%7B%7D",
  "/livez",
  "/readyz",
  "/",
  "/claim/x",
  "/connect/x",
  "/share/x",
  "/skill.md",
  "/assets/x",
  "/scripts/x",
];
const path = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...addresses) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(
        fc.constantFrom(
          "/api/query?args=",
          "/api/query?path=agents:getStatus&args=",
          "/api/run/",
          "/api/agents/",
          "/api/sessions/%/",
          "/api/marketplace/browse?search=",
          "/api/mcp/docs/by-path/",
          "/api/",
          "/",
          "//",
          "/claim/",
          "/share/",
          "/connect/",
          "",
        ),
        fc.oneof(
          fc.constantFrom(
            "%",
            "%zz",
            "%c0%80",
            "%ed%a0%80",
            "..",
            "../../etc/passwd",
            "%2e%2e%2f",
            "%00",
            "?",
            "#",
            "*",
            "{}",
            "%7B%22a%22:",
            "null",
            "[1]",
            "1e999",
            "http://[::1",
            "http://x:99999/",
            "http://%/",
            ":",
            "\\",
            "x".repeat(9_000),
          ),
          fc.webPath(),
          fc.string({ unit: "binary-ascii", maxLength: 40 }).map((text) => text.replace(/[\s\0]/g, "+")),
        ),
      )
      .map(([start, end]) => start + end),
  },
);

const validBodies = [
  '{"path":"agents:register","args":{"name":"Somebody"}}',
  '{"path":"agents:getStatus","args":{},"format":"json"}',
  '{"path":"messages:send","args":[{"threadId":"thr_1","type":"info","payload":{"notes":"x"}}],"format":"convex_encoded_json"}',
  '{"queries":[{"path":"agents:getStatus","args":{}},{"path":"agents:getClaim","args":{"claimToken":"x"}}]}',
  '{"args":{"name":"Somebody"}}',
];
const strangeBodies = [
  "lat=1&lng=2&accuracyMeters=3",
  "lat=%ff&lng=%00&lat=1e400&__proto__=1&constructor",
  "",
  " ",
  "null",
  "true",
  "0",
  '""',
  "[]",
  "{}",
  '{"path":1}',
  '{"path":""}',
  '{"path":"__proto__"}',
  '{"path":"constructor:constructor","args":{}}',
  '{"path":"agents:__proto__"}',
  '{"path":"agents:register","args":null}',
  '{"path":"agents:register","args":[]}',
  '{"path":"agents:register","args":[null]}',
  '{"path":"agents:register","args":[{},{}]}',
  '{"path":"agents:register","args":7}',
  '{"path":"agents:register","args":{"__proto__":{"name":"x"}}}',
  '{"__proto__":{"path":"agents:register"},"args":{"name":"x"}}',
  '{"path":"agents:register","args":{"name":"\\ud800"}}',
  '{"path":"\\ud800\\u0000","args":{}}',
  '{"path":"agents:register","args":{"name":"\\u0000"}}',
  '{"path":"agents:register","args":{"name":"x"},"format":"xml"}',
  '{"path":"agents:register","args":{"name":"x"},"format":"constructor"}',
  '{"path":"agents:register","args":{"name":"x"},"format":"__proto__"}',
  '{"path":"agents:register","args":{"name":"x"},"format":{}}',
  '{"path":"agents:register","args":{"name":{"$integer":"AAAAAAAAAAA="}}}',
  '{"path":"agents:register","args":{"$a":1}}',
  '{"queries":null}',
  '{"queries":[null,1,"x",[],{}]}',
  '{"queries":[{"path":"agents:register","args":{"name":"x"}}]}',
  `{"queries":[${'{"path":"agents:getStatus"},'.repeat(100)}{}]}`,
  `{"path":"agents:register","args":${"[".repeat(10_000)}${"]".repeat(10_000)}}`,
  `{"path":"agents:register","args":${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)}}`,
  `{"path":"agents:register","args":${'{"$a":'.repeat(10_000)}1${"}".repeat(10_000)}}`,
  `{"path":"agents:register","args":${'[{"$integer":'.repeat(5_000)}1${"}]".repeat(5_000)}}`,
  `${"[".repeat(100_000)}`,
  `{"path":"${"x".repeat(100_000)}"}`,
  `{"path":"messages:send","args":{"payload":{${Array.from({ length: 5_000 }, (_, index) => `"k${index}":0`).join(",")}}}}`,
];
const body: fc.Arbitrary<Buffer> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...strangeBodies).map((text) => Buffer.from(text)) },
  {
    weight: 3,
    // Cut, or with bytes changed: invalid UTF-8 among them.
    arbitrary: fc
      .tuple(
        fc.constantFrom(...validBodies),
        fc.nat(120),
        fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 3 }),
      )
      .map(([text, length, changes]) => {
        const bytes = Buffer.from(text).subarray(0, length + 10);
        for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte;
        return bytes;
      }),
  },
  { weight: 2, arbitrary: fc.constantFrom(...validBodies).map((text) => Buffer.from(text)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
);

const contentType = fc.oneof(
  { weight: 6, arbitrary: fc.constant<string | undefined>("application/json") },
  fc.constantFrom<string | undefined>(
    undefined,
    "",
    "text/plain",
    "application/json; charset=utf-16",
    "application/vnd.api+json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    `application/${"x".repeat(3_000)}+json`,
    "APPLICATION/JSON",
  ),
);
const moreHeaders = fc.array(
  fc.constantFrom(
    "Content-Type: application/json",
    "Content-Type: text/plain",
    "Authorization: Bearer c2c_wrong",
    "Authorization: Bearer",
    "Authorization: Bearer \xff\xfe",
    "Authorization: Convex key",
    "Authorization: Basic eDp5",
    `Authorization: Bearer ${"x".repeat(6_000)}`,
    "Idempotency-Key: one",
    "Idempotency-Key: two",
    "Idempotency-Key: ",
    "Idempotency-Key: with space",
    `Idempotency-Key: ${"k".repeat(300)}`,
    "Idempotency-Key: \xe9",
    "Origin: https://example.com",
    "Origin: null",
    "Origin: \xff",
    "Origin: a\tb",
    "Access-Control-Request-Headers: x, y\xe9",
    "Access-Control-Request-Method: POST",
    "X-Forwarded-For: , ,",
    "Convex-Client: npm-0.0.1",
    "Expect: 100-continue",
    "Expect: 200-ok",
    "Upgrade: websocket\r\nConnection: Upgrade",
    "Upgrade: h2c",
    "Host: y",
    "Accept-Encoding: gzip, br",
    "Content-Encoding: gzip",
    "Range: bytes=0-1",
    "If-None-Match: *",
    "X-Http-Method-Override: DELETE",
    "Cookie: a=b",
    ": empty",
    "Broken header",
    " folded: yes",
    "Transfer-Encoding: identity",
    "TE: trailers",
  ),
  { maxLength: 4 },
);
const host = fc.oneof(
  { weight: 12, arbitrary: fc.constant("Host: x") },
  fc.constantFrom(
    "",
    "Host:",
    "Host: [",
    "Host: a b",
    "Host: x/y",
    "Host: x?y#z",
    "Host: \xff",
    "Host: user@x:99999",
    "Host: %00",
    `Host: ${"h".repeat(2_000)}`,
  ),
);
type Framing =
  | "right"
  | "short"
  | "long"
  | "absent"
  | "chunked"
  | "brokenChunks"
  | "both"
  | "garbage"
  | "negative"
  | "twice";
const framing = fc.oneof(
  { weight: 8, arbitrary: fc.constant<Framing>("right") },
  fc.constantFrom<Framing>(
    "short",
    "long",
    "absent",
    "chunked",
    "brokenChunks",
    "both",
    "garbage",
    "negative",
    "twice",
  ),
);
const method = fc.oneof(
  { weight: 10, arbitrary: fc.constant("POST") },
  fc.constantFrom(
    "GET",
    "OPTIONS",
    "HEAD",
    "PUT",
    "DELETE",
    "PATCH",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "QUERY",
    "BREW",
    "post",
    "PRI",
  ),
);

const rawRequest = fc.record({ method, path, host, contentType, moreHeaders, framing, body }).map((request) => {
  const { length } = request.body;
  const headers: string[] = [request.host, ...request.moreHeaders];
  if (request.contentType !== undefined) headers.push(`Content-Type: ${request.contentType}`);
  const chunk = Buffer.concat([Buffer.from(`${length.toString(16)}\r\n`), request.body, Buffer.from("\r\n0\r\n\r\n")]);
  const framed: Record<Framing, [string[], Buffer]> = {
    right: [[`Content-Length: ${length}`], request.body],
    short: [[`Content-Length: ${Math.max(0, length - 5)}`], request.body],
    long: [[`Content-Length: ${length + 5}`], request.body],
    absent: [[], request.body],
    chunked: [["Transfer-Encoding: chunked"], length === 0 ? Buffer.from("0\r\n\r\n") : chunk],
    brokenChunks: [["Transfer-Encoding: chunked"], Buffer.concat([Buffer.from("zz\r\n"), request.body])],
    both: [["Transfer-Encoding: chunked", `Content-Length: ${length}`], chunk],
    garbage: [["Content-Length: many"], request.body],
    negative: [["Content-Length: -1"], request.body],
    twice: [[`Content-Length: ${length}`, `Content-Length: ${length + 1}`], request.body],
  };
  const [lines, bytes] = framed[request.framing];
  const head = [`${request.method} ${request.path} HTTP/1.1`, ...headers, ...lines, "Connection: close"]
    .filter((line) => line !== "")
    .join("\r\n");
  return Buffer.concat([Buffer.from(`${head}\r\n\r\n`, "latin1"), bytes]);
});

/** What is wrong with a reply to anything; undefined where nothing is. */
function wrongWith(reply: string): string | undefined {
  // To what is no HTTP a closed connection is an answer.
  if (reply === "") return undefined;
  const statuses = [...reply.matchAll(/(?:^|\r\n\r\n|[^\r\n])HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
  if (statuses.length === 0) return "no HTTP";
  return statuses.some((status) => status >= 500) ? `status ${statuses.join(", ")}` : undefined;
}

describe.each(databases)("raw bytes on %s", (database) => {
  const { faults, log } = collectFaults();
  const server = useServer(database, { log });

  test(`${rawRequests} requests of any kind are answered or cut off, and break nothing`, async () => {
    const counts: Record<string, number> = {};
    const perRun = 250;
    await fc.assert(
      fc.asyncProperty(fc.array(rawRequest, { minLength: perRun, maxLength: perRun }), async (requests) => {
        await Promise.all(
          requests.map(async (bytes) => {
            const reply = await exchange(server.url, bytes);
            const problem = wrongWith(reply);
            const kind = reply === "" ? "cut off" : reply.slice(9, 12);
            counts[kind] = (counts[kind] ?? 0) + 1;
            if (problem) {
              throw new Error(`${problem}: ${bytes.subarray(0, 1_000).toString("latin1")}\n→ ${reply.slice(0, 500)}`);
            }
          }),
        );
        expect(faults.splice(0)).toEqual([]);
      }),
      // Shrinking would take minutes; the message shows the request.
      { numRuns: rawRequests / perRun, endOnFailure: true },
    );
    console.log(`${database}: ${JSON.stringify(counts)}`);
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
  });

  const post = (body: string | Buffer, headers: string) =>
    exchange(
      server.url,
      Buffer.concat([
        Buffer.from(
          `POST /api/mutation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n${headers}\r\n\r\n`,
        ),
        Buffer.from(body),
      ]),
    );

  test("10 MB are refused with 413, with a length and in chunks", async () => {
    const large = `{"path":"agents:register","args":{"name":"${"x".repeat(10_000_000)}"}}`;
    // The reply may be cut off by a reset while the rest is still on its way; then there is none, which is fine too.
    const declared = await post(large, `Content-Length: ${large.length}`);
    expect(declared).toMatch(/^(HTTP\/1\.1 413 |$)/);
    const chunked = await post(`${large.length.toString(16)}\r\n${large}\r\n0\r\n\r\n`, "Transfer-Encoding: chunked");
    expect(chunked).toMatch(/^(HTTP\/1\.1 413 |$)/);
    const response = await fetch(`${server.url}/api/mutation`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: large,
    });
    expect(response.status).toBe(413);
    expect(await response.json()).toMatchObject({ status: "error", errorData: { code: "too_large" } });
    expect(faults).toEqual([]);
  });

  test("a body of many chunks, one byte each, is one body", async () => {
    const text = '{"path":"agents:register","args":{"name":"Slow ✓"}}';
    const chunks = [...Buffer.from(text)].map((byte) =>
      Buffer.concat([Buffer.from("1\r\n"), Buffer.from([byte]), Buffer.from("\r\n")]),
    );
    const reply = await post(Buffer.concat([...chunks, Buffer.from("0\r\n\r\n")]), "Transfer-Encoding: chunked");
    expect(reply).toContain('"status":"success"');
  });

  test("a caller that hangs up in the middle of its body is no fault", async () => {
    await post('{"path":"agents:register",', "Content-Length: 1000");
    const { hostname, port } = new URL(server.url);
    await new Promise<void>((resolve) => {
      const socket = connect(Number(port), hostname, () => {
        socket.write(
          'POST /api/mutation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"path":',
        );
        setTimeout(() => socket.resetAndDestroy(), 50);
      });
      socket.on("close", () => resolve());
      socket.on("error", () => {});
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(faults).toEqual([]);
  });

  test("a format that only an object's prototype knows is none", async () => {
    for (const format of ["constructor", "__proto__", "toString", "xml", "", 1, {}, []]) {
      const response = await fetch(`${server.url}/api/query`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ path: "agents:getStatus", args: {}, format }),
      });
      expect([response.status, await response.json()]).toMatchObject([400, { code: "BadFormat" }]);
    }
  });

  test("GET /api/query with broken arguments, OPTIONS and unknown methods get their answers", async () => {
    const get = async (query: string) => (await fetch(`${server.url}/api/query${query}`)).status;
    expect(await get("?path=agents:getClaim&args=%7B%22claimToken%22%3A%22x%22%7D")).toBe(200);
    for (const args of ["%7B", "%", "%ff", "undefined", "%00", "%7B%22a%22%3A"]) {
      expect(await get(`?path=agents:getClaim&args=${args}`)).toBe(400);
    }
    for (const args of ["[]", "null", "7", "%7B%7D", "%7B%22__proto__%22%3A1%7D", "%7B%22%24x%22%3A1%7D"]) {
      expect(await get(`?path=agents:getClaim&args=${args}`)).toBe(200);
    }
    expect(await get("")).toBe(400);
    expect(await get("?path=agents:getClaim&format=xml")).toBe(400);
    expect(await get("?path=agents:getStatus")).toBe(401);
    for (const verb of ["PUT", "DELETE", "PATCH", "GET"]) {
      expect((await fetch(`${server.url}/api/mutation`, { method: verb })).status).toBe(405);
    }
    const preflight = await fetch(`${server.url}/api/mutation`, {
      method: "OPTIONS",
      headers: { Origin: "https://a.b" },
    });
    expect([preflight.status, preflight.headers.get("access-control-allow-origin")]).toEqual([204, "https://a.b"]);
    expect(faults).toEqual([]);
  });
});
