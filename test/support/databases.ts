/** The databases that the suite runs on: SQLite always, PostgreSQL if the global set-up could start or reach one. */
import { randomBytes } from "node:crypto";
import { copyFileSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { inject } from "vitest";

export type DatabaseName = "sqlite" | "postgres";

/** Without PostgreSQL, `postgres` is missing and the global set-up has printed why. */
export const databases: DatabaseName[] = inject("postgresUrl") === "" ? ["sqlite"] : ["sqlite", "postgres"];

/**
 * The folder for SQLite's files. In memory if there is room, because otherwise each of the suite's many commits waits
 * for the disk.
 */
const memoryOrDisk = roomIn("/dev/shm") > 1024 ** 3 ? "/dev/shm" : tmpdir();

export interface EmptyDatabase {
  url: string;
  remove(): Promise<void>;
}

/** A new, migrated database; empty with `bare`. */
export async function createDatabase(name: DatabaseName, { bare = false } = {}): Promise<EmptyDatabase> {
  if (name === "sqlite") {
    const folder = mkdtempSync(join(memoryOrDisk, "tidepool-test-"));
    if (!bare) copyFileSync(inject("sqliteTemplate"), join(folder, "tidepool.db"));
    return {
      url: `sqlite:${join(folder, "tidepool.db")}`,
      remove: async () => rmSync(folder, { recursive: true, force: true }),
    };
  }
  const server = inject("postgresUrl");
  const database = `tidepool_${randomBytes(8).toString("hex")}`;
  // Copied as files: the other way writes each block to the log, and takes six times as long.
  await onServer(
    server,
    `create database ${database} template ${bare ? "template0" : "tidepool_template"} strategy file_copy`,
  );
  const url = new URL(server);
  url.pathname = `/${database}`;
  return {
    url: url.href,
    remove: () => onServer(server, `drop database if exists ${database} with (force)`),
  };
}

/** The free bytes in a folder's file system; 0 if the folder does not exist. */
function roomIn(folder: string): number {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return 0;
  }
}

async function onServer(url: string, statement: string): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

declare module "vitest" {
  interface ProvidedContext {
    postgresUrl: string;
    /** A migrated SQLite file. */
    sqliteTemplate: string;
  }
}
