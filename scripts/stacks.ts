/**
 * Part of a build only (build.js puts it first). Makes stack traces name the sources instead of the bundles. A source
 * map takes about 20 MB of memory, so it is loaded when somebody reads a stack, and dropped a minute later.
 */
import { readFileSync, statSync } from "node:fs";
import { SourceMap } from "node:module";
import { fileURLToPath } from "node:url";

const keptMs = 60_000;
const bundles = new URL(".", import.meta.url).href;
const startedAt = Date.now();
const maps = new Map<string, SourceMap | undefined>();

Error.prepareStackTrace = (error, frames) => {
  const header = Error.prototype.toString.call(error);
  return [header, ...frames.map((frame) => `    at ${inSources(String(frame))}`)].join("\n");
};

/** A stack frame with its place in the sources, if that is known. */
function inSources(frame: string): string {
  return frame.replace(/(file:\/\/\S+?):(\d+):(\d+)/, (place, file: string, line: string, column: string) => {
    if (!file.startsWith(bundles)) return place;
    const found = mapOf(file)?.findEntry(Number(line) - 1, Number(column) - 1);
    if (!found || !("originalSource" in found)) return place;
    return `${new URL(found.originalSource, file).href}:${found.originalLine + 1}:${found.originalColumn + 1}`;
  });
}

function mapOf(file: string): SourceMap | undefined {
  if (maps.size === 0) setTimeout(() => maps.clear(), keptMs).unref();
  if (!maps.has(file)) maps.set(file, readMap(`${file}.map`));
  return maps.get(file);
}

/** Undefined if there is no map, or only that of a later build, which would give wrong lines. */
function readMap(file: string): SourceMap | undefined {
  try {
    const path = fileURLToPath(file);
    if (statSync(path).ctimeMs > startedAt) return undefined;
    return new SourceMap(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined;
  }
}
