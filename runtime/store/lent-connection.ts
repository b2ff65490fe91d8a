/**
 * The database as one call sees it. A call can fail while a branch of it still has statements to run, or be ended while
 * it waits; what such a straggler asks for later must not land in the transaction of whoever has the connection then.
 */
import { type CompiledQuery, type DatabaseConnection, Kysely, type KyselyProps, type QueryResult } from "kysely";
import type { Database } from "../../schema/index.js";

/** Hears of a statement before it runs, and where it wants to, of the rows that came back before anybody else does. */
export type Observe = (query: CompiledQuery) => ((rows: readonly unknown[]) => void) | undefined;

/** A connection, lent to one call. A lease can be lent on: it ends with the one that it came from. */
export class Lease implements DatabaseConnection {
  readonly db: Kysely<Database>;
  readonly #connection: DatabaseConnection;
  readonly #observe: Observe | undefined;
  #ended = false;

  /** `observe` hears of every statement. */
  constructor(kysely: KyselyProps, connection: DatabaseConnection, observe?: Observe) {
    this.#connection = connection;
    this.#observe = observe;
    const provider = { provideConnection: <T>(consumer: (lease: Lease) => Promise<T>) => consumer(this) };
    this.db = new Kysely<Database>({ ...kysely, executor: kysely.executor.withConnectionProvider(provider) });
  }

  /** From here on every statement fails, without reaching the database. */
  end(): void {
    this.#ended = true;
  }

  get ended(): boolean {
    return this.#ended || (this.#connection instanceof Lease && this.#connection.ended);
  }

  requireOpen(): void {
    if (this.#ended) throw new Error("The call's transaction has ended");
  }

  executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    if (this.#ended) return Promise.reject(new Error("The call's transaction has ended"));
    const hearRows = this.#observe?.(query);
    const running = this.#connection.executeQuery<Row>(query);
    if (!hearRows) return running;
    return running.then((result) => {
      hearRows(result.rows);
      return result;
    });
  }

  async *streamQuery<Row>(query: CompiledQuery): AsyncIterableIterator<QueryResult<Row>> {
    yield await this.executeQuery<Row>(query);
  }
}
