/** The timelines of the sessions that have sockets here, or are about to. */
import type { Logger } from "pino";
import type { Clock } from "../../../runtime/clock.js";
import { type Reread, Timeline } from "./timeline.js";

export class Timelines {
  readonly #held = new Map<string, { timeline: Timeline; holders: number }>();

  constructor(
    readonly clock: Clock,
    readonly log: Logger,
    /** Reads what came in a session after a stamp (timeline.ts). */
    readonly read: (sessionId: string, after: number) => Promise<Reread | undefined>,
  ) {}

  find(sessionId: string): Timeline | undefined {
    return this.#held.get(sessionId)?.timeline;
  }

  /** Has the session's notices collected until the returned function is called. */
  hold(sessionId: string): () => void {
    const held = this.#held.get(sessionId) ?? {
      timeline: new Timeline(this.clock, this.log, (after) => this.read(sessionId, after)),
      holders: 0,
    };
    this.#held.set(sessionId, held);
    held.holders += 1;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      held.holders -= 1;
      if (held.holders > 0) return;
      held.timeline.end();
      this.#held.delete(sessionId);
    };
  }

  /** Reads every session again. */
  async rereadAll(): Promise<void> {
    for (const sessionId of [...this.#held.keys()]) {
      this.find(sessionId)?.reread();
      // Not all at once: other work has its turn at the database in between. That takes time of the machine, not of the
      // clock.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}
