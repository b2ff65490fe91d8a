import { connect as openTcp } from "node:net";
import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { sizes } from "../../../runtime/limits.js";
import { databases, startServer, useServer } from "../../support/harness.js";
import { openSession as rentAgent } from "../../support/rental.js";
import { cutSocketsAfterEach, eventually, openAgent, openAt, openGroup, openSession } from "../../support/sockets.js";

cutSocketsAfterEach();

describe.each(databases)("the limits of sockets on %s", (database) => {
  test("no token of a query reaches the log", async () => {
    const lines: string[] = [];
    const log = pino({ level: "trace" }, { write: (line: string) => void lines.push(line) });
    const server = await startServer(database, { log });
    const { sessionId, session, agent, consumer } = await rentAgent(server);
    const control = await openAgent(server, agent.credential);
    const group = await openGroup(server, sessionId, consumer.credential);
    const side = await openSession(server, { sessionId, token: session.sessionToken });
    side.send("no JSON");
    side.send({ type: "dialogue.message", payload: { content: "a secret message" } });
    await side.next("system.error");
    const wrong = "agt_clawrent_wrong_but_secret";
    for (const path of ["/ws/agent", "/ws/agent/consumer", "/ws/group", "/ws/session"]) {
      const refused = await openAt(server, path, { token: wrong, sessionId, role: "provider" });
      await refused.closed;
    }
    await server.close();
    await Promise.all([control.closed, group.closed, side.closed]);
    expect(lines.join("")).toContain("socket opened");
    for (const secret of [agent.credential, consumer.credential, session.sessionToken, wrong, "a secret message"]) {
      expect(lines.join("")).not.toContain(secret);
    }
  });

  test("a socket that sends too much is read more slowly, and stays", async () => {
    const server = await startServer(database, { config: { rateLimits: true } });
    try {
      const { agent } = await rentAgent(server);
      const socket = await openAt(server, "/ws/agent", { token: agent.credential });
      await socket.next("agent.connected");
      let acks = 0;
      socket.ws.on("message", () => {
        acks += 1;
      });
      for (let count = 0; count < 2_000; count += 1) socket.send({ type: "system.heartbeat" });
      await eventually(
        async () => acks,
        (count) => count >= 1_200,
      );
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(acks).toBeLessThan(1_200 + sizes.framesAtOnce);
      expect(socket.ws.readyState).toBe(WebSocket.OPEN);
    } finally {
      await server.close();
    }
  });

  test("an address has so many sockets and no more, beside those that are held", async () => {
    const server = await startServer(database, { config: { rateLimits: true } });
    try {
      // The first is refused at once, the others wait.
      for (let count = 0; count <= sizes.heldSocketsPerAddress; count += 1) await openAt(server, "/ws/staff", {});
      const { hostname, port } = new URL(server.url);
      const handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
      const key = Buffer.alloc(16).toString("base64");
      /** Once it was answered with this. */
      const upgraded = (path: string, answer: string) => {
        const socket = openTcp(Number(port), hostname, () =>
          socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n${handshake}Sec-WebSocket-Key: ${key}\r\n\r\n`),
        );
        let got = "";
        return new Promise<typeof socket>((resolve) => {
          socket.on("data", (data) => {
            got += String(data);
            if (got.includes(answer)) resolve(socket);
          });
        });
      };
      const open = await Promise.all(
        Array.from({ length: sizes.socketsPerAddress - 1 }, () => upgraded("/api/sync", "101")),
      );
      // A refused one counts as long as its client does not say goodbye.
      open.push(await upgraded("/ws/staff?token=wrong", "Invalid or revoked"));
      const refused = await openAt(server, "/ws/agent", {});
      expect((await refused.closed).code).toBe(1013);
      for (const socket of open) socket.destroy();
      await eventually(
        async () => (await (await openAt(server, "/ws/agent", {})).closed).code,
        (code) => code === 4000,
      );
    } finally {
      await server.close();
    }
  });
});

describe("the server's port", () => {
  const server = useServer("sqlite");

  /** What comes back on a raw connection. */
  const raw = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const { hostname, port } = new URL(server.url);
      const socket = openTcp(Number(port), hostname, () => socket.write(text));
      let got = "";
      socket.on("data", (data) => {
        got += String(data);
        if (got.includes("}")) socket.end();
      });
      socket.on("close", () => resolve(got));
      socket.on("error", reject);
    });

  test("serves requests that offer HTTP/2 as if they had not", async () => {
    const offer = "Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    expect(await raw(`GET /api/health HTTP/1.1\r\n${offer}\r\n`)).toMatch(/^HTTP\/1\.1 200 [\s\S]*"healthy"/);
    const body = JSON.stringify({ path: "agents:register", args: { name: "Alice" }, format: "json" });
    const head = `POST /api/mutation HTTP/1.1\r\n${offer}Content-Type: application/json\r\nContent-Length: ${body.length}`;
    expect(await raw(`${head}\r\n\r\n${body}`)).toMatch(/^HTTP\/1\.1 200 [\s\S]*"success"/);
  });

  test("answers a WebSocket at an unknown address with 404, and a broken handshake with 400", async () => {
    const offer = "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    expect(await raw(`GET /ws/nothing HTTP/1.1\r\n${offer}\r\n`)).toMatch(/^HTTP\/1\.1 404 [\s\S]*"Not Found"/);
    expect(await raw(`GET http://x:99999/ws/nothing HTTP/1.1\r\n${offer}\r\n`)).toMatch(/^HTTP\/1\.1 404 /);
    const broken = await new Promise<string>((resolve) => {
      const { hostname, port } = new URL(server.url);
      const socket = openTcp(Number(port), hostname, () => socket.write(`GET /ws/agent HTTP/1.1\r\n${offer}\r\n`));
      socket.once("data", (data) => resolve(String(data)));
    });
    expect(broken).toMatch(/^HTTP\/1\.1 4\d\d /);
  });
});
