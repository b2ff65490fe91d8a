/**
 * WebSockets: upgrades, limits, liveness, and the end of all of them. What is spoken on a path is its channel's
 * (adapters/sockets/). A socket that is refused is upgraded first and then closed with its code, because to a client an
 * HTTP error on the upgrade looks like a broken network (clawrent.md section 0, rule 10).
 */
import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import type { WebSocket } from "ws";
import type { Clock } from "../../runtime/clock.js";
import { addressKey } from "../../runtime/counted-as.js";
import { CallError } from "../../runtime/errors.js";
import { newUuid } from "../../runtime/ids.js";
import type { LargeRequests } from "../../runtime/large-requests.js";
import { type Held, sizes } from "../../runtime/limits.js";
import type { NoticeBoard } from "../../runtime/notices.js";
import type { RateLimits } from "../../runtime/rate-limits.js";
import { addressOf } from "../caller-address.js";
import { OpenByAddress } from "../open-by-address.js";
import type { Origins } from "../origins.js";
import type { Background } from "./background.js";
import { type Closing, closings } from "./close-codes.js";
import { Holds } from "./holds.js";
import { checkEveryMs, Socket as OpenSocket, type Socket, type SocketParts } from "./socket.js";
import { pathAndQuery, refuseUpgrade, serveWithoutUpgrade, upgradesWithFramesOf } from "./upgrades.js";

/** Takes the sockets that are opened at its path, or says how one closes. */
export interface Channel {
  open(socket: Socket, query: URLSearchParams): Promise<Closing | undefined>;
  /** Its clients send frames of up to `sizes.liveFrameBytes`. */
  isLive?: boolean;
}

/** How long all clients together may take to say goodbye when the server stops. */
const lastGoodbyeMs = 1_000;
/** How many sockets are looked after in one turn of the event loop. */
const socketsPerTurn = 100;

export interface SocketServerParts {
  clock: Clock;
  log: Logger;
  limits: RateLimits;
  held: Held;
  largeRequests: LargeRequests;
  notices: NoticeBoard;
  background: Background;
  trustProxy: boolean;
  origins: Origins;
}

export class SocketServer {
  readonly #parts: SocketServerParts;
  readonly #socketParts: SocketParts;
  readonly #channels: { path: string | RegExp; channel: Channel }[] = [];
  readonly #upgrades = upgradesWithFramesOf(sizes.refusedFrameBytes);
  // No bound here: `ws` would close at the first byte of a frame that is too large, before the client was told.
  readonly #liveUpgrades = upgradesWithFramesOf(0);
  readonly #sockets = new Map<string, Socket>();
  readonly #openByAddress = new OpenByAddress();
  readonly #holds: Holds;
  #opened = 0;
  #stopping = false;
  #cancelCheck: (() => void) | undefined;

