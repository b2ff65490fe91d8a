/** Values that occur nowhere else, and the places in which a test looks for them. */
import { existsSync, readFileSync } from "node:fs";
import SqliteDatabase from "better-sqlite3";
import pg from "pg";
import type { TestServer } from "./harness.js";

/** Canaries by name, in every form that they could be found in. */
export class Canaries {
  readonly forms = new Map<string, (Buffer | RegExp)[]>();

  secret(name: string, value: string): string {
    // The prefix is no secret: an index of hashes or a log line may hold "c2c_" by chance, the rest may be nowhere.
    const random = value.replace(/^(c2c_|agt_clawrent_|key_clawrent_|claim_|inv_|loc_)/, "");
    this.forms.set(name, [
      Buffer.from(random),
      Buffer.from(Buffer.from(random).toString("base64").replace(/=+$/, "")),
      Buffer.from(Buffer.from(random).toString("hex")),
    ]);
    return value;
  }

  /** A few digits, which may be part of another number by chance: found where they stand alone. */
  code(name: string, digits: string): string {
    this.forms.set(name, [new RegExp(`(?<![0-9A-Za-z])${digits}(?![0-9A-Za-z])`)]);
    return digits;
  }

  /** As text in decimals, and as the double that SQLite's records and PostgreSQL's rows hold. */
  coordinate(name: string, value: number): number {
    const big = Buffer.alloc(8);
    big.writeDoubleBE(value);
    const little = Buffer.alloc(8);
    little.writeDoubleLE(value);
    this.forms.set(name, [Buffer.from(String(value)), Buffer.from(value.toFixed(5)), big, little]);
    return value;
  }

  /** The names of those that are in there. */
  foundIn(hay: Buffer): string[] {
    const text = hay.toString("latin1");
    const isIn = (form: Buffer | RegExp) => (form instanceof RegExp ? form.test(text) : hay.includes(form));
    return [...this.forms].filter(([, forms]) => forms.some(isIn)).map(([name]) => name);
  }
}

/** Everything that the process prints past its log, too. */
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

/** All that the database would show to whoever gets hold of it. */
export async function dump(server: TestServer): Promise<Buffer> {
  if (server.database === "sqlite") {
    // Only once the server has closed them: another descriptor would take its locks away.
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

/** The rows once more, with something between one value and the next. */
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
