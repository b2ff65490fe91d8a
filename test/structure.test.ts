import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, test } from "vitest";
import { errorCodes } from "../runtime/errors.js";

const root = join(import.meta.dirname, "..");

/** From the bottom to the top: a file may import from its own layer and from those before it. */
const layers = [
  "schema",
  "runtime",
  "runtime/store",
  "runtime/live",
  "runtime/call",
  "functions",
  "adapters",
  "server.ts",
];

function sourceFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
}

const files = [...["schema", "runtime", "functions", "adapters"].flatMap(sourceFiles), "server.ts"];
/** Of the longest name that fits: `runtime/store/sqlite.ts` is in `runtime/store`, `runtime/ids.ts` in `runtime`. */
const layerOf = (file: string) => layers.findLastIndex((layer) => file === layer || file.startsWith(`${layer}/`));

/** The files that a file imports, types too. */
function importsOf(file: string): string[] {
  const source = readFileSync(join(root, file), "utf8");
  return [...source.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)\.js"/g)].map(
    ([, path = ""]) => `${relative(root, join(root, dirname(file), path))}.ts`,
  );
}

describe("the structure (architecture.md, standing rules)", () => {
  test.each(files)("%s imports only from its own layer and below", (file) => {
    for (const imported of importsOf(file)) {
      expect(layerOf(imported), `${file} imports ${imported}`).toBeLessThanOrEqual(layerOf(file));
      expect(layerOf(imported), `${file} imports ${imported}`).toBeGreaterThanOrEqual(0);
    }
  });

  test("no file imports itself by way of others", () => {
    const settled = new Set<string>();
    const visit = (file: string, way: readonly string[]) => {
      if (settled.has(file)) return;
      expect(way, [...way.slice(way.indexOf(file)), file].join(" → ")).not.toContain(file);
      for (const imported of importsOf(file)) visit(imported, [...way, file]);
      settled.add(file);
    };
    for (const file of files) visit(file, []);
  });

  test.each(files.filter((file) => /^(schema|functions|adapters)\//.test(file)))(
    "%s takes time, chance and settings from its context only",
    (file) => {
      const source = readFileSync(join(root, file), "utf8");
      expect(source.match(/Date\.now\(|new Date\(\)|Math\.random|randomUUID|randomBytes|process\.env/g)).toBeNull();
    },
  );

  test("only config.ts and the scripts read the environment", () => {
    const readers = files.filter((file) => readFileSync(join(root, file), "utf8").includes("process.env"));
    expect(readers).toEqual([]);
  });

  test("no adapter touches the database", () => {
    for (const file of sourceFiles("adapters")) {
      const source = readFileSync(join(root, file), "utf8");
      expect(source.match(/from "(kysely|pg|better-sqlite3)"|\/runtime\/store\//g), file).toBeNull();
    }
  });

  test("every code in the source is in the vocabulary, and every word of it is in the reference", () => {
    const used = new Set<string>();
    for (const file of files) {
      const source = readFileSync(join(root, file), "utf8");
      for (const [, code = ""] of source.matchAll(/new CallError\(\s*"([a-z_]+)"/g)) used.add(code);
    }
    for (const code of used) expect(Object.keys(errorCodes)).toContain(code);
    const reference = readFileSync(join(root, "docs/reference.md"), "utf8");
    for (const code of Object.keys(errorCodes)) expect(reference).toContain(`\`${code}\``);
  });
});
