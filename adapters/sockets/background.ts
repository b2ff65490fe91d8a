/**
 * Work that nobody waits for. Word of a socket that is gone has to reach the database even if that is away for a
 * moment. The server waits for such work before it closes the database.
 */
import type { Logger } from "pino";
import type { Clock } from "../../runtime/clock.js";

const retryMs = 1_000;

export class Background {
  readonly #running = new Set<Promise<void>>();
  #refusing = false;

  constructor(
    readonly clock: Clock,
    readonly log: Logger,
  ) {}

  /** Has `stop` wait for the work. */
  track<T>(work: Promise<T>): Promise<T> {
    const forget = () => {
      this.#running.delete(done);
    };
    const done: Promise<void> = work.then(forget, forget);
    this.#running.add(done);
    return work;
  }

  /** Runs the work, again and again until it succeeds. */
  ensure(what: string, work: () => Promise<unknown>): void {
    if (this.#refusing) return;
    const attempt = work().catch((error: unknown) => {
      this.log.warn({ err: error }, `${what} failed; it will be tried again`);
      this.clock.after(retryMs, () => this.ensure(what, work));
    });
    void this.track(attempt);
  }

  /** Takes no more work to ensure. */
  refuse(): void {
    this.#refusing = true;
  }

  /** Resolves once nothing runs. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async stop(): Promise<void> {
    this.refuse();
    await this.idle();
  }
}
