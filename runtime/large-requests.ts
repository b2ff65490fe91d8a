/**
 * Gives large bodies and frames a turn to be parsed in. To parse a megabyte holds everything else up for some
 * milliseconds, and many that come at the same moment would hold it up for all of theirs. So one is parsed at a time,
 * their addresses take turns, and everything else runs before the next. The time counts against the address, as the
 * runs of live queries count against their callers (turns.ts).
 */
import type { Clock } from "./clock.js";
import { largeRequests } from "./limits.js";
import { Turns } from "./turns.js";

const MiB = 1024 * 1024;

/** Gives out the turns. */
export class LargeRequests {
  readonly #turns: Turns;

  /** With `byAddress`, an address that used up its budget waits. */
  constructor(clock: Clock, byAddress: boolean) {
    const budget = byAddress ? largeRequests : undefined;
    this.#turns = new Turns({ clock, atOnce: 1, perCaller: 1, togetherMs: 0, budget });
  }

  /** Resolves when `bytes` may be parsed; undefined if they may be at once. */
  turn(address: string, bytes: number): Promise<void> | undefined {
    if (bytes <= largeRequests.smallBytes) return undefined;
    const tookMs = (bytes / MiB) * largeRequests.msPerMiB;
    return new Promise((resolve) => {
      this.#turns.add([address], tookMs, async () => {
        resolve();
        // Otherwise the next one would begin in the same turn of the event loop.
        await new Promise(setImmediate);
        return tookMs;
      });
    });
  }
}
