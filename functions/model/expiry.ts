/**
 * Deadlines: every kind of row that begins or runs out, and what becomes of it. The state that callers see is right by
 * the clock even without this. Here the stored state follows, so that live queries hear of it at that instant, indexes
 * of open rows stay small, and coordinates are removed.
 */
import { type Kysely, type RawBuilder, type SqlBool, sql } from "kysely";
import type { MutationContext, QueryContext } from "../../runtime/context.js";
import type { Database } from "../../schema/index.js";
import { spentShare } from "./events/location-share.js";
import { hourOf, silentUntil, threadSilenceMs } from "./rules/thread-states.js";

/** The most rows of one kind that one transaction changes: even with a backlog of all kinds others wait about 20 ms. */
export const batchSize = 200;

/** What `expireDue` counts. */
type Expired = Record<"starts" | "events" | "checkins" | "intros" | "threads" | "invites" | "locationShares", number>;

interface Deadline {
  counts: keyof Expired;
  table: keyof Database;
  key: string;
  /** The column that holds the deadline, in Unix ms. */
  at: string;
  /** Which rows have one, in the words of the partial index that finds them (schema/migrations). */
  where: RawBuilder<SqlBool>;
  /** Where the column holds something else: its greatest value that is due now, and when a value is due. */
  otherwise?: { lastDue(now: number): number; dueAt(value: number): number };
  becomes(now: number): Record<string, unknown>;
}

const deadlines: readonly Deadline[] = [
  {
    counts: "events",
    table: "events",
    key: "eventId",
    at: "endAt",
    where: sql`"endedAt" is null`,
    becomes: (now) => ({ endedAt: now }),
  },
  {
    counts: "starts",
    table: "events",
    key: "eventId",
    at: "startAt",
    where: sql`"startedAt" is null and "endedAt" is null`,
    becomes: (now) => ({ startedAt: now }),
  },
  {
    counts: "checkins",
    table: "checkins",
    key: "checkinId",
    at: "expiresAt",
    where: sql`status = 'active'`,
    becomes: () => ({ status: "expired" }),
  },
  {
    counts: "intros",
    table: "intros",
    key: "introId",
    at: "expiresAt",
    where: sql`status in ('proposed', 'accepted')`,
    becomes: () => ({ status: "expired" }),
  },
  {
    // A negotiation that has gone silent.
    counts: "threads",
    table: "threads",
    key: "threadId",
    at: "activeHour",
    where: sql`status = 'negotiating'`,
    otherwise: { lastDue: (now) => hourOf(now - threadSilenceMs) - 1, dueAt: silentUntil },
    becomes: () => ({ status: "expired" }),
  },
  {
    // The time that the humans have to approve.
    counts: "threads",
    table: "threads",
    key: "threadId",
    at: "approvalDeadline",
    where: sql`status = 'awaiting_approval'`,
    becomes: () => ({ status: "expired" }),
  },
  {
    // The end of an intro's thread, with its event.
    counts: "threads",
    table: "threads",
    key: "threadId",
    at: "closesAt",
    where: sql`status = 'confirmed' and "closesAt" is not null`,
    becomes: () => ({ status: "expired" }),
  },
  {
    counts: "invites",
    table: "connections",
    key: "connectionId",
    at: "expiresAt",
    where: sql`status = 'pending'`,
    becomes: () => ({ status: "disconnected" }),
  },
  {
    counts: "locationShares",
    table: "locationShares",
    key: "shareId",
    at: "expiresAt",
    where: sql`status in ('pending', 'completed')`,
    becomes: () => spentShare,
  },
];

/** Expires what is due, up to `limit` rows of each kind. Returns how many rows of each. */
export async function expireDue(ctx: MutationContext, limit: number): Promise<{ expired: Expired; more: boolean }> {
  const expired: Expired = { starts: 0, events: 0, checkins: 0, intros: 0, threads: 0, invites: 0, locationShares: 0 };
  let more = false;
  for (const { counts, table, key, at, where, otherwise, becomes } of deadlines) {
    const due = anyTable(ctx)
      .selectFrom(table)
      .select(key)
      .where(where)
      .where(at, "<=", otherwise?.lastDue(ctx.now) ?? ctx.now)
      .orderBy(at)
      .limit(limit);
    const changed = await anyTable(ctx)
      .updateTable(table)
      .set(becomes(ctx.now))
      .where(key, "in", due)
      .returning(key)
      .execute();
    expired[counts] += changed.length;
    more ||= changed.length === limit;
  }
  return { expired, more };
}

/** The earliest deadline that is still open, or null. */
export async function nextDeadline(ctx: QueryContext): Promise<number | null> {
  const earliest = await Promise.all(
    deadlines.map(({ table, at, where }) =>
      anyTable(ctx)
        .selectFrom(table)
        .select(({ fn }) => fn.min<number | null>(at).as("next"))
        .where(where)
        .executeTakeFirstOrThrow(),
    ),
  );
  const open = earliest.flatMap(({ next }, index) =>
    next === null ? [] : (deadlines[index]?.otherwise?.dueAt(next) ?? next),
  );
  return open.length > 0 ? Math.min(...open) : null;
}

const dayMs = 24 * 60 * 60 * 1_000;

/** Rows that are of no use once they are over, or some time after. */
const forgettable = [
  { table: "idempotency", key: "keyHash", afterMs: 0 },
  { table: "mailedCodes", key: "codeId", afterMs: 0 },
  { table: "mailboxes", key: "email", afterMs: 0 },
  { table: "codeAskers", key: "askerHash", afterMs: 0 },
  // Until then, whoever asks for it hears that it has expired.
  { table: "locationShares", key: "shareId", afterMs: dayMs },
  // Until then, its user sees where it came from.
  { table: "signIns", key: "signInId", afterMs: 30 * dayMs },
] as const;

/**
 * Deletes what is over: answers to calls that are too old to be retried, codes and who asked for them, links to share a
 * location, old sign-ins. Returns whether there is more.
 */
export async function forgetOld(ctx: MutationContext, limit: number): Promise<boolean> {
  let more = false;
  for (const { table, key, afterMs } of forgettable) {
    const old = anyTable(ctx)
      .selectFrom(table)
      .select(key)
      .where("expiresAt", "<=", ctx.now - afterMs)
      .orderBy("expiresAt")
      .limit(limit);
    const deleted = await anyTable(ctx).deleteFrom(table).where(key, "in", old).returning(key).execute();
    more ||= deleted.length === limit;
  }
  return more;
}

/** The list above names tables and columns as data, which the types of single tables cannot express. */
function anyTable(ctx: QueryContext): Kysely<Record<string, Record<string, unknown>>> {
  return ctx.db as unknown as Kysely<Record<string, Record<string, unknown>>>;
}
