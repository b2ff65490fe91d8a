/** Keeps the files of an SQLite database private to their owner. */
import { chmodSync, closeSync, existsSync, openSync, realpathSync, statSync } from "node:fs";

/**
 * Creates a missing file with access for its owner only. An existing one is left for SQLite to open, because opening it
 * here could drop SQLite's locks.
 */
export function makePrivately(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  if (existsSync(path)) narrow(realpathSync(path));
}

/**
 * Takes access to the database and its log away from everybody but the owner; never widens it. If this process may not
 * change the mode of a file, the mode stays.
 */
export function narrow(path: string): void {
  for (const file of [path, `${path}-wal`, `${path}-shm`]) {
    const mode = statSync(file, { throwIfNoEntry: false })?.mode;
    if (mode === undefined || (mode & 0o177) === 0) continue;
    try {
      chmodSync(file, mode & 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EPERM") throw error;
    }
  }
}
