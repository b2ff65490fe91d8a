/**
 * Decides whose turn it is. The server does some work by itself for subscribers, such as running their queries again.
 * It does not begin all of it at once: callers take turns with one run each, and after each slice of runs everything
 * else is let through. So a caller with a thousand due runs holds up another caller by no more than the current run,
 * and ordinary calls by no more than a slice. All agents of a user are one caller here (`laneOf` in counted-as.ts);
 * otherwise the owner of a hundred agents would get a hundred turns.
 *
 * The time of a run counts against its caller. A caller over the budget rests: its runs come later, and none is lost.
 */
import type { Clock } from "./clock.js";

/** Work to do when its turn comes. Resolves with the milliseconds that it took; never rejects. */
export type Run = () => Promise<number>;

/** How much time one caller's runs may take. */
export interface Budget {
  /** Milliseconds of runs that a caller gets per second. */
  msPerSecond: number;
  /** The most that a resting caller can save up. */
  mostMs: number;
}

export interface TurnsParts {
  clock: Clock;
  /** Runs at the same time: of all callers, and of one. */
  atOnce: number;
  perCaller: number;
  /** A run begins beside others only if all together are expected to take no longer than this. */
  togetherMs: number;
  /** Undefined: no caller has to rest. */
  budget: Budget | undefined;
  /** Lets everything else that waits run first, and then calls back. */
  letOthersThrough?: (then: () => void) => void;
}

/** A place in the queue. */
export interface Turn {
  /** Says that `who` waits for the same run too. It then runs in the first turn of any of them. */
  join(who: string): void;
  /** Takes the run out of the queue. Does nothing once the run has begun. */
  withdraw(): void;
}

interface Lane {
  who: string;
  waiting: Set<Job>;
  running: number;
  isResting: boolean;
  /** What is left of the budget at `asOf`; negative if more was used. */
  savedMs: number;
  asOf: number;
}

interface Job {
  /** The lanes of all who wait for it; none once it has begun or was withdrawn. */
  lanes: Lane[];
  expectedMs: number;
  run: Run;
}

/** After this much work, others are let through. */
const sliceMs = 4;
/** The most runs in a slice. */
const mostTogether = 16;
/** The least that a run counts, because not all of its time is measured. */
const leastMs = 0.05;
/** The expected time of a run that is not known: longer than any slice, so nothing begins beside it. */
const unknownMs = 1e9;
/** How much a caller that used up its budget saves before its next run, so that it is not woken for each run. */
const savedAgainMs = 20;
/** While fewer callers than this are remembered, none is forgotten. */
const fewLanes = 1_000;

const none: Lane[] = [];

function first<T>(of: ReadonlySet<T>): T | undefined {
  return of.values().next().value;
}

/**
 * How runs take turns on a database. If the database works on one call at a time, it gets one run, or several that are
 * known to be short. If it works on many, most places are left to other calls, and two callers cannot keep a third one
 * out.
 */
export function turnsOn(callsAtOnce: number, clock: Clock, budget: Budget | undefined): TurnsParts {
  if (callsAtOnce === 1) return { clock, budget, atOnce: mostTogether, perCaller: mostTogether, togetherMs: sliceMs };
  const atOnce = Math.ceil(callsAtOnce / 3);
  return { clock, budget, atOnce, perCaller: Math.floor(atOnce / 3), togetherMs: Number.POSITIVE_INFINITY };
}

/** Runs work in turns by caller. */
export class Turns {
  readonly #parts: TurnsParts;
  readonly #letOthersThrough: (then: () => void) => void;
  readonly #lanes = new Map<string, Lane>();
  /** Lanes with work, in the order of their turns: those without a running run, and those that may have one more. */
  readonly #idle = new Set<Lane>();
  readonly #busy = new Set<Lane>();
  #running = 0;
  #expectedMs = 0;
  /** Time of runs since others were let through. */
  #spentMs = 0;
  #isWaiting = false;
  #pruneAt = fewLanes;

  constructor(parts: TurnsParts) {
    this.#parts = parts;
    this.#letOthersThrough = parts.letOthersThrough ?? setImmediate;
  }

  /** How many callers are remembered: those with work, or with less than their full budget. */
  get size(): number {
    return this.#lanes.size;
  }

  /**
   * Calls `run` in the turn of anybody in `who`, or at once if nothing else is running. `expectedMs` is what it took
   * the last time; undefined if unknown.
   */
  add(who: Iterable<string>, expectedMs: number | undefined, run: Run): Turn {
    const job: Job = { lanes: [], expectedMs: expectedMs ?? unknownMs, run };
    for (const each of who) this.#join(job, each);
    this.#go();
    return {
      join: (other) => {
        if (job.lanes.length === 0) return;
        this.#join(job, other);
        this.#go();
      },
      withdraw: () => this.#takeOut(job),
    };
  }

