/** What `npm run build` makes, for tests that start processes: these start sooner than from the sources. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** The folder of the project. */
export const root = fileURLToPath(new URL("../..", import.meta.url));

let building: Promise<unknown> | undefined;

/** A command of the build, which is made anew where a source is newer. */
export async function built(command: "serve" | "audit" | "backup" | "migrate"): Promise<string> {
  building ??= promisify(execFile)(process.execPath, ["scripts/build.js", "--if-newer"], { cwd: root });
  await building;
  return `dist/${command}.js`;
}
