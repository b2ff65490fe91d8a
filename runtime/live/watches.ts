/**
 * Live queries: finds the queries that must run again after a commit (architecture.md section 4). A query that ran is
 * watched by the slices that it read, and a commit wakes the watches of the slices that it touched. Whoever is woken
 * runs the query again, so a watch that is woken for nothing costs a re-run and nothing else.
 *
 * Which watches a commit touches is known when `committed` returns. If there are many, it wakes some of them at once
 * and the rest in later turns of the event loop.
 */
import type { Caller } from "../context.js";
import { ReadSet, sliceKey, type WriteSet } from "./read-and-write-sets.js";

/** How many commits are remembered. A query that began before all of these counts as touched. */
const remembered = 1_024;
/** How many watches are woken per turn of the event loop. */
const wokenAtOnce = 200;

/** What a query read, and from which commit on it may have missed something. */
export interface Seen {
  reads: ReadSet;
  /** The number of the last commit before the query began to read. */
  asOf: number;
  /** Whether the answer depends on the current time. */
  usedClock: boolean;
  /** The first instant at which the answer changes without a commit (Unix ms); undefined if none is known. */
  changesAt: number | undefined;
  /** How long the query worked, in milliseconds. */
  tookMs: number;
  /** The caller, once known. */
  caller: Caller | undefined;
}

/** A query that is reading and will be watched. */
export interface Begun extends Seen {
  /** Must be called once the query is watched or given up. */
  end(): void;
  /** Runs `work` and counts its time as the query's. */
  timed<T>(work: () => T): T;
}

/** Watches what one query has read. */
export interface Watch {
  /** Whether a commit has touched it: `wake` was called, or will be soon. */
  readonly isTouched: boolean;
  /** Ends the watch: `wake` will not be called any more. */
  end(): void;
}

class Watching implements Watch {
  isTouched = false;
  isEnded = false;

  constructor(
    readonly keys: readonly string[],
    readonly wake: () => void,
    readonly drop: (watch: Watching) => void,
  ) {}

  end(): void {
    this.isEnded = true;
    this.drop(this);
  }
}

interface Commit {
  number: number;
  /** Undefined if the writes were not recorded: they may touch anything. */
  writes: WriteSet | undefined;
}

/** All watches of a process. */
export class Watches {
  readonly #watches = new Map<string, Set<Watching>>();
  readonly #all = new Set<Watching>();
  /** Watches that are touched and not yet woken. */
  #sleeping: Watching[] = [];
  readonly #recent: Commit[] = [];
  #commits = 0;
  #running = 0;
  /** How many watches commits have woken in all. */
  woken = 0;

  /** Whether anybody watches, or reads in order to watch: only then do a mutation's writes matter. */
  get isWatched(): boolean {
    return this.#all.size > 0 || this.#running > 0;
  }

  /** Must be called before a query reads that will be watched. */
  begin(): Begun {
    this.#running += 1;
    let ended = false;
    const end = () => {
      if (!ended) this.#running -= 1;
      ended = true;
    };
    const seen: Begun = {
      reads: new ReadSet(),
      asOf: this.#commits,
      usedClock: false,
      changesAt: undefined,
      tookMs: 0,
      caller: undefined,
      end,
      timed: (work) => {
        const beganAt = performance.now();
        const done = work();
        seen.tookMs += performance.now() - beganAt;
        return done;
      },
    };
    return seen;
  }

  /** Calls `wake` once, soon after a commit touches what was read, or right away if one already has. */
  watch({ reads, asOf }: Seen, wake: () => void): Watch {
    if (this.#missed(reads, asOf)) {
      queueMicrotask(wake);
      return { isTouched: true, end: () => {} };
    }
    const keys: string[] = [];
    for (const [table, columns] of reads.slices) {
      for (const [column, slices] of columns) {
        if (column === null) keys.push(sliceKey(table, null, ""));
        else {
          keys.push(columnKey(table, column));
          for (const value of slices) keys.push(sliceKey(table, column, value));
        }
      }
    }
    const watch = new Watching(keys, wake, this.#drop);
    this.#all.add(watch);
    for (const key of keys) {
      const watches = this.#watches.get(key);
      if (watches) watches.add(watch);
      else this.#watches.set(key, new Set([watch]));
    }
    return watch;
  }

  /** Resolves once all watches that are touched now are woken; undefined if they already are. */
  awake(): Promise<void> | undefined {
    if (this.#sleeping.length === 0) return undefined;
    return new Promise((resolve) => this.#sleeping.push(new Watching([], resolve, this.#drop)));
  }

  /** Wakes the watches that a commit touches, or all of them if its writes were not recorded. */
  committed(writes: WriteSet | undefined): void {
    if (writes?.isEmpty) return;
    this.#commits += 1;
    if (!this.isWatched) {
      // No query is reading, so none can have missed this commit.
      this.#recent.length = 0;
      return;
    }
    this.#recent.push({ number: this.#commits, writes });
    if (this.#recent.length > remembered) this.#recent.shift();
    const touched = this.#touched(writes);
    this.woken += touched.length;
    const rest = touched.length > wokenAtOnce ? touched.splice(wokenAtOnce) : [];
    this.#wake(touched);
    if (rest.length === 0) return;
    const isWaking = this.#sleeping.length > 0;
    for (const watch of rest) this.#sleeping.push(watch);
    if (!isWaking) setImmediate(this.#wakeMore);
  }

  readonly #wakeMore = (): void => {
    this.#wake(this.#sleeping.splice(0, wokenAtOnce));
    if (this.#sleeping.length > 0) setImmediate(this.#wakeMore);
  };

  #wake(watches: readonly Watching[]): void {
    for (const watch of watches) {
      if (watch.isEnded) continue;
      this.#drop(watch);
      watch.wake();
    }
  }

  /** The watches that this commit touches and none before did. */
  #touched(writes: WriteSet | undefined): Watching[] {
    const touched: Watching[] = [];
    const take = (watches: ReadonlySet<Watching> | undefined) => {
      for (const watch of watches ?? []) {
        if (watch.isTouched) continue;
        watch.isTouched = true;
        touched.push(watch);
      }
    };
    if (!writes) {
      take(this.#all);
      return touched;
    }
    const add = (key: string) => take(this.#watches.get(key));
    for (const [table, columns] of writes.tables) {
      add(sliceKey(table, null, ""));
      for (const [column, values] of columns) {
        if (values === "all") add(columnKey(table, column));
        else for (const value of values) add(sliceKey(table, column, value));
      }
    }
    return touched;
  }

  #missed(reads: ReadSet, asOf: number): boolean {
    if (this.#commits === asOf || reads.slices.size === 0) return false;
    const oldest = this.#recent[0]?.number ?? this.#commits + 1;
    if (oldest > asOf + 1) return true;
    return this.#recent.some(({ number, writes }) => number > asOf && (!writes || reads.touchedBy(writes)));
  }

  readonly #drop = (watch: Watching): void => {
    this.#all.delete(watch);
    for (const key of watch.keys) {
      const watches = this.#watches.get(key);
      watches?.delete(watch);
      if (watches?.size === 0) this.#watches.delete(key);
    }
  };
}

/** The key under which all watches of a column are found, whatever their slice. */
function columnKey(table: string, column: string): string {
  return `${table} ${column}`;
}
