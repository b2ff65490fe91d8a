/**
 * Garbage in over REST: generated paths, queries and bodies at every route, and generated amounts at the till. The
 * server may refuse anything, but it answers in its own words, never breaks, and counts money to the last digit.
 */
import fc from "fast-check";
import { type Logger, pino } from "pino";
import { describe, expect, test } from "vitest";
import { parametersOf, restRoutes } from "../../adapters/rest-routes.js";
import { type Caller, databases, useServer } from "../support/harness.js";
import { openSession } from "../support/rental.js";
import { argumentsOf } from "../support/routes.js";

const times = process.env.TEST_LONG === "1" ? 5 : 1;
const requests = 2_000 * times;
const amounts = 400 * times;

/** Faults, which are ours: the log has a line for each. */
function collectFaults(): { faults: string[]; log: Logger } {
  const faults: string[] = [];
  return { faults, log: pino({ level: "error" }, { write: (line: string) => faults.push(line) }) };
}

/** Absent most of the time. */
function seldom<T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
}

const nastyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.string({ unit: "grapheme", maxLength: 60 }),
  fc.constantFrom(
    "",
    " ",
    "\0",
    "\ud800",
    "..",
    ".",
    "%",
    "my",
    "me",
    "tree",
    "__proto__",
    "constructor",
    "x".repeat(300),
    "é".repeat(2_001),
    "00000000-0000-0000-0000-000000000000",
    "'; drop table users; --",
    "2026-04-18T12:00:00.000Z",
    "active",
    "dialogue.message",
    "10.00",
  ),
);

/** One segment of a path, as a client would encode it and as none would. */
const segment = fc.oneof(
  nastyText.map((text) => encodeURIComponent(text.toWellFormed())),
  fc.constantFrom("%", "%zz", "%ff", "%00", "%2F", "%2e%2e", "a%2Fb", "%E6%BD", ":agentId", "*", "{.+}"),
);

const nastyValue = fc.oneof(
  nastyText,
  fc.double(),
  fc.integer(),
  fc.boolean(),
  fc.constantFrom<unknown>(null, [], {}, [null], [{}], { granted: true }, { $integer: "BQAAAAAAAAA=" }, { match: {} }),
  fc.json({ maxDepth: 4 }).map((json) => JSON.parse(json) as unknown),
  fc.json({ maxDepth: 2 }).map((json) => [JSON.parse(json) as unknown]),
);

/** Bodies that no client would send. */
const nastyBody = fc.oneof(
  fc.string({ unit: "binary", maxLength: 100 }),
  fc.json(),
  fc.constantFrom("{", "[", "[]", "null", '""', "1e400", '{"amount":1e400}', '{"a":1}{"b":2}', "﻿{}", "[".repeat(5_000)),
);

const contentType = fc.oneof(
  { weight: 8, arbitrary: fc.constant("application/json") },
  fc.constantFrom(
    "text/plain",
    "application/json; charset=utf-7",
    "application/vnd.x+json",
    "multipart/form-data",
    "x",
  ),
);

