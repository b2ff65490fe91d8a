/** The databases that the suite runs on: SQLite always, PostgreSQL where the global set-up could start or reach one. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { inject } from "vitest";

export type DatabaseName = "sqlite" | "postgres";

/** `postgres` is missing where there is none; the global set-up has then printed why. */
export const databases: DatabaseName[] = inject("postgresUrl") === "" ? ["sqlite"] : ["sqlite", "postgres"];

export interface EmptyDatabase {
  url: string;
  remove(): Promise<void>;
}

/** A new, migrated (PostgreSQL) or empty (SQLite) database of its own; empty on both where `bare`. */
export async function createDatabase(name: DatabaseName, { bare = false } = {}): Promise<EmptyDatabase> {
  if (name === "sqlite") {
    const folder = mkdtempSync(join(tmpdir(), "tidepool-test-"));
    return {
      url: `sqlite:${join(folder, "tidepool.db")}`,
      remove: async () => rmSync(folder, { recursive: true, force: true }),
    };
  }
  const server = inject("postgresUrl");
  const database = `tidepool_${randomBytes(8).toString("hex")}`;
  await onServer(server, `create database ${database} ${bare ? "" : "template tidepool_template"}`);
  const url = new URL(server);
  url.pathname = `/${database}`;
  return {
    url: url.href,
    remove: () => onServer(server, `drop database if exists ${database} with (force)`),
  };
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
  }
}
