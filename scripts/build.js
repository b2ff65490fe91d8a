// @ts-check
/**
 * `npm run build`: makes `dist/`, the server as it runs outside of development, with all packages in it but those of the
 * databases. `--if-changed` does so only where the sources are not those that the build was made of. Plain JavaScript,
 * since `npm start` runs it each time and mostly finds nothing to do.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const target = "dist";
/** What the build is made of. Folders count with every file below them. */
const sources = [
  "schema",
  "runtime",
  "functions",
  "adapters",
  "server.ts",
  "scripts",
  "package.json",
  "tsconfig.json",
  "node_modules/.package-lock.json",
];
/** The commands of an installation; each file of `scripts/` becomes one of `dist/`. */
const entries = ["serve.ts", "audit.ts", "migrate.ts", "backup.ts"];
/** Where a build says what it was made of. */
const stamp = ".sources";
/** Served files. They lie beside the bundles as they lie beside `adapters/served-files.ts`. */
const served = ["documents", "pages/assets"];

process.chdir(root);
const asked = fingerprint();
if (!process.argv.includes("--if-changed") || madeOf(target) !== asked) {
  const startedAt = Date.now();
  const made = await build();
  // Not where the command that is built for prints its answer.
  console.error(made ? `${target}/ is built (${Date.now() - startedAt} ms).` : `${target}/ was built meanwhile.`);
}

/**
 * Builds aside and puts the folder in its place, so that nobody sees half of it. Where somebody else was done first with
 * the same sources theirs stays, and the answer is false.
 */
async function build() {
  const { build: bundle } = await import("esbuild").catch(() => {
    console.error(
      "The build needs esbuild, which is not installed: run npm ci without --omit=dev, or install what npm pack makes.",
    );
    process.exit(1);
  });
  const before = identity(target);
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
    // From before the build: a source that was saved meanwhile has another one.
    writeFileSync(join(made, stamp), asked);
    chmodSync(made, 0o755);
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
    if (identity(target) !== before && madeOf(target) === asked) return false;
    const old = mkdtempSync(join(root, ".dist-"));
    try {
      if (existsSync(target)) renameSync(target, old);
      renameSync(made, target);
      return true;
    } catch (error) {
      // Another build took the old folder away, or put its own there.
      const { code } = /** @type {NodeJS.ErrnoException} */ (error);
      if (code !== "ENOENT" && code !== "ENOTEMPTY" && code !== "EEXIST") {
        if (!existsSync(target)) renameSync(old, target);
        throw error;
      }
    } finally {
      rmSync(old, { recursive: true, force: true });
    }
  }
}

/**
 * Which folder it is; undefined where there is none.
 * @param {string} folder
 */
function identity(folder) {
  return statSync(folder, { throwIfNoEntry: false })?.ino;
}

/**
 * The fingerprint of what the build in a folder was made of; undefined where there is none.
 * @param {string} folder
 */
function madeOf(folder) {
  const file = join(folder, stamp);
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}

/** The sources, each with its size and its last change. An older file is another one too: a release may keep its dates. */
function fingerprint() {
  const hash = createHash("sha256");
  for (const source of sources) for (const line of filesIn(source)) hash.update(`${line}\n`);
  return hash.digest("hex");
}

/**
 * Each file with its size and the Unix ms of its last change.
 * @param {string} path
 * @returns {string[]}
 */
function filesIn(path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return [];
  if (!stat.isDirectory()) return [`${path} ${stat.size} ${stat.mtimeMs}`];
  return readdirSync(path)
    .filter((name) => name !== "__pycache__")
    .sort()
    .flatMap((name) => filesIn(join(path, name)));
}
