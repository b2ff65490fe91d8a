/**
 * The timer behind every deadline. It runs one system mutation when the earliest deadline comes, learns from it when
 * the next one is, and looks again now and then in case another process set an earlier one. Work that fell due while
 * the server was down is done at the start.
 */
import type { Logger } from "pino";
import type { Clock } from "./clock.js";

/** How long it waits after a failure. */
const afterFailureMs = 5_000;

export interface Swept {
  more: boolean;
  nextDeadlineAt: number | null;
}

export class DeadlineTimer {
  #wakesAt = Number.POSITIVE_INFINITY;
  #cancel: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  #stopped = true;

  constructor(
    readonly clock: Clock,
    readonly log: Logger,
    /** Changes what is due, a bounded amount at a time. */
    readonly sweep: () => Promise<Swept>,
    /** How long it sleeps at most. */
    readonly longestSleepMs = 60_000,
  ) {}

  /** Catches up and then keeps time. */
  async start(): Promise<void> {
    this.#stopped = false;
    await this.#run();
  }

  /** Ends it; resolves once nothing of it runs. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#running;
  }

  /** Resolves once nothing of it runs. */
  async idle(): Promise<void> {
    await this.#running;
  }

  /** Says that there is a deadline at `at` (Unix ms). */
  wakeAt(at: number): void {
    if (this.#stopped || at >= this.#wakesAt) return;
    if (at <= this.clock.now()) void this.#run();
    else this.#sleepUntil(at);
  }

  #sleepUntil(at: number): void {
    this.#cancel?.();
    this.#wakesAt = at;
    this.#cancel = this.clock.after(Math.max(at - this.clock.now(), 0), () => void this.#run());
  }

  #run(): Promise<void> {
    // What a sweep that runs has looked at already may be due now.
    this.#again = true;
    this.#running ??= this.#sweepUntilDone();
    return this.#running;
  }

  async #sweepUntilDone(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      await this.#sweepAll();
    }
    // In the same turn as the last look at `#again`.
    this.#running = undefined;
  }

  async #sweepAll(): Promise<void> {
    this.#cancel?.();
    // Whoever sets a deadline while this runs gets its own wake-up; the latest word below cannot be later than it.
    this.#wakesAt = Number.POSITIVE_INFINITY;
    let next: number;
    try {
      let swept: Swept;
      do swept = await this.sweep();
      while (swept.more && !this.#stopped);
      next = Math.min(swept.nextDeadlineAt ?? Number.POSITIVE_INFINITY, this.clock.now() + this.longestSleepMs);
    } catch (error) {
      this.log.error({ err: error }, "deadlines not swept");
      next = this.clock.now() + afterFailureMs;
    }
    if (!this.#stopped && next < this.#wakesAt) this.#sleepUntil(next);
  }
}
