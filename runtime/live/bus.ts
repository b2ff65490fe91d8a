/**
 * What the processes on one PostgreSQL database tell each other, over LISTEN/NOTIFY on a connection of their own
 * (architecture.md section 3): which slices a commit touched, and its notices. The bus only wakes; what is true stands
 * in the database. It is told after the commit, so whoever it wakes finds the commit there. A query that read before
 * the commit is either watched by then, or finds out when its watch begins (runtime/live/watches.ts).
 *
 * The notifications of one sender arrive in order. One is lost only if a connection broke or a process died. A process
 * notices the first when its own connection breaks, and the second when a peer is missing from the database's list of
 * connections. It then treats everything as touched, and subscriptions that depend on notices run again.
 */
import pg from "pg";
import type { Logger } from "pino";
import type { Clock } from "../clock.js";
import type { Notice, NoticeBoard } from "../notices.js";
import { type Message, Untold } from "./bus-messages.js";
import { applicationName, channel, isRefused, notify, peersOf } from "./notifications.js";
import { WriteSet } from "./read-and-write-sets.js";
import type { Watches } from "./watches.js";

/** The shortest pause between two notifications, by the machine's clock. What comes up during it is sent together. */
const pauseMs = 2;
/**
 * How many messages and notices may wait for a lost connection. Beyond that they are dropped, and the others are told
 * that they missed something.
 */
const mostWaiting = 20_000;
/** How often the bus asks the database which processes are connected. That also finds a half-open connection. */
const lookEveryMs = 2_000;
const patienceMs = 5_000;
const longestRetryMs = 1_000;
/**
 * After a commit with an unknown outcome, or the death of a peer, everything is read again at these times, because that
 * commit may still appear. No statement runs for longer than the last of these.
 */
const lookBackAfterMs = [1_000, 4_000, 10_000, 35_000];
/** Losses within this time are handled together. */
const lostTogetherMs = 250;
/** The processes' clocks may differ by this much, and so may a commit and the time that it is dated with. */
const marginMs = 5_000;

export interface BusParts {
  url: string;
  processId: string;
  clock: Clock;
  log: Logger;
  watches: Watches;
  notices: NoticeBoard;
}

/** The bus of one process. */
export class Bus {
  readonly #parts: BusParts;
  #client: pg.Client | undefined;
  readonly #untold: Untold;
  /** Messages that the database has not yet accepted. */
  #unsent: string[] = [];
  #lostAt = 0;
  /** What `hold` keeps back until `release`. */
  #held: "all" | "notices" | undefined;
  #scheduled = false;
  #sending = false;
  #failures = 0;
  #stopped = false;
  #lastHeardAt = 0;
  readonly #heard = new Map<string, number>();
  #peers = new Set<string>();
  #cancelTimer: () => void = () => {};

  constructor(parts: BusParts) {
    this.#parts = parts;
    this.#untold = new Untold(parts.processId);
    parts.notices.on("processForgotten", () => this.#missed(0));
  }

  get isConnected(): boolean {
    return this.#client !== undefined;
  }

  /** Connects and listens. Rejects if the database cannot be reached. */
  async start(): Promise<void> {
    await this.#connect();
  }

  /** Sends what is left to tell, and disconnects. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#cancelTimer();
    const client = this.#client;
    if (!client) return;
    this.#unsent.push(...this.#untold.take(), this.#untold.message([], { bye: true }));
    try {
      await notify(client, this.#unsent);
    } catch {
      // The others will notice that this process is gone.
    }
    this.#client = undefined;
    await client.end().catch(() => {});
  }

  /** Whether another process listens. One that comes later is told that it may have missed something (`#meet`). */
  get isHeard(): boolean {
    return this.#peers.size > 0;
  }

  /** Called after a commit with its notices, and its writes if they were recorded. */
  tell(writes: WriteSet | undefined, notices: readonly Notice[]): void {
    if (!this.isHeard) return;
    this.#untold.addWrites(writes);
    this.notice(notices);
  }

  /** Sends notices that belong to no commit. */
  notice(notices: readonly Notice[]): void {
    if (!this.isHeard) return;
    for (const notice of notices) this.#untold.addNotice(notice);
    if (this.#untold.notices + this.#unsent.length > mostWaiting) this.#giveUp();
    this.#schedule();
  }

  /** For tests: keeps back whatever is told from now on, as a slow network would. */
  hold(): void {
    this.#held = "all";
  }

  /** Sends what was kept back, or only the writes of it. */
  release(what: "all" | "writes" = "all"): void {
    this.#held = what === "all" ? undefined : "notices";
    this.#schedule();
  }

  /** Notes another process. If nobody seemed to listen until now, it may have missed commits made meanwhile. */
  #meet(peer: string): void {
    if (this.#peers.has(peer)) return;
    const wasHeard = this.isHeard;
    this.#peers.add(peer);
    if (!wasHeard) this.#sayLost();
  }

  #sayLost(): void {
    this.#untold.isLost = true;
    this.#schedule();
  }

  /**
   * Called if the outcome of a commit is unknown: it may have happened, or may still happen because the database works
   * on alone.
   */
  lose(): void {
    const now = this.#parts.clock.now();
    if (now - this.#lostAt < lostTogetherMs) return;
    this.#lostAt = now;
    this.#lookBack(() => this.#sayLost());
  }

  #lookBack(tell: () => void): void {
    for (const afterMs of lookBackAfterMs) {
      this.#parts.clock.after(afterMs, () => {
        if (this.#stopped) return;
        this.#missed(afterMs);
        tell();
      });
    }
  }

