/** One caller who looks like many: what a proxy adds to an address must not make another caller of each connection. */
import { describe, expect, test } from "vitest";
import { rates } from "../../../runtime/limits.js";
import { databases, startServer, type TestServer } from "../../support/harness.js";

const [database = "sqlite"] = databases;

/** How a proxy that appends the port writes the same caller, connection after connection. */
const spellings: Record<string, (connection: number) => string> = {
  "ip:port": (connection) => `203.0.113.78:${40_000 + connection}`,
  "quoted ip:port": (connection) => `"203.0.113.79:${40_000 + connection}"`,
  "[v6]:port": (connection) => `[2001:db8:0:7::${connection + 1}]:${40_000 + connection}`,
  "v6 in other letters": (connection) => (connection % 2 === 0 ? "2001:DB8:0:8::1" : "2001:0db8:0000:0008::2"),
  "a mapped address": (connection) => (connection % 2 === 0 ? "::ffff:203.0.113.80" : "::ffff:cb00:7150"),
  // No address: then it is the proxy itself that calls too often.
  garbage: (connection) => `unknown-${connection}`,
};

interface Attempt {
  server: TestServer;
  connection: number;
  headers: Record<string, string>;
}

/** What is counted by address, each with the rate that counts it. */
const attempts: Record<string, { points: number; make(attempt: Attempt): Promise<number> }> = {
  "registrations over RPC": {
    points: rates.registrations.points,
    make: ({ server, headers }) =>
      server.nobody.call("agents:register", { name: "Many" }, headers).then(
        () => 200,
        (error: { httpStatus: number }) => error.httpStatus,
      ),
  },
  "wrong credentials over REST and Server-Sent Events in turn": {
    points: rates.failedCredentials.points,
    make: async ({ server, connection, headers }) => {
      const path = connection % 2 === 0 ? "/api/auth/me" : "/api/subscribe?path=agents:getStatus";
      const guess = { ...headers, Authorization: "Bearer c2c_guess" };
      return (await fetch(`${server.url}${path}`, { headers: guess })).status;
    },
  },
};

describe("a caller whose proxy appends the port", () => {
  test.each(Object.entries(spellings))("%s: is one caller on every surface", async (_name, spell) => {
    const server = await startServer(database, { config: { rateLimits: true, trustProxy: true } });
    for (const [what, { points, make }] of Object.entries(attempts)) {
      const statuses: number[] = [];
      for (let connection = 0; connection < points + 2; connection += 1) {
        const headers = { "X-Forwarded-For": `192.0.2.${connection}, ${spell(connection)}` };
        statuses.push(await make({ server, connection, headers }));
      }
      expect(statuses.indexOf(429), what).toBe(points);
      expect(statuses.slice(points), what).toEqual([429, 429]);
    }
    await server.close();
  });
});
