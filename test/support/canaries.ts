/**
 * Canaries are values that occur nowhere else. This file makes them, and collects the places where a test looks for
 * them.
 */
import { existsSync, readFileSync } from "node:fs";
import SqliteDatabase from "better-sqlite3";
import pg from "pg";
import type { TestServer } from "./harness.js";

/** Canaries by name, in every form in which they could be found. */
export class Canaries {
  readonly forms = new Map<string, (Buffer | RegExp)[]>();

  secret(name: string, value: string): string {
    // Search for the random part only: an index of hashes or a log line may contain "c2c_" by chance.
    const random = value.replace(/^(c2c_|agt_clawrent_|key_clawrent_|claim_|inv_|loc_)/, "");
    this.forms.set(name, [
      Buffer.from(random),
      Buffer.from(Buffer.from(random).toString("base64").replace(/=+$/, "")),
      Buffer.from(Buffer.from(random).toString("hex")),
    ]);
    return value;
  }

  /** A short code, which may occur by chance inside a longer number: found only if it stands alone. */
  code(name: string, digits: string): string {
    this.forms.set(name, [new RegExp(`(?<![0-9A-Za-z])${digits}(?![0-9A-Za-z])`)]);
    return digits;
  }

  /** Searched for as decimal text, and as the double that the records of SQLite and the rows of PostgreSQL contain. */
  coordinate(name: string, value: number): number {
    const big = Buffer.alloc(8);
    big.writeDoubleBE(value);
    const little = Buffer.alloc(8);
    little.writeDoubleLE(value);
    this.forms.set(name, [Buffer.from(String(value)), Buffer.from(value.toFixed(5)), big, little]);
    return value;
  }

  /** The names of the canaries that `hay` contains. */
  foundIn(hay: Buffer): string[] {
    const text = hay.toString("latin1");
    const isIn = (form: Buffer | RegExp) => (form instanceof RegExp ? form.test(text) : hay.includes(form));
    return [...this.forms].filter(([, forms]) => forms.some(isIn)).map(([name]) => name);
  }
}

/** Collects everything that the process prints to the console, besides its log. */
export function watchConsole(): { text(): string; stop(): void } {
  const parts: string[] = [];
  const names = ["log", "info", "warn", "error", "debug", "trace"] as const;
  const before = names.map((name) => console[name]);
  for (const name of names) console[name] = (...what: unknown[]) => void parts.push(what.map(String).join(" "));
  return {
    text: () => parts.join("\n"),
    stop: () => {
      for (const [index, name] of names.entries()) console[name] = before[index] as typeof console.log;
    },
  };
}

/** Everything that a thief of the database could read. */
export async function dump(server: TestServer): Promise<Buffer> {
  if (server.database === "sqlite") {
    // Call this only after the server has closed its files: closing another descriptor would drop its locks.
    const file = server.databaseUrl.slice("sqlite:".length);
    const bytes = ["", "-wal", "-shm"].flatMap((end) => (existsSync(file + end) ? [readFileSync(file + end)] : []));
    return Buffer.concat([...bytes, Buffer.from(sqliteRows(file).join("\n"))]);
  }
  const client = new pg.Client(server.databaseUrl);
  await client.connect();
  const { rows: tables } = await client.query<{ name: string }>(
    "select table_name as name from information_schema.tables where table_schema = 'public'",
  );
  const rows = [];
  for (const { name } of tables) rows.push(...(await client.query(`select t::text as row from "${name}" t`)).rows);
  await client.end();
  return Buffer.from(rows.map(({ row }: { row?: string }) => row).join("\n"));
}

/** The rows as text, in which adjacent values are separated. */
function sqliteRows(file: string): string[] {
  const database = new SqliteDatabase(file, { readonly: true });
  try {
    const tables = database.prepare("select name from sqlite_schema where type = 'table'").pluck().all() as string[];
    return tables.flatMap((table) =>
      database
        .prepare(`select * from "${table}"`)
        .all()
        .map((row) => JSON.stringify(row)),
    );
  } finally {
    database.close();
  }
}
