// @ts-check
/**
 * `npm run build`: makes `dist/`, the server as it runs outside of development, with all packages in it but those of the
 * databases. `--if-newer` does so only where a source is newer than what is there. Plain JavaScript, since `npm start`
 * runs it each time and mostly finds nothing to do.
 */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const target = "dist";
/** What the build is made of. Folders count with everything below them, and with what was deleted there. */
const sources = [
  "schema",
  "runtime",
  "functions",
  "adapters",
  "server.ts",
  "scripts",
  "package.json",
  "node_modules/.package-lock.json",
];
/** The commands of an installation; each file of `scripts/` becomes one of `dist/`. */
const entries = ["serve.ts", "audit.ts", "migrate.ts", "backup.ts"];
/** Served files. They lie beside the bundles as they lie beside `adapters/served-files.ts`. */
const served = ["documents", "pages/assets"];

process.chdir(root);
if (!process.argv.includes("--if-newer") || !isFresh(target)) {
  const startedAt = Date.now();
  const made = await build(startedAt);
  // Not where the command that is built for prints its answer.
  console.error(made ? `${target}/ is built (${Date.now() - startedAt} ms).` : `${target}/ was built meanwhile.`);
}

/**
 * Builds aside and puts the folder in its place, so that nobody sees half of it. Where somebody else was done first with
 * the same sources theirs stays, and the answer is false.
 * @param {number} startedAt
 */
async function build(startedAt) {
  const { build: bundle } = await import("esbuild");
  const before = builtAt(target);
  const made = mkdtempSync(join(root, ".dist-"));
  try {
    await bundle({
      entryPoints: entries.map((name) => join("scripts", name)),
      inject: ["scripts/stacks.ts"],
      outdir: made,
      bundle: true,
      splitting: true,
      format: "esm",
      platform: "node",
      target: "node20",
      sourcemap: "external",
      sourcesContent: false,
      external: ["better-sqlite3", "pg", "pg-native"],
      // Some packages ask for Node's modules as CommonJS does.
      banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
      logLevel: "warning",
    });
    for (const folder of served) {
      const filter = (/** @type {string} */ path) => !path.endsWith("__pycache__");
      cpSync(join("adapters", folder), join(made, folder), { recursive: true, filter });
    }
    chmodSync(made, 0o755);
    // A source that was saved while the build went on is newer than this.
    utimesSync(made, new Date(startedAt), new Date(startedAt));
    return putInPlace(made, before);
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

/**
 * @param {string} made
 * @param {number | undefined} before
 */
function putInPlace(made, before) {
  for (;;) {
    if (builtAt(target) !== before && isFresh(target)) return false;
    const old = mkdtempSync(join(root, ".dist-"));
    try {
      if (existsSync(target)) renameSync(target, old);
      renameSync(made, target);
      return true;
    } catch (error) {
      // Another build took the old folder away, or put its own there.
      const { code } = /** @type {NodeJS.ErrnoException} */ (error);
      if (code !== "ENOENT" && code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
    } finally {
      rmSync(old, { recursive: true, force: true });
    }
  }
}

/**
 * When the build in a folder was begun, in Unix ms; undefined where there is none.
 * @param {string} folder
 */
function builtAt(folder) {
  return statSync(folder, { throwIfNoEntry: false })?.mtimeMs;
}

/** @param {string} folder */
function isFresh(folder) {
  const made = builtAt(folder);
  return made !== undefined && sources.every((path) => newestIn(path) < made);
}

/**
 * Unix ms of the last change in a file or folder.
 * @param {string} path
 * @returns {number}
 */
function newestIn(path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(path).map((name) => newestIn(join(path, name))));
}
