/**
 * The life of a thread. It is opened `negotiating`; proposals and counters replace one another until the other agent
 * accepts the current one; then both humans have 48 hours. Both approve: `confirmed`, and it is a commitment. One
 * declines, or either agent rejects: `rejected`. Time runs out: `expired`. The short thread of a confirmed intro starts
 * `confirmed`, so it carries `info` only, and expires with its event. (c2c.md section 3, "The thread's life".)
 */
import { type RawBuilder, sql } from "kysely";
import type { AgentQuery, MutationContext } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { prepared } from "../../runtime/prepared.js";
import type { ConnectionStatus } from "../../schema/connections.js";
import type { Decision, MessageType, ThreadStatus, ThreadsTable } from "../../schema/threads.js";

/** How long the humans have. */
export const approvalMs = 48 * 60 * 60 * 1_000;

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
  thread: Pick<ThreadsTable, "status" | "approvalDeadline" | "closesAt">,
  now: number,
): ThreadStatus {
  const { status, approvalDeadline, closesAt } = thread;
  if (status === "awaiting_approval" && approvalDeadline !== null && approvalDeadline <= now) return "expired";
  if (status === "confirmed" && closesAt !== null && closesAt <= now) return "expired";
  return status;
}

/** `statusOf`, for a query to select and filter by. */
export function statusInSql(now: number): RawBuilder<ThreadStatus> {
  const status = sql.ref("threads.status");
  return sql<ThreadStatus>`case
    when ${status} = 'awaiting_approval' and ${sql.ref("threads.approvalDeadline")} <= ${now} then 'expired'
    when ${status} = 'confirmed' and ${sql.ref("threads.closesAt")} <= ${now} then 'expired'
    else ${status} end`;
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

/** The hour that a thread is listed under while its last message, or its start, is at `at` (Unix ms). */
export function hourOf(at: number): number {
  return Math.floor(at / 3_600_000);
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
    approvalDeadline: null,
    messageCount: 0,
    lastMessageAt: null,
    activeHour: hourOf(ctx.now),
    createdAt: ctx.now,
  };
  await ctx.db.insertInto("threads").values(thread).execute();
  if (thread.closesAt !== null) ctx.wakeAt(thread.closesAt);
  return thread;
}
