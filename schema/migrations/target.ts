/** What a migration may ask of the database it runs on. */
export interface MigrationTarget {
  /** Whether a table can be stored in the order of its primary key (SQLite's WITHOUT ROWID). */
  clusteredTables: boolean;
  /** Whether a table's pages can be left partly free for updates (PostgreSQL's fillfactor). */
  fillFactor: boolean;
  /** What makes a text column sort by its bytes: PostgreSQL sorts as its operator's language does, if not told. */
  byteOrder: string;
  /**
   * Whether a table may be one whose rows a crash of the database forgets, for cheap writes (PostgreSQL's `unlogged`).
   */
  unloggedTables: boolean;
  /** Statements that make the database refuse to change or delete a row of the table. */
  appendOnly(table: string): string[];
}
