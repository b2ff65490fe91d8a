/**
 * Work that needs one of a few places. Those who want one take turns: whoever has asked for much waits behind its own
 * work, not in front of somebody else's first.
 */

interface Waiting {
  start(): void;
  refuse(): void;
}

export interface FairQueueLimits {
  /** Works at the same moment. */
  atOnce: number;
  /** What waits, in all and of one. */
  waiting: number;
  waitingOfOne: number;
}

export class FairQueue {
  readonly #limits: FairQueueLimits;
  /** By who asked, whose turn comes next first. */
  readonly #waiting = new Map<string, Waiting[]>();
  #count = 0;
  #running = 0;

  /** `refusal` makes the error for whoever is not let in. */
  constructor(
    limits: FairQueueLimits,
    readonly refusal: () => Error,
  ) {
    this.#limits = limits;
  }

  async run<T>(who: string, work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#limits.atOnce) this.#running += 1;
    else await this.#wait(who);
    try {
      return await work();
    } finally {
      // Whoever is next takes this place over, so the count stays.
      const next = this.#next();
      if (next) next.start();
      else this.#running -= 1;
    }
  }

  #wait(who: string): Promise<void> {
    const own = this.#waiting.get(who)?.length ?? 0;
    if (own >= this.#limits.waitingOfOne) throw this.refusal();
    if (this.#count >= this.#limits.waiting && !this.#makeRoom(own)) throw this.refusal();
    return new Promise((start, refuse) => {
      const entry = { start, refuse: () => refuse(this.refusal()) };
      const mine = this.#waiting.get(who);
      if (mine) mine.push(entry);
      else this.#waiting.set(who, [entry]);
      this.#count += 1;
    });
  }

  /** Refuses the newest of who has the most waiting, if that is more than the newcomer will have. */
  #makeRoom(own: number): boolean {
    let longest: Waiting[] = [];
    for (const theirs of this.#waiting.values()) if (theirs.length > longest.length) longest = theirs;
    if (longest.length <= own + 1) return false;
    longest.pop()?.refuse();
    this.#count -= 1;
    return true;
  }

  #next(): Waiting | undefined {
    const [first] = this.#waiting;
    if (!first) return undefined;
    const [who, theirs] = first;
    const next = theirs.shift();
    this.#waiting.delete(who);
    if (theirs.length > 0) this.#waiting.set(who, theirs);
    this.#count -= 1;
    return next;
  }
}
