/**
 * Kysely's driver for one connection that its owner opens, lends and closes. Subclasses say how a database runs a
 * statement.
 */
import type { CompiledQuery, DatabaseConnection, Driver, QueryResult } from "kysely";

export abstract class ConnectionDriver implements Driver, DatabaseConnection {
  abstract executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>>;

  /** Used by migrations only: calls get their transaction from the store. */
  protected abstract control(statement: "begin" | "commit" | "rollback"): Promise<void>;

  async *streamQuery<Row>(query: CompiledQuery): AsyncIterableIterator<QueryResult<Row>> {
    yield await this.executeQuery<Row>(query);
  }

  async init(): Promise<void> {}
  acquireConnection(): Promise<DatabaseConnection> {
    return Promise.resolve(this);
  }
  async releaseConnection(): Promise<void> {}
  async destroy(): Promise<void> {}

  beginTransaction(): Promise<void> {
    return this.control("begin");
  }
  commitTransaction(): Promise<void> {
    return this.control("commit");
  }
  rollbackTransaction(): Promise<void> {
    return this.control("rollback");
  }
}
