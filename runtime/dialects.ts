/** What SQLite and PostgreSQL do differently, as named capabilities. Nothing else in the code tells them apart. */

export interface Dialect {
  name: "sqlite" | "postgres";
  /** Whether a table can be stored in the order of its primary key (SQLite's WITHOUT ROWID). */
  clusteredTables: boolean;
  /** Whether a table's pages can be left partly free for updates (PostgreSQL's fillfactor). */
  fillFactor: boolean;
}

export const sqliteDialect: Dialect = { name: "sqlite", clusteredTables: true, fillFactor: false };
export const postgresDialect: Dialect = { name: "postgres", clusteredTables: false, fillFactor: true };
