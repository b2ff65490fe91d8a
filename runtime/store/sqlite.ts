/**
 * SQLite: one connection and one serial executor. Writes that wait at the same moment share one transaction and one
 * flush to disk. A write that fails is undone alone, and no caller gets an answer to a write before the flush. Queries
 * run between these groups on the same connection: a second connection would lose its page cache at every commit of the
 * first.
 *
 * A handler awaits nothing but the database, and SQLite answers at once, so a whole group runs within one turn of the
 * event loop. A handler that waits for something else would hold up everybody; a watchdog ends it.
 */
import { mkdirSync, realpathSync, statSync } from "node:fs";
import { dirname } from "node:path";
import SqliteDatabase from "better-sqlite3";
import { Kysely, type KyselyProps } from "kysely";
import type { Database } from "../../schema/index.js";
import { CallError } from "../errors.js";
import { Aside } from "./aside.js";
import { sqliteDialect } from "./dialects.js";
import { Lease, type Observe } from "./lent-connection.js";
import { migrateToLatest } from "./migrate.js";
import { RoundRobin } from "./round-robin.js";
import { InTurns, kyselyOn, SerialDriver } from "./sqlite-connection.js";
import { makePrivately, narrow } from "./sqlite-files.js";
import type { Store, WriteTransaction } from "./store.js";

/** Most calls in one transaction. Bounds how long the first call of a group waits for the last. */
const largestGroup = 256;
/** Smaller for reads, since a group saves them only a begin and a commit. */
const largestReadGroup = 16;
/**
 * How long calls may run before the sockets get a turn; Node accepts one new connection per turn. A group that takes
 * longer ends after the call that is running.
 */
const longestTurnMs = 20;
/** After running for this long, a query lets the event loop run before its next statement. */
const longestReadMs = 10;
/**
 * The watchdog ends a group after this long. Real groups take far less; only a handler that waits for something other
 * than the database gets here.
 */
const watchdogMs = 5_000;

/**
 * How large the write-ahead log may grow during a read aside. SQLite can reuse none of it until that read ends, and
 * then copies all of it into the database at once.
 */
const largestLogBytes = 128 * 1_024 * 1_024;

interface Job {
  work(lease: Lease): Promise<unknown>;
  observe: Observe | undefined;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

type Settled = { ok: true; value: unknown } | { ok: false; error: unknown };

/** The store on SQLite. */
export class SqliteStore implements Store {
  readonly dialect = sqliteDialect;
  readonly #path: string;
  readonly #file: SqliteDatabase.Database;
  readonly #driver: SerialDriver;
  readonly #aside = new Aside();
  readonly #db: Kysely<Database>;
  readonly #kysely: KyselyProps;
  readonly #begin: SqliteDatabase.Statement;
  readonly #beginWrite: SqliteDatabase.Statement;
  readonly #commit: SqliteDatabase.Statement;
  readonly #rollback: SqliteDatabase.Statement;
  readonly #savepoint: SqliteDatabase.Statement;
  readonly #release: SqliteDatabase.Statement;
  readonly #undo: SqliteDatabase.Statement;
  readonly #reads = new RoundRobin<Job>();
  #writes: Job[] = [];
  #flushing: Promise<void> | undefined;

