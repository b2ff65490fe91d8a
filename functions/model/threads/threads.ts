/**
 * Threads as rows: found for one of their two agents, opened, and superseded. Their states are
 * model/rules/thread-states.ts.
 */
import type { AgentQuery, MutationContext, QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { ConnectionStatus } from "../../../schema/connections.js";
import type { ThreadsTable } from "../../../schema/threads.js";
import { hourOf, silentUntil } from "../rules/thread-states.js";

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

const sides = ["agentAId", "agentBId"] as const;

/** Marks the last active thread of two agents as superseded: they go on in another one. */
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

/** Makes a thread the last active one of its two agents again, because somebody writes in it. */
export async function resumeThread(ctx: MutationContext, thread: ThreadsTable): Promise<void> {
  await supersede(ctx, thread.agentAId, thread.agentBId);
  await ctx.db.updateTable("threads").set({ supersededAt: null }).where("threadId", "=", thread.threadId).execute();
}

/** The latest `supersededAt` of an agent's threads; the next one must be greater, whatever the clock says. */
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
