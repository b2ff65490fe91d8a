/** What a PostgreSQL error means to a call: run it again, tell the caller to try later, or report a fault. */
import pg from "pg";
import { CallError } from "../errors.js";

/**
 * Serialization failure, deadlock, and a unique key that another transaction took first: the next attempt will see that
 * row.
 */
const conflicts = new Set(["40001", "40P01", "23505"]);

/** unique_violation */
export const takenKey = "23505";

/** in_failed_sql_transaction: "current transaction is aborted, commands ignored until end of transaction block" */
export const voidTransaction = "25P02";

/** The five-character SQLSTATE of an error from PostgreSQL, else an empty string. */
export function sqlState(error: unknown): string {
  return error instanceof pg.DatabaseError ? (error.code ?? "") : "";
}

/** Whether the write lost a race and should run again. */
export function isConflict(error: unknown): boolean {
  return conflicts.has(sqlState(error));
}

/**
 * Whether the connection is lost. Class 08 is a broken connection, 57P0x a server that shuts down or starts up, 53300
 * too many connections; an error without a state comes from the socket.
 */
export function isLost(error: unknown): boolean {
  if (error instanceof pg.DatabaseError) return /^(08|57P0)/.test(error.code ?? "") || error.code === "53300";
  return (
    error instanceof Error &&
    /Connection terminated|ECONN|EPIPE|ETIMEDOUT|not queryable/.test(
      `${error.message} ${(error as NodeJS.ErrnoException).code ?? ""}`,
    )
  );
}

/** `unavailable` for the caller if the connection is lost; any other error stays as it is. */
export function unavailableIfLost(error: unknown): unknown {
  if (error instanceof CallError || !isLost(error)) return error;
  return Object.assign(
    new CallError("unavailable", "The database went away. Try again later.", { retryAfterMs: 1_000 }),
    { cause: error },
  );
}

/** Throws the error without its detail, which may contain the whole rejected row and would end up in the log. */
export function throwWithoutRow(error: unknown): never {
  if (error instanceof pg.DatabaseError) {
    error.detail = undefined;
    error.where = undefined;
  }
  throw error;
}
