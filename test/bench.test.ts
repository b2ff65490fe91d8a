/** `npm run bench` compares answers before it measures, so it fails where ours have become others than the floor's. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { root } from "./support/build.js";

test("the bench runs: ours and the floor answer alike, and each scenario has its row", async () => {
  const args = ["--import", "tsx", "bench/run.ts", "--only", "sqlite", "--seconds", "0.1", "--rounds", "1"];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
  const rows = stdout.split("\n").filter((line) => line.startsWith("| SQLite:"));
  expect(rows.map((row) => row.split("|")[1]?.trim())).toEqual([
    ...["SQLite: send, 1", "SQLite: send, 16", "SQLite: send, 64"],
    ...["SQLite: getForThread, 1", "SQLite: getForThread, 16", "SQLite: getForThread, 64"],
    "SQLite: 20 % send, 80 % getForThread, 64",
  ]);
});
