/** Clocks for tests: one that stands still until a test moves it, and the machine's. */
import { type Clock, systemClock } from "../../runtime/clock.js";

interface Timer {
  at: number;
  task: () => void;
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #timers: Timer[] = [];

  constructor(private time = Date.UTC(2026, 1, 10, 16, 50, 50)) {}

  now(): number {
    return this.time;
  }

  after(delayMs: number, task: () => void): () => void {
    const timer = { at: this.time + delayMs, task };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Moves time without running any timer, to see what the server says before its timer fires. */
  jump(ms: number): void {
    this.time += ms;
  }

  /** Runs the timers that are due by now, the earliest first. Returns whether there were any. */
  runDue(): boolean {
    const due = this.#timers.filter(({ at }) => at <= this.time).sort((one, other) => one.at - other.at);
    this.#timers = this.#timers.filter((timer) => !due.includes(timer));
    for (const { task } of due) task();
    return due.length > 0;
  }
}

/** The machine's clock, for tests of clients that keep time themselves. */
export class RunningClock extends ManualClock {
  override now(): number {
    return systemClock.now();
  }

  override after(delayMs: number, task: () => void): () => void {
    return systemClock.after(delayMs, task);
  }
}
