/**
 * Live queries: who has to look again after a commit (architecture.md section 4). A query that ran is watched by the slices
 * that it read; a commit wakes the watches of the slices that it touched. What wakes up runs the query again, so a watch
 * that is woken for nothing costs a re-run, and nothing else.
 *
 * Who is touched by a commit is known when it returns. A commit that touches many wakes a part of them then, and the rest
 * in later turns of the event loop.
 */
import type { Caller } from "../context.js";
import { ReadSet, sliceKey, type WriteSet } from "./read-and-write-sets.js";

/** A query of which this many commits were made since it read is taken as touched by one of them. */
const remembered = 1_024;
/** How many watches are woken in one turn of the event loop. */
const wokenAtOnce = 200;

/** What a query read, and which commits it cannot have seen. */
export interface Seen {
  reads: ReadSet;
  /** The number of the last commit before it began to read. */
  asOf: number;
  /** Whether its answer hangs on the instant at which it ran. */
  usedClock: boolean;
  /** The first instant at which its answer changes without a commit (Unix ms); undefined where none is known. */
  changesAt: number | undefined;
  /** How many milliseconds of work it was. */
  tookMs: number;
  /** Who asked, once that is known. */
  caller: Caller | undefined;
}

/** A query that reads to be watched. */
export interface Begun extends Seen {
  /** Its watch is there, or it was given up. */
  end(): void;
  /** Counts further work of it. */
  timed<T>(work: () => T): T;
}

/** A hold of what was read. */
export interface Watch {
  /** A commit has touched it: `wake` was called, or will be soon. */
  readonly isTouched: boolean;
  /** Nothing is called any more. */
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
  /** Undefined where nobody looked at what was written: anything may have been. */
  writes: WriteSet | undefined;
}

export class Watches {
  readonly #watches = new Map<string, Set<Watching>>();
  readonly #all = new Set<Watching>();
  /** Those that are touched and not woken yet. */
  #sleeping: Watching[] = [];
  readonly #recent: Commit[] = [];
  #commits = 0;
  #running = 0;
  /** How many times a commit woke a watch. */
  woken = 0;

  /** Whether it matters what a mutation writes: somebody watches, or reads in order to. */
  get isWatched(): boolean {
    return this.#all.size > 0 || this.#running > 0;
  }

  /** To be called before a query reads that will be watched. */
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

  /** Calls `wake` soon after a commit touched what was read, at once where one already did. It is called once. */
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

  /** Resolves once all are woken that are touched by now; undefined where they are. */
  awake(): Promise<void> | undefined {
    if (this.#sleeping.length === 0) return undefined;
    return new Promise((resolve) => this.#sleeping.push(new Watching([], resolve, this.#drop)));
  }

  /** Wakes whom a commit concerns. Without its writes, everybody. */
  committed(writes: WriteSet | undefined): void {
    if (writes?.isEmpty) return;
    this.#commits += 1;
    if (!this.isWatched) {
      // Nobody reads, so nobody can have missed it.
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

  /** Those that are touched now and were not before. */
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

/** The key of all slices of a column. */
function columnKey(table: string, column: string): string {
  return `${table} ${column}`;
}
