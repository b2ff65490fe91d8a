/**
 * Measures how long a session's message takes from its sender's REST call to the provider's open socket, beside an echo
 * over bare `ws`.
 */
import { Agent, request } from "node:http";
import { WebSocket } from "ws";
import type { Measured } from "./load.js";
import type { Marketplace } from "./marketplace-data.js";

/** Makes a text appear on a socket, and resolves with the milliseconds that it took. */
type Delivery = () => Promise<number>;

export interface Channels {
  deliver: Delivery;
  close(): void;
}

const keptAlive = new Agent({ keepAlive: true });
const openedAtOnce = 50;

/** Rents `count` sessions and opens the provider's socket of each. */
export async function openSessions(port: number, market: Marketplace, count: number): Promise<Channels> {
  const [consumer = ""] = market.consumers;
  const sessions: { id: string; socket: WebSocket }[] = [];
  for (let first = 0; first < count; first += openedAtOnce) {
    const some = Array.from({ length: Math.min(openedAtOnce, count - first) }, async (_, index) => {
      const agentId = market.agentIds[(first + index) % market.agentIds.length];
      const session = await call(port, consumer, "POST", "/api/sessions", {
        agentId,
        taskDescription: "Measure how fast a message arrives",
      });
      const { sessionToken } = await call(port, market.provider, "GET", `/api/sessions/${session["id"]}`);
      const query = `sessionId=${session["id"]}&token=${sessionToken}&role=provider`;
      return { id: String(session["id"]), socket: await open(`ws://127.0.0.1:${port}/ws/session?${query}`) };
    });
    sessions.push(...(await Promise.all(some)));
  }
  return {
    deliver: async () => {
      const { id, socket } = sessions[Math.floor(Math.random() * sessions.length)] as (typeof sessions)[number];
      const arrived = next(socket, (frame) => frame.includes('"dialogue.message"'));
      const body = { type: "dialogue.message", payload: { content: "x".repeat(200) } };
      const started = performance.now();
      const replied = call(port, consumer, "POST", `/api/sessions/${id}/messages`, body);
      const at = await arrived;
      await replied;
      return at - started;
    },
    close: () => {
      for (const { socket } of sessions) socket.terminate();
    },
  };
}

export async function openEchoes(port: number, count: number): Promise<Channels> {
  const sockets: WebSocket[] = [];
  for (let first = 0; first < count; first += openedAtOnce) {
    const some = Array.from({ length: Math.min(openedAtOnce, count - first) }, () => open(`ws://127.0.0.1:${port}`));
    sockets.push(...(await Promise.all(some)));
  }
  return {
    deliver: async () => {
      const socket = sockets[Math.floor(Math.random() * sockets.length)] as WebSocket;
      const arrived = next(socket, () => true);
      const started = performance.now();
      socket.send("x".repeat(300));
      return (await arrived) - started;
    },
    close: () => {
      for (const socket of sockets) socket.terminate();
    },
  };
}

/** Delivers texts one after the other for a while. */
export async function measureDelivery({ deliver }: Channels, seconds: number): Promise<Measured> {
  const until = performance.now() + seconds * 1_000;
  const latencies: number[] = [];
  const started = performance.now();
  while (performance.now() < until) latencies.push(await deliver());
  const requestsPerSecond = (latencies.length / (performance.now() - started)) * 1_000;
  latencies.sort((one, other) => one - other);
  const percentile = (share: number) => latencies[Math.floor(latencies.length * share)] ?? 0;
  return { requestsPerSecond, p50Ms: percentile(0.5), p99Ms: percentile(0.99) };
}

function open(url: string): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { perMessageDeflate: false });
    socket.once("open", () => resolve(socket));
    socket.once("error", reject);
    socket.once("close", (code) => reject(new Error(`The socket was closed with ${code}`)));
  });
}

/** The instant at which the next frame arrives for which `isMeant` is true. */
function next(socket: WebSocket, isMeant: (frame: string) => boolean): Promise<number> {
  return new Promise((resolve) => {
    const listen = (data: Buffer) => {
      const at = performance.now();
      if (!isMeant(data.toString("utf8"))) return;
      socket.off("message", listen);
      resolve(at);
    };
    socket.on("message", listen);
  });
}

export function call(
  port: number,
  apiKey: string,
  method: string,
  path: string,
  body?: object,
  as: "apiKey" | "bearer" = "apiKey",
): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const credential = as === "bearer" ? { Authorization: `Bearer ${apiKey}` } : { "x-api-key": apiKey };
    const headers = { ...credential, ...(body ? { "Content-Type": "application/json" } : {}) };
    const sent = request({ host: "127.0.0.1", port, method, path, headers, agent: keptAlive }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString("utf8");
        if ((response.statusCode ?? 500) < 300) resolve(JSON.parse(text) as Record<string, unknown>);
        else reject(new Error(`${method} ${path}: ${response.statusCode} ${text.slice(0, 300)}`));
      });
    });
    sent.on("error", reject);
    sent.end(body ? JSON.stringify(body) : undefined);
  });
}
