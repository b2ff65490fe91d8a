/**
 * SQLite: one connection and one serial executor. Writes that wait at the same moment share one transaction and one
 * flush to disk, and one that fails is undone alone; no caller hears of its write before that flush. Queries run between the
 * groups, on the same connection: a second connection would lose its page cache at every commit of the first.
 *
 * A handler awaits nothing but the database, which answers at once here, so a whole group runs inside one turn of the
 * event loop. A handler that waits for something else would hold everybody up: the watchdog ends it.
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

/** Most calls that share one transaction: bounds how long the first of them waits for the last. */
const largestGroup = 256;
/** For reads it saves no more than a begin and a commit. */
const largestReadGroup = 16;
/**
 * How long calls may run before the sockets have a turn: Node takes one new connection in each. A group that takes longer
 * ends with the call that is on.
 */
const longestTurnMs = 20;
/** A query of many statements lets the event loop have a turn before its next one once it has gone on for this long. */
const longestReadMs = 10;
/** How long a group may take. Far above any real one; only a handler that waits for something else gets here. */
const watchdogMs = 5_000;

/**
 * How far the log of writes may grow while somebody reads aside: until they are done nothing of it can be used again, and
 * what it has grown to is copied in one go afterwards.
 */
const largestLogBytes = 128 * 1_024 * 1_024;

interface Job {
  work(lease: Lease): Promise<unknown>;
  observe: Observe | undefined;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

type Settled = { ok: true; value: unknown } | { ok: false; error: unknown };

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
    // The log is beside the file itself, wherever a link to it is; and one that led nowhere made the file only now.
    this.#path = path === ":memory:" ? path : realpathSync(path);
    narrow(this.#path);
    // better-sqlite3 is compiled so that a reopened WAL database drops to NORMAL, which loses acknowledged writes on power loss.
    this.#file.pragma("synchronous = FULL");
    this.#file.pragma("foreign_keys = ON");
    this.#file.pragma("cache_size = -262144");
    this.#file.pragma("wal_autocheckpoint = 4000");
    // A log that grew behind a long read shrinks again once it is used anew.
    this.#file.pragma("journal_size_limit = 16777216");
    this.#file.pragma("temp_store = MEMORY");
    // Without it, a row of the journal that is replaced (INSERT OR REPLACE) would be deleted past its trigger.
    this.#file.pragma("recursive_triggers = ON");
    // What is deleted is overwritten: a spent location must not survive in a free page.
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

  /** The main connection goes on writing: what is read here is the snapshot of the first statement. */
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
        // Through SQLite alone: whoever closes a descriptor of this file in another way loses the process its locks.
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
    // What a migration erased would go on standing in the log.
    this.#file.pragma("wal_checkpoint(TRUNCATE)");
  }

  async close(): Promise<void> {
    await this.#aside.close();
    while (this.#flushing) await this.#flushing;
    this.#file.pragma("wal_checkpoint(TRUNCATE)");
    this.#file.close();
  }

  /**
   * The first job schedules the flush, and as long as each turn of the event loop brings more writes, the flush waits for
   * one more: callers who were answered together ask again together, and a larger group costs hardly more.
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
          // A caller that just heard its answer may have asked again before this ran.
          if (this.#writes.length > 0 || this.#reads.length > 0) this.#schedule();
        });
      };
      setImmediate(flushUnlessGrowing, 0);
    });
  }

  async #flush(): Promise<void> {
    let turnBeganAt = performance.now();
    while (this.#writes.length > 0 || this.#reads.length > 0) {
      // Whoever is answered asks again at once, and live queries do for ever: nobody else would be heard, nor let in.
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
    // Only now is anything durable, so only now does anybody hear of it.
    for (const [index, outcome] of settled.entries()) {
      const job = jobs[index];
      if (outcome.ok) job?.resolve(outcome.value);
      else job?.reject(outcome.error);
    }
  }

  /**
   * Runs the jobs in one transaction. Nearly every call that fails has written nothing by then, and a savepoint costs a
   * copy of each page that is written behind it; so a group first runs without them, and if a call does fail after it
   * wrote, the group is undone and the answer is undefined: it must run again with a savepoint for each call.
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
        // A full disk or an I/O error ends the transaction on SQLite's side: then nobody's write is there.
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

  /** Undoes the group, fails the one call that waited for something else, and lets the others run again. */
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
      // A call that the watchdog ended has no savepoint any more: this one would be somebody else's.
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

/** A database that is locked, full or failing is a reason to try later, not the caller's mistake. */
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
