/** Favorites: agents that a user keeps at hand (clawrent.md section 2.9). */
import { z } from "zod";
import { mutation, query } from "../runtime/call/define.js";
import { cursor, id, isoTime, limit, page, pageOf } from "../schema/values.js";
import { agentNotFound } from "./model/agents/agents.js";
import { caps, requireRoom } from "./model/caps.js";
import { cursorsOf, skippedBy } from "./model/cursors.js";
import { agentCard, agentCards } from "./model/listings/cards.js";

/** Keeps an agent: a listed one, or one of the caller's own. Repeating changes nothing. */
export const add = mutation({
  summary: "Keeps an agent as a favorite",
  auth: "user",
  args: { agentId: id },
  returns: z.object({ agentId: z.string(), favorited: z.literal(true), createdAt: z.string() }),
  oneAtATime: (_args, { userId }) => `favorites of ${userId}`,
  handler: async (ctx, args) => {
    const { userId } = ctx.caller;
    const { agentId } = args;
    const kept = await ctx.db
      .selectFrom("favorites")
      .select("createdAt")
      .where("userId", "=", userId)
      .where("agentId", "=", agentId)
      .executeTakeFirst();
    if (kept) return { agentId, favorited: true as const, createdAt: isoTime(kept.createdAt) };

    const agent = await ctx.db
      .selectFrom("agents")
      .leftJoin("providerProfiles as profile", "profile.agentId", "agents.agentId")
      .select(["agents.ownerId", "profile.status"])
      .where("agents.agentId", "=", agentId)
      .executeTakeFirst();
    // Somebody else's draft is private, and a favorite would show it.
    if (!agent || (agent.status !== "active" && agent.ownerId !== userId)) throw agentNotFound();
    const { have } = await ctx.db
      .selectFrom("favorites")
      .select(({ fn }) => fn.countAll<number>().as("have"))
      .where("userId", "=", userId)
      .executeTakeFirstOrThrow();
    requireRoom("favorites", have, `You have ${caps.favorites.most} favorites. Remove one before you add another.`);
    await ctx.db.insertInto("favorites").values({ userId, agentId, createdAt: ctx.now }).execute();
    return { agentId, favorited: true as const, createdAt: isoTime(ctx.now) };
  },
});

/** Keeps an agent no longer; an agent that was not kept gives the same answer. */
export const remove = mutation({
  summary: "Removes a favorite",
  auth: "user",
  args: { agentId: id },
  returns: z.object({ agentId: z.string(), favorited: z.literal(false) }),
  handler: async (ctx, args) => {
    await ctx.db
      .deleteFrom("favorites")
      .where("userId", "=", ctx.caller.userId)
      .where("agentId", "=", args.agentId)
      .execute();
    return { agentId: args.agentId, favorited: false as const };
  },
});

const newestFirst = cursorsOf("favorites:list", { createdAt: "integer", agentId: "id" });

/** The caller's favorites, the newest first. The status of one that has left the marketplace says so. */
export const list = query({
  summary: "The caller's favorites, the newest first",
  auth: "user",
  args: { page, limit, cursor },
  returns: pageOf(z.object({ agentId: z.string(), createdAt: z.string(), agent: agentCard })),
  handler: async (ctx, args) => {
    const cursors = newestFirst.under(ctx);
    const after = cursors.read(args.cursor);
    const mine = ctx.db.selectFrom("favorites").where("userId", "=", ctx.caller.userId);
    const [{ total }, found] = await Promise.all([
      mine.select((select) => select.fn.countAll<number>().as("total")).executeTakeFirstOrThrow(),
      mine
        .select(["agentId", "createdAt"])
        .$call((all) => cursors.behind(all, after, { createdAt: "createdAt", agentId: "agentId" }))
        .orderBy("createdAt", "desc")
        .orderBy("agentId", "desc")
        .limit(args.limit + 1)
        .offset(skippedBy(args))
        .execute(),
    ]);
    const { rows, nextCursor } = cursors.page(found, args.limit, (row) => row);
    const cards = await agentCards(
      ctx,
      rows.map(({ agentId }) => agentId),
    );
    const data = rows.flatMap(({ agentId, createdAt }) => {
      const agent = cards.get(agentId);
      return agent ? { agentId, createdAt: isoTime(createdAt), agent } : [];
    });
    return { data, total, page: args.page, limit: args.limit, nextCursor };
  },
});

/** Whether the caller keeps an agent. */
export const check = query({
  summary: "Whether an agent is a favorite of the caller's",
  auth: "user",
  args: { agentId: id },
  returns: z.object({ agentId: z.string(), favorited: z.boolean() }),
  handler: async (ctx, args) => {
    const kept = await ctx.db
      .selectFrom("favorites")
      .select("agentId")
      .where("userId", "=", ctx.caller.userId)
      .where("agentId", "=", args.agentId)
      .executeTakeFirst();
    return { agentId: args.agentId, favorited: kept !== undefined };
  },
});
