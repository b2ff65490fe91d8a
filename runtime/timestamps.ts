/**
 * The timestamps of live queries (convex-wire.md section 5): nanoseconds since the epoch that rise with every use, even
 * if the machine's clock does not.
 */
import type { Clock } from "./clock.js";

const nanosecondsPerMs = 1_000_000n;

/** Gives out rising timestamps. */
export class Timestamps {
  #last = 0n;

  constructor(readonly clock: Clock) {}

  next(): bigint {
    const now = BigInt(this.clock.now()) * nanosecondsPerMs;
    this.#last = now > this.#last ? now : this.#last + 1n;
    return this.#last;
  }

  /**
   * Makes all later timestamps come after `seen`, which a client got from another process, or from this server before a
   * restart, when the clock was ahead.
   */
  raise(seen: bigint): void {
    if (seen > this.#last) this.#last = seen;
  }
}