  constructor(path: string) {
    if (path !== ":memory:") {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      makePrivately(path);
    }
    this.#file = new SqliteDatabase(path, { timeout: 5_000 });
    this.#file.pragma("journal_mode = WAL");
    // SQLite puts the log beside the real file, not beside a link to it. We resolve the path only now because SQLite
    // may just have created the file that a link points to.
    this.#path = path === ":memory:" ? path : realpathSync(path);
    narrow(this.#path);
    // better-sqlite3 is compiled so that a reopened WAL database drops to NORMAL, which loses acknowledged writes on
    // power loss.
    this.#file.pragma("synchronous = FULL");
    this.#file.pragma("foreign_keys = ON");
    this.#file.pragma("cache_size = -262144");
    this.#file.pragma("wal_autocheckpoint = 4000");
    // Once SQLite reuses a log that grew during a long read, it shrinks the file to this size.
    this.#file.pragma("journal_size_limit = 16777216");
    this.#file.pragma("temp_store = MEMORY");
    // Without this, INSERT OR REPLACE would delete a row of the journal without running its trigger.
    this.#file.pragma("recursive_triggers = ON");
    // Overwrite what is deleted: a past location must not survive in a free page.
    this.#file.pragma("secure_delete = ON");
    this.#driver = new SerialDriver(this.#file);
    this.#kysely = kyselyOn(this.#driver);
    this.#db = new Kysely<Database>(this.#kysely);
    this.#begin = this.#file.prepare("begin");
    this.#beginWrite = this.#file.prepare("begin immediate");
    this.#commit = this.#file.prepare("commit");
    this.#rollback = this.#file.prepare("rollback");
    this.#savepoint = this.#file.prepare("savepoint call");
    this.#release = this.#file.prepare("release call");
    this.#undo = this.#file.prepare("rollback to call");
  }

  read<T>(work: (db: Kysely<Database>) => Promise<T>, observe?: Observe, who = ""): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#reads.push(who, { work: ({ db }) => work(db), observe, resolve: resolve as Job["resolve"], reject });
      this.#schedule();
    });
  }

  write<T>(work: (transaction: WriteTransaction) => Promise<T>, observe?: Observe): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#writes.push({
        observe,
        work: async (lease) => {
          const unawaited: Promise<unknown>[] = [];
          const value = await work({ db: lease.db, unawaited, nested: (part) => this.#nested(lease, part) });
          if (unawaited.length > 0) await Promise.all(unawaited);
          return value;
        },
        resolve: resolve as Job["resolve"],
        reject,
      });
      this.#schedule();
    });
  }

  /** The main connection keeps writing; this one reads the snapshot that its first statement saw. */
  readAside<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T> {
    return this.#aside.run(async () => {
      const file = new SqliteDatabase(this.#path, { readonly: true, timeout: 5_000 });
      try {
        file.pragma("temp_store = MEMORY");
        file.exec("begin");
        const driver = new SerialDriver(file);
        driver.mode = "read";
        const lease = new Lease(kyselyOn(driver), new InTurns(driver, 0, () => this.#requireRoom()));
        try {
          return await work(lease.db);
        } finally {
          lease.end();
        }
      } finally {
        // Only SQLite may close this: closing a descriptor of the file in any other way drops all locks that the
        // process holds on it.
        file.close();
      }
    });
  }

  #requireRoom(): void {
    this.#aside.requireOpen();
    if ((statSync(`${this.#path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > largestLogBytes) {
      throw new CallError("unavailable", "Too much was written meanwhile. Try again when less is going on.", {
        retryAfterMs: 60_000,
      });
    }
  }

  async check(): Promise<void> {
    await this.read(async (db) => db.selectFrom("agents").select("agentId").limit(1).execute());
  }

  async migrate(): Promise<void> {
    this.#driver.mode = "write";
    await migrateToLatest(this.#db, this.dialect);
    this.#driver.mode = "closed";
    // Otherwise the log would still contain what a migration erased.
    this.#file.pragma("wal_checkpoint(TRUNCATE)");
  }

  async close(): Promise<void> {
    await this.#aside.close();
    while (this.#flushing) await this.#flushing;
    this.#file.pragma("wal_checkpoint(TRUNCATE)");
    this.#file.close();
  }

  /**
   * Schedules a flush if none is scheduled. As long as each turn of the event loop brings more writes, the flush waits
   * one more turn: callers who were answered together ask again together, and a larger group costs hardly more.
   */
  #schedule(): void {
    if (this.#flushing) return;
    this.#flushing = new Promise((resolve) => {
      const flushUnlessGrowing = (before: number) => {
        const waiting = this.#writes.length;
        if (waiting > before && waiting < largestGroup) {
          setImmediate(flushUnlessGrowing, waiting);
          return;
        }
        void this.#flush().finally(() => {
          this.#flushing = undefined;
          resolve();
          // A caller who just got an answer may have queued another job before this ran.
          if (this.#writes.length > 0 || this.#reads.length > 0) this.#schedule();
        });
      };
      setImmediate(flushUnlessGrowing, 0);
    });
  }

  async #flush(): Promise<void> {
    let turnBeganAt = performance.now();
    while (this.#writes.length > 0 || this.#reads.length > 0) {
      // Let the event loop run. Callers queue the next job as soon as they are answered, and live queries never stop,
      // so without this pause the loop would never end: no socket would be read and no connection accepted.
      if (performance.now() - turnBeganAt > longestTurnMs) {
        await new Promise((resolve) => setImmediate(resolve));
        turnBeganAt = performance.now();
      }
      if (this.#writes.length > 0) await this.#runGroup("write", this.#writes.splice(0, largestGroup));
      if (this.#reads.length > 0) await this.#runGroup("read", this.#reads.take(largestReadGroup));
    }
  }

  async #runGroup(mode: "read" | "write", jobs: Job[]): Promise<void> {
    const settled = (await this.#transact(mode, jobs, false)) ?? (await this.#transact(mode, jobs, true)) ?? [];
    // Answer only now: before the commit nothing is durable.
    for (const [index, outcome] of settled.entries()) {
      const job = jobs[index];
      if (outcome.ok) job?.resolve(outcome.value);
      else job?.reject(outcome.error);
    }
  }

  /**
   * Runs the jobs in one transaction. Nearly every call that fails has written nothing by then, and a savepoint costs a
   * copy of each page written after it. So a group first runs without savepoints. If a call fails after it has written,
   * the whole group is rolled back and this returns undefined: the group must run again with a savepoint for each call.
   */
  async #transact(mode: "read" | "write", jobs: Job[], savepoints: boolean): Promise<Settled[] | undefined> {
    const settled: Settled[] = [];
    let watchdog: NodeJS.Timeout | undefined;
    const late = new Promise<"late">((resolve) => {
      watchdog = setTimeout(resolve, watchdogMs, "late");
    });
    try {
      (mode === "write" ? this.#beginWrite : this.#begin).run();
      this.#driver.mode = mode;
      const beganAt = performance.now();
      for (const [index, job] of jobs.entries()) {
        if (index > 0 && performance.now() - beganAt > longestTurnMs) {
          (mode === "write" ? this.#writes : this.#reads).unshift(...jobs.splice(index));
          break;
        }
        const writtenBefore = this.#driver.written;
        if (savepoints) this.#savepoint.run();
        const lease: Lease =
          mode === "write"
            ? new Lease(this.#kysely, this.#driver, job.observe)
            : new Lease(this.#kysely, new InTurns(this.#driver, longestReadMs, () => lease.requireOpen()), job.observe);
        const outcome = await Promise.race([settle(job, lease), late]);
        lease.end();
        if (outcome === "late") {
          this.#endStuckGroup(mode, jobs, index);
          return [];
        }
        // After a full disk or an I/O error SQLite has rolled the transaction back, and with it the writes of all its
        // calls.
        if (!this.#file.inTransaction) throw outcome.ok ? new Error("The transaction was lost") : outcome.error;
        if (!outcome.ok && this.#driver.written !== writtenBefore) {
          if (!savepoints) {
            this.#rollback.run();
            return jobs.length === 1 ? [outcome] : undefined;
          }
          this.#undo.run();
        }
        if (savepoints) this.#release.run();
        settled.push(outcome);
      }
      this.#commit.run();
      return settled;
    } catch (error) {
      if (this.#file.inTransaction) this.#rollback.run();
      return jobs.map(() => ({ ok: false, error: unavailable(error) }));
    } finally {
      this.#driver.mode = "closed";
      clearTimeout(watchdog);
    }
  }

  /** Rolls the group back, fails the call that waited for something else, and puts the others back in the queue. */
  #endStuckGroup(mode: "read" | "write", jobs: Job[], stuck: number): void {
    this.#rollback.run();
    const [culprit] = jobs.splice(stuck, 1);
    culprit?.reject(new Error("The handler awaited something other than ctx.db"));
    (mode === "write" ? this.#writes : this.#reads).unshift(...jobs);
  }

  async #nested<T>(outer: Lease, work: (db: Kysely<Database>) => Promise<T>): Promise<T> {
    const lease = new Lease(this.#kysely, outer);
    this.#file.exec("savepoint nested");
    try {
      const value = await work(lease.db);
      if (outer.ended) throw new Error("The call's transaction has ended");
      this.#file.exec("release nested");
      return value;
    } catch (error) {
      // If the watchdog ended the call, its savepoint is gone, and this rollback would hit another call's.
      if (!outer.ended && this.#file.inTransaction) this.#file.exec("rollback to nested; release nested");
      throw error;
    } finally {
      lease.end();
    }
  }
}

async function settle(job: Job, lease: Lease): Promise<Settled> {
  try {
    return { ok: true, value: await job.work(lease) };
  } catch (error) {
    return { ok: false, error };
  }
}

/**
 * Makes `unavailable` of an error that says the database is locked, full or failing: the caller did nothing wrong and
 * can try later.
 */
function unavailable(error: unknown): unknown {
  const code = error instanceof SqliteDatabase.SqliteError ? error.code : "";
  if (!/^SQLITE_(BUSY|FULL|IOERR|LOCKED|READONLY|CANTOPEN|NOMEM)/.test(code)) return error;
  return Object.assign(
    new CallError("unavailable", "The database cannot write now. Try again later.", { retryAfterMs: 1_000 }),
    {
      cause: error,
    },
  );
}
