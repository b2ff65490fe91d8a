/**
 * WebSockets: upgrades, limits, liveness, and the end of all of them. What is spoken on a path is its channel's
 * (adapters/sockets/). A socket that is refused is upgraded first and then closed with its code, because to a client an
 * HTTP error on the upgrade looks like a broken network (clawrent.md section 0, rule 10).
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import { type ServerOptions, type WebSocket, WebSocketServer } from "ws";
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
import { SocketIndex } from "./index-by-key.js";
import { checkEveryMs, type Opener, Socket as OpenSocket, type Socket } from "./socket.js";

/** Takes the sockets that are opened at its path, or says how one closes. */
export interface Channel {
  open(socket: Socket, query: URLSearchParams): Promise<Closing | undefined>;
  /** Its clients send frames of up to `sizes.liveFrameBytes`. */
  isLive?: boolean;
}

/** Why a credential opens nothing any more; `moved`: its agent has another owner, so it opens something else. */
type Lapse = "revoked" | "suspended" | "moved";

/** How long a closed socket's client may take to say goodbye, and all of them when the server stops. */
const goodbyeMs = 5_000;
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
  readonly #channels: { path: string | RegExp; channel: Channel }[] = [];
  readonly #upgrades = upgradesWithFramesOf(sizes.refusedFrameBytes);
  // Without a bound here: `ws` would close at the first byte of what is too large, before the client was told.
  readonly #liveUpgrades = upgradesWithFramesOf(0);
  readonly #sockets = new Map<string, Socket>();
  readonly #openByAddress = new OpenByAddress();
  readonly #holds: Holds;
  readonly #ofCredential = new SocketIndex<Socket>();
  readonly #ofAgent = new SocketIndex<Socket>();
  readonly #ofUser = new SocketIndex<Socket>();
  #opened = 0;
  #stopping = false;
  #cancelCheck: (() => void) | undefined;

  constructor(parts: SocketServerParts) {
    this.#parts = parts;
    const { notices } = parts;
    this.#holds = new Holds(parts.clock, parts.limits.on);
    const comeAgain = (sockets: Socket[]) => inParts(sockets, (socket) => socket.close(closings.again));
    notices.on("sessionApproved", ({ sessionId }) => comeAgain(this.#holds.end(sessionId)));
    notices.on("participantResumed", ({ sessionId }) => comeAgain(this.#holds.end(sessionId)));
    notices.on("noticesMissed", () => comeAgain(this.#holds.end()));
    notices.on("socketReplaced", ({ socketId }) => this.#sockets.get(socketId)?.close(closings.replaced));
    notices.on("credentialEnded", ({ credentialId }) => {
      for (const socket of this.#ofCredential.get(credentialId)) if (socket.opener) socket.close(socket.opener.revoked);
    });
    // Whom its credential stands for is read again when it comes back.
    notices.on("agentOwnerChanged", ({ agentId }) => {
      for (const socket of this.#ofAgent.get(agentId)) socket.close(closings.restart);
    });
    notices.on("userStandingChanged", ({ userId, suspended }) => {
      // Whose socket was refused is not known.
      if (!suspended) return comeAgain(this.#holds.end());
      for (const socket of this.#ofUser.get(userId)) {
        if (socket.opener) socket.close(socket.opener.suspended);
      }
    });
  }

  get log(): Logger {
    return this.#parts.log;
  }

  /** Open sockets, those included that are just being closed. */
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

  /** Whoever opened a socket is known now: it closes when they lose the right to it. */
  identify(socket: Socket, opener: NonNullable<Socket["opener"]>): void {
    socket.openedBy(opener);
    this.#ofCredential.add(opener.credentialId, socket, socket);
    if (opener.agentId !== null) this.#ofAgent.add(opener.agentId, socket, socket);
    if (opener.userId !== null) this.#ofUser.add(opener.userId, socket, socket);
  }

  /**
   * Closes the sockets whose credential opens nothing any more, for when a notice of that may have been lost. `look` says
   * why, one by one.
   */
  async recheck(
    look: (openers: Opener[]) => Promise<(Lapse | null)[]>,
    among: Iterable<Socket> = this.#sockets.values(),
  ): Promise<void> {
    const sockets = [...among].filter(({ opener, gone }) => opener && !gone);
    for (let from = 0; from < sockets.length; from += socketsPerTurn) {
      const some = sockets.slice(from, from + socketsPerTurn);
      let lapses: (Lapse | null)[];
      try {
        lapses = await look(some.map(({ opener }) => opener as Opener));
      } catch (error) {
        this.log.warn({ err: error }, "sockets not checked; they have to come again");
        lapses = some.map(() => "moved");
      }
      for (const [index, { opener }] of some.entries()) {
        const lapse = lapses[index];
        if (!lapse || !opener) continue;
        if (lapse === "moved") some[index]?.close(closings.restart);
        else if (lapse === "revoked") some[index]?.close(opener.revoked);
        else some[index]?.close(opener.suspended);
      }
    }
  }

  /** Takes the server's upgrades from now on. */
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
    const { clock, log, background } = this.#parts;
    const address = addressKey(addressOf(request, this.#parts.trustProxy));
    const socket = new OpenSocket(
      ws,
      connection,
      newUuid(clock.now()),
      address,
      log,
      (socketId) => this.#countFrame(socketId),
      (bytes) => this.#parts.largeRequests.turn(address, bytes),
      (delayMs, task) => void clock.after(delayMs, task),
      (work) => void background.track(work),
      this.#opened++,
      this.#parts.held,
    );
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

  #countFrame(socketId: string): Promise<number | undefined> | undefined {
    const { limits } = this.#parts;
    return limits.on ? waitOf(limits.take("frames", socketId)) : undefined;
  }

  #checkLater(): void {
    this.#cancelCheck = this.#parts.clock.after(checkEveryMs, () => {
      inParts([...this.#sockets.values()], (socket) => socket.check());
      if (!this.#stopping) this.#checkLater();
    });
  }
}

function upgradesWithFramesOf(maxPayload: number): WebSocketServer {
  return new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload,
    // Each piece takes more than its bytes.
    maxFragments: sizes.frameFragments,
    maxBufferedChunks: sizes.frameChunks,
    closeTimeout: goodbyeMs,
  } as ServerOptions);
}

/** A proxy may name the whole address, and the base address of some clients ends in a slash. */
function pathAndQuery(url = "/"): [path: string, query: string] {
  const [path = "", query = ""] = url
    .replace(/^https?:\/\/[^/?]*/i, "")
    .replace(/^\/*/, "/")
    .split("?", 2);
  return [path, query];
}

/** Looks after some sockets, and then lets others have their turn. */
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

/**
 * Some clients offer HTTP/2 with their first request. Node would give such a request to nobody once there is a listener
 * for upgrades; so the offer is cut out, and the connection begins again with what is left.
 */
function serveWithoutUpgrade(http: Server, request: IncomingMessage, connection: Duplex, head: Buffer): void {
  // Node's own name for the reply that the connection is busy with: a request before this one is not answered yet.
  const { _httpMessage: busyWith } = connection as { _httpMessage?: ServerResponse | null };
  if (busyWith) {
    busyWith.once("close", () => serveWithoutUpgrade(http, request, connection, head));
    return;
  }
  const { method, url, httpVersion, rawHeaders } = request;
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name = "", value = ""] = [rawHeaders[index], rawHeaders[index + 1]];
    if (!/^(connection|upgrade|http2-settings)$/i.test(name)) lines.push(`${name}: ${value}`);
  }
  connection.unshift(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), head]));
  http.emit("connection", connection);
}

function refuseUpgrade(connection: Duplex): void {
  const body = JSON.stringify({ error: "Not Found", message: "There is no WebSocket at this address" });
  connection.on("error", () => {});
  // Nobody reads from it any more, so it would never see the other side's end and stay open for ever.
  connection.once("finish", () => connection.destroy());
  connection.end(
    [
      "HTTP/1.1 404 Not Found",
      "Content-Type: application/json",
      `Content-Length: ${Buffer.byteLength(body)}`,
      "Connection: close",
      "",
      body,
    ].join("\r\n"),
  );
}
