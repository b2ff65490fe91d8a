/**
 * Refused sockets that wait for their close code. Some clients take no code as final and come again once a second for
 * ever (clawrent.md section 4.7). A client that comes again soon waits longer each time, by token, session and channel.
 * This file knows who came how often and who waits. How many sockets are open is counted in socket-server.ts.
 */
import type { Clock } from "../../runtime/clock.js";
import { hashSecret } from "../../runtime/ids.js";
import { holdTimes, sizes } from "../../runtime/limits.js";
import { OpenByAddress } from "../open-by-address.js";
import { type Closing, closings, isFinal } from "./close-codes.js";
import type { Socket } from "./socket.js";

/** What a socket asked for, and with what. */
export interface Asked {
  path: string;
  /** Empty for none. */
  token: string;
  /** Empty where the channel is of no session. */
  sessionId: string;
}

interface Held {
  socket: Socket;
  /** Under which its refusals are counted. */
  key: string;
  sessionId: string;
  /** Cancels its close and frees its place. */
  leave: () => void;
}

export class Holds {
  /**
   * By hash, the latest last: how often in a row a client was refused, and until when its next refusal counts as soon.
   */
  readonly #refusals = new Map<string, { times: number; soonUntil: number }>();
  readonly #held = new Map<string, Held>();
  readonly #heldByAddress = new OpenByAddress();
  /** Sockets that have no answer yet. What makes such a socket welcome meanwhile may come too late for the answer. */
  readonly #opening = new Set<{ sessionId: string; isWelcome: boolean }>();

  constructor(
    readonly clock: Clock,
    /** As rates are, holds can be turned off. */
    readonly on: boolean,
  ) {}

  /** How many sockets are held, including those that are just being closed. */
  get size(): number {
    return this.#held.size;
  }

  /**
   * Opens a socket. Undefined where it is let in; otherwise how it closes: now, or later by itself where it is held.
   */
  async opening(
    socket: Socket,
    { path, token, sessionId }: Asked,
    open: () => Promise<Closing | undefined>,
  ): Promise<{ closing: Closing; held: boolean } | undefined> {
    // A client without a token must not wait because of others without one.
    const key = hashSecret(JSON.stringify([path, sessionId, token || socket.address]));
    const asked = { sessionId, isWelcome: false };
    this.#opening.add(asked);
    let closing: Closing | undefined;
    try {
      closing = await open();
    } finally {
      this.#opening.delete(asked);
    }
    if (!closing) {
      this.#refusals.delete(key);
      return undefined;
    }
    if (!isFinal(closing) || socket.gone) return { closing, held: false };
    if (asked.isWelcome) return { closing: closings.again, held: false };
    return { closing, held: this.on && this.#hold(socket, key, sessionId, closing) };
  }

  /** Holds it where it was refused not long ago and there is room. Returns whether it is held. */
  #hold(socket: Socket, key: string, sessionId: string, closing: Closing): boolean {
    const holdMs = this.#refused(key);
    const { address } = socket;
    const isFull =
      this.#held.size >= sizes.heldSockets || this.#heldByAddress.isFull(address, sizes.heldSocketsPerAddress);
    if (holdMs === 0 || isFull) return false;
    const leaveAddress = this.#heldByAddress.add(address);
    const cancel = this.clock.after(holdMs, () => socket.close(closing));
    const leave = () => {
      cancel();
      leaveAddress();
    };
    this.#held.set(socket.id, { socket, key, sessionId, leave });
    socket.hold();
    return true;
  }

  /** Counts a refusal. Returns for how many milliseconds its socket is to be held. */
  #refused(key: string): number {
    const now = this.clock.now();
    const before = this.#refusals.get(key);
    const times = before && before.soonUntil > now ? before.times + 1 : 1;
    const holdMs = times === 1 ? 0 : Math.min(holdTimes.firstMs * 2 ** (times - 2), holdTimes.mostMs);
    this.#refusals.delete(key);
    for (const [oldest, { soonUntil }] of this.#refusals) {
      if (soonUntil > now && this.#refusals.size < sizes.rememberedRefusals) break;
      this.#refusals.delete(oldest);
    }
    this.#refusals.set(key, { times, soonUntil: now + holdMs + holdTimes.soonMs });
    return holdMs;
  }

  /**
   * The held sockets that may be welcome by now, of one session or of all. They are to be closed, so that they come
   * again.
   */
  end(sessionId?: string): Socket[] {
    const isMeant = (it: { sessionId: string }) => sessionId === undefined || it.sessionId === sessionId;
    for (const asked of this.#opening) if (isMeant(asked)) asked.isWelcome = true;
    const meant = [...this.#held.values()].filter(isMeant);
    for (const { key } of meant) this.#refusals.delete(key);
    return meant.map(({ socket }) => socket);
  }

  /** The socket is closed. */
  forget(socket: Socket): void {
    this.#held.get(socket.id)?.leave();
    this.#held.delete(socket.id);
  }
}
