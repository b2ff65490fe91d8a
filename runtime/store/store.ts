/**
 * What the rest of the runtime needs of a database: a read in one snapshot, and a write in one serializable
 * transaction.
 */
import type { Kysely } from "kysely";
import type { Database } from "../../schema/index.js";
import { CallError } from "../errors.js";
import type { Dialect } from "./dialects.js";
import type { Observe } from "./lent-connection.js";

/** The connection broke during the commit, so the write may or may not have happened. */
export class OutcomeUnknown extends CallError {
  constructor() {
    super(
      "unavailable",
      "The database went away during the commit, so the outcome is not known. Retry with the same Idempotency-Key, or read first.",
      { retryAfterMs: 1_000 },
    );
  }
}

/** One running write transaction. */
export interface WriteTransaction {
  db: Kysely<Database>;
  /** Writes that `work` started without awaiting them. The commit waits for them and fails if one of them fails. */
  unawaited: Promise<unknown>[];
  /** Runs `work` on its own handle. If it throws, its writes are undone and the transaction goes on. */
  nested<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T>;
}

/** A database. SQLite and PostgreSQL each have one implementation. */
export interface Store {
  dialect: Dialect;
  /**
   * Runs `work` on one snapshot; a write in it throws. Callers take turns by `who`: if reads run one after the other,
   * hundreds of one caller do not come before the single read of another; if they run side by side, no caller takes all
   * places.
   */
  read<T>(work: (db: Kysely<Database>) => Promise<T>, observe?: Observe, who?: string): Promise<T>;
  /**
   * As `read`, for work that goes through whole tables: on its own connection, after the one before it has ended. Other
   * calls run between its statements, so `work` should keep each statement short.
   */
  readAside<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T>;
  /**
   * Runs `work` in one serializable transaction and resolves once its commit is durable. If `work` throws, nothing is
   * written. After a conflict `work` runs again, so its only effect may be on the transaction. `observe` is called with
   * the statements of every attempt.
   */
  write<T>(work: (transaction: WriteTransaction) => Promise<T>, observe?: Observe): Promise<T>;
  /**
   * PostgreSQL only. Runs one statement outside any transaction and without our types, for a library that writes its
   * own SQL.
   */
  query?(statement: {
    name?: string;
    text: string;
    values?: unknown[];
  }): Promise<{ rows: unknown[]; rowCount: number | null }>;
  /** Resolves if the database answers, else rejects. */
  check(): Promise<void>;
  /** Brings the schema up to date (migrate.ts). */
  migrate(): Promise<void>;
  /** Waits for what is running, checkpoints and closes the database. */
  close(): Promise<void>;
}
