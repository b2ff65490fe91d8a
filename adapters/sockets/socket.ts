/**
 * One open WebSocket: frames in and out, within limits. Frames wait until a handler takes them, and a few are worked on
 * at a time, so that a fast sender is slowed down and loses nothing. A reader that does not keep up is closed. Its
 * channel knows what the frames mean.
 */
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import { WebSocket } from "ws";
import type { Holding } from "../../runtime/byte-budget.js";
import type { Clock } from "../../runtime/clock.js";
import { type Held, sizes } from "../../runtime/limits.js";
import { type Closing, closings } from "./close-codes.js";
import { heartbeatAck, systemError } from "./frames.js";
import { InboundBytes } from "./inbound-bytes.js";
import { type FrameHandler, parseFrame, type RawFrameHandler } from "./inbound-frame.js";
import type { Opener } from "./opener.js";
import type { WholeFrame } from "./whole-frame.js";

const frameTooLarge = systemError("too_large", `A frame is too large (max ${sizes.frameBytes} bytes)`);
const asText = { binary: false };

/**
 * The checks of liveness: one every five seconds, a ping at every fourth, and the end at the thirteenth without a
 * sound.
 */
export const checkEveryMs = 5_000;
const checksPerPing = 4;
const mostSilentMs = 60_000;

/** What a pong counts as, with what its write takes; and how much of that may wait for a client that only pings. */
const pongBytes = 256;
const mostPongBytes = 1024 * 1024;
/** Up to this much, the network's own buffers take a write without saying when it was read. */
const littleBytes = 16 * 1024;

/** What every socket of the server is given. */
export interface SocketParts {
  log: Logger;
  clock: Clock;
  held: Held;
  /** Counts a frame. Resolves with the milliseconds to wait where there were too many; undefined: go on. */
  countFrame(socketId: string): Promise<number | undefined> | undefined;
  /** Resolves when a frame of so many bytes may be parsed; undefined: at once. */
  takeTurn(address: string, bytes: number): Promise<void> | undefined;
  /** Hears of all work on frames, so that the server can wait for its end. */
  track(work: Promise<unknown>): void;
}

export class Socket {
  readonly #parts: SocketParts;
  opener: Opener | undefined;
  /** How long the client may say nothing, not even the answer to a ping. */
  mostSilentMs = mostSilentMs;
  readonly log: Logger;
  readonly #ws: WebSocket;
  /** What `ws` writes to. */
  readonly #connection: Duplex;
  readonly #waiting: { data: Buffer; isBinary: boolean }[] = [];
  readonly #goneListeners: (() => void)[] = [];
  #handler: FrameHandler | RawFrameHandler | undefined;
  #pong: ((payload: string) => void) | undefined;
  #working = 0;
  /** The bytes of pongs that the network may not have taken yet. */
  #pongBytes = 0;
  /** What is held for it: what it sent, until that is dealt with, and what it was sent, until the network has that. */
  readonly #inbound: InboundBytes;
  #outbound: Holding;
  /** The turn of a large frame that has not come yet. The frames behind it wait as well. */
  #turn: Promise<unknown> | undefined;
  #resting = false;
  #gone = false;
  /** Whether nothing that the client sends is taken any more. */
  #closedByUs = false;
  /** How many bytes were read while it is held; undefined where it is not held. */
  #readWhileHeld: number | undefined;
  #checks: number;
  #silentChecks = 0;

