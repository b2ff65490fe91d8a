/** What the rest of the runtime asks of a database: a read in one snapshot, a write as one serializable transaction. */
import type { Kysely } from "kysely";
import type { Database } from "../../schema/index.js";
import { CallError } from "../errors.js";
import type { Dialect } from "./dialects.js";
import type { Observe } from "./lent-connection.js";

/** The database went away while it was committing: the write may have happened, or not. */
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
  /** Writes that `work` started and does not wait for. The commit waits for them, and fails with them. */
  unawaited: Promise<unknown>[];
  /** Runs `work` on a handle of its own; if it throws, what it wrote is undone and the transaction goes on. */
  nested<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T>;
}

export interface Store {
  dialect: Dialect;
  /**
   * Runs `work` on one snapshot. Writing in it throws. Where reads wait for one another, those of each `who` take turns:
   * one caller's hundreds do not come before another's one, and where reads go on beside one another no caller has all places.
   */
  read<T>(work: (db: Kysely<Database>) => Promise<T>, observe?: Observe, who?: string): Promise<T>;
  /**
   * As `read`, for work that goes through whole tables: on a connection of its own, after the one before it has ended.
   * Every statement has a turn of its own, and the others' calls run in between, so `work` keeps its statements short.
   */
  readAside<T>(work: (db: Kysely<Database>) => Promise<T>): Promise<T>;
  /**
   * Runs `work` in one serializable transaction and resolves once its commit is durable. `work` may run again after a
   * conflict, so it must have no effect but on the transaction. If it throws, nothing was written. `observe` hears of
   * the statements of every attempt.
   */
  write<T>(work: (transaction: WriteTransaction) => Promise<T>, observe?: Observe): Promise<T>;
  /** Runs one statement on its own, past transactions and types: for a library that brings its own. PostgreSQL only. */
  query?(statement: {
    name?: string;
    text: string;
    values?: unknown[];
  }): Promise<{ rows: unknown[]; rowCount: number | null }>;
  /** Resolves if the database answers. */
  check(): Promise<void>;
  migrate(): Promise<void>;
  /** Lets what runs finish, checkpoints, and lets go. */
  close(): Promise<void>;
}
