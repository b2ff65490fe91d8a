/** The differences between SQLite and PostgreSQL, as named capabilities. No other code tells the two apart. */
import { type Kysely, PostgresAdapter } from "kysely";
import type { Database } from "../../schema/index.js";
import type { MigrationTarget } from "../../schema/migrations/target.js";

export interface Dialect extends MigrationTarget {
  name: "sqlite" | "postgres";
  /** How many calls the database works on at the same time. */
  callsAtOnce: number;
  /** Whether other server processes may use the same database. */
  sharedByProcesses: boolean;
  /**
   * A query that returns `locked`: 1 if this transaction is the only one, across all processes, that does the timers'
   * work, else 0.
   */
  tryLock: string;
  /** A query for the `name` of every active trigger. */
  activeTriggers: string;
}

export const sqliteDialect: Dialect = {
  name: "sqlite",
  clusteredTables: true,
  fillFactor: false,
  unloggedTables: false,
  byteOrder: "",
  callsAtOnce: 1,
  sharedByProcesses: false,
  tryLock: "select 1 as locked",
  activeTriggers: "select name from sqlite_master where type = 'trigger'",
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
  unloggedTables: true,
  byteOrder: 'collate "C"',
  // One for each connection of the process.
  callsAtOnce: 16,
  sharedByProcesses: true,
  // Any number will do if no other program on the same database uses it.
  tryLock: "select pg_try_advisory_xact_lock(7433615226)::integer as locked",
  activeTriggers: "select tgname as name from pg_trigger where tgenabled in ('O', 'A')",
  appendOnly: (table) => [
    `create function "${table}_append_only"() returns trigger language plpgsql as $$ begin raise exception '${table} is append-only'; end $$`,
    `create trigger "${table}_append_only" before update or delete or truncate on "${table}" for each statement execute function "${table}_append_only"()`,
  ],
};

/** The dialect that a Kysely handle speaks. */
export function dialectOf(db: Kysely<Database>): Dialect {
  return db.getExecutor().adapter instanceof PostgresAdapter ? postgresDialect : sqliteDialect;
}
