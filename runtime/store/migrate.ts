/** Brings a database to the newest schema (schema/migrations). */
import { type Kysely, type MigrationProvider, Migrator } from "kysely";
import type { Database } from "../../schema/index.js";
import { migrations } from "../../schema/migrations/index.js";
import type { MigrationTarget } from "../../schema/migrations/target.js";

/**
 * Runs the migrations that are still missing, under the migrator's own lock. Throws if a newer release has migrated the
 * database.
 */
export async function migrateToLatest(db: Kysely<Database>, target: MigrationTarget): Promise<void> {
  const provider: MigrationProvider = {
    getMigrations: () =>
      Promise.resolve(
        Object.fromEntries(migrations.map(({ name, up }) => [name, { up: (on) => up(on as Kysely<never>, target) }])),
      ),
  };
  const migrator = new Migrator({ db, provider });
  const known = new Set(migrations.map(({ name }) => name));
  const executed = (await migrator.getMigrations().catch(() => [])).filter(({ executedAt }) => executedAt);
  const newer = executed.find(({ name }) => !known.has(name));
  if (newer) throw newerSchema(newer.name);
  const { error } = await migrator.migrateToLatest();
  if (error instanceof Error && error.message.includes("corrupted migrations")) throw newerSchema(error.message);
  if (error) throw error;
}

function newerSchema(detail: string): Error {
  return new Error(`The database has a newer schema than this release knows (${detail}). Start the newer release.`);
}
