/**
 * The timer behind every deadline. When the earliest deadline comes, it runs one system mutation, which also returns
 * the next deadline. It also runs it now and then in case another process has set an earlier one, and at the start for
 * deadlines that passed while the server was down.
 */
import type { Logger } from "pino";
import type { Clock } from "./clock.js";

/** How long the timer waits after a failure. */
const afterFailureMs = 5_000;

/** What a sweep returns: whether more is due, and when the next deadline is (Unix ms). */
export interface Swept {
  more: boolean;
  nextDeadlineAt: number | null;
}

/** Calls `sweep` at every deadline. */
export class DeadlineTimer {
  #wakesAt = Number.POSITIVE_INFINITY;
  #cancel: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  #stopped = true;

  constructor(
    readonly clock: Clock,
    readonly log: Logger,
    /** Handles what is due, a bounded amount at a time. */
    readonly sweep: () => Promise<Swept>,
    /** The longest time between two sweeps. */
    readonly longestSleepMs = 60_000,
  ) {}

  /** Handles what is already due, and then keeps time. */
  async start(): Promise<void> {
    this.#stopped = false;
    await this.#run();
  }

  /** Stops the timer and resolves once no sweep runs. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#running;
  }

  /** Resolves once no sweep runs. */
  async idle(): Promise<void> {
    await this.#running;
  }

  /** Announces a deadline at `at` (Unix ms). */
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
    // A running sweep may already have passed over what is due now.
    this.#again = true;
    this.#running ??= this.#sweepUntilDone();
    return this.#running;
  }

  async #sweepUntilDone(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      await this.#sweepAll();
    }
    // Must happen in the same turn of the event loop as the last look at `#again`.
    this.#running = undefined;
  }

  async #sweepAll(): Promise<void> {
    this.#cancel?.();
    // A deadline that is set during the sweep schedules its own wake-up. The result of the sweep must not postpone it.
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
