/** Whoever opens connections and asks little or nothing on them: there is a bound for an address and for all, and others go on. */
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { pino } from "pino";
import { afterEach, describe, expect, test } from "vitest";
import { Connections } from "../../../adapters/connections.js";
import type { ByteBudget } from "../../../runtime/byte-budget.js";
import { heldBytes, sizes } from "../../../runtime/limits.js";
import { databases, startServer, type TestServer } from "../../support/harness.js";
import { eventually } from "../../support/sockets.js";

const [database = "sqlite"] = databases;
const opened: Socket[] = [];

afterEach(() => {
  for (const socket of opened.splice(0)) socket.destroy();
});

/** Connections that say so much and no more. */
async function connections(port: number, count: number, text = ""): Promise<Socket[]> {
  const sockets: Socket[] = [];
  for (let from = 0; from < count; from += 100) {
    const some = Array.from({ length: Math.min(100, count - from) }, () => {
      const socket = connect(port, "127.0.0.1").on("error", () => {});
      opened.push(socket);
      return once(socket, "connect").then(() => {
        if (text !== "") socket.write(text);
        return socket;
      });
    });
    sockets.push(...(await Promise.all(some)));
  }
  return sockets;
}

/** The head of a request whose body has yet to come, up to its last line. */
const bodyAhead = "POST /api/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n";
const heldIs = (budget: ByteBudget, bytes: number) =>
  eventually(
    async () => budget.bytes,
    (now) => now === bytes,
  );
const portOf = ({ url }: TestServer) => Number(new URL(url).port);

/** What comes back on a new connection; nothing where it is closed at once. */
async function ask(port: number, headers: string): Promise<string> {
  const [socket] = await connections(
    port,
    1,
    `GET /skill.md HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n`,
  );
  if (!socket) return "";
  let text = "";
  socket.on("data", (data) => {
    text += String(data);
  });
  // What is still on its way when the other side closes is no answer, and no mistake.
  await new Promise((resolve) => socket.once("close", resolve));
  return text.slice(0, text.indexOf("\r\n"));
}

describe("connections", () => {
  test("an address has so many and no more, and one that goes makes room", async () => {
    const server = await startServer(database, { config: { rateLimits: true } });
    const port = portOf(server);
    const silent = await connections(port, sizes.connectionsPerAddress);
    expect(await ask(port, "")).toBe("");
    silent[0]?.destroy();
    await eventually(
      () => ask(port, ""),
      (answer) => answer === "HTTP/1.1 200 OK",
    );
    await server.close();
  });

  test("behind a proxy its connections have no bound of their own; each caller's requests that are not over have", async () => {
    const server = await startServer(database, { config: { rateLimits: true, trustProxy: true } });
    const port = portOf(server);
    const { requests } = server.server.held;
    const from = "X-Forwarded-For: 203.0.113.5\r\n";
    const streams = sizes.socketsPerAddress;
    const others = sizes.requestsPerAddress - streams;
    await connections(port, streams, `GET /api/subscribe?path=docs:getTree HTTP/1.1\r\nHost: x\r\n${from}\r\n`);
    await connections(port, others, `${bodyAhead}${from}\r\n`);
    // A body that has not begun counts as much as one that is half there.
    await heldIs(requests, others * sizes.halfBodyBytes);
    expect(await ask(port, from)).toBe("HTTP/1.1 429 Too Many Requests");
    expect(await ask(port, "X-Forwarded-For: 203.0.113.6\r\n")).toBe("HTTP/1.1 200 OK");
    for (const socket of opened.splice(0)) socket.destroy();
    await eventually(
      () => ask(port, from),
      (answer) => answer === "HTTP/1.1 200 OK",
    );
    expect(requests.bytes).toBe(0);
    await server.close();
  });

  test("a body that stops at its first byte counts as what its request takes, and an address has no more than its share", async () => {
    const server = await startServer(database, { config: { rateLimits: true } });
    const port = portOf(server);
    const each = sizes.halfBodyBytes + 1;
    const most = Math.floor(heldBytes.requests.address / each);
    const half = await connections(port, most, `${bodyAhead}\r\n{`);
    await heldIs(server.server.held.requests, most * each);
    const [over] = await connections(port, 1, `${bodyAhead}\r\n{`);
    const [refused] = over ? await once(over, "data") : [];
    expect(String(refused)).toMatch(/^HTTP\/1.1 429 /);
    // What comes whole is not concerned.
    expect(await ask(port, "")).toBe("HTTP/1.1 200 OK");
    expect(half.filter(({ destroyed }) => destroyed)).toEqual([]);
    await server.close();
  });

  test("where all places are taken, the next finds those of connections that only wait for another request", async () => {
    const http = createServer((_request, response) => response.end("here"));
    const of = new Connections(http, { log: pino({ enabled: false }), byAddress: true });
    expect(http.maxConnections).toBe(sizes.connections);
    http.maxConnections = 3;
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    const { port } = http.address() as AddressInfo;
    const idle = await connections(port, 3, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await Promise.all(idle.map((socket) => once(socket, "data")));
    const closed = idle.map((socket) => once(socket, "close"));
    expect(await ask(port, "")).toBe("");
    await Promise.all(closed);
    expect(await ask(port, "")).toBe("HTTP/1.1 200 OK");
    await of.stop(1_000);
  });
});
