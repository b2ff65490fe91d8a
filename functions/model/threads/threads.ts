/**
 * The life of a thread. It is opened `negotiating`; proposals and counters replace one another until the other agent
 * accepts the current one; then both humans have 48 hours. Both approve: `confirmed`, and it is a commitment. One
 * declines, or either agent rejects: `rejected`. Time runs out: `expired`; so does a negotiation in which nobody wrote for
 * 30 days. The short thread of a confirmed intro starts
 * `confirmed`, so it carries `info` only, and expires with its event. (claw-to-claw.md section 3, "The thread's life".)
 */
import { type RawBuilder, type SqlBool, sql } from "kysely";
import type { AgentQuery, MutationContext, QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { ConnectionStatus } from "../../../schema/connections.js";
import type { Decision, MessageType, ThreadStatus, ThreadsTable } from "../../../schema/threads.js";

/** How long the humans have. */
export const approvalMs = 48 * 60 * 60 * 1_000;

/** How long a negotiation may be silent. */
export const silenceMs = 30 * 24 * 60 * 60 * 1_000;

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

/** What the thread is by the clock, before the timer wrote it too. */
export function statusOf(
  thread: Pick<ThreadsTable, "status" | "approvalDeadline" | "closesAt" | "lastMessageAt" | "createdAt">,
  now: number,
): ThreadStatus {
  const { status, approvalDeadline, closesAt } = thread;
  const lastActiveAt = thread.lastMessageAt ?? thread.createdAt;
  if (status === "negotiating" && lastActiveAt <= now - silenceMs) return "expired";
  if (status === "awaiting_approval" && approvalDeadline !== null && approvalDeadline <= now) return "expired";
  if (status === "confirmed" && closesAt !== null && closesAt <= now) return "expired";
  return status;
}

/** When somebody last wrote in a thread, or opened it. */
export const lastActiveAt = sql<number>`coalesce(${sql.ref("threads.lastMessageAt")}, ${sql.ref("threads.createdAt")})`;

/** `statusOf`, for a query to select and filter by. */
export function statusInSql(now: number): RawBuilder<ThreadStatus> {
  const status = sql.ref("threads.status");
  return sql<ThreadStatus>`case
    when ${status} = 'negotiating' and ${lastActiveAt} <= ${now - silenceMs} then 'expired'
    when ${status} = 'awaiting_approval' and ${sql.ref("threads.approvalDeadline")} <= ${now} then 'expired'
    when ${status} = 'confirmed' and ${sql.ref("threads.closesAt")} <= ${now} then 'expired'
    else ${status} end`;
}

/** Whether a thread still asks something of its agents or their humans, for a query; along the index of those. */
export function isOpenInSql(now: number): RawBuilder<SqlBool> {
  const open = sql.raw("'negotiating', 'awaiting_approval'");
  return sql<SqlBool>`${sql.ref("threads.status")} in (${open}) and ${statusInSql(now)} in (${open})`;
}

export interface ThreadOfCaller extends ThreadsTable {
  /** Null for the thread of an intro. */
  connectionStatus: ConnectionStatus | null;
}

const threadById = prepared(["threadId"], (db, { threadId }) =>
  db
    .selectFrom("threads")
    .leftJoin("connections", "connections.connectionId", "threads.connectionId")
    .selectAll("threads")
    .select("connections.status as connectionStatus")
    .where("threads.threadId", "=", threadId),
);

/** The thread, for one of its two agents. A stranger's reads as missing. */
export async function requireThread(ctx: AgentQuery, threadId: string): Promise<ThreadOfCaller> {
  const { rows } = await threadById(ctx, { threadId });
  const [thread] = rows;
  const { agentId } = ctx.caller;
  if (!thread || (thread.agentAId !== agentId && thread.agentBId !== agentId)) {
    throw new CallError("not_found", "Thread not found");
  }
  return thread;
}

const hourMs = 60 * 60 * 1_000;

const sides = ["agentAId", "agentBId"] as const;

/** The thread of two agents in which they were active last is so no longer. */
async function supersede(ctx: MutationContext, one: string, other: string): Promise<void> {
  const newest = await Promise.all(
    [[one, other] as const, [other, one] as const].map(([agentAId, agentBId]) =>
      ctx.db
        .selectFrom("threads")
        .select("threadId")
        .where("agentAId", "=", agentAId)
        .where("agentBId", "=", agentBId)
        .where("supersededAt", "is", null)
        .execute(),
    ),
  );
  const threadIds = newest.flat().map(({ threadId }) => threadId);
  if (threadIds.length === 0) return;
  const latest = Math.max(...(await Promise.all([one, other].map((agentId) => lastSupersededAt(ctx, agentId)))));
  await ctx.db
    .updateTable("threads")
    .set({ supersededAt: Math.max(ctx.now, latest + 1) })
    .where("threadId", "in", threadIds)
    .execute();
}

/** Somebody writes again in a thread that was not the last one in which its two agents were active. */
export async function resumeThread(ctx: MutationContext, thread: ThreadsTable): Promise<void> {
  await supersede(ctx, thread.agentAId, thread.agentBId);
  await ctx.db.updateTable("threads").set({ supersededAt: null }).where("threadId", "=", thread.threadId).execute();
}

/** The latest `supersededAt` of an agent's threads; each one that comes is greater, whatever the clock says. */
export async function lastSupersededAt(ctx: Pick<QueryContext, "db">, agentId: string): Promise<number> {
  const latest = await Promise.all(
    sides.map((side) =>
      ctx.db
        .selectFrom("threads")
        .select("supersededAt")
        .where(side, "=", agentId)
        .where("supersededAt", "is not", null)
        .orderBy("supersededAt", "desc")
        .limit(1)
        .executeTakeFirst(),
    ),
  );
  return Math.max(...latest.map((row) => row?.supersededAt ?? 0));
}

/** The hour that a thread is listed under while its last message, or its start, is at `at` (Unix ms). */
export function hourOf(at: number): number {
  return Math.floor(at / hourMs);
}

/** When a negotiation that nobody writes in any more is over at the latest: its hour counts as a whole. */
export function silentUntil(activeHour: number): number {
  return (activeHour + 1) * hourMs + silenceMs;
}

/** Writes a new thread and returns its row. */
export async function openThread(
  ctx: MutationContext,
  start: Pick<ThreadsTable, "connectionId" | "agentAId" | "agentBId" | "status" | "closesAt">,
): Promise<ThreadsTable> {
  const thread: ThreadsTable = {
    threadId: ctx.newId("thr"),
    ...start,
    proposalMessageId: null,
    proposalAgentId: null,
    proposalCount: 0,
    approvalDeadline: null,
    messageCount: 0,
    lastMessageAt: null,
    activeHour: hourOf(ctx.now),
    supersededAt: null,
    createdAt: ctx.now,
  };
  await supersede(ctx, start.agentAId, start.agentBId);
  await ctx.db.insertInto("threads").values(thread).execute();
  ctx.wakeAt(thread.closesAt ?? silentUntil(thread.activeHour));
  return thread;
}
