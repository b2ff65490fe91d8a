/** Kysely's driver for one PostgreSQL connection. Each statement text is prepared once, under a name. */
import type { CompiledQuery, QueryResult } from "kysely";
import type pg from "pg";
import { ConnectionDriver } from "./connection-driver.js";
import { throwWithoutRow } from "./postgres-errors.js";

/** Prepared statements per connection. The code has a few hundred; lists of varying length add more. */
const namedStatements = 500;

export class PostgresDriver extends ConnectionDriver {
  readonly #client: pg.ClientBase;
  readonly #names = new Map<string, string>();

  constructor(client: pg.ClientBase) {
    super();
    this.#client = client;
  }

  override async executeQuery<Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> {
    const { rows, rowCount, command } = await this.#client
      .query({ name: this.#name(sql), text: sql, values: parameters as unknown[] })
      .catch(throwWithoutRow);
    const changes = command === "INSERT" || command === "UPDATE" || command === "DELETE" || command === "MERGE";
    return changes ? { rows, numAffectedRows: BigInt(rowCount ?? 0) } : { rows };
  }

  #name(sql: string): string | undefined {
    let name = this.#names.get(sql);
    if (name === undefined && this.#names.size < namedStatements) {
      name = `s${this.#names.size}`;
      this.#names.set(sql, name);
    }
    return name;
  }

  protected override async control(statement: "begin" | "commit" | "rollback"): Promise<void> {
    await this.#client.query(statement);
  }
}
