/**
 * Whose turn it is. Work that the server does by itself for those who subscribed, such as running their queries again, is
 * not begun all at once: one caller after the other has one run, and behind each slice of runs everything else is let
 * through. So a caller with a thousand runs that are due holds up another one by no more than the run that is on, and
 * ordinary calls by no more than a slice. All agents of a user are one caller here (`laneOf` in limits.ts), or whoever has
 * a hundred of them would have a hundred turns.
 *
 * What a run took counts against its caller. Over the budget a caller rests, and its runs come later; none is lost.
 */
import type { Clock } from "./clock.js";

/** A run, once its turn has come. Resolves with the milliseconds that it took; it does not reject. */
export type Run = () => Promise<number>;

export interface Budget {
  /** Milliseconds of runs that a caller gets in each second. */
  msPerSecond: number;
  /** What a caller that rested has saved up at most. */
  mostMs: number;
}

export interface TurnsParts {
  clock: Clock;
  /** Runs that are on at the same time, of all callers and of one. */
  atOnce: number;
  perCaller: number;
  /** Runs are begun beside others only as long as all together are known to take no longer. */
  togetherMs: number;
  /** Undefined: nobody's runs are delayed for what they took. */
  budget: Budget | undefined;
  /** Has everything else that waits go first, and then calls back. */
  letOthersThrough?: (then: () => void) => void;
}

/** A place in the queue. */
export interface Turn {
  /** Somebody else waits for the same run: it is theirs as well, and comes with whoever's turn is first. */
  join(who: string): void;
  /** Nobody waits for it any more. Once it has begun this does nothing. */
  withdraw(): void;
}

interface Lane {
  who: string;
  waiting: Set<Job>;
  running: number;
  isResting: boolean;
  /** Of the budget, at that instant; below nothing where more was used. */
  savedMs: number;
  asOf: number;
}

interface Job {
  /** Of all who wait for it; none once it has begun or was withdrawn. */
  lanes: Lane[];
  expectedMs: number;
  run: Run;
}

/** After this much work others are let through. */
const sliceMs = 4;
/** Runs in a slice. */
const mostTogether = 16;
/** What a run counts at least, as not all of what it takes is measured. */
const leastMs = 0.05;
/** What a run is taken for that is not known: longer than any slice, so nothing is begun beside it. */
const unknownMs = 1e9;
/** What a caller that used its budget up has saved again before its next run, so that it is not woken for each. */
const savedAgainMs = 20;
/** With fewer callers than this it is not looked for those that can be forgotten. */
const fewLanes = 1_000;

const none: Lane[] = [];

function first<T>(of: ReadonlySet<T>): T | undefined {
  return of.values().next().value;
}

/**
 * How runs that read the database take turns. One that works on a call at a time gets one run, or several that are known
 * to be short. Of one that works on many, other calls keep the larger part, and two callers do not keep a third one out.
 */
export function turnsOn(callsAtOnce: number, clock: Clock, budget: Budget | undefined): TurnsParts {
  if (callsAtOnce === 1) return { clock, budget, atOnce: mostTogether, perCaller: mostTogether, togetherMs: sliceMs };
  const atOnce = Math.ceil(callsAtOnce / 3);
  return { clock, budget, atOnce, perCaller: Math.floor(atOnce / 3), togetherMs: Number.POSITIVE_INFINITY };
}

export class Turns {
  readonly #parts: TurnsParts;
  readonly #letOthersThrough: (then: () => void) => void;
  readonly #lanes = new Map<string, Lane>();
  /** Those with work and none of it on, in the order of their turns; and those who may have one more run beside theirs. */
  readonly #idle = new Set<Lane>();
  readonly #busy = new Set<Lane>();
  #running = 0;
  #expectedMs = 0;
  /** Since others were let through. */
  #spentMs = 0;
  #isWaiting = false;
  #pruneAt = fewLanes;

  constructor(parts: TurnsParts) {
    this.#parts = parts;
    this.#letOthersThrough = parts.letOthersThrough ?? setImmediate;
  }

  /** Callers that are remembered: they have work, or have used some of their budget. */
  get size(): number {
    return this.#lanes.size;
  }

  /**
   * Has `run` called in the turn of whoever waits for it, at once where nothing else is on. `expectedMs` is what it took
   * the last time, undefined where that is not known.
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

  /** Puts a caller that may have a run behind the others, unless it has its place among them. */
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

  /** How long a caller has to rest before its next run. */
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

  /** Forgets those that would be no other if they came anew. */
  #prune(): void {
    const { budget } = this.#parts;
    for (const lane of this.#lanes.values()) {
      const isRested = !budget || this.#savedOf(lane, budget) >= budget.mostMs;
      if (isRested && lane.waiting.size === 0 && lane.running === 0) this.#lanes.delete(lane.who);
    }
    this.#pruneAt = Math.max(fewLanes, 2 * this.#lanes.size);
  }
}
