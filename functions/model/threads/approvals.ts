/** What waits for a human's decision. */
import { type NotNull, sql } from "kysely";
import type { AgentQuery } from "../../../runtime/context.js";

const sides = [
  { mine: "agentAId", theirs: "agentBId" },
  { mine: "agentBId", theirs: "agentAId" },
] as const;

/** How many threads are read at a time. */
const lookedInto = 500;

/** The position of a plan in the list. */
interface Behind {
  approvalDeadline: number;
  threadId: string;
}

/** The caller's threads that await a decision, within their time. One query a side, each along its own index. */
async function awaitingThreads(ctx: AgentQuery, behind: Behind | undefined) {
  const found = await Promise.all(
    sides.map(({ mine, theirs }) =>
      ctx.db
        .selectFrom("threads")
        .select(["threadId", "connectionId", "proposalMessageId", "approvalDeadline", `${theirs} as otherAgentId`])
        .where(mine, "=", ctx.caller.agentId)
        // Written out, not bound: otherwise the partial index of awaiting threads could not be used.
        .where("status", "=", sql.lit("awaiting_approval"))
        .where("approvalDeadline", ">", ctx.now)
        .orderBy("approvalDeadline")
        // A constraint ensures that an awaiting thread has a deadline.
        .$narrowType<{ approvalDeadline: NotNull }>()
        .execute(),
    ),
  );
  return found
    .flat()
    .filter((thread) => behind === undefined || byUrgency(behind, thread) < 0)
    .sort(byUrgency);
}

function byUrgency(one: Behind, other: Behind): number {
  return one.approvalDeadline - other.approvalDeadline || (one.threadId < other.threadId ? -1 : 1);
}

/**
 * Those that await the caller's own human: on a connection that both still keep, and not yet decided by this side; the
 * most urgent first, at most `limit`. Nearly always there are none, which one query shows. Otherwise what belongs to
 * them is read by its ids, so that nobody else's plans are read.
 */
async function waitingPlans(ctx: AgentQuery, limit: number, behind?: Behind) {
  const awaiting = await awaitingThreads(ctx, behind);
  const waiting = [];
  for (let from = 0; from < awaiting.length && waiting.length < limit; from += lookedInto) {
    const threads = awaiting.slice(from, from + lookedInto);
    const [connections, approvals] = await Promise.all([
      ctx.db
        .selectFrom("connections")
        .select("connectionId")
        .where(
          "connectionId",
          "in",
          threads.map(({ connectionId }) => connectionId ?? ""),
        )
        .where("status", "=", "active")
        .execute(),
      ctx.db
        .selectFrom("approvals")
        .select(["threadId", "agentId", "decision"])
        .where(
          "threadId",
          "in",
          threads.map(({ threadId }) => threadId),
        )
        .execute(),
    ]);
    const kept = new Set(connections.map(({ connectionId }) => connectionId));
    for (const thread of threads) {
      const given = approvals.filter(({ threadId }) => threadId === thread.threadId);
      if (!kept.has(thread.connectionId ?? "") || given.some(({ agentId }) => agentId === ctx.caller.agentId)) continue;
      waiting.push({ ...thread, otherDecision: given[0]?.decision ?? null });
    }
  }
  return waiting.slice(0, limit);
}

export async function countPendingApprovals(ctx: AgentQuery): Promise<number> {
  return (await waitingPlans(ctx, Number.POSITIVE_INFINITY)).length;
}

/**
 * The waiting threads with the proposal that was accepted, the most urgent first; at most `limit`, behind a position.
 */
export async function listPendingApprovals(ctx: AgentQuery, limit: number, behind: Behind | undefined) {
  const plans = await waitingPlans(ctx, limit, behind);
  if (plans.length === 0) return [];
  const [agents, messages] = await Promise.all([
    ctx.db
      .selectFrom("agents")
      .select(["agentId", "name"])
      .where("agentId", "in", [...new Set(plans.map(({ otherAgentId }) => otherAgentId))])
      .execute(),
    ctx.db
      .selectFrom("messages")
      .selectAll()
      .where(
        "messageId",
        "in",
        plans.map(({ proposalMessageId }) => proposalMessageId ?? ""),
      )
      .execute(),
  ]);
  const nameOf = new Map(agents.map(({ agentId, name }) => [agentId, name]));
  const messageById = new Map(messages.map((message) => [message.messageId, message]));
  return plans.flatMap((plan) => {
    const proposal = messageById.get(plan.proposalMessageId ?? "");
    const otherName = nameOf.get(plan.otherAgentId);
    return proposal && otherName !== undefined ? [{ ...plan, otherName, proposal }] : [];
  });
}
