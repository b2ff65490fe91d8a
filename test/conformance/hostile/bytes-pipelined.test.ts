/**
 * Requests that wait behind another on their connection, and whoever hangs up before there is an answer: nothing of what
 * they held is left, or the server would lock everybody out in the end.
 */
import pg from "pg";
import { afterEach, describe, expect, test } from "vitest";
import { sizes, subscriptionBytes } from "../../../runtime/limits.js";
import { bigModules } from "../../support/big.js";
import { echoModules } from "../../support/echo.js";
import { databases, useServer } from "../../support/harness.js";
import { head, type RawConnection, rawConnection } from "../../support/raw-http.js";
import { eventually } from "../../support/sockets.js";

const MiB = 1024 * 1024;

describe.each(databases)("requests of a connection that is gone on %s", (database) => {
  const server = useServer(database, { modules: { ...echoModules, ...bigModules }, config: { rateLimits: true } });
  const opened: RawConnection[] = [];
  const held = () => server.server.held;
  const bytes = () => [held().requests.bytes, held().answers.bytes, held().subscriptions.bytes];
  const heldIs = (what: "requests" | "answers" | "subscriptions", isMeant: (bytes: number) => boolean) =>
    eventually(async () => held()[what].bytes, isMeant);
  const stream = "GET /api/subscribe?path=docs:getTree HTTP/1.1\r\nHost: tidepool\r\n\r\n";
  const post = (path: string, body: object) => {
    const text = JSON.stringify(body);
    return head(path, Buffer.byteLength(text)) + text;
  };
  /** A connection whose first request is answered for as long as it is open, so that all others wait. */
  const behindStream = async () => {
    const connection = await rawConnection(server);
    opened.push(connection);
    connection.socket.write(stream);
    await eventually(
      async () => connection.text(),
      (text) => text.includes("data:"),
    );
    return connection;
  };
  const hangUp = async () => {
    for (const { socket } of opened.splice(0)) socket.destroy();
    await eventually(
      async () => bytes(),
      (now) => now.every((one) => one === 0),
    );
  };

  afterEach(hangUp);

  test("streams that are asked for at the same moment count before any is answered", async () => {
    const connection = await rawConnection(server);
    opened.push(connection);
    const stated = sizes.socketsPerAddress;
    connection.socket.write(stream.repeat(stated + 5));
    const each = subscriptionBytes + "{}".length;
    await heldIs("subscriptions", (now) => now >= stated * each);
    await server.nobody.call("docs:getTree");
    expect(held().subscriptions.bytes).toBe(stated * each);
  });

  test("bodies and what they were parsed to are given back", async () => {
    const { socket } = await behindStream();
    socket.write(post("/api/mutation", { path: "echo:change", args: { value: "x".repeat(300_000) } }));
    await heldIs("requests", (now) => now > 300_000);
    await hangUp();
    const other = await behindStream();
    other.socket.write(head("/api/mutation", MiB) + " ".repeat(200_000));
    await heldIs("requests", (now) => now >= 200_000);
    await hangUp();
  });

  test("replies, those in parts and streams are given back, and nothing waits for them for ever", async () => {
    const { socket } = await behindStream();
    socket.write(post("/api/query", { path: "big:read", args: { number: 0, bytes: MiB } }));
    await heldIs("answers", (now) => now > MiB);
    await hangUp();
    const batch = await behindStream();
    const queries = Array.from({ length: 8 }, (_, number) => ({ path: "big:read", args: { number, bytes: MiB } }));
    batch.socket.write(post("/api/query_batch", { queries }));
    await heldIs("answers", (now) => now > MiB);
    await hangUp();
    const second = await behindStream();
    const before = held().subscriptions.bytes;
    second.socket.write(stream);
    await heldIs("subscriptions", (now) => now > before);
    await hangUp();
  });

  // There a look at the credential can be held up from outside.
  test.runIf(database === "postgres")(
    "a stream whose reader hung up before its credential was known is not begun",
    async () => {
      const agent = await server.agent("Hangs Up");
      const client = new pg.Client(server.databaseUrl);
      await client.connect();
      try {
        await client.query('begin; lock table "agentCredentials" in access exclusive mode');
        server.clock.jump(6_000);
        const connection = await rawConnection(server);
        connection.socket.write(stream.replace("\r\n\r\n", `\r\nAuthorization: Bearer ${agent.credential}\r\n\r\n`));
        const waiting = `select count(*)::int as count from pg_locks where not granted and relation = '"agentCredentials"'::regclass`;
        await eventually(
          async () => (await client.query(waiting)).rows[0].count as number,
          (count) => count > 0,
        );
        connection.socket.destroy();
        // The server has seen its end by the time it has answered somebody who came later.
        for (let turn = 0; turn < 3; turn += 1) await fetch(`${server.url}/livez`);
        await client.query("rollback");
      } finally {
        await client.end();
      }
      await agent.call("agents:getStatus");
      expect(bytes()).toEqual([0, 0, 0]);
    },
  );
});
