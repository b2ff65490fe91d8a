/**
 * What an agent asks about itself, with its own credential: who it is, what it takes part in, which sessions it serves.
 */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import { sessionStatuses } from "../../schema/sessions.js";
import { cursor, limitOf } from "../../schema/values.js";
import { agentView, loadAgentView } from "../model/agents/agent-view.js";
import { loadSelf, requireAgentToken } from "../model/agents/agents.js";
import { cursorsOf } from "../model/cursors.js";

/** More sessions than one daemon can serve; it reads the list again every few seconds. */
const mostSessions = 1_000;
const mostRules = 100;
const ruleCharacters = 64 * 1024;

/** The calling agent (clawrent.md section 2.4, me/agent). */
export const getMine = query({
  summary: "The calling agent",
  auth: "agent",
  args: {},
  returns: agentView,
  handler: (ctx) => loadAgentView(ctx, ctx.caller.agentId),
});

const newestFirst = cursorsOf("agents:listMySessions", { createdAt: "integer", sessionId: "id" });

/** The active sessions in which the calling agent is on the consumer's side. */
export const listMySessions = query({
  summary: "The active sessions in which the calling agent takes part for the consumer",
  auth: "agent",
  args: { limit: limitOf(mostSessions, mostSessions), cursor },
  returns: z.object({
    nextCursor: z.string().nullable(),
    sessions: z.array(
      z.object({
        sessionId: z.string(),
        status: z.enum(sessionStatuses),
        taskDescription: z.string(),
        sessionType: z.literal("task"),
        peerAgentIds: z.array(z.string()),
        peerParticipantTypes: z.array(z.string()),
      }),
    ),
  }),
  handler: async (ctx, args) => {
    requireAgentToken(ctx);
    const cursors = newestFirst.under(ctx);
    const after = cursors.read(args.cursor);
    const found = await ctx.db
      .selectFrom("sessions")
      .select(["sessionId", "status", "taskDescription", "providerAgentId", "createdAt"])
      .where("consumerAgentId", "=", ctx.caller.agentId)
      .where("status", "=", "active")
      .$call((all) => cursors.behind(all, after, { createdAt: "createdAt", sessionId: "sessionId" }))
      .orderBy("createdAt", "desc")
      .orderBy("sessionId", "desc")
      .limit(args.limit + 1)
      .execute();
    const { rows, nextCursor } = cursors.page(found, args.limit, (row) => row);
    const sessions = rows.map(({ providerAgentId, createdAt: _, ...session }) => ({
      ...session,
      sessionType: "task" as const,
      peerAgentIds: [providerAgentId],
      peerParticipantTypes: ["agent"],
    }));
    return { sessions, nextCursor };
  },
});

const rule = z.object({ match: z.record(z.string(), z.json()), action: z.enum(["serve", "skip"]) }).catchall(z.json());

/** The rules by which the calling agent's client picks its sessions. Without rules it serves all. */
export const getServeRules = query({
  summary: "The calling agent's serve rules",
  auth: "agent",
  args: {},
  returns: z.object({ rules: z.array(rule).nullable() }),
  handler: async (ctx) => {
    requireAgentToken(ctx);
    const { serveRules } = await loadSelf(ctx);
    return { rules: serveRules === null ? null : (JSON.parse(serveRules) as z.output<typeof rule>[]) };
  },
});

/** Replaces the rules. The client evaluates them, and is told to read them again. */
export const setServeRules = mutation({
  summary: "Replaces the calling agent's serve rules",
  auth: "agent",
  args: {
    rules: z
      .array(rule)
      .max(mostRules)
      .refine((rules) => JSON.stringify(rules).length <= ruleCharacters, `Too long (max ${ruleCharacters} characters)`),
  },
  returns: z.object({ rules: z.array(rule) }),
  handler: async (ctx, args) => {
    requireAgentToken(ctx);
    const { agentId } = ctx.caller;
    await ctx.db
      .updateTable("agents")
      .set({ serveRules: JSON.stringify(args.rules) })
      .where("agentId", "=", agentId)
      .execute();
    ctx.notify({ kind: "serveRulesChanged", agentId });
    return { rules: args.rules };
  },
});
