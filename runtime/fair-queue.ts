/**
 * A queue for work that needs one of a few places. Callers take turns: a caller who asked for much waits behind their
 * own work, and does not hold up others.
 */

interface Waiting {
  who: string;
  start(): void;
  refuse(): void;
}

/** How much may run and wait. */
export interface FairQueueLimits {
  /** How many jobs run at the same time: in all, and of one caller. */
  atOnce: number;
  atOnceOfOne: number;
  /** How many jobs may wait: in all, and of one caller. */
  waiting: number;
  waitingOfOne: number;
}

/** Runs jobs in turns by caller. */
export class FairQueue {
  readonly #limits: FairQueueLimits;
  /** By caller. The caller whose turn is next comes first. */
  readonly #waiting = new Map<string, Waiting[]>();
  #count = 0;
  #running = 0;
  readonly #runningOf = new Map<string, number>();

  /** `refusal` makes the error for a job that is not let in. */
  constructor(
    limits: FairQueueLimits,
    readonly refusal: () => Error,
  ) {
    this.#limits = limits;
  }

  async run<T>(who: string, work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#limits.atOnce && this.#mayRun(who)) this.#begin(who);
    else await this.#wait(who);
    try {
      return await work();
    } finally {
      this.#end(who);
      const next = this.#next();
      if (next) {
        this.#begin(next.who);
        next.start();
      }
    }
  }

  #mayRun(who: string): boolean {
    return (this.#runningOf.get(who) ?? 0) < this.#limits.atOnceOfOne;
  }

  #begin(who: string): void {
    this.#running += 1;
    this.#runningOf.set(who, (this.#runningOf.get(who) ?? 0) + 1);
  }

  #end(who: string): void {
    this.#running -= 1;
    const others = (this.#runningOf.get(who) ?? 1) - 1;
    if (others > 0) this.#runningOf.set(who, others);
    else this.#runningOf.delete(who);
  }

  #wait(who: string): Promise<void> {
    const own = this.#waiting.get(who)?.length ?? 0;
    if (own >= this.#limits.waitingOfOne) throw this.refusal();
    if (this.#count >= this.#limits.waiting && !this.#makeRoom(own)) throw this.refusal();
    return new Promise((start, refuse) => {
      const entry = { who, start, refuse: () => refuse(this.refusal()) };
      const mine = this.#waiting.get(who);
      if (mine) mine.push(entry);
      else this.#waiting.set(who, [entry]);
      this.#count += 1;
    });
  }

  /** Refuses the newest job of the caller with the most waiting, if that is more than the newcomer will have. */
  #makeRoom(own: number): boolean {
    let longest: Waiting[] = [];
    for (const theirs of this.#waiting.values()) if (theirs.length > longest.length) longest = theirs;
    if (longest.length <= own + 1) return false;
    longest.pop()?.refuse();
    this.#count -= 1;
    return true;
  }

  /** The next job: of the callers who may have one more, the one who has waited longest. */
  #next(): Waiting | undefined {
    for (const [who, theirs] of this.#waiting) {
      if (!this.#mayRun(who)) continue;
      const next = theirs.shift();
      this.#waiting.delete(who);
      if (theirs.length > 0) this.#waiting.set(who, theirs);
      this.#count -= 1;
      return next;
    }
    return undefined;
  }
}
