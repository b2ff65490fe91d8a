/**
 * Turns of what is large: to take a megabyte apart holds everything else up for some milliseconds, and many that come at
 * the same moment would hold it up for all of theirs. One is dealt with at a time, the addresses that they come from in
 * turn, and everything else is let through before the next. What it takes counts against its address, as the runs of live
 * queries do (turns.ts).
 */
import type { Clock } from "./clock.js";
import { largeRequests } from "./limits.js";
import { Turns } from "./turns.js";

const MiB = 1024 * 1024;

export class LargeRequests {
  readonly #turns: Turns;

  /** `byAddress`: whether an address has to wait for what it took before. */
  constructor(clock: Clock, byAddress: boolean) {
    const budget = byAddress ? largeRequests : undefined;
    this.#turns = new Turns({ clock, atOnce: 1, perCaller: 1, togetherMs: 0, budget });
  }

  /** Resolves when so many bytes may be parsed; undefined where they may be at once. */
  turn(address: string, bytes: number): Promise<void> | undefined {
    if (bytes <= largeRequests.smallBytes) return undefined;
    const tookMs = (bytes / MiB) * largeRequests.msPerMiB;
    return new Promise((resolve) => {
      this.#turns.add([address], tookMs, async () => {
        resolve();
        // Those that came with it would else begin in the same turn of the event loop.
        await new Promise(setImmediate);
        return tookMs;
      });
    });
  }
}
