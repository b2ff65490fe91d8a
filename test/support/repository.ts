/** Lists the repository's Markdown pages, except those that the server serves to agents. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const root = join(import.meta.dirname, "../..");

/** Every tracked file, by its path from the root. */
export const trackedFiles: readonly string[] = execFileSync("git", ["ls-files", "-z"], { cwd: root, encoding: "utf8" })
  .split("\0")
  .filter((path) => path !== "");

export const pages: readonly string[] = trackedFiles.filter(
  (path) => path.endsWith(".md") && !path.startsWith("adapters/documents/"),
);

export function readPage(page: string): string {
  return readFileSync(join(root, page), "utf8");
}
