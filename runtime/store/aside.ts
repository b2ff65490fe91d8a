/**
 * What reads so much that it may not hold the others up: one after the other, on a connection of its own that the store
 * opens for it (runtime/store/store.ts). It waits for its turn, not for the calls that others make, and they not for it.
 */
import { CallError } from "../errors.js";

/** How many may wait for the one that runs. */
const mostWaiting = 4;

export class Aside {
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #isClosed = false;

  /** Refuses where too many wait already, and once the store closes. */
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

  /** To be asked before each step, so that what runs for minutes does not outlive the server. */
  requireOpen(): void {
    if (this.#isClosed)
      throw new CallError("unavailable", "The server stops. Try again later.", { retryAfterMs: 5_000 });
  }

  /** Resolves once nothing runs any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#last;
  }
}
