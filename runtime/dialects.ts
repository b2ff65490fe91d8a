/** What SQLite and PostgreSQL do differently, as named capabilities. Nothing else in the code tells them apart. */
import { type Expression, type RawBuilder, sql } from "kysely";

export interface Dialect {
  name: "sqlite" | "postgres";
  /** A text column as a JSON string, quotes and escapes included. */
  jsonString(column: Expression<unknown>): RawBuilder<string>;
}

export const sqliteDialect: Dialect = {
  name: "sqlite",
  jsonString: (column) => sql`json_quote(${column})`,
};

export const postgresDialect: Dialect = {
  name: "postgres",
  jsonString: (column) => sql`to_json(${column})::text`,
};
