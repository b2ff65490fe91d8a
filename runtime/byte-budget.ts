/**
 * Counts the bytes that the server holds for callers, by address, by caller and for the whole process, and refuses more
 * before it is taken. How much each may hold is in limits.ts.
 *
 * Each kind of bytes has its own part of the process's memory, which no other kind can use. Beside the parts there is
 * one reserve for all kinds, for holders who hold next to nothing yet: a few who use up a part must not keep everybody
 * else out.
 */
import type { Clock } from "./clock.js";
import type { Caller } from "./context.js";
import { CallError } from "./errors.js";

/** The most bytes of one kind that are held at once. */
export interface ByteBounds {
  /** For one socket or request. */
  socket: number;
  address: number;
  caller: number;
  /** The part of the process's memory for this kind. */
  process: number;
}

/** For whom bytes are held. */
export interface Holder {
  /** The address as limits count it (counted-as.ts, `addressKey`). */
  address: string;
  /** Undefined without a credential: then only the address counts. */
  caller: string | undefined;
}

/** The key of a caller's account, or of an agent without an owner; undefined without a credential. */
export function callerKey(caller: Caller | undefined): string | undefined {
  if (caller?.kind === "user") return caller.userId;
  if (caller?.kind === "agent") return caller.ownerId ?? caller.agentId;
  return undefined;
}

/**
 * A holding up to this size is small: it gets in even if neighbours have used up the share of its address or account.
 */
const smallBytes = 16 * 1024;
/** Small holdings may go beyond the bound of an address or account by this factor. */
const forSmall = 1.25;
/** Whoever holds no more than this, including what comes, is a newcomer who may use the reserve. */
const newcomerBytes = 64 * 1024;
/** A holding that was not touched for this long is given up if the process needs the room. */
const staleMs = 5_000;
/** How soon a refused caller may try again. */
const retryAfterMs = 1_000;

/** The bytes of all holdings of one address or one caller. */
interface Share {
  key: string;
  bytes: number;
  holdings: number;
}

/** The reserve that all kinds of bytes of a process share. */
export class Reserve {
  readonly #budgets: ByteBudget[] = [];

  constructor(readonly bytes: number) {}

  add(budget: ByteBudget): void {
    this.#budgets.push(budget);
  }

  /** Whether the reserve has room for `bytes` more, besides what already goes beyond the parts. */
  fits(budget: ByteBudget, bytes: number): boolean {
    let over = Math.max(budget.bytes + bytes - budget.bounds.process, 0);
    for (const each of this.#budgets) if (each !== budget) over += Math.max(each.bytes - each.bounds.process, 0);
    return over <= this.bytes;
  }
}

/** The budget for one kind of bytes. */
export class ByteBudget {
  readonly #shares = new Map<string, Share>();
  /** Holdings that can be given up; those that have not been touched for longest come first. */
  readonly #stalest = new Set<Holding>();
  readonly #waiting = new Set<() => void>();
  #bytes = 0;

  constructor(
    /** What is held, for the refusal: "unread answers". */
    readonly what: string,
    readonly bounds: ByteBounds,
    readonly clock: Clock,
    /** Whether each address has a share. */
    readonly byAddress: boolean,
    readonly reserve: Reserve,
  ) {
    reserve.add(this);
  }

  /** How many bytes are held in all. */
  get bytes(): number {
    return this.#bytes;
  }

  /** A new holding, empty at first. `giveUp` must end the work that it is for; the holding ends with it. */
  hold(holder: Holder, giveUp?: () => void): Holding {
    return new Holding(
      this,
      this.byAddress ? this.share(`address ${holder.address}`) : undefined,
      holder.caller === undefined ? undefined : this.share(`caller ${holder.caller}`),
      giveUp,
    );
  }

