/**
 * Has something said to a client after so much silence, so that neither it nor what is in between takes it for dead.
 */
import type { Clock } from "../../runtime/clock.js";

export class KeepAlive {
  #lastSentAt: number;
  #cancel: () => void = () => {};
  #ended = false;

  constructor(
    readonly clock: Clock,
    readonly everyMs: number,
    /** Says something, where that makes sense. */
    readonly beat: () => void,
  ) {
    this.#lastSentAt = clock.now();
    this.#beatAfter(everyMs);
  }

  /** When something was said last (Unix ms). */
  get lastSentAt(): number {
    return this.#lastSentAt;
  }

  /** Something was said. */
  sent(): void {
    this.#lastSentAt = this.clock.now();
  }

  end(): void {
    this.#ended = true;
    this.#cancel();
  }

  #beatAfter(delayMs: number): void {
    this.#cancel = this.clock.after(delayMs, () => {
      const restMs = Math.min(this.#lastSentAt + this.everyMs - this.clock.now(), this.everyMs);
      if (restMs > 0) return this.#beatAfter(restMs);
      this.beat();
      if (!this.#ended) this.#beatAfter(this.everyMs);
    });
  }
}
