/**
 * The instants that live queries are dated with (convex-wire.md section 5): nanoseconds since the epoch, rising with
 * every use, whatever the machine's clock does.
 */
import type { Clock } from "./clock.js";

const nanosecondsPerMs = 1_000_000n;

export class Timestamps {
  #last = 0n;

  constructor(readonly clock: Clock) {}

  next(): bigint {
    const now = BigInt(this.clock.now()) * nanosecondsPerMs;
    this.#last = now > this.#last ? now : this.#last + 1n;
    return this.#last;
  }

  /** A client has seen this one, from a process or a life of the server whose clock was ahead: none may come before it. */
  raise(seen: bigint): void {
    if (seen > this.#last) this.#last = seen;
  }
}