  /** Why this holder may hold nothing more now; undefined if there is room. */
  refusal({ address, caller }: Holder): CallError | undefined {
    const { bounds } = this;
    const ofAddress = this.byAddress ? (this.#shares.get(`address ${address}`)?.bytes ?? 0) : 0;
    const ofCaller = caller === undefined ? 0 : (this.#shares.get(`caller ${caller}`)?.bytes ?? 0);
    if (ofAddress >= bounds.address || ofCaller >= bounds.caller) return this.tooMuch();
    const isKnown = this.byAddress || caller !== undefined;
    const isNewcomer = isKnown && Math.max(ofAddress, ofCaller) < newcomerBytes;
    return this.canHold(1, isNewcomer) ? undefined : this.tooMuch();
  }

  /** @internal Whether the process has room for `bytes` more. */
  canHold(bytes: number, isNewcomer: boolean): boolean {
    if (this.#bytes + bytes > this.bounds.process) this.relieve(bytes);
    return this.#bytes + bytes <= this.bounds.process || (isNewcomer && this.reserve.fits(this, bytes));
  }

  /** The refusal of `bytes` more. */
  tooMuch(bytes = 1): CallError {
    const isFull = this.#bytes + bytes > this.bounds.process;
    return isFull
      ? new CallError("unavailable", `The server holds too much now (${this.what}). Try again later.`, { retryAfterMs })
      : new CallError("rate_limited", `Too much is held for you now (${this.what}). Try again later.`, {
          retryAfterMs,
        });
  }

  /**
   * Calls back once something is given back, or after a moment in which holdings may have become stale. Returns a
   * function that cancels this.
   */
  whenFreed(callback: () => void): () => void {
    const cancel = () => {
      this.#waiting.delete(goOn);
      cancelTimer();
    };
    const goOn = () => {
      cancel();
      callback();
    };
    const cancelTimer = this.clock.after(retryAfterMs, goOn);
    this.#waiting.add(goOn);
    return cancel;
  }

  /** @internal */
  share(key: string): Share {
    let share = this.#shares.get(key);
    if (!share) {
      share = { key, bytes: 0, holdings: 0 };
      this.#shares.set(key, share);
    }
    share.holdings += 1;
    return share;
  }

  /** @internal */
  leave(share: Share | undefined): void {
    if (!share) return;
    share.holdings -= 1;
    if (share.holdings === 0) this.#shares.delete(share.key);
  }

  /** @internal */
  count(bytes: number): void {
    this.#bytes += bytes;
    if (bytes >= 0 || this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const callback of waiting) callback();
  }

  /** @internal */
  touch(holding: Holding): void {
    this.#stalest.delete(holding);
    if (holding.bytes > 0 && holding.giveUp) this.#stalest.add(holding);
  }

  /** Gives up stale holdings until there is room for `bytes` more. */
  relieve(bytes = 1): void {
    const now = this.clock.now();
    for (const holding of this.#stalest) {
      if (this.#bytes + bytes <= this.bounds.process || holding.touchedAt > now - staleMs) return;
      this.#stalest.delete(holding);
      holding.giveUp?.();
      holding.end();
    }
  }
}

/** What one socket or one request holds. */
export class Holding {
  #bytes = 0;
  #ended = false;
  touchedAt: number;

  constructor(
    readonly budget: ByteBudget,
    readonly ofAddress: Share | undefined,
    readonly ofCaller: Share | undefined,
    readonly giveUp: (() => void) | undefined,
  ) {
    this.touchedAt = budget.clock.now();
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Whether every bound has some room left, however large the next piece turns out to be. */
  get hasRoom(): boolean {
    return this.#fits(0);
  }

  /** Takes `bytes` more, or returns false and takes nothing. */
  take(bytes: number): boolean {
    if (!this.#fits(bytes)) return false;
    this.add(bytes);
    return true;
  }

  /** Counts bytes that are already held, whatever the bounds. */
  add(bytes: number): void {
    if (this.#ended) return;
    this.#bytes += bytes;
    if (this.ofAddress) this.ofAddress.bytes += bytes;
    if (this.ofCaller) this.ofCaller.bytes += bytes;
    this.budget.count(bytes);
    if (this.giveUp) this.touch();
  }

  set(bytes: number): void {
    if (bytes !== this.#bytes) this.add(bytes - this.#bytes);
  }

  /** Notes progress, so that the holding is not stale. */
  touch(): void {
    this.touchedAt = this.budget.clock.now();
    this.budget.touch(this);
  }

  /** Gives everything back. Safe to call again. */
  end(): void {
    if (this.#ended) return;
    this.set(0);
    this.#ended = true;
    this.budget.leave(this.ofAddress);
    this.budget.leave(this.ofCaller);
  }

  #fits(bytes: number): boolean {
    const { budget, ofAddress, ofCaller } = this;
    const { bounds } = budget;
    const isSmall = this.#bytes + bytes <= smallBytes;
    // The sum has to stay within the bound. If the size to come is unknown (0), there only has to be some room.
    const within = (held: number, bound: number) => (bytes === 0 ? held < bound : held + bytes <= bound);
    const withinShare = (share: Share | undefined, bound: number) =>
      !share || within(share.bytes, isSmall ? bound * forSmall : bound);
    if (!within(this.#bytes, bounds.socket)) return false;
    if (!withinShare(ofAddress, bounds.address) || !withinShare(ofCaller, bounds.caller)) return false;
    const held = Math.max(ofAddress?.bytes ?? 0, ofCaller?.bytes ?? 0);
    // If neither address nor caller is counted, only a known small size counts as a newcomer's.
    const isNewcomer = ofAddress || ofCaller ? held + bytes <= newcomerBytes : isSmall && bytes > 0;
    return budget.canHold(Math.max(bytes, 1), isNewcomer);
  }
}

/** About how many bytes of heap JSON text takes once it is parsed. */
export function parsedBytes(text: string): number {
  const { length } = text;
  // At worst `{},{},…`, where each character becomes about twenty bytes.
  if (length <= 2_048) return length * 24;
  let containers = 0;
  let values = 0;
  let quotes = 0;
  for (let index = 0; index < length; index += 1) {
    const code = text.charCodeAt(index);
    if (code === 0x2c) values += 1;
    else if (code === 0x22) quotes += 1;
    else if (code === 0x7b || code === 0x5b) containers += 1;
  }
  return length + containers * 64 + values * 24 + quotes * 16;
}
