/**
 * A queue for reads that go through whole tables. They run one after the other, on a connection of their own that the
 * store opens (runtime/store/store.ts), so that they and ordinary calls do not hold each other up.
 */
import { CallError } from "../errors.js";

/** How many reads may wait behind the one that runs. */
const mostWaiting = 4;

/** Runs one read at a time, each on its own connection. */
export class Aside {
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #isClosed = false;

  /**
   * Runs `work` once the reads before it have ended. Throws `unavailable` if too many wait already or the store is
   * closing.
   */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting > mostWaiting) {
      throw new CallError("unavailable", "Others wait for the same already. Try again later.", {
        retryAfterMs: 10_000,
      });
    }
    this.#waiting += 1;
    const before = this.#last;
    const mine = before.then(() => {
      this.requireOpen();
      return work();
    });
    this.#last = mine.then(
      () => {},
      () => {},
    );
    try {
      return await mine;
    } finally {
      this.#waiting -= 1;
    }
  }

  /**
   * Throws `unavailable` once the store is closing. Called before each step, so that a read of some minutes does not
   * outlive the server.
   */
  requireOpen(): void {
    if (this.#isClosed)
      throw new CallError("unavailable", "The server stops. Try again later.", { retryAfterMs: 5_000 });
  }

  /** Refuses new reads and resolves once the last one has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#last;
  }
}
