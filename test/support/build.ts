/** The result of `npm run build`, for tests that start processes: it starts faster than the sources do. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** The root of the repository. */
export const root = fileURLToPath(new URL("../..", import.meta.url));

let building: Promise<unknown> | undefined;

/** The script of a built command. Builds first if a source is newer than the build. */
export async function built(command: "serve" | "audit" | "backup" | "migrate"): Promise<string> {
  building ??= promisify(execFile)(process.execPath, ["scripts/build.js", "--if-changed"], { cwd: root });
  await building;
  return `dist/${command}.js`;
}
