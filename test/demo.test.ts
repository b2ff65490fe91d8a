/** `npm run demo` goes through both systems to the end. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

test("the demo runs to its end, and says nothing but its steps", { timeout: 60_000 }, async () => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--import", "tsx", "scripts/demo.ts"], {
    timeout: 50_000,
  });
  expect(stderr).toBe("");
  const lines = stdout.trimEnd().split("\n");
  expect(lines.map((line, index) => line.startsWith(`${String(index + 1).padStart(2)}. `))).not.toContain(false);
  expect(stdout).toContain("opens it: Thursday 20:00.");
  expect(lines.at(-1)).toContain("every invariant kept");
});
