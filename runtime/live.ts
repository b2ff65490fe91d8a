/**
 * Live queries: who has to look again after a commit (design.md section 4). A query that ran is watched by the slices
 * that it read; a commit wakes the watches of the slices that it touched. What wakes up runs the query again, so a watch
 * that is woken for nothing costs a re-run, and nothing else.
 */
import type { Caller } from "./context.js";
import { ReadSet, sliceKey, type WriteSet } from "./slices.js";

/** A query of which this many commits were made since it read is taken as touched by one of them. */
const remembered = 1_024;

/** What a query read, and which commits it cannot have seen. */
export interface Seen {
  reads: ReadSet;
  /** The number of the last commit before it began to read. */
  asOf: number;
  /** Whether its answer hangs on the instant at which it ran. */
  usedClock: boolean;
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

interface Watch {
  keys: string[];
  wake(): void;
}

interface Commit {
  number: number;
  /** Undefined where nobody looked at what was written: anything may have been. */
  writes: WriteSet | undefined;
}

export class LiveQueries {
  readonly #watches = new Map<string, Set<Watch>>();
  readonly #all = new Set<Watch>();
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

  /** Calls `wake` once a commit touched what was read, at once where one already did. It is called once. */
  watch({ reads, asOf }: Seen, wake: () => void): () => void {
    if (this.#missed(reads, asOf)) {
      queueMicrotask(wake);
      return () => {};
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
    const watch: Watch = { keys, wake };
    this.#all.add(watch);
    for (const key of keys) {
      const watches = this.#watches.get(key);
      if (watches) watches.add(watch);
      else this.#watches.set(key, new Set([watch]));
    }
    return () => this.#drop(watch);
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
    for (const watch of writes ? this.#touched(writes) : [...this.#all]) {
      this.#drop(watch);
      this.woken += 1;
      watch.wake();
    }
  }

  #touched(writes: WriteSet): Set<Watch> {
    const touched = new Set<Watch>();
    const add = (key: string) => {
      for (const watch of this.#watches.get(key) ?? []) touched.add(watch);
    };
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

  #drop(watch: Watch): void {
    this.#all.delete(watch);
    for (const key of watch.keys) {
      const watches = this.#watches.get(key);
      watches?.delete(watch);
      if (watches?.size === 0) this.#watches.delete(key);
    }
  }
}

/** The key of all slices of a column. */
function columnKey(table: string, column: string): string {
  return `${table} ${column}`;
}
