/**
 * The TCP connections of the server: how many there may be, how long a request may take to arrive, and how they end. A
 * connection over a bound is closed at once, before anything is read from it. WebSockets are connections as well, so
 * the bounds here lie above those of WebSockets, which can tell their clients why (adapters/sockets/socket-server.ts).
 */
import type { IncomingMessage, Server, ServerOptions } from "node:http";
import type { Socket } from "node:net";
import type { Logger } from "pino";
import { addressKey } from "../runtime/counted-as.js";
import { connectionTimes, sizes } from "../runtime/limits.js";
import { OpenByAddress } from "./open-by-address.js";

/** Node's own server enforces these. */
export const connectionOptions: ServerOptions = {
  headersTimeout: connectionTimes.headMs,
  requestTimeout: connectionTimes.requestMs,
  keepAliveTimeout: connectionTimes.idleMs,
  connectionsCheckingInterval: connectionTimes.checkEveryMs,
  maxHeaderSize: sizes.headBytes,
};

/** The least time between two log lines that say there are too many. */
const logEveryMs = 60_000;

/** The least time between two rounds of closing idle connections to make room. */
const closeIdleEveryMs = 1_000;

export interface ConnectionParts {
  log: Logger;
  /** Whether addresses have a bound of their own. Behind a proxy all connections come from the proxy's. */
  byAddress: boolean;
}

export class Connections {
  readonly #http: Server;
  readonly #parts: ConnectionParts;
  readonly #openByAddress = new OpenByAddress();
  readonly #open = new Set<Socket>();
  /** Those without a request so far: clients open them ahead of need, and Node does not count them as idle. */
  readonly #unused = new Set<Socket>();
  #closedIdleAt = Number.NEGATIVE_INFINITY;
  #loggedAt = Number.NEGATIVE_INFINITY;

  constructor(http: Server, parts: ConnectionParts) {
    this.#http = http;
    this.#parts = parts;
    http.maxConnections = sizes.connections;
    http.on("connection", (connection: Socket) => this.#opened(connection));
    http.on("drop", () => {
      this.#logFull();
      // Whoever comes again finds the room of connections that are idle now. Node looks at every connection for that.
      const now = performance.now();
      if (now - this.#closedIdleAt < closeIdleEveryMs) return;
      this.#closedIdleAt = now;
      http.closeIdleConnections();
    });
    const used = ({ socket }: IncomingMessage) => this.#unused.delete(socket);
    http.on("request", used);
    http.on("upgrade", used);
  }

  #opened(connection: Socket): void {
    // A connection that offered HTTP/2 begins again (adapters/sockets/upgrades.ts).
    if (this.#open.has(connection)) return;
    const address = addressKey(connection.remoteAddress ?? "unknown");
    if (this.#parts.byAddress && this.#openByAddress.isFull(address, sizes.connectionsPerAddress, sizes.connections)) {
      connection.destroy();
      return;
    }
    const ended = this.#openByAddress.add(address);
    this.#open.add(connection);
    this.#unused.add(connection);
    connection.once("close", () => {
      ended();
      this.#open.delete(connection);
      this.#unused.delete(connection);
    });
  }

  #logFull(): void {
    const now = performance.now();
    if (now - this.#loggedAt < logEveryMs) return;
    this.#loggedAt = now;
    this.#parts.log.warn({ connections: sizes.connections }, "there are too many connections; new ones are closed");
  }

  /** New connections are refused at once; idle ones end; calls that run may finish, until `mostMs` are over. */
  stop(mostMs: number): Promise<void> {
    for (const connection of this.#unused) connection.destroy();
    return new Promise((resolve) => {
      const idle = setInterval(() => this.#http.closeIdleConnections(), 50);
      const impatient = setTimeout(() => this.#http.closeAllConnections(), mostMs);
      this.#http.close(() => {
        clearInterval(idle);
        clearTimeout(impatient);
        resolve();
      });
      this.#http.closeIdleConnections();
    });
  }
}
