/** Makes a database as an earlier release left it, to test migrations. */
import SqliteDatabase from "better-sqlite3";
import { Kysely, Migrator, PostgresDialect, SqliteDialect } from "kysely";
import pg from "pg";
import { postgresDialect, sqliteDialect } from "../../runtime/store/dialects.js";
import { migrations } from "../../schema/migrations/index.js";
import { createDatabase, type DatabaseName, type EmptyDatabase } from "./databases.js";

/** Rows by table, as that release stored them. */
export type StoredRows = Record<string, Record<string, unknown>[]>;

/** A database with all migrations before `migration`, and with `rows`. */
export async function databaseBefore(
  database: DatabaseName,
  migration: string,
  rows: StoredRows,
): Promise<EmptyDatabase> {
  const created = await createDatabase(database, { bare: true });
  const target = database === "sqlite" ? sqliteDialect : postgresDialect;
  const db = new Kysely<Record<string, Record<string, unknown>>>({ dialect: dialectFor(database, created.url) });
  const earlier = migrations.filter(({ name }) => name < migration);
  const { error } = await new Migrator({
    db,
    provider: {
      getMigrations: async () =>
        Object.fromEntries(
          earlier.map(({ name, up }) => [name, { up: (on: Kysely<unknown>) => up(on as never, target) }]),
        ),
    },
  }).migrateToLatest();
  if (error) throw error;
  for (const [table, stored] of Object.entries(rows)) await db.insertInto(table).values(stored).execute();
  await db.destroy();
  return created;
}

function dialectFor(database: DatabaseName, url: string) {
  if (database === "postgres") return new PostgresDialect({ pool: new pg.Pool({ connectionString: url }) });
  const file = new SqliteDatabase(url.slice("sqlite:".length));
  file.pragma("journal_mode = WAL");
  file.pragma("secure_delete = ON");
  return new SqliteDialect({ database: file });
}
