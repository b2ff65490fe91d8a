/**
 * The database as one call sees it. A call can fail while one of its branches still has statements to run, or be ended
 * while it waits. A statement that such a branch sends later must not run in the transaction of the next call on this
 * connection.
 */
import { type CompiledQuery, type DatabaseConnection, Kysely, type KyselyProps, type QueryResult } from "kysely";
import type { Database } from "../../schema/index.js";
import { isChange } from "./changed-rows.js";

/**
 * Called with each statement before it runs. If it returns a `HearRows`, that is called with the returned rows before
 * the handler gets them, and for an update that sets partition columns also with their old values in `before`
 * (changed-rows.ts).
 */
export type Observe = (query: CompiledQuery) => HearRows | undefined;
/** Receives the rows that a statement returned. */
export type HearRows = (rows: readonly unknown[], before?: readonly unknown[]) => void;

/** A connection, lent to one call. A lease can lend it on; the inner lease ends with the outer one. */
export class Lease implements DatabaseConnection {
  readonly db: Kysely<Database>;
  readonly #connection: DatabaseConnection;
  readonly #observe: Observe | undefined;
  #ended = false;

  /** `observe` is called with every statement. */
  constructor(kysely: KyselyProps, connection: DatabaseConnection, observe?: Observe) {
    this.#connection = connection;
    this.#observe = observe;
    const provider = { provideConnection: <T>(consumer: (lease: Lease) => Promise<T>) => consumer(this) };
    this.db = new Kysely<Database>({ ...kysely, executor: kysely.executor.withConnectionProvider(provider) });
  }

  /** After this, every statement fails without reaching the database. */
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
    if (!hearRows) return this.#connection.executeQuery<Row>(query);
    const before = isChange(query) && query.before ? this.#connection.executeQuery(query.before) : undefined;
    // Awaited below.
    before?.catch(() => {});
    return this.#connection.executeQuery<Row>(query).then(
      async (result) => {
        hearRows(result.rows, (await before)?.rows);
        return result;
      },
      async (error: unknown) => {
        // Behind a statement that failed PostgreSQL says only that the transaction is void: the first error tells why.
        await before;
        throw error;
      },
    );
  }

  async *streamQuery<Row>(query: CompiledQuery): AsyncIterableIterator<QueryResult<Row>> {
    yield await this.executeQuery<Row>(query);
  }
}
