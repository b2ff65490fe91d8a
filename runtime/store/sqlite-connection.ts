/**
 * Kysely on an SQLite connection, which answers synchronously. Keeps statements prepared, and lets the event loop run
 * between the statements of a long read.
 */
import type SqliteDatabase from "better-sqlite3";
import {
  type CompiledQuery,
  type DatabaseConnection,
  Kysely,
  type KyselyProps,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from "kysely";
import type { Database } from "../../schema/index.js";
import { askingForPartitions } from "./changed-rows.js";
import { ConnectionDriver } from "./connection-driver.js";

/** Prepared statements per connection. The code has a few hundred; lists of varying length add more. */
const cachedStatements = 1_000;

/** What a lease needs to run Kysely's queries on a driver. */
export function kyselyOn(driver: SerialDriver): KyselyProps {
  const dialect = {
    createDriver: () => driver,
    createAdapter: () => new TransactionalAdapter(),
    createIntrospector: (db: Kysely<unknown>) => new SqliteIntrospector(db),
    createQueryCompiler: () => askingForPartitions(new SqliteQueryCompiler()),
  };
  return { config: { dialect }, dialect, driver, executor: new Kysely<Database>({ dialect }).getExecutor() };
}

/**
 * A connection that lets the event loop run before the next statement once `longestMs` have passed since it last did.
 * Each time, `require` then checks that the call may go on.
 */
export class InTurns implements DatabaseConnection {
  readonly #connection: DatabaseConnection;
  readonly #longestMs: number;
  readonly #require: () => void;
  #turnBeganAt = performance.now();

  constructor(connection: DatabaseConnection, longestMs: number, require: () => void) {
    this.#connection = connection;
    this.#longestMs = longestMs;
    this.#require = require;
  }

  executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    const goesOn = performance.now() - this.#turnBeganAt < this.#longestMs;
    return goesOn ? this.#connection.executeQuery<Row>(query) : this.#inNextTurn<Row>(query);
  }

  async #inNextTurn<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#turnBeganAt = performance.now();
    this.#require();
    return this.#connection.executeQuery<Row>(query);
  }

  async *streamQuery<Row>(query: CompiledQuery): AsyncIterableIterator<QueryResult<Row>> {
    yield await this.executeQuery<Row>(query);
  }
}

/**
 * Makes all migrations run in one transaction, so that a process that dies in the middle of one leaves nothing of it
 * behind.
 */
class TransactionalAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

/** Kysely's driver for one SQLite connection. Keeps statements prepared, by their text. */
export class SerialDriver extends ConnectionDriver {
  /** What the current transaction allows. Outside a transaction, nothing may run. */
  mode: "closed" | "read" | "write" = "closed";
  /** How many statements wrote, or tried to. */
  written = 0;
  readonly #file: SqliteDatabase.Database;
  readonly #statements = new Map<string, SqliteDatabase.Statement>();

  constructor(file: SqliteDatabase.Database) {
    super();
    this.#file = file;
  }

  override executeQuery<Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> {
    try {
      const statement = this.#prepare(sql);
      if (this.mode !== "write") {
        if (this.mode === "closed") throw new Error("The call's transaction has ended");
        if (!statement.readonly) throw new Error("A query cannot write");
      }
      if (!statement.readonly) this.written += 1;
      if (statement.reader) {
        const rows = statement.all(parameters) as Row[];
        return Promise.resolve(statement.readonly ? { rows } : { rows, numAffectedRows: BigInt(rows.length) });
      }
      const { changes, lastInsertRowid } = statement.run(parameters);
      return Promise.resolve({
        rows: [],
        numAffectedRows: BigInt(changes),
        insertId: BigInt(lastInsertRowid),
      });
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  #prepare(sql: string): SqliteDatabase.Statement {
    const known = this.#statements.get(sql);
    if (known) return known;
    const statement = this.#file.prepare(sql);
    if (this.#statements.size >= cachedStatements) this.#statements.clear();
    this.#statements.set(sql, statement);
    return statement;
  }

  protected override async control(statement: "begin" | "commit" | "rollback"): Promise<void> {
    this.#file.exec(statement);
  }
}
