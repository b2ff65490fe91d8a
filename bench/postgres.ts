/**
 * The PostgreSQL of a run: the one that `TEST_DATABASE_URL` names, or an embedded one with its default settings,
 * including fsync.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import pg from "pg";
import { startOwnPostgres } from "../test/support/postgres.js";
import { atExit, removeAtExit } from "./children.js";

/** A server on which databases can be made and copied. */
export interface PostgresServer {
  /** Makes an empty database, or a copy of one to which nobody is connected. Returns its URL. */
  create(name: string, copyOf?: string): Promise<string>;
  stop(): Promise<void>;
}

/** Throws if no server can be had. */
export async function startPostgres(): Promise<PostgresServer> {
  const given = process.env["TEST_DATABASE_URL"];
  const { url, stop } = given ? { url: given, stop: async () => {} } : await startEmbedded();
  const run = async (...statements: string[]) => {
    const client = new pg.Client(url);
    await client.connect();
    for (const statement of statements) await client.query(statement);
    await client.end();
  };
  const made = new Set<string>();
  return {
    create: async (name, copyOf) => {
      const template = copyOf === undefined ? "" : ` template ${copyOf}`;
      await run(`drop database if exists ${name} with (force)`, `create database ${name}${template}`);
      made.add(name);
      return Object.assign(new URL(url), { pathname: `/${name}` }).href;
    },
    stop: async () => {
      await run(...[...made].map((name) => `drop database if exists ${name} with (force)`));
      await stop();
    },
  };
}

async function startEmbedded(): Promise<{ url: string; stop(): Promise<void> }> {
  const { url, dataFolder, stop } = await startOwnPostgres();
  removeAtExit(dirname(dataFolder));
  // If the run ended without `stop`, the process would stay.
  atExit(() => {
    try {
      process.kill(Number(readFileSync(join(dataFolder, "postmaster.pid"), "utf8").split("\n")[0]), "SIGQUIT");
    } catch {
      // It has already stopped.
    }
  });
  return { url, stop };
}
