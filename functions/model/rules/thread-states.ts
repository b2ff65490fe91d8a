/**
 * The life of a thread. It is opened `negotiating`; proposals and counters replace one another until the other agent
 * accepts the current one; then both humans have 48 hours. Both approve: `confirmed`, and it is a commitment. One
 * declines, or either agent rejects: `rejected`. Time runs out: `expired`; so is a negotiation in which nobody wrote
 * for 30 days. The short thread of a confirmed intro starts `confirmed`, so it carries `info` only, and expires with
 * its event. (claw-to-claw.md section 3, "The thread's life".)
 */
import { type RawBuilder, type SqlBool, sql } from "kysely";
import type { Decision, MessageType, ThreadStatus, ThreadsTable } from "../../../schema/threads.js";

/** How long the humans have to approve. */
export const threadApprovalMs = 48 * 60 * 60 * 1_000;

/** How long a negotiation may be silent. */
export const threadSilenceMs = 30 * 24 * 60 * 60 * 1_000;

/** State × message → the state after it. What is missing is refused. */
export const afterMessage: Record<ThreadStatus, Partial<Record<MessageType, ThreadStatus>>> = {
  negotiating: {
    proposal: "negotiating",
    counter: "negotiating",
    accept: "awaiting_approval",
    reject: "rejected",
    info: "negotiating",
  },
  awaiting_approval: { reject: "rejected", info: "awaiting_approval" },
  confirmed: { info: "confirmed" },
  rejected: {},
  expired: {},
};

/** One side's decision, given the other's → the state after it. */
export function afterDecision(mine: Decision, other: Decision | null): ThreadStatus {
  if (mine === "declined") return "rejected";
  return other === "approved" ? "confirmed" : "awaiting_approval";
}

/** The thread's status by the clock: the stored one may lag behind until the timer has run. */
export function threadStatusOf(
  thread: Pick<ThreadsTable, "status" | "approvalDeadline" | "closesAt" | "lastMessageAt" | "createdAt">,
  now: number,
): ThreadStatus {
  const { status, approvalDeadline, closesAt } = thread;
  const lastActiveAt = thread.lastMessageAt ?? thread.createdAt;
  if (status === "negotiating" && lastActiveAt <= now - threadSilenceMs) return "expired";
  if (status === "awaiting_approval" && approvalDeadline !== null && approvalDeadline <= now) return "expired";
  if (status === "confirmed" && closesAt !== null && closesAt <= now) return "expired";
  return status;
}

/** When a thread was last written in, or opened. */
export const lastActiveAt = sql<number>`coalesce(${sql.ref("threads.lastMessageAt")}, ${sql.ref("threads.createdAt")})`;

/** `threadStatusOf`, for a query to select and filter by. */
export function threadStatusInSql(now: number): RawBuilder<ThreadStatus> {
  const status = sql.ref("threads.status");
  return sql<ThreadStatus>`case
    when ${status} = 'negotiating' and ${lastActiveAt} <= ${now - threadSilenceMs} then 'expired'
    when ${status} = 'awaiting_approval' and ${sql.ref("threads.approvalDeadline")} <= ${now} then 'expired'
    when ${status} = 'confirmed' and ${sql.ref("threads.closesAt")} <= ${now} then 'expired'
    else ${status} end`;
}

/**
 * Whether a thread still waits for its agents or their humans, for a query; in the words of the index of such threads.
 */
export function isOpenThreadInSql(now: number): RawBuilder<SqlBool> {
  const open = sql.raw("'negotiating', 'awaiting_approval'");
  return sql<SqlBool>`${sql.ref("threads.status")} in (${open}) and ${threadStatusInSql(now)} in (${open})`;
}

const hourMs = 60 * 60 * 1_000;

/** The hour that a thread is listed under while its last message, or its start, is at `at` (Unix ms). */
export function hourOf(at: number): number {
  return Math.floor(at / hourMs);
}

/** When a silent negotiation is over at the latest: its hour counts as a whole. */
export function silentUntil(activeHour: number): number {
  return (activeHour + 1) * hourMs + threadSilenceMs;
}
