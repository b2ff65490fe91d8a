import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import SqliteDatabase from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SqliteStore } from "../../../runtime/store/sqlite.js";

const modeOf = (path: string) => statSync(path).mode & 0o777;

describe("who may read the SQLite database (its folder holds the secret as well)", () => {
  let folder: string;
  let umask: number;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "tidepool-modes-"));
    // As wide as a process can be told to make its files.
    umask = process.umask(0);
  });
  afterEach(() => {
    process.umask(umask);
    rmSync(folder, { recursive: true });
  });

  /** The modes while it is open, after something was written. */
  async function modesOf(path: string): Promise<number[]> {
    const store = new SqliteStore(path);
    await store.migrate();
    await store.readAside((db) => db.selectFrom("users").select("userId").execute());
    const file = realpathSync(path);
    const modes = [file, `${file}-wal`, `${file}-shm`].map(modeOf);
    await store.close();
    return modes;
  }

  test("a new one, its log and its folder are its owner's alone", async () => {
    const path = join(folder, "data", "tidepool.db");
    expect(await modesOf(path)).toEqual([0o600, 0o600, 0o600]);
    expect(modeOf(join(folder, "data"))).toBe(0o700);
    const linked = join(folder, "linked.db");
    symlinkSync(join(folder, "data", "elsewhere.db"), linked);
    expect(await modesOf(linked)).toEqual([0o600, 0o600, 0o600]);
  });

  test("one that others could read, with a log left behind, is closed to them; its folder is left alone", async () => {
    mkdirSync(join(folder, "shared"), { mode: 0o755 });
    const path = join(folder, "shared", "tidepool.db");
    const earlier = new SqliteDatabase(path);
    earlier.pragma("journal_mode = WAL");
    earlier.exec("create table left_behind (x)");
    for (const file of [path, `${path}-wal`, `${path}-shm`]) chmodSync(file, 0o666);
    expect(await modesOf(path)).toEqual([0o600, 0o600, 0o600]);
    earlier.close();
    expect(modeOf(join(folder, "shared"))).toBe(0o755);
  });

  test("nothing is widened", async () => {
    const path = join(folder, "tidepool.db");
    writeFileSync(path, "", { mode: 0o400 });
    await modesOf(path).catch(() => {});
    expect(modeOf(path)).toBe(0o400);
  });
});
