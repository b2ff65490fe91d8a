/** A WebSocket client for tests. It keeps every frame, and waits for frames instead of sleeping. */
import { afterEach } from "vitest";
import { type ClientOptions, type RawData, WebSocket } from "ws";
import type { TestServer } from "./harness.js";

// biome-ignore lint/suspicious/noExplicitAny: what comes back is what the tests are about to look at.
export type Frame = any;

const patienceMs = 10_000;

export class TestSocket {
  /** Every frame except answers to heartbeats, in the order in which they came. */
  readonly frames: Frame[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;
  pings = 0;
  #taken = 0;
  #acks = 0;
  #wake: (() => void) | undefined;

  constructor(readonly ws: WebSocket) {
    ws.on("message", (data: RawData) => {
      const frame = JSON.parse(String(data)) as Frame;
      if (frame.type === "system.heartbeat_ack") this.#acks += 1;
      else this.frames.push(frame);
      this.#wake?.();
    });
    ws.on("ping", () => {
      this.pings += 1;
    });
    ws.on("error", () => {});
    this.closed = new Promise((resolve) => {
      ws.on("close", (code, reason) => {
        resolve({ code, reason: String(reason) });
        this.#wake?.();
      });
    });
  }

  /** The next frame that was not taken yet. With `type`, skips frames of other types. */
  async next(type?: string): Promise<Frame> {
    let found: Frame;
    await this.until(
      () => {
        const at = this.frames.findIndex((frame, index) => index >= this.#taken && (!type || frame.type === type));
        if (at < 0) return false;
        found = this.frames[at];
        this.#taken = at + 1;
        return true;
      },
      `a frame ${type ?? ""}`,
    );
    return found;
  }

  /** The frames of a type that have come so far. */
  of(type: string): Frame[] {
    return this.frames.filter((frame) => frame.type === type);
  }

  send(frame: object | string): void {
    this.ws.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  /** Resolves once the server has handled everything that was sent, and everything that it sent before has arrived. */
  async settled(): Promise<void> {
    const wanted = this.#acks + 1;
    this.send({ type: "system.heartbeat" });
    await this.until(() => this.#acks >= wanted, "the answer to a heartbeat");
  }

  async until(isSo: () => boolean, what: string): Promise<void> {
    const givenUpAt = Date.now() + patienceMs;
    while (!isSo()) {
      if (this.ws.readyState === WebSocket.CLOSED || Date.now() > givenUpAt) {
        const last = JSON.stringify(this.frames.slice(-5)).slice(0, 2_000);
        throw new Error(`No ${what}; there were ${this.frames.length} frames, the last of them ${last}`);
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, 100);
      });
    }
  }

  async close(): Promise<void> {
    this.ws.close();
    await this.closed;
  }
}

const opened: TestSocket[] = [];

/** Opens a socket and resolves once it is upgraded. It is cut after the test if it is still open. */
export async function openAt(
  server: TestServer,
  path: string,
  query: Record<string, unknown>,
  options: ClientOptions = {},
): Promise<TestSocket> {
  const given = Object.entries(query).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]]));
  const url = `${server.url.replace("http", "ws")}${path}?${new URLSearchParams(given as [string, string][])}`;
  const socket = new TestSocket(new WebSocket(url, options));
  opened.push(socket);
  await new Promise((resolve, reject) => {
    socket.ws.once("open", resolve);
    socket.ws.once("error", reject);
  });
  return socket;
}

export function cutSocketsAfterEach(): void {
  afterEach(() => {
    for (const { ws } of opened.splice(0)) ws.terminate();
  });
}

/** Opens `/ws/agent` and waits for the greeting. */
export async function openAgent(server: TestServer, token: string): Promise<TestSocket> {
  const socket = await openAt(server, "/ws/agent", { token });
  await socket.next("agent.connected");
  return socket;
}

/** Opens `/ws/session`. Once its heartbeat is answered, it has entered the session. */
export async function openSession(
  server: TestServer,
  query: { sessionId: string; token: string; role?: string; slotIndex?: number | string },
): Promise<TestSocket> {
  const socket = await openAt(server, "/ws/session", { role: "consumer", ...query });
  await socket.settled();
  return socket;
}

/** Opens `/ws/group` and waits for the handshake. */
export async function openGroup(server: TestServer, sessionId: string, token: string): Promise<TestSocket> {
  const socket = await openAt(server, "/ws/group", { sessionId, token });
  await socket.next("system.connected");
  return socket;
}

/** Waits until `isSo` is true of the database, which follows sockets with a short delay. */
export async function eventually<T>(
  look: () => Promise<T>,
  isSo: (found: T) => boolean,
  forMs = patienceMs,
): Promise<T> {
  const givenUpAt = Date.now() + forMs;
  for (;;) {
    const found = await look();
    if (isSo(found)) return found;
    if (Date.now() > givenUpAt) throw new Error(`It stayed at ${JSON.stringify(found)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
