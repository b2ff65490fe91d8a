/**
 * PostgreSQL: a pool of connections, and one transaction per call. Statements are pipelined: BEGIN travels with the
 * first statement, and statements that a handler starts together share a round trip. A write that lost a race runs
 * again.
 */
import { Kysely, type KyselyProps, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from "kysely";
import pg from "pg";
import type { Database } from "../../schema/index.js";
import { CallError } from "../errors.js";
import { FairQueue } from "../fair-queue.js";
import { Aside } from "./aside.js";
import { askingForPartitions } from "./changed-rows.js";
import { postgresDialect } from "./dialects.js";
import { Lease, type Observe } from "./lent-connection.js";
import { migrateToLatest } from "./migrate.js";
import { PostgresDriver } from "./postgres-connection.js";
import { isConflict, isLost, sqlState, takenKey, unavailableIfLost, voidTransaction } from "./postgres-errors.js";
import { OutcomeUnknown, type Store, type WriteTransaction } from "./store.js";

/** How often a write is tried. With the waits below, the last attempt comes after about two seconds. */
const mostAttempts = 16;
const longestWaitMs = 250;

const snapshot = "begin isolation level repeatable read read only";

const connectionSettings = {
  // Every query has an index. Without this setting the planner would read a small table whole, and a serializable read
  // of a whole table conflicts with every insert into it.
  enable_seqscan: "off",
  // Statements are prepared once and run often: planning one again for each set of values would cost more than running
  // it.
  plan_cache_mode: "force_generic_plan",
  synchronous_commit: "on",
  statement_timeout: 30_000,
  idle_in_transaction_session_timeout: 60_000,
  client_min_messages: "warning",
};

/** Made once for each connection. */
interface Lendable {
  db: Kysely<Database>;
  driver: PostgresDriver;
  kysely: KyselyProps;
}

/** The type id of int8. We read it as a number: every value that we store in one is below 2^53. */
const int8 = 20;

/** Far more than the calls that can run at a time: callers are told to wait long before this is reached. */
const mostReadsWaiting = 50_000;

/** The store on PostgreSQL. */
export class PostgresStore implements Store {
  readonly dialect = postgresDialect;
  readonly #settings: pg.ClientConfig;
  readonly #pool: pg.Pool;
  readonly #aside = new Aside();
  readonly #lendables = new WeakMap<pg.ClientBase, Lendable>();
  /**
   * Reads for callers. Each caller has a few of them running at most, so nobody waits behind the hundreds of another
   * caller.
   */
  readonly #reads = new FairQueue(
    {
      atOnce: postgresDialect.callsAtOnce,
      atOnceOfOne: Math.floor(postgresDialect.callsAtOnce / 3),
      waiting: mostReadsWaiting,
      waitingOfOne: mostReadsWaiting,
    },
    () => new CallError("unavailable", "Too much is asked of the database. Try again later.", { retryAfterMs: 1_000 }),
  );

  constructor(url: string) {
    this.#settings = {
      connectionString: url,
      connectionTimeoutMillis: 5_000,
      pipeline: true,
      keepAlive: true,
      application_name: "tidepool",
      options: Object.entries(connectionSettings)
        .map(([name, value]) => `-c ${name}=${value}`)
        .join(" "),
      types: {
        getTypeParser: (oid: number, format?: "text" | "binary") =>
          oid === int8 ? Number : pg.types.getTypeParser(oid, format as "text"),
      },
    };
    this.#pool = new pg.Pool({ ...this.#settings, max: postgresDialect.callsAtOnce });
    // The pool replaces a broken connection at the next use, and the statements on it fail on their own. Without a
    // listener the error event would end the process, and the pool itself listens on idle connections only.
    this.#pool.on("error", () => {});
    this.#pool.on("connect", (client) => client.on("error", () => {}));
  }

  read<T>(work: (db: Kysely<Database>) => Promise<T>, observe?: Observe, who = ""): Promise<T> {
    // The server's own reads do not wait.
    return who === "" ? this.#read(work, observe) : this.#reads.run(who, () => this.#read(work, observe));
  }

  async #read<T>(work: (db: Kysely<Database>) => Promise<T>, observe?: Observe): Promise<T> {
    const client = await this.#connect();
    const begun = client.query(snapshot);
    begun.catch(() => {});
    const lease = this.#lend(client, observe);
    try {
      const value = await work(lease.db);
      lease.end();
      await begun;
      // The caller was promised a snapshot, and has read it. It need not wait for the transaction to end.
      client.query("commit").then(
        () => client.release(),
        (error: Error) => client.release(error),
      );
      return value;
    } catch (error) {
      lease.end();
      await this.#abandon(client);
      throw unavailableIfLost(error);
    }
  }

  readAside<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T> {
    return this.#aside.run(async () => {
      // Not a connection of the pool: the read may take minutes.
      const client = new pg.Client(this.#settings);
      client.on("error", () => {});
      try {
        await client.connect();
        await client.query(snapshot);
        const lease = this.#lend(client, () => {
          this.#aside.requireOpen();
          return undefined;
        });
        try {
          return await work(lease.db);
        } finally {
          lease.end();
        }
      } catch (error) {
        throw unavailableIfLost(error);
      } finally {
        await client.end().catch(() => {});
      }
    });
  }

  async write<T>(work: (transaction: WriteTransaction) => Promise<T>, observe?: Observe): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#attempt(work, observe);
      } catch (error) {
        if (!isConflict(error)) throw unavailableIfLost(error);
        if (attempt === mostAttempts) {
          // A unique key that is still taken after the last attempt is not a race but a bug of ours.
          if (sqlState(error) === takenKey) throw error;
          throw new CallError("unavailable", "Too many calls change the same data. Try again.", {
            retryAfterMs: 1_000,
          });
        }
        await waitWithJitter(attempt);
      }
    }
  }

  async #attempt<T>(work: (transaction: WriteTransaction) => Promise<T>, observe?: Observe): Promise<T> {
    const client = await this.#connect();
    const begun = client.query("begin isolation level serializable");
    begun.catch(() => {});
    const lease = this.#lend(client, observe);
    const unawaited: Promise<unknown>[] = [];
    let value: T;
    try {
      value = await work({ db: lease.db, unawaited, nested: (part) => this.#nested(client, lease, part) });
      lease.end();
    } catch (error) {
      lease.end();
      await this.#abandon(client);
      // After an unawaited write has failed, later statements report only that the transaction is aborted. The error of
      // the write itself says why.
      throw sqlState(error) === voidTransaction ? await firstFailure(unawaited, error) : error;
    }
    // COMMIT travels right behind the unawaited writes. If one of them has failed, PostgreSQL answers it with a
    // rollback.
    const committed = client.query("commit");
    const released = committed.then(
      () => client.release(),
      (error: Error) => client.release(isConflict(error) ? undefined : error),
    );
    try {
      await Promise.all([begun, ...unawaited]);
      const { command } = await committed;
      if (command !== "COMMIT") throw new Error("The transaction was rolled back");
      return value;
    } catch (error) {
      await released;
      if (!isLost(error)) throw error;
      throw new OutcomeUnknown();
    }
  }

  query(statement: pg.QueryConfig): Promise<pg.QueryResult> {
    return this.#pool.query(statement);
  }

  async check(): Promise<void> {
    await this.#pool.query("select 1");
  }

  async migrate(): Promise<void> {
    const client = await this.#connect();
    try {
      await migrateToLatest(this.#lendable(client).db, this.dialect);
    } finally {
      client.release();
    }
  }

  async close(): Promise<void> {
    await this.#aside.close();
    await this.#pool.end();
  }

  async #connect(): Promise<pg.PoolClient> {
    try {
      return await this.#pool.connect();
    } catch (error) {
      throw Object.assign(
        new CallError("unavailable", "The database cannot be reached. Try again later.", { retryAfterMs: 1_000 }),
        { cause: error },
      );
    }
  }

  async #abandon(client: pg.PoolClient): Promise<void> {
    try {
      await client.query("rollback");
      client.release();
    } catch (error) {
      client.release(error as Error);
    }
  }

  async #nested<T>(client: pg.PoolClient, outer: Lease, work: (db: Kysely<Database>) => Promise<T>): Promise<T> {
    await client.query("savepoint nested");
    const lease = new Lease(this.#lendable(client).kysely, outer);
    try {
      const value = await work(lease.db);
      lease.end();
      await client.query("release savepoint nested");
      return value;
    } catch (error) {
      lease.end();
      // After a conflict the whole transaction is void, and the write runs again from the start.
      if (!isConflict(error)) await client.query("rollback to savepoint nested");
      throw error;
    }
  }

  #lend(client: pg.ClientBase, observe: Observe | undefined): Lease {
    const { kysely, driver } = this.#lendable(client);
    return new Lease(kysely, driver, observe);
  }

  #lendable(client: pg.ClientBase): Lendable {
    let lendable = this.#lendables.get(client);
    if (!lendable) {
      const driver = new PostgresDriver(client);
      const dialect = {
        createDriver: () => driver,
        createAdapter: () => new PostgresAdapter(),
        createIntrospector: (db: Kysely<unknown>) => new PostgresIntrospector(db),
        createQueryCompiler: () => askingForPartitions(new PostgresQueryCompiler()),
      };
      const db = new Kysely<Database>({ dialect });
      lendable = { db, driver, kysely: { config: { dialect }, dialect, driver, executor: db.getExecutor() } };
      this.#lendables.set(client, lendable);
    }
    return lendable;
  }
}

async function firstFailure(writes: Promise<unknown>[], otherwise: unknown): Promise<unknown> {
  try {
    await Promise.all(writes);
    return otherwise;
  } catch (error) {
    return error;
  }
}

function waitWithJitter(attempt: number): Promise<void> {
  const most = Math.min(2 ** attempt, longestWaitMs);
  return new Promise((resolve) => setTimeout(resolve, most * (0.5 + Math.random() / 2)));
}
