/**
 * Where the files lie that are served as they are or filled in: beside this module, and in a build beside the bundles.
 */

/** By its path from here, such as `documents/skill.md`. */
export function servedFile(path: string): URL {
  return new URL(path, import.meta.url);
}
