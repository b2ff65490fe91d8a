/** The migrations in order. Numbered, forward only, and frozen once released. */
import type { Kysely } from "kysely";
import * as coordination from "./0001-coordination.js";

/** What a migration may ask of the database it runs on. */
export interface MigrationTarget {
  /** Whether a table can be stored in the order of its primary key (SQLite's WITHOUT ROWID). */
  clusteredTables: boolean;
  /** Whether a table's pages can be left partly free for updates (PostgreSQL's fillfactor). */
  fillFactor: boolean;
}

export interface Migration {
  name: string;
  up(db: Kysely<never>, target: MigrationTarget): Promise<void>;
}

export const migrations: readonly Migration[] = [{ name: "0001-coordination", up: coordination.up }];
