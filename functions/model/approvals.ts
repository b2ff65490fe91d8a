/** What waits for a human's decision. */
import { sql } from "kysely";
import type { AgentQuery } from "../../runtime/context.js";

const sides = [
  { mine: "agentAId", theirs: "agentBId" },
  { mine: "agentBId", theirs: "agentAId" },
] as const;

/**
 * The caller's threads that await its own human: accepted by both agents, within their time, on a connection that
 * both still keep, and not yet decided by this side. One query a side, each along its own index.
 */
function awaitingCaller(ctx: AgentQuery, { mine, theirs }: (typeof sides)[number]) {
  return (
    ctx.db
      .selectFrom("threads")
      .innerJoin("connections", "connections.connectionId", "threads.connectionId")
      .leftJoin("approvals as own", (join) =>
        join.onRef("own.threadId", "=", "threads.threadId").onRef("own.agentId", "=", `threads.${mine}`),
      )
      .leftJoin("approvals as others", (join) =>
        join.onRef("others.threadId", "=", "threads.threadId").onRef("others.agentId", "=", `threads.${theirs}`),
      )
      .where(`threads.${mine}`, "=", ctx.caller.agentId)
      // Written out, not bound: only so can the partial index of awaiting threads answer.
      .where("threads.status", "=", sql.lit("awaiting_approval"))
      .where("threads.approvalDeadline", ">", ctx.now)
      .where("connections.status", "=", "active")
      .where("own.threadId", "is", null)
  );
}

export async function countPendingApprovals(ctx: AgentQuery): Promise<number> {
  const counts = await Promise.all(
    sides.map((side) =>
      awaitingCaller(ctx, side)
        .select((select) => select.fn.countAll<number>().as("count"))
        .executeTakeFirstOrThrow(),
    ),
  );
  return counts.reduce((sum, { count }) => sum + count, 0);
}

/** The waiting threads with the proposal that was accepted, the most urgent first; at most `limit`. */
export async function listPendingApprovals(ctx: AgentQuery, limit: number) {
  const rows = await Promise.all(
    sides.map((side) =>
      awaitingCaller(ctx, side)
        .innerJoin("agents", "agents.agentId", `threads.${side.theirs}`)
        .innerJoin("messages", "messages.messageId", "threads.proposalMessageId")
        .selectAll("messages")
        .select([
          "threads.connectionId",
          "threads.approvalDeadline",
          "agents.agentId as otherAgentId",
          "agents.name as otherName",
          "others.decision as otherDecision",
        ])
        .orderBy("threads.approvalDeadline")
        .limit(limit)
        .execute(),
    ),
  );
  return rows
    .flat()
    .sort((one, other) => (one.approvalDeadline ?? 0) - (other.approvalDeadline ?? 0))
    .slice(0, limit);
}
