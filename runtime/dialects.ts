/** What SQLite and PostgreSQL do differently, as named capabilities. Nothing else in the code tells them apart. */
import type { MigrationTarget } from "../schema/migrations/target.js";

export interface Dialect extends MigrationTarget {
  name: "sqlite" | "postgres";
  /** Whether other server processes may be at work on the same database. */
  sharedByProcesses: boolean;
}

export const sqliteDialect: Dialect = {
  name: "sqlite",
  clusteredTables: true,
  fillFactor: false,
  sharedByProcesses: false,
  appendOnly: (table) =>
    ["update", "delete"].map(
      (change) =>
        `create trigger "${table}_no_${change}" before ${change} on "${table}" begin select raise(abort, '${table} is append-only'); end`,
    ),
};

export const postgresDialect: Dialect = {
  name: "postgres",
  clusteredTables: false,
  fillFactor: true,
  sharedByProcesses: true,
  appendOnly: (table) => [
    `create function "${table}_append_only"() returns trigger language plpgsql as $$ begin raise exception '${table} is append-only'; end $$`,
    `create trigger "${table}_append_only" before update or delete or truncate on "${table}" for each statement execute function "${table}_append_only"()`,
  ],
};
