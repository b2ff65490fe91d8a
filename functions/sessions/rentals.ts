/** Making a session, reading it, approving and ending it. */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import type { UserQuery } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { type SessionStatus, type Side, sides } from "../../schema/sessions.js";
import { cursor, id, isoTime, limit, limitOf, page, pageOf } from "../../schema/values.js";
import { cursorsOf, skippedBy } from "../model/cursors.js";
import { agentCard, agentCards } from "../model/listings/cards.js";
import { walletTurn } from "../model/money/ledger.js";
import { settlementOf, settlementValue } from "../model/money/settlement.js";
import { afterAct, hasStatus, statusFilter } from "../model/rules/session-states.js";
import { placesTurn, rentAgent, rentalArgs, taskDescription } from "../model/session/renting.js";
import { activateSession, endSession, findSession, requirePartyNow, sideOf } from "../model/session/session.js";
import { sessionView, sessionViews, viewSession } from "../model/session/session-view.js";

/** The default page: daemons ask without a limit and attach only to the sessions that they get. */
const sessionsLimit = limitOf(100, 100);
/** The most that is counted: the total of a side stops here. */
const mostCounted = 10_000;

/** Rents an agent (clawrent.md section 2.6; functions/model/session/renting.ts has the checks in their order). */
export const create = mutation({
  summary: "Rents an agent for a task",
  auth: "user",
  args: { agentId: id, taskDescription: taskDescription(10), ...rentalArgs },
  returns: sessionView,
  oneAtATime: ({ agentId }, { userId }) => [walletTurn(userId), placesTurn(agentId)],
  handler: async (ctx, args) => viewSession(ctx, await rentAgent(ctx, args)),
});

const newestFirst = cursorsOf("sessions:list", { createdAt: "integer", sessionId: "id" });

/** The caller's sessions, newest first (clawrent.md section 2.6). */
export const list = query({
  summary: "Your sessions on either side, newest first",
  auth: "user",
  args: { role: z.enum(sides).nullish(), status: statusFilter.nullish(), page, limit: sessionsLimit, cursor },
  returns: pageOf(sessionView),
  handler: async (ctx, args) => {
    const cursors = newestFirst.under(ctx, { role: args.role, status: args.status });
    const after = cursors.read(args.cursor);
    const skipped = skippedBy(args);
    // One walk along an index for each side; nobody is on both sides of a session.
    const walks = (args.role ? [args.role] : sides).map((side) => sessionsOn(ctx, side, args));
    const [first, ...others] = walks.map((walk) =>
      ctx.db
        .selectFrom(
          walk
            .selectAll()
            .$call((all) => cursors.behind(all, after, { createdAt: "createdAt", sessionId: "sessionId" }))
            .orderBy("createdAt", "desc")
            .orderBy("sessionId", "desc")
            .limit(skipped + args.limit + 1)
            .as("newest"),
        )
        .selectAll(),
    );
    if (!first) throw new Error("A session has sides");
    const found = await others
      .reduce((all, walk) => all.unionAll(walk), first)
      .orderBy("createdAt", "desc")
      .orderBy("sessionId", "desc")
      .limit(args.limit + 1)
      .offset(skipped)
      .execute();
    const { rows, nextCursor } = cursors.page(found, args.limit, (row) => row);
    const counts = await Promise.all(walks.map((walk) => countOf(ctx, walk)));
    return {
      data: await sessionViews(ctx, rows),
      total: counts.reduce((sum, count) => sum + count, 0),
      page: args.page,
      limit: args.limit,
      nextCursor,
    };
  },
});

/**
 * The sessions that the caller has on one side. An agent that asks for the provider's gets only its own: two agents of
 * one owner would otherwise take each other's (clawrent.md section 1).
 */
function sessionsOn(
  ctx: UserQuery,
  side: Side,
  { role, status }: { role?: Side | null | undefined; status?: SessionStatus[] | null | undefined },
) {
  const { userId, agentId } = ctx.caller;
  const sessions = ctx.db
    .selectFrom("sessions")
    .$if(status != null, (all) => all.where(hasStatus(status ?? [], ctx.now)));
  if (side === "consumer") return sessions.where("consumerUserId", "=", userId);
  return role === "provider" && agentId !== null
    ? sessions.where("providerAgentId", "=", agentId)
    : sessions.where("providerUserId", "=", userId);
}

async function countOf(ctx: UserQuery, walk: ReturnType<typeof sessionsOn>): Promise<number> {
  const { total } = await ctx.db
    .selectFrom(walk.select("sessionId").limit(mostCounted).as("counted"))
    .select(({ fn }) => fn.countAll<number>().as("total"))
    .executeTakeFirstOrThrow();
  return Number(total);
}

