/** What SQLite and PostgreSQL do differently, as named capabilities. Nothing else in the code tells them apart. */
import type { MigrationTarget } from "../schema/migrations/target.js";

export interface Dialect extends MigrationTarget {
  name: "sqlite" | "postgres";
}

export const sqliteDialect: Dialect = { name: "sqlite", clusteredTables: true, fillFactor: false };
export const postgresDialect: Dialect = { name: "postgres", clusteredTables: false, fillFactor: true };