  #schedule(): void {
    if (this.#scheduled || this.#sending || this.#stopped || !this.#client) return;
    this.#scheduled = true;
    // The first message of a burst waits only for the end of this turn.
    setImmediate(() => {
      this.#scheduled = false;
      void this.#send();
    });
  }

  async #send(): Promise<void> {
    const client = this.#client;
    if (!client || this.#sending || this.#stopped || this.#held === "all") return;
    this.#unsent.push(...this.#untold.take(this.#held === "notices" ? "writes" : "all"));
    if (this.#unsent.length === 0) return;
    this.#sending = true;
    const sent = this.#unsent.length;
    try {
      await Promise.all([notify(client, this.#unsent), pause()]);
      this.#unsent.splice(0, sent);
    } catch (error) {
      if (isRefused(error)) {
        // The database would refuse it every time, and everything behind it would wait for ever.
        this.#parts.log.error({ err: error }, "a notification was refused; the others read everything again");
        this.#unsent.splice(0, sent);
        this.#untold.isLost = true;
      } else this.#drop(client, error);
    }
    this.#sending = false;
    if (this.#unsent.length > 0 || (!this.#untold.isEmpty && !this.#held)) this.#schedule();
  }

  #giveUp(): void {
    this.#untold.giveUp();
    // A message that may have been sent keeps its number.
    if (!this.#sending) this.#unsent = [];
  }

  #hear(payload: string): void {
    const { processId, watches, notices, log } = this.#parts;
    if (payload.startsWith(`{"from":"${processId}"`)) return;
    try {
      const { from, number, items, lost, bye } = JSON.parse(payload) as Message;
      if (number <= (this.#heard.get(from) ?? 0)) return;
      this.#heard.set(from, number);
      if (bye) {
        this.#peers.delete(from);
        this.#heard.delete(from);
        return;
      }
      this.#meet(from);
      if (lost) this.#missed(0);
      const writes = items.flatMap((item) => ("w" in item ? [item.w] : []));
      // Writes come before notices, as in the process that made the commit.
      if (writes.length > 0) watches.committed(WriteSet.fromJson(writes));
      for (const item of items) if ("n" in item) notices.post(item.n);
    } catch (error) {
      log.error({ err: error }, "a notification was not understood");
      this.#missed(0);
    }
  }

  /** Treats everything of about the last `forMs` as touched, because nobody knows what was missed. */
  #missed(forMs: number): void {
    const { clock, watches, notices, log } = this.#parts;
    log.warn("notices of other processes may have been missed; everything is read again");
    watches.committed(undefined);
    notices.post({ kind: "noticesMissed", since: clock.now() - Math.max(forMs, lookEveryMs) - marginMs });
  }

  async #connect(): Promise<void> {
    const { url, processId } = this.#parts;
    const client = new pg.Client({
      connectionString: url,
      application_name: applicationName(processId),
      connectionTimeoutMillis: patienceMs,
      query_timeout: patienceMs,
      keepAlive: true,
    });
    client.on("error", (error) => this.#drop(client, error));
    client.on("end", () => this.#drop(client, undefined));
    client.on("notification", ({ payload }) => this.#hear(payload ?? ""));
    try {
      await client.connect();
      await client.query(`listen ${channel}`);
      const peers = await peersOf(client, processId);
      const awayMs = this.#parts.clock.now() - this.#lastHeardAt;
      const again = this.#lastHeardAt > 0;
      if (this.#stopped) {
        await client.end();
        return;
      }
      this.#client = client;
      this.#failures = 0;
      this.#lastHeardAt = this.#parts.clock.now();
      if (again) for (const peer of peers) this.#meet(peer);
      this.#peers = peers;
      // This message makes the process known to the others, so that they notice when it is gone.
      this.#unsent.push(this.#untold.message([]));
      this.#schedule();
      this.#lookLater();
      if (again) this.#missed(awayMs);
    } catch (error) {
      client.end().catch(() => {});
      throw error;
    }
  }

  #drop(client: pg.Client, error: unknown): void {
    if (this.#client !== client) return;
    this.#client = undefined;
    if (this.#stopped) return;
    this.#parts.log.warn({ err: error }, "the bus is cut off");
    client.end().catch(() => {});
    this.#reconnectLater();
  }

  #reconnectLater(): void {
    this.#cancelTimer();
    const most = Math.min(50 * 2 ** this.#failures, longestRetryMs);
    this.#failures += 1;
    this.#cancelTimer = this.#parts.clock.after(most * (0.5 + Math.random() / 2), () => {
      this.#connect().catch((error: unknown) => {
        this.#parts.log.warn({ err: error }, "the bus is still cut off");
        if (!this.#stopped) this.#reconnectLater();
      });
    });
  }

  #lookLater(): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#parts.clock.after(lookEveryMs, () => void this.#look());
  }

  /** Looks for peers that are gone without a goodbye: they may have made commits that nobody heard of. */
  async #look(): Promise<void> {
    const client = this.#client;
    if (!client) return;
    try {
      const peers = await peersOf(client, this.#parts.processId);
      if (this.#client !== client) return;
      this.#lastHeardAt = this.#parts.clock.now();
      const gone = [...this.#peers].filter((peer) => !peers.has(peer));
      for (const peer of gone) this.#peers.delete(peer);
      for (const peer of peers) this.#meet(peer);
      if (gone.length > 0) {
        this.#missed(0);
        // Each remaining process looks by itself for a commit that the peer was just making.
        this.#lookBack(() => {});
      }
      this.#lookLater();
    } catch (error) {
      this.#drop(client, error);
    }
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, pauseMs));
}
