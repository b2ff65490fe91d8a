/** Runs `npm run audit` as an operator does on a database in use. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect } from "vitest";
import { built, root } from "./build.js";

/** Expects every line of the audit to say ok, and returns how many lines there were. */
export async function runAudit(databaseUrl: string): Promise<number> {
  const environment = { PATH: process.env.PATH, HOME: process.env.HOME, DATABASE_URL: databaseUrl };
  const run = promisify(execFile)(process.execPath, [await built("audit")], { cwd: root, env: environment });
  const lines = (await run).stdout.trimEnd().split("\n");
  expect(lines.length).toBeGreaterThan(10);
  expect(lines.filter((line) => !line.startsWith("ok "))).toEqual([]);
  return lines.length;
}