describe.each(databases)("garbage over REST on %s", (database) => {
  const { faults, log } = collectFaults();
  const server = useServer(database, { log });

  test(`${requests} requests are answered in REST's words, and break nothing`, async () => {
    const { registry } = server.server;
    const { agent, agentId, provider, consumer, sessionId } = await openSession(server, { priceAmount: "0.01" });
    const admin = await server.admin();
    const { id: docId } = await admin.call("docs:create", { type: "document", title: "About the tide" });
    const callers: Caller[] = [server.nobody, provider, consumer, agent, await server.agent("Unowned"), admin];
    /** What an argument of that name may well be, so that not every call ends at the door. */
    const fitting: Record<string, unknown> = {
      agentId,
      providerAgentId: agentId,
      participantId: agentId,
      sessionId,
      docId,
      userId: (await server.user("Erin")).userId,
      name: "Name",
      title: "Title",
      description: "Long enough to be one",
      taskDescription: "Read this contract",
      type: "dialogue.message",
      payload: { content: "Hello", usage: { totalTokens: 3 } },
      amount: "1.00",
      onlineStatus: "online",
      rules: [{ match: {}, action: "serve" }],
      items: [{ providerAgentId: agentId, taskDescription: "Read" }],
      grantedPermissions: { "system.exec": true },
      page: 2,
      limit: 5,
      status: "active",
      role: "consumer",
      search: "read",
      q: "tide",
      path: "about-the-tide",
    };
    const counts: Record<string, number> = {};
    const atOnce = 50;
    const request = fc
      .record({
        route: fc.constantFrom(...restRoutes),
        caller: fc.nat(callers.length - 1),
        method: seldom(fc.constantFrom("GET", "POST", "PUT", "PATCH", "DELETE")),
        segments: fc.array(seldom(segment), { minLength: 2, maxLength: 2 }),
        values: fc.array(seldom(nastyValue), { minLength: 20, maxLength: 20 }),
        body: seldom(nastyBody),
        contentType,
        key: seldom(fc.constantFrom("one", "two words", "é")),
      })
      .map(({ route, segments, values, ...rest }) => {
        const parameters = parametersOf(route);
        const path = parameters.reduce(
          (filled, name, index) =>
            filled.replace(`:${name}`, () => segments[index] ?? String(fitting[name] ?? "missing")),
          route.path.replace("{.+}", ""),
        );
        const fields = Object.fromEntries(
          argumentsOf(registry, route).map((name, index) => [name, values[index] ?? fitting[name]]),
        );
        return { path, fields, ...rest, method: rest.method ?? route.method };
      })
      // Who signs out by chance has nothing more to say: this is asked as the agent.
      .map((one) => (/^\/api\/auth\/(logout|sign-ins|api-key|change)/.test(one.path) ? { ...one, caller: 3 } : one));

    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: atOnce, maxLength: atOnce }), async (batch) => {
        await Promise.all(
          batch.map(async ({ method, path, caller, fields, body, contentType, key }) => {
            const query = new URLSearchParams();
            for (const [name, value] of Object.entries(fields)) {
              if (value !== undefined)
                query.set(name, (typeof value === "string" ? value : JSON.stringify(value)).toWellFormed());
            }
            const withBody = method !== "GET";
            const sent = body ?? JSON.stringify(fields);
            const reply = await callers[caller]?.rest(
              method,
              withBody ? path : `${path}?${query}`,
              withBody ? sent : undefined,
              {
                ...(withBody ? { "Content-Type": contentType } : {}),
                ...(key === undefined ? {} : { "Idempotency-Key": key }),
              },
            );
            if (!reply) throw new Error("There is such a caller");
            counts[reply.status] = (counts[reply.status] ?? 0) + 1;
            const told = `${method} ${path} ${sent.slice(0, 500)}\n→ ${reply.status} ${reply.text.slice(0, 500)}`;
            if (reply.status >= 500 || reply.status === 204) throw new Error(told);
            if (reply.headers.get("content-type") !== "application/json") throw new Error(told);
            if (
              reply.status >= 300 &&
              !(typeof reply.body.error === "string" && typeof reply.body.message === "string")
            ) {
              // `..` climbs out of the REST paths, on the way or in the client.
              if (reply.body.errorData?.code !== "not_found") throw new Error(told);
            }
          }),
        );
        expect(faults.splice(0)).toEqual([]);
      }),
      { numRuns: requests / atOnce, endOnFailure: true },
    );
    console.log(`${database}: ${JSON.stringify(counts)}`);
    expect((await server.nobody.rest("GET", "/api/health")).body.status).toBe("healthy");
  });

  test(`${amounts} amounts at the till: each is taken exactly or not at all`, async () => {
    const alice = await server.user("Alice");
    const digits = fc.string({ unit: fc.constantFrom(..."0123456789"), minLength: 1, maxLength: 6 });
    const amount = fc.oneof(
      fc
        .record({ units: digits, decimals: fc.option(digits) })
        .map(({ units, decimals }) => (decimals === null ? units : `${units}.${decimals}`)),
      fc
        .tuple(fc.integer({ min: 0, max: 10_100 }), fc.integer({ min: 0, max: 99 }))
        .map(([units, cents]) => `${units}.${String(cents).padStart(2, "0")}`),
      fc.tuple(fc.integer({ min: 0, max: 1_010_000 })).map(([cents]) => cents / 100),
      fc.double(),
      fc.constantFrom<unknown>(
        "0.01",
        "0.00",
        "0",
        "10000",
        "10000.00",
        "10000.01",
        "0.001",
        "1e2",
        "+5",
        "-5",
        " 5",
        "5 ",
        "5.",
        ".5",
        "05",
        "5,00",
        "٥",
        "５",
        "0x10",
        "Infinity",
        "NaN",
        "",
        "5.00\n",
        "1_000",
        "1e-2",
        0.1 + 0.2,
        1e21,
        1e-7,
        -0,
        -5,
        true,
        false,
        null,
        [],
        ["5.00"],
        {},
        { amount: "5" },
        "5.000",
        "9".repeat(400),
        9007199254740992,
        "9007199254740993",
      ),
    );
    let cents = 0n;
    await fc.assert(
      fc.asyncProperty(amount, async (sent) => {
        const reply = await alice.rest("POST", "/api/billing/wallet/topup", { amount: sent });
        // Another reading than the server's: digits by a pattern, arithmetic in whole cents.
        const text = typeof sent === "number" && Object.is(sent, -0) ? "-0" : String(sent);
        const [, units = "", decimals = ""] = /^(\d+)(?:\.(\d{1,2}))?$/.exec(text) ?? [];
        const value = BigInt(units || "0") * 100n + BigInt(decimals.padEnd(2, "0"));
        const isAmount = typeof sent === "string" || typeof sent === "number";
        const inRange = isAmount && units !== "" && value >= 1n && value <= 1_000_000n;
        // How a number is written beyond that (`05`) is the server's to refuse.
        if (reply.status === 200) {
          expect(inRange, `took ${JSON.stringify(sent)}`).toBe(true);
          cents += value;
        } else {
          expect(reply.status, reply.text).toBe(400);
          expect(reply.body).toMatchObject({ error: "Validation Error", details: [{ path: "amount" }] });
          expect(inRange && !/^0\d/.test(text), `refused ${JSON.stringify(sent)}`).toBe(false);
        }
      }),
      { numRuns: amounts, endOnFailure: true },
    );
    const { body } = await alice.rest("GET", "/api/billing/wallet");
    const printed = `${cents / 100n}.${String(cents % 100n).padStart(2, "0")}`;
    expect(body).toMatchObject({ balance: printed, available: printed });
    expect(faults).toEqual([]);
  });
});
