#!/usr/bin/env node
/**
 * `npm run backup [file]` copies the SQLite database of `DATABASE_URL`, which may be in use, and puts the server's
 * secret beside the copy. A server that is started on the copy continues from where the original was when the command
 * began.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import SqliteDatabase from "better-sqlite3";
import { type Config, readConfig } from "../runtime/config.js";
import { secretFile } from "../runtime/tokens.js";

try {
  for (const line of backUp(readConfig(process.env), process.argv[2])) console.log(line);
} catch (error) {
  console.error(`There is no backup: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}

/**
 * Returns lines that say what was written. Throws, and leaves nothing behind, if the backup cannot be made or is not
 * complete.
 */
function backUp({ databaseUrl, jwtSecret }: Config, target: string | undefined): string[] {
  if (!databaseUrl.startsWith("sqlite:")) {
    throw new Error(
      'PostgreSQL has its own: pg_dump --format=custom --file=tidepool.dump "$DATABASE_URL". ' +
        "The secret is the JWT_SECRET of the servers, or data/jwt-secret.",
    );
  }
  const source = databaseUrl.slice("sqlite:".length);
  if (!existsSync(source)) throw new Error(`${source} does not exist`);
  const stamp = new Date().toISOString().replaceAll(":", "-").replace(/\.\d+/, "");
  const file = resolve(target ?? join(dirname(source), "backups", `tidepool-${stamp}.db`));
  requireFree(file);
  const secret = jwtSecret === undefined ? requireSecret(secretFile(databaseUrl), dirname(file)) : undefined;
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  // An unfinished copy has another name, so that a process that dies leaves nothing that looks like a backup.
  const aside = mkdtempSync(join(dirname(file), ".backup-"));
  try {
    const copy = join(aside, "unfinished");
    const size = copyDatabase(source, copy);
    if (secret && !existsSync(secret.place)) {
      const draft = join(aside, "secret");
      writeFileSync(draft, secret.text, { mode: 0o600, flush: true });
      putInPlace(draft, secret.place);
    }
    putInPlace(copy, file);
    flush(dirname(file));
    return [
      `${file}: ${size}, checked.`,
      secret ? `${secret.place}: the secret that belongs to it.` : "The secret that belongs to it is JWT_SECRET.",
    ];
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/**
 * Copies one snapshot. `VACUUM INTO` reads like any other reader: writers go on, and it never starts over, as SQLite's
 * online backup does at each write of another process.
 */
function copyDatabase(source: string, copy: string): string {
  closeSync(openSync(copy, "wx", 0o600));
  const original = new SqliteDatabase(source, { fileMustExist: true, timeout: 10_000 });
  let schema: unknown[];
  try {
    schema = migrationsOf(original);
    original.prepare("vacuum into ?").run(copy);
  } finally {
    original.close();
  }
  // Opened for writing, because on a read-only database integrity_check leaves out the constraints of the tables.
  const copied = new SqliteDatabase(copy, { fileMustExist: true });
  try {
    const damage = copied.pragma("integrity_check(3)", { simple: true });
    if (damage !== "ok") throw new Error(`the copy is damaged: ${damage}`);
    // A server that migrates at this moment may make the copy newer than `schema`.
    if (migrationsOf(copied).length < schema.length) throw new Error("the copy lacks migrations of the original");
  } finally {
    copied.close();
  }
  flush(copy);
  return `${(statSync(copy).size / 1024 / 1024).toFixed(1)} MiB`;
}

function migrationsOf(database: SqliteDatabase.Database): unknown[] {
  return database.prepare("select name from kysely_migration").all();
}

/** The secret that a server on the copy needs for the sign-ins in it, and the place where that server looks for it. */
function requireSecret(source: string, folder: string): { text: string; place: string } {
  if (!existsSync(source)) throw new Error(`${source} does not exist; set JWT_SECRET as the server has it`);
  const text = readFileSync(source, "utf8");
  const place = join(folder, basename(source));
  if (existsSync(place) && readFileSync(place, "utf8") !== text) {
    throw new Error(`${place} is the secret of another server; choose another folder`);
  }
  return { text, place };
}

function requireFree(file: string): void {
  if (existsSync(file)) throw new Error(`${file} is there already`);
}

/** Gives a complete file its name. Fails if another process took that name first. */
function putInPlace(whole: string, file: string): void {
  try {
    linkSync(whole, file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    requireFree(file);
    // Some file systems, such as those of USB sticks and network shares, have no links.
    if (code !== "EPERM" && code !== "ENOTSUP" && code !== "ENOSYS") throw error;
    renameSync(whole, file);
  }
}

/** Waits until the file is on the disk. */
function flush(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