  #join(job: Job, who: string): void {
    const lane = this.#laneOf(who);
    if (lane.waiting.has(job)) return;
    job.lanes.push(lane);
    lane.waiting.add(job);
    this.#place(lane);
  }

  #takeOut(job: Job): void {
    for (const lane of job.lanes) {
      lane.waiting.delete(job);
      if (lane.waiting.size > 0) continue;
      this.#idle.delete(lane);
      this.#busy.delete(lane);
    }
    job.lanes = none;
  }

  /** Puts a lane that may have a run behind the others, unless it already has a place. */
  #place(lane: Lane): void {
    if (lane.waiting.size === 0 || lane.isResting) return;
    if (lane.running === 0) this.#idle.add(lane);
    else if (lane.running < this.#parts.perCaller) this.#busy.add(lane);
  }

  #go(): void {
    while (!this.#isWaiting && this.#running < this.#parts.atOnce) {
      const lane = this.#next(this.#idle) ?? this.#next(this.#busy);
      const job = lane && first(lane.waiting);
      if (!job) return;
      const fits = this.#expectedMs + job.expectedMs <= this.#parts.togetherMs;
      if (this.#running > 0 && !fits) return;
      this.#begin(lane, job);
    }
  }

  #next(lanes: Set<Lane>): Lane | undefined {
    for (;;) {
      const lane = first(lanes);
      if (!lane) return undefined;
      const restMs = this.#restOf(lane);
      if (restMs === 0) return lane;
      lanes.delete(lane);
      this.#rest(lane, restMs);
    }
  }

  #begin(lane: Lane, job: Job): void {
    this.#takeOut(job);
    this.#running += 1;
    this.#expectedMs += job.expectedMs;
    lane.running += 1;
    this.#idle.delete(lane);
    this.#busy.delete(lane);
    this.#place(lane);
    job.run().then(
      (tookMs) => this.#ended(lane, job, tookMs),
      () => this.#ended(lane, job, 0),
    );
  }

  #ended(lane: Lane, job: Job, tookMs: number): void {
    const countedMs = Math.max(tookMs, leastMs);
    this.#running -= 1;
    this.#expectedMs = this.#running === 0 ? 0 : this.#expectedMs - job.expectedMs;
    this.#spentMs += countedMs;
    lane.running -= 1;
    if (lane.running === 0) this.#busy.delete(lane);
    this.#charge(lane, countedMs);
    this.#place(lane);
    if (this.#isWaiting || (this.#idle.size === 0 && this.#busy.size === 0)) return;
    if (this.#spentMs < sliceMs) {
      this.#go();
      return;
    }
    this.#isWaiting = true;
    this.#letOthersThrough(() => {
      this.#isWaiting = false;
      this.#spentMs = 0;
      this.#go();
    });
  }

  #charge(lane: Lane, tookMs: number): void {
    const { budget } = this.#parts;
    if (!budget) return;
    lane.savedMs = this.#savedOf(lane, budget) - tookMs;
    lane.asOf = this.#parts.clock.now();
  }

  #savedOf(lane: Lane, { msPerSecond, mostMs }: Budget): number {
    // A clock that was set back takes nothing away.
    const passedMs = Math.max(0, this.#parts.clock.now() - lane.asOf);
    return Math.min(mostMs, lane.savedMs + (passedMs * msPerSecond) / 1_000);
  }

  /** How long a caller still has to rest before its next run. */
  #restOf(lane: Lane): number {
    const { budget } = this.#parts;
    if (!budget || lane.savedMs > 0) return 0;
    const saved = this.#savedOf(lane, budget);
    return saved > 0 ? 0 : Math.ceil(((savedAgainMs - saved) * 1_000) / budget.msPerSecond);
  }

  #rest(lane: Lane, restMs: number): void {
    lane.isResting = true;
    this.#parts.clock.after(restMs, () => {
      lane.isResting = false;
      this.#place(lane);
      this.#go();
    });
  }

  #laneOf(who: string): Lane {
    const known = this.#lanes.get(who);
    if (known) return known;
    if (this.#lanes.size >= this.#pruneAt) this.#prune();
    const { clock, budget } = this.#parts;
    const lane: Lane = {
      who,
      waiting: new Set(),
      running: 0,
      isResting: false,
      savedMs: budget?.mostMs ?? 0,
      asOf: clock.now(),
    };
    this.#lanes.set(who, lane);
    return lane;
  }

  /** Forgets lanes that are as good as new. */
  #prune(): void {
    const { budget } = this.#parts;
    for (const lane of this.#lanes.values()) {
      const isRested = !budget || this.#savedOf(lane, budget) >= budget.mostMs;
      if (isRested && lane.waiting.size === 0 && lane.running === 0) this.#lanes.delete(lane.who);
    }
    this.#pruneAt = Math.max(fewLanes, 2 * this.#lanes.size);
  }
}
