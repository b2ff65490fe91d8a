/** Opens the store for a `DATABASE_URL`. */
import type { Store } from "./store.js";

/** Opens the database. Leaves the schema alone until `migrate` is called. */
export async function openStore(url: string): Promise<Store> {
  // Load a driver only if it is needed: a server on SQLite starts without reading `pg`, and vice versa.
  if (url.startsWith("sqlite:")) return new (await import("./sqlite.js")).SqliteStore(url.slice("sqlite:".length));
  return new (await import("./postgres.js")).PostgresStore(url);
}
