/** The files of an SQLite database: its owner's alone. */
import { chmodSync, closeSync, existsSync, openSync, realpathSync, statSync } from "node:fs";

/** A new file is nobody else's from its first byte on; one that is there is opened by SQLite alone, for its locks. */
export function makePrivately(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  if (existsSync(path)) narrow(realpathSync(path));
}

/** Takes from others what they may do with the database and its log. Whoever owns the files may; nothing is widened. */
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
