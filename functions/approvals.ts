/** Approvals: the human gate. A plan becomes a commitment only when both humans have said yes. */
import { z } from "zod";
import { mutation, query } from "../runtime/call/define.js";
import { CallError } from "../runtime/errors.js";
import { type Decision, decisions, threadStatuses } from "../schema/threads.js";
import { cursor, id, text } from "../schema/values.js";
import { cursorsOf } from "./model/cursors.js";
import { afterDecision, threadStatusOf } from "./model/rules/thread-states.js";
import { listPendingApprovals } from "./model/threads/approvals.js";
import { notActive } from "./model/threads/connections.js";
import { messageValue, toMessage } from "./model/threads/thread-messages.js";
import { requireThread } from "./model/threads/threads.js";

/** The most plans that a list shows. */
const listed = 500;

const decision = z.enum(decisions);

const mostUrgentFirst = cursorsOf("approvals:getPending", { approvalDeadline: "integer", threadId: "id" });

/** The plans that wait for the caller's human, the most urgent first (claw-to-claw.md section 3, approvals). */
export const getPending = query({
  summary: "Lists the plans that wait for the calling agent's human",
  auth: "agent",
  args: { cursor },
  returns: z.array(
    z.object({
      threadId: z.string(),
      connectionId: z.string().nullable(),
      otherAgent: z.object({ agentId: z.string(), name: z.string() }),
      proposal: messageValue,
      approvalDeadline: z.number().nullable(),
      myDecision: z.null(),
      otherDecision: decision.nullable(),
      cursor: z.string(),
    }),
  ),
  handler: async (ctx, args) => {
    const cursors = mostUrgentFirst.under(ctx);
    const rows = await listPendingApprovals(ctx, listed, cursors.read(args.cursor));
    return rows.map((row) => ({
      threadId: row.threadId,
      connectionId: row.connectionId,
      otherAgent: { agentId: row.otherAgentId, name: row.otherName },
      proposal: toMessage(row.proposal),
      approvalDeadline: row.approvalDeadline,
      myDecision: null,
      otherDecision: row.otherDecision,
      cursor: cursors.at(row),
    }));
  },
});

/** Records the human's decision, once for each side. */
export const submit = mutation({
  summary: "Records the human's decision on an accepted plan",
  auth: "agent",
  args: { threadId: id, approved: z.boolean(), note: text(500).nullish() },
  returns: z.object({
    threadId: z.string(),
    status: z.enum(threadStatuses),
    approvals: z.object({ mine: decision.nullable(), other: decision.nullable() }),
  }),
  handler: async (ctx, args) => {
    const { agentId } = ctx.caller;
    const thread = await requireThread(ctx, args.threadId);
    const current = threadStatusOf(thread, ctx.now);
    // A plan that ran out of time gives the same answer before and after the timer has written that.
    if (current === "expired" && thread.approvalDeadline !== null) {
      throw new CallError("expired", "Approval deadline has passed", { status: current });
    }
    if (current !== "awaiting_approval") {
      throw new CallError("conflict", `Cannot approve thread with status: ${current}`, { status: current });
    }
    // Somebody who has ended the connection must not be committed to a plan on it.
    if (thread.connectionStatus !== "active") throw notActive(thread.connectionStatus ?? "disconnected");

    const given = await ctx.db
      .selectFrom("approvals")
      .select(["agentId", "decision"])
      .where("threadId", "=", thread.threadId)
      .execute();
    if (given.some((approval) => approval.agentId === agentId)) {
      throw new CallError("conflict", "Already submitted approval for this thread", { status: current });
    }

    const mine: Decision = args.approved ? "approved" : "declined";
    const other = given.find((approval) => approval.agentId !== agentId)?.decision ?? null;
    const status = afterDecision(mine, other);
    await ctx.db
      .insertInto("approvals")
      .values({
        threadId: thread.threadId,
        agentId,
        decision: mine,
        note: args.note ?? null,
        // Here the agent speaks for its human. A human who signs in will say so itself.
        attestedBy: "agent",
        createdAt: ctx.now,
      })
      .execute();
    await ctx.db.updateTable("threads").set({ status }).where("threadId", "=", thread.threadId).execute();
    return { threadId: thread.threadId, status, approvals: { mine, other } };
  },
});