  constructor(
    ws: WebSocket,
    connection: Duplex,
    readonly id: string,
    readonly address: string,
    /** Spreads the pings of many sockets over time. */
    phase: number,
    parts: SocketParts,
  ) {
    this.#parts = parts;
    this.log = parts.log;
    this.#inbound = new InboundBytes(parts.held, address, () => this.close(closings.later));
    this.#outbound = this.#holdOutbound(undefined);
    // Before `ws` gets the data: the frames that `ws` makes of it are subtracted from what is counted here.
    connection.prependListener("data", (chunk: Buffer) => this.#arrived(chunk.length));
    connection.on("drain", () => {
      this.#pongBytes = 0;
      this.#outbound.set(0);
    });
    this.#ws = ws;
    this.#connection = connection;
    this.#checks = phase % checksPerPing;
    ws.on("message", (data, isBinary) => {
      this.#silentChecks = 0;
      this.#inbound.frameIsWhole((data as Buffer).length);
      if (this.#closedByUs) return;
      this.#waiting.push({ data: data as Buffer, isBinary });
      this.#inbound.keep((data as Buffer).length);
      this.#work();
    });
    ws.on("ping", (data) => {
      this.#silentChecks = 0;
      this.#inbound.controlIsWhole(data.length);
      // `ws` has answered it.
      this.#pongBytes = ws.bufferedAmount === 0 ? 0 : this.#pongBytes + pongBytes;
      if (this.#pongBytes > mostPongBytes) this.terminate();
    });
    ws.on("pong", (data) => {
      this.#silentChecks = 0;
      this.#inbound.controlIsWhole(data.length);
      if (data.length > 0) this.#pong?.(data.toString("latin1"));
    });
    // A frame that breaks the protocol or the frame limit ends in `close`, with a code that `ws` chooses.
    ws.on("error", (error) => this.log.debug({ socket: this.id, err: error }, "socket error"));
    ws.on("close", () => {
      this.#leave();
      this.#inbound.end();
    });
  }

  /** It is known now who opened it. */
  openedBy(opener: Opener): void {
    this.opener = opener;
    const before = this.#outbound;
    this.#outbound = this.#holdOutbound(opener.userId ?? opener.agentId ?? undefined);
    this.#outbound.set(before.bytes);
    before.end();
    if (this.#gone) this.#outbound.end();
  }

  #holdOutbound(caller: string | undefined): Holding {
    return this.#parts.held.answers.hold({ address: this.address, caller }, () => this.close(closings.tooSlow));
  }

  #arrived(bytes: number): void {
    if (this.#readWhileHeld !== undefined) {
      this.#readWhileHeld += bytes;
      if (this.#readWhileHeld > sizes.heldSocketBytes) this.#ws.pause();
    }
    this.#inbound.arrived(bytes);
    if (this.#inbound.isFrameTooLarge && !this.#closedByUs) {
      if (this.#handler && "raw" in this.#handler) this.#handler.tooLarge();
      this.close(closings.tooLarge);
    }
    if (this.#inbound.count()) return;
    // A client that was told to go and goes on sending is not waited for: until it has gone, `ws` keeps what it sends.
    if (this.#closedByUs) this.terminate();
    else this.close(closings.later);
  }

  /** Whether it is closed, or about to be. */
  get gone(): boolean {
    return this.#gone;
  }

  /** Has `listener` called once the socket is gone, at once where it is already. */
  onGone(listener: () => void): void {
    if (this.#gone) listener();
    else this.#goneListeners.push(listener);
  }

  /** Starts working on frames, first those that waited, and also those that a client sent before it left. */
  handle(handler: FrameHandler | RawFrameHandler): void {
    this.#handler = handler;
    this.#work();
  }

  send(frame: Buffer): void {
    if (this.#gone) return;
    this.#ws.send(frame, asText);
    this.#countUnread();
    const { bufferedAmount } = this.#ws;
    if (bufferedAmount > sizes.unreadBytes || (this.#outbound.bytes > 0 && !this.#outbound.hasRoom)) {
      this.close(closings.tooSlow);
    }
  }

  /** A little may be in the network's own buffers, which do not say when they are empty. */
  #countUnread(): void {
    const { bufferedAmount } = this.#ws;
    this.#outbound.set(bufferedAmount > littleBytes ? bufferedAmount : 0);
  }

  /** Sends, and resolves once the network has taken it: for a sender that goes at the reader's pace. */
  sendAndDrain(frame: Buffer): Promise<void> {
    if (this.#gone) return Promise.resolve();
    return new Promise((resolve) => {
      this.#ws.send(frame, asText, () => resolve());
      this.#countUnread();
    });
  }

  /**
   * Sends a frame that may go to a thousand other sockets as well. It is written in one piece, where `ws` would write a
   * new head for each socket. That is safe between the frames of `ws`, because nothing is compressed. `taken` is called
   * once the network has it, or where the socket is gone.
   */
  sendWhole(frame: WholeFrame, taken: () => void): void {
    if (this.#gone) taken();
    else this.#connection.write(frame, taken);
  }

  /**
   * Pings; `onPong` hears the payload of each pong that has one. A client that answers has read all that came before.
   */
  ping(payload: string): void {
    if (!this.#gone) this.#ws.ping(payload);
  }

  onPong(listener: (payload: string) => void): void {
    this.#pong = listener;
  }

  /**
   * Has the client wait for its close. For the rest of the server it is gone at once, and what it sends is dropped. A
   * little is still read, because its goodbye comes that way.
   */
  hold(): void {
    this.#readWhileHeld = 0;
    this.#closedByUs = true;
    this.#inbound.drop(this.#waiting.splice(0).reduce((bytes, { data }) => bytes + data.length, 0));
    if (this.#ws.isPaused) this.#ws.resume();
    this.#leave();
  }

  /**
   * Closes from this side. For the rest of the server it is gone at once; the client is given a while to say goodbye.
   */
  close({ code, reason }: Closing): void {
    if (this.#ws.readyState === WebSocket.OPEN) {
      this.log.debug({ socket: this.id, code, reason }, "socket closed");
      this.#readWhileHeld = undefined;
      this.#ws.close(code, reason);
      // To receive the goodbye.
      this.#ws.resume();
    }
    this.#closedByUs = true;
    this.#waiting.length = 0;
    this.#leave();
  }

  /** Ends the connection without a goodbye. */
  terminate(): void {
    this.#ws.terminate();
  }

  /** Checks whether the other end is still there. */
  check(): void {
    if (this.#gone) return;
    this.#checks += 1;
    // A client whose reading is paused here cannot be heard.
    if (!this.#ws.isPaused) this.#silentChecks += 1;
    if (this.#silentChecks * checkEveryMs > this.mostSilentMs) this.close(closings.silent);
    else if (this.#checks % checksPerPing === 0) this.ping("");
  }

  #leave(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#outbound.end();
    for (const listener of this.#goneListeners) listener();
    this.#goneListeners.length = 0;
  }

  #work(): void {
    while (this.#handler && !this.#resting && this.#working < sizes.framesAtOnce) {
      const next = this.#waiting.shift();
      if (!next) break;
      const counted = this.#parts.countFrame(this.id);
      this.#working += 1;
      const work = this.#handle(next, this.#handler, counted, this.#turnOf(next.data.length)).finally(() => {
        this.#working -= 1;
        this.#inbound.drop(next.data.length);
        this.#work();
      });
      this.#parts.track(work);
    }
    this.#pauseOrResume();
  }

  /** Stops reading while many or large frames wait: then the sender's network holds the rest. */
  #pauseOrResume(): void {
    if (this.#ws.readyState !== WebSocket.OPEN) return;
    const full = this.#waiting.length >= sizes.framesAtOnce || this.#inbound.frames >= sizes.heldBytes;
    if (full && !this.#ws.isPaused) this.#ws.pause();
    else if (!full && this.#ws.isPaused) this.#ws.resume();
  }

  #turnOf(bytes: number): Promise<unknown> | undefined {
    const own = this.#parts.takeTurn(this.address, bytes);
    if (!own && !this.#turn) return undefined;
    const turn = Promise.all([this.#turn, own]);
    this.#turn = turn;
    void turn.then(() => {
      if (this.#turn === turn) this.#turn = undefined;
    });
    return turn;
  }

  async #handle(
    { data, isBinary }: { data: Buffer; isBinary: boolean },
    handler: FrameHandler | RawFrameHandler,
    counted: Promise<number | undefined> | undefined,
    turn: Promise<unknown> | undefined,
  ): Promise<void> {
    const waitMs = counted && (await counted);
    if (waitMs !== undefined) this.#rest(waitMs);
    if (turn) await turn;
    if (this.#closedByUs) return;
    try {
      if (!("frame" in handler)) return await (isBinary ? handler.bad("A frame is text") : handler.raw(data));
      if (data.length > sizes.frameBytes) {
        // At once, and not in its turn among a session's frames, because nothing follows it.
        this.send(frameTooLarge);
        return this.close(closings.tooLarge);
      }
      const frame = isBinary ? undefined : parseFrame(data);
      if (frame === undefined)
        await handler.bad('A frame is a JSON object with a string "type" and an object "payload"');
      else if (frame.type === "system.heartbeat") this.send(heartbeatAck);
      else await handler.frame(frame);
    } catch (error) {
      this.log.error({ socket: this.id, err: error }, "a frame failed");
    }
  }

  #rest(waitMs: number): void {
    if (this.#resting) return;
    this.#resting = true;
    this.#parts.clock.after(waitMs, () => {
      this.#resting = false;
      this.#work();
    });
  }
}
