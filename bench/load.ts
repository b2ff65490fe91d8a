/**
 * The load generator, in its own process so that it takes no time from a server's event loop. Each connection is kept
 * alive, and sends the next request as soon as it has its answer. Requests are prepared bytes. Of a reply, only its
 * length, its status and the start of its body are checked.
 */
import { connect, type Socket } from "node:net";
import { type MeasuredCall, readCall, sendCall } from "./calls.js";
import type { Seat } from "./data.js";

export interface Load {
  /** With several ports, the connections take them in turn. */
  port: number | readonly number[];
  connections: number;
  seconds: number;
  /** Each connection uses its own seat, or with `anySeat` a random one for each request. */
  seats: Seat[];
  anySeat?: boolean;
  /** If given, each connection picks one of these at random for each request, and `seats` is ignored. */
  requests?: { apiKey: string; call: MeasuredCall }[];
  /** 0 is reads only, 1 is sends only. */
  writeShare: number;
}

export interface Measured {
  requestsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
}

export type LoadReply = { measured: Measured } | { error: string };

const head = "HTTP/1.1 200";
const bodyStart = '{"status":"success"';

/** One keep-alive connection. Sends a request and resolves once it has read the whole reply. */
class Connection {
  readonly #socket: Socket;
  #unread = 0;
  #pending = Buffer.alloc(0);
  #answered: (() => void) | undefined;
  #failed: ((error: Error) => void) | undefined;

  private constructor(port: number, opened: () => void, failed: (error: Error) => void) {
    this.#failed = failed;
    this.#socket = connect({
      port,
      host: "127.0.0.1",
      noDelay: true,
      // One buffer for everything that arrives: none of it is kept.
      onread: {
        buffer: Buffer.allocUnsafe(64 * 1024),
        callback: (bytes, buffer) => {
          this.#received(Buffer.from(buffer.buffer, buffer.byteOffset, bytes));
          return true;
        },
      },
    });
    this.#socket.once("connect", opened);
    this.#socket.on("error", (error) => this.#failed?.(error));
    this.#socket.on("close", () => this.#failed?.(new Error("The server closed the connection")));
  }

  static open(port: number): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const connection: Connection = new Connection(port, () => resolve(connection), reject);
    });
  }

  ask(request: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#answered = resolve;
      this.#failed = reject;
      this.#socket.write(request);
    });
  }

  close(): void {
    this.#failed = undefined;
    this.#socket.destroy();
  }

  #received(chunk: Buffer): void {
    if (this.#unread === 0) {
      const bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
      const end = bytes.indexOf("\r\n\r\n");
      if (end < 0 || bytes.length < end + 4 + bodyStart.length) {
        // Copied, because the next read overwrites the buffer.
        this.#pending = Buffer.from(bytes);
        return;
      }
      this.#pending = Buffer.alloc(0);
      const headers = bytes.toString("latin1", 0, end);
      const length = /\r\ncontent-length: *(\d+)/i.exec(headers)?.[1];
      const body = bytes.toString("latin1", end + 4, end + 4 + bodyStart.length);
      if (!headers.startsWith(head) || length === undefined || body !== bodyStart) {
        this.#failed?.(new Error(`Unexpected reply: ${bytes.toString("utf8", 0, 600)}`));
        return;
      }
      this.#unread = end + 4 + Number(length) - bytes.length;
    } else this.#unread -= chunk.length;
    if (this.#unread < 0) this.#failed?.(new Error("More bytes than the reply has"));
    else if (this.#unread === 0) this.#answered?.();
  }
}

async function measure({ port, connections, seconds, seats, anySeat, writeShare, ...load }: Load): Promise<Measured> {
  const ports = [port].flat();
  const given = load.requests?.map(({ apiKey, call }) => bytesOf(apiKey, call));
  const requests = seats.map((seat) => ({
    read: writeShare < 1 ? bytesOf(seat.apiKey, readCall(seat)) : Buffer.alloc(0),
    send: writeShare > 0 ? bytesOf(seat.apiKey, sendCall(seat)) : Buffer.alloc(0),
  }));
  const requestOf = (connection: number): Buffer => {
    if (given) return given[Math.floor(Math.random() * given.length)] as Buffer;
    const seat = anySeat ? Math.floor(Math.random() * requests.length) : connection % requests.length;
    const { send, read } = requests[seat] as (typeof requests)[number];
    return Math.random() < writeShare ? send : read;
  };
  const opened = await Promise.all(
    Array.from({ length: connections }, (_, index) => Connection.open(ports[index % ports.length] as number)),
  );
  const latencies: number[] = [];
  const started = performance.now();
  const until = started + seconds * 1_000;
  let last = started;
  await Promise.all(
    opened.map(async (connection, index) => {
      for (let asked = performance.now(); asked < until; ) {
        await connection.ask(requestOf(index));
        const answered = performance.now();
        latencies.push(answered - asked);
        asked = answered;
        last = answered;
      }
    }),
  );
  for (const connection of opened) connection.close();
  latencies.sort((one, other) => one - other);
  const percentile = (share: number) => latencies[Math.floor(latencies.length * share)] ?? 0;
  return {
    requestsPerSecond: (latencies.length / (last - started)) * 1_000,
    p50Ms: percentile(0.5),
    p99Ms: percentile(0.99),
  };
}

function bytesOf(apiKey: string, { url, body }: MeasuredCall): Buffer {
  const lines = [
    `POST ${url} HTTP/1.1`,
    "Host: 127.0.0.1",
    `Authorization: Bearer ${apiKey}`,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n${body}`);
}

process.on("message", (load: Load) => {
  measure(load).then(
    (measured) => process.send?.({ measured } satisfies LoadReply),
    (error: unknown) => process.send?.({ error: String(error) } satisfies LoadReply),
  );
});
process.on("disconnect", () => process.exit());
