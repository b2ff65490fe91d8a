/**
 * Measures how long a write takes to reach its subscribers over the sync socket, beside a server of bare `ws` that
 * sends the same bytes to all.
 */
import { randomUUID } from "node:crypto";
import { WebSocket } from "ws";
import { call } from "./delivery.js";
import type { Measured } from "./load.js";

const openedAtOnce = 50;

export interface Audience {
  /** Writes once. Resolves with the milliseconds until each subscriber had it. */
  publish(): Promise<number[]>;
  /** Frames that subscribers have got since the last call of this. */
  countFrames(): number;
  close(): void;
}

class Subscriber {
  /** Called with the instant of the next frame that counts. */
  onFrame: ((at: number) => void) | undefined;
  frames = 0;

  constructor(
    readonly socket: WebSocket,
    readonly counts: (frame: string) => boolean,
  ) {
    socket.on("message", (data) => {
      const at = performance.now();
      if (!counts(data.toString())) return;
      this.frames += 1;
      this.onFrame?.(at);
    });
  }
}

/** Subscribes to the last messages of threads: all to one thread, or each to its own. */
export async function openSubscribers(
  port: number,
  seats: { apiKey: string; threadId: string }[],
  count: number,
): Promise<Audience> {
  const subscribers = await openAll(count, async (index) => {
    const seat = seats[index % seats.length] as (typeof seats)[number];
    const socket = await open(`ws://127.0.0.1:${port}/api/1.48.0/sync`);
    const subscriber = new Subscriber(socket, (frame) => frame.includes('"QueryUpdated"'));
    const answered = new Promise((resolve) => {
      subscriber.onFrame = resolve;
    });
    const send = (frame: object) => socket.send(JSON.stringify(frame));
    send({
      type: "Connect",
      sessionId: randomUUID(),
      connectionCount: 0,
      lastCloseReason: "InitialConnect",
      clientTs: Date.now(),
    });
    send({ type: "Authenticate", baseVersion: 0, tokenType: "User", value: seat.apiKey });
    const args = [{ threadId: seat.threadId, limit: 1 }];
    const add = { type: "Add", queryId: 0, udfPath: "messages:getForThread", args };
    send({ type: "ModifyQuerySet", baseVersion: 0, newVersion: 1, modifications: [add] });
    await answered;
    return subscriber;
  });
  const [first] = seats as [(typeof seats)[number]];
  const heard = subscribers.filter((_, index) => seats[index % seats.length] === first);
  return audience(subscribers, heard, () =>
    call(
      port,
      first.apiKey,
      "POST",
      "/api/mutation",
      { path: "messages:send", args: { threadId: first.threadId, type: "info", payload: { at: "x".repeat(200) } } },
      "bearer",
    ),
  );
}

/** The same on the floor: what is posted goes to all sockets. */
export async function openFloorSubscribers(port: number, count: number): Promise<Audience> {
  const subscribers = await openAll(
    count,
    async () => new Subscriber(await open(`ws://127.0.0.1:${port}`), (frame) => frame.includes('"text"')),
  );
  return audience(subscribers, subscribers, () => call(port, "", "POST", "/publish", { text: "x".repeat(640) }));
}

/** Publishes again and again for a while. */
export async function measureFanOut({ publish }: Audience, seconds: number): Promise<Measured> {
  const until = performance.now() + seconds * 1_000;
  const started = performance.now();
  const latencies: number[] = [];
  let writes = 0;
  while (performance.now() < until) {
    latencies.push(...(await publish()));
    writes += 1;
  }
  const requestsPerSecond = (writes / (performance.now() - started)) * 1_000;
  latencies.sort((one, other) => one - other);
  const percentile = (share: number) => latencies[Math.floor(latencies.length * share)] ?? 0;
  return { requestsPerSecond, p50Ms: percentile(0.5), p99Ms: percentile(0.99) };
}

function audience(all: Subscriber[], heard: Subscriber[], write: () => Promise<unknown>): Audience {
  return {
    publish: async () => {
      const arrived = heard.map(
        (subscriber) =>
          new Promise<number>((resolve) => {
            subscriber.onFrame = resolve;
          }),
      );
      const started = performance.now();
      const [instants] = await Promise.all([Promise.all(arrived), write()]);
      return instants.map((at) => at - started);
    },
    countFrames: () => {
      const frames = all.reduce((sum, subscriber) => sum + subscriber.frames, 0);
      for (const subscriber of all) subscriber.frames = 0;
      return frames;
    },
    close: () => {
      for (const { socket } of all) socket.terminate();
    },
  };
}

async function openAll<T>(count: number, openOne: (index: number) => Promise<T>): Promise<T[]> {
  const opened: T[] = [];
  for (let first = 0; first < count; first += openedAtOnce) {
    const some = Array.from({ length: Math.min(openedAtOnce, count - first) }, (_, index) => openOne(first + index));
    opened.push(...(await Promise.all(some)));
  }
  return opened;
}

function open(url: string): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { perMessageDeflate: false });
    socket.once("open", () => resolve(socket));
    socket.once("error", reject);
  });
}
