/**
 * The database as one call sees it. A call can fail while a branch of it still has statements to run, or be ended while
 * it waits; what such a straggler asks for later must not land in the transaction of whoever has the connection then.
 */
import { type CompiledQuery, type DatabaseConnection, Kysely, type KyselyProps, type QueryResult } from "kysely";
import type { Database } from "../../schema/index.js";
import { isChange } from "./changed-rows.js";

/**
 * Is told of a statement before it runs. Where it asks to, it is also told the rows that came back, before anybody else
 * sees them; and for an update that sets partition columns, what those held `before` (changed-rows.ts).
 */
export type Observe = (query: CompiledQuery) => HearRows | undefined;
export type HearRows = (rows: readonly unknown[], before?: readonly unknown[]) => void;

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
    if (!hearRows) return this.#connection.executeQuery<Row>(query);
    const before = isChange(query) && query.before ? this.#connection.executeQuery(query.before) : undefined;
    // It is waited for below; if the change fails first, its own failure says no more.
    before?.catch(() => {});
    return this.#connection.executeQuery<Row>(query).then(async (result) => {
      hearRows(result.rows, (await before)?.rows);
      return result;
    });
  }

  async *streamQuery<Row>(query: CompiledQuery): AsyncIterableIterator<QueryResult<Row>> {
    yield await this.executeQuery<Row>(query);
  }
}