const latestFirst = cursorsOf("sessions:listRentedAgents", { lastRentedAt: "integer", providerAgentId: "id" });

/** The agents that the caller rented, each once, the latest first (clawrent.md section 2.6). */
export const listRentedAgents = query({
  summary: "The agents you rented, each once",
  auth: "user",
  args: { page, limit, cursor },
  returns: pageOf(agentCard.extend({ lastRentedAt: z.string(), sessionCount: z.number() })),
  handler: async (ctx, args) => {
    const cursors = latestFirst.under(ctx);
    const after = cursors.read(args.cursor);
    const mine = ctx.db.selectFrom("sessions").where("consumerUserId", "=", ctx.caller.userId);
    const each = mine
      .select(({ fn }) => [
        "providerAgentId",
        fn.max("createdAt").as("lastRentedAt"),
        fn.countAll<number>().as("sessionCount"),
      ])
      .groupBy("providerAgentId");
    const [found, { total }] = await Promise.all([
      ctx.db
        .selectFrom(each.as("rented"))
        .selectAll()
        .$call((all) =>
          cursors.behind(all, after, { lastRentedAt: "lastRentedAt", providerAgentId: "providerAgentId" }),
        )
        .orderBy("lastRentedAt", "desc")
        .orderBy("providerAgentId", "desc")
        .limit(args.limit + 1)
        .offset(skippedBy(args))
        .execute(),
      mine.select(({ fn }) => fn.count<number>("providerAgentId").distinct().as("total")).executeTakeFirstOrThrow(),
    ]);
    const { rows: rented, nextCursor } = cursors.page(found, args.limit, (row) => row);
    const cards = await agentCards(
      ctx,
      rented.map(({ providerAgentId }) => providerAgentId),
    );
    return {
      data: rented.flatMap(({ providerAgentId, lastRentedAt, sessionCount }) => {
        const card = cards.get(providerAgentId);
        return card ? { ...card, lastRentedAt: isoTime(lastRentedAt), sessionCount: Number(sessionCount) } : [];
      }),
      total: Number(total),
      page: args.page,
      limit: args.limit,
      nextCursor,
    };
  },
});

/** One session, for its parties and for admins (clawrent.md section 2.6). */
export const get = query({
  summary: "One of your sessions",
  auth: "user",
  args: { sessionId: id },
  returns: sessionView,
  handler: async (ctx, args) => {
    const session = await findSession(ctx, args.sessionId);
    if (!session || !(sideOf(session, ctx.caller) || ctx.caller.isAdmin)) {
      throw new CallError("not_found", "Session not found");
    }
    return viewSession(ctx, session);
  },
});

/**
 * Lets a pending session begin (clawrent.md section 2.6). Clients approve whatever is announced to them, so approving
 * an active session is not a mistake. A session that the guardrail stopped needs a person who says that they looked at
 * it.
 */
export const approve = mutation({
  summary: "Approves a pending session of your agent",
  auth: "user",
  args: { sessionId: id, manual: z.boolean().nullish() },
  returns: sessionView,
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, args) => {
    const { session, side } = await requirePartyNow(ctx, args.sessionId);
    if (side !== "provider") throw new CallError("forbidden", "Not authorized for this action");
    if (afterAct[session.status].approve === undefined) {
      throw new CallError("failed_precondition", "Session is not pending approval", { status: session.status });
    }
    if (session.status === "pending_approval") {
      const byAPerson = args.manual === true && ctx.caller.agentId === null;
      if (session.needsManualReview === 1 && !byAPerson) {
        throw new CallError("forbidden", "Session requires manual review", { needsManualReview: true });
      }
      await activateSession(ctx, session);
    }
    return viewSession(ctx, session);
  },
});

/**
 * Ends a session from either side, and settles it (clawrent.md section 2.6). Before the approval that is a cancellation
 * or a refusal, and costs nothing. Repeating it gives the same answer.
 */
export const end = mutation({
  summary: "Ends a session and settles it",
  auth: "user",
  args: { sessionId: id },
  returns: sessionView.extend({ settlement: settlementValue.nullable() }),
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, args) => {
    const { session, side } = await requirePartyNow(ctx, args.sessionId);
    if (session.status === "active") await endSession(ctx, session, { as: "completed", reason: "completed" });
    else if (session.status === "pending_approval") {
      await endSession(ctx, session, { as: "aborted", reason: side === "provider" ? "refused" : "cancelled" });
    }
    return { ...(await viewSession(ctx, session)), settlement: settlementOf(session) };
  },
});
