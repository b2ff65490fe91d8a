/** From a `DATABASE_URL` to the store that speaks to that database. */
import type { Store } from "./store.js";

/** Opens the database of a `DATABASE_URL`. The schema is not touched until `migrate`. */
export async function openStore(url: string): Promise<Store> {
  // Each driver is loaded only where it is used: a SQLite server starts without reading `pg`, and the reverse.
  if (url.startsWith("sqlite:")) return new (await import("./sqlite.js")).SqliteStore(url.slice("sqlite:".length));
  return new (await import("./postgres.js")).PostgresStore(url);
}
