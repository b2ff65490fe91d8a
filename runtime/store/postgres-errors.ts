/** What PostgreSQL's errors mean to a call: try again, try later, or a fault of ours. */
import pg from "pg";
import { CallError } from "../errors.js";

/** Serialization failure, deadlock; and a unique key that another transaction took first, which the next try will see. */
const conflicts = new Set(["40001", "40P01", "23505"]);

/** A unique key is taken. */
export const takenKey = "23505";

/** "current transaction is aborted, commands ignored until end of transaction block" */
export const voidTransaction = "25P02";

export function sqlState(error: unknown): string {
  return error instanceof pg.DatabaseError ? (error.code ?? "") : "";
}

export function isConflict(error: unknown): boolean {
  return conflicts.has(sqlState(error));
}

/** Class 08 is a broken connection, 57P0x a server that shuts down or starts; without a state the socket broke. */
export function isLost(error: unknown): boolean {
  if (error instanceof pg.DatabaseError) return /^(08|57P0)/.test(error.code ?? "") || error.code === "53300";
  return (
    error instanceof Error &&
    /Connection terminated|ECONN|EPIPE|ETIMEDOUT|not queryable/.test(
      `${error.message} ${(error as NodeJS.ErrnoException).code ?? ""}`,
    )
  );
}

export function unavailableIfLost(error: unknown): unknown {
  if (error instanceof CallError || !isLost(error)) return error;
  return Object.assign(
    new CallError("unavailable", "The database went away. Try again later.", { retryAfterMs: 1_000 }),
    { cause: error },
  );
}

/** PostgreSQL's detail may show the whole row that it would not take, and an error goes to the log as it is. */
export function throwWithoutRow(error: unknown): never {
  if (error instanceof pg.DatabaseError) {
    error.detail = undefined;
    error.where = undefined;
  }
  throw error;
}