  constructor(parts: SocketServerParts) {
    this.#parts = parts;
    const { notices, log, clock, held, limits, largeRequests, background } = parts;
    this.#socketParts = {
      log,
      clock,
      held,
      countFrame: (socketId) => (limits.on ? waitOf(limits.take("frames", socketId)) : undefined),
      takeTurn: (address, bytes) => largeRequests.turn(address, bytes),
      track: (work) => void background.track(work),
    };
    this.#holds = new Holds(clock, limits.on);
    const comeAgain = (sockets: Socket[]) => inParts(sockets, (socket) => socket.close(closings.again));
    notices.on("sessionApproved", ({ sessionId }) => comeAgain(this.#holds.end(sessionId)));
    notices.on("participantResumed", ({ sessionId }) => comeAgain(this.#holds.end(sessionId)));
    notices.on("noticesMissed", () => comeAgain(this.#holds.end()));
    notices.on("socketReplaced", ({ socketId }) => this.#sockets.get(socketId)?.close(closings.replaced));
    // Nobody knows whose sockets were refused.
    notices.on("userStandingChanged", ({ suspended }) => {
      if (!suspended) comeAgain(this.#holds.end());
    });
  }

  get log(): Logger {
    return this.#parts.log;
  }

  /** How many sockets are open, including those that are just being closed. */
  get size(): number {
    return this.#sockets.size;
  }

  addChannel(path: string | RegExp, channel: Channel): void {
    this.#channels.push({ path, channel });
  }

  #channelAt(path: string): Channel | undefined {
    return this.#channels.find(({ path: own }) => (typeof own === "string" ? own === path : own.test(path)))?.channel;
  }

  /** Whether a WebSocket can be opened at this path. */
  hasChannelAt(path: string): boolean {
    return this.#channelAt(path) !== undefined;
  }

  /** Takes the server's upgrade requests from now on. */
  start(http: Server): void {
    http.on("upgrade", (request, connection, head) => {
      if (request.headers.upgrade?.toLowerCase() === "websocket") this.#upgrade(request, connection, head);
      else serveWithoutUpgrade(http, request, connection, head);
    });
    this.#checkLater();
  }

  /** Closes every socket, so that its client comes back. */
  restartAll(): void {
    inParts([...this.#sockets.values()], (socket) => socket.close(closings.restart));
  }

  /** Closes every socket, so that its client comes back to whoever serves next. Resolves once they are gone. */
  async stop(): Promise<void> {
    const { background } = this.#parts;
    this.#stopping = true;
    this.#cancelCheck?.();
    // The rows of all sockets go together, with the process.
    background.refuse();
    const closed = [...this.#sockets.values()].map(
      (socket) => new Promise<void>((resolve) => this.#whenEnded.set(socket.id, resolve)),
    );
    this.restartAll();
    // By the machine's time, whatever the server's clock says: the network takes that.
    const impatient = setTimeout(() => {
      for (const socket of this.#sockets.values()) socket.terminate();
    }, lastGoodbyeMs);
    await Promise.all(closed);
    clearTimeout(impatient);
    await background.stop();
  }
  readonly #whenEnded = new Map<string, () => void>();

  #upgrade(request: IncomingMessage, connection: Duplex, head: Buffer): void {
    const [path, query] = pathAndQuery(request.url);
    const channel = this.#channelAt(path);
    if (!channel) {
      refuseUpgrade(connection);
      return;
    }
    const upgrades = channel.isLive ? this.#liveUpgrades : this.#upgrades;
    upgrades.handleUpgrade(request, connection, head, (ws) => {
      const opened = this.#open(ws, connection, request, channel, path, new URLSearchParams(query)).catch(
        (error: unknown) => {
          this.#parts.log.error({ err: error, path }, "a socket failed to open");
          ws.close(closings.fault.code, closings.fault.reason);
        },
      );
      void this.#parts.background.track(opened);
    });
  }

  async #open(
    ws: WebSocket,
    connection: Duplex,
    request: IncomingMessage,
    channel: Channel,
    path: string,
    query: URLSearchParams,
  ): Promise<void> {
    const { clock, log } = this.#parts;
    const address = addressKey(addressOf(request, this.#parts.trustProxy));
    const socket = new OpenSocket(ws, connection, newUuid(clock.now()), address, this.#opened++, this.#socketParts);
    this.#sockets.set(socket.id, socket);
    const leavePlace = this.#openByAddress.add(address);
    ws.on("close", () => {
      leavePlace();
      this.#holds.forget(socket);
      this.#ended(socket);
    });
    // The query holds a token, so the path alone is logged.
    log.debug({ socket: socket.id, path }, "socket opened");

    const { origins } = this.#parts;
    const refused = origins.allow(request.headers.origin) ? await this.#refusal(address) : closings.origin;
    if (refused) return socket.close(refused);
    if (socket.gone) return;
    const [token, sessionId] = ["token", "sessionId"].map((name) => query.get(name) ?? "") as [string, string];
    const refusal = await this.#holds.opening(socket, { path, token, sessionId }, () => channel.open(socket, query));
    if (!refusal) return;
    if (!refusal.held) return socket.close(refusal.closing);
    leavePlace();
    log.debug({ socket: socket.id, code: refusal.closing.code }, "socket held");
  }

  #ended(socket: Socket): void {
    this.#sockets.delete(socket.id);
    this.#whenEnded.get(socket.id)?.();
    this.#whenEnded.delete(socket.id);
  }

  async #refusal(address: string): Promise<Closing | undefined> {
    if (this.#stopping) return closings.restart;
    const { limits } = this.#parts;
    if (this.#sockets.size - this.#holds.size > sizes.sockets) return closings.tooMany;
    if (!limits.on) return undefined;
    if (this.#openByAddress.isFull(address, sizes.socketsPerAddress + 1, sizes.sockets)) return closings.tooMany;
    return (await waitOf(limits.take("socketOpenings", address))) === undefined ? undefined : closings.tooMany;
  }

  #checkLater(): void {
    this.#cancelCheck = this.#parts.clock.after(checkEveryMs, () => {
      inParts([...this.#sockets.values()], (socket) => socket.check());
      if (!this.#stopping) this.#checkLater();
    });
  }
}

/** Looks after some sockets at a time, and lets other work have its turn in between. */
function inParts(sockets: readonly Socket[], look: (socket: Socket) => void, from = 0): void {
  for (const socket of sockets.slice(from, from + socketsPerTurn)) look(socket);
  if (from + socketsPerTurn < sockets.length) setImmediate(() => inParts(sockets, look, from + socketsPerTurn));
}

/** How long to wait after a count that was refused; undefined where it was not. */
async function waitOf(counted: Promise<void>): Promise<number | undefined> {
  try {
    await counted;
    return undefined;
  } catch (error) {
    if (error instanceof CallError && error.code === "rate_limited") return Number(error.data.retryAfterMs);
    throw error;
  }
}
