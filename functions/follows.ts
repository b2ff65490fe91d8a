/** Who follows whom (clawrent.md section 2.9). */
import type { NotNull } from "kysely";
import { z } from "zod";
import { mutation, query } from "../runtime/call/define.js";
import type { UserQuery } from "../runtime/context.js";
import { CallError } from "../runtime/errors.js";
import { cursor, id, isoTime, limit, page, pageOf } from "../schema/values.js";
import { caps, requireRoom } from "./model/caps.js";
import { cursorsOf, skippedBy } from "./model/cursors.js";
import { requireUser } from "./model/users/users.js";

/** Follows a user. Following again gives the same answer (clawrent.md section 2.9). */
export const add = mutation({
  summary: "Follows a user",
  auth: "user",
  args: { userId: id },
  returns: z.object({ userId: z.string(), following: z.literal(true) }),
  oneAtATime: (_args, { userId }) => `follows of ${userId}`,
  handler: async (ctx, { userId }) => {
    refuseOneself(ctx, userId);
    await requireUser(ctx, userId);
    const followerId = ctx.caller.userId;
    const mine = ctx.db.selectFrom("follows").where("followerId", "=", followerId);
    const known = await mine.select("userId").where("userId", "=", userId).executeTakeFirst();
    if (known) return { userId, following: true as const };
    const { have } = await mine.select(({ fn }) => fn.countAll<number>().as("have")).executeTakeFirstOrThrow();
    requireRoom(
      "follows",
      have,
      `You follow ${caps.follows.most} users. Stop following one before you follow another.`,
    );
    await ctx.db.insertInto("follows").values({ followerId, userId, createdAt: ctx.now }).execute();
    return { userId, following: true as const };
  },
});

/** Follows a user no longer; a user who was not followed gives the same answer (clawrent.md section 2.9). */
export const remove = mutation({
  summary: "Stops following a user",
  auth: "user",
  args: { userId: id },
  returns: z.object({ userId: z.string(), following: z.literal(false) }),
  handler: async (ctx, { userId }) => {
    refuseOneself(ctx, userId);
    await ctx.db
      .deleteFrom("follows")
      .where("followerId", "=", ctx.caller.userId)
      .where("userId", "=", userId)
      .execute();
    return { userId, following: false as const };
  },
});

const follow = z.object({ userId: z.string(), name: z.string(), createdAt: z.string() });

/** Whom the caller follows, the newest first (clawrent.md section 2.9). */
export const listFollowing = query({
  summary: "The users whom the caller follows",
  auth: "user",
  args: { page, limit, cursor },
  returns: pageOf(follow),
  handler: (ctx, args) => listFollows(ctx, { of: "followerId", shows: "userId" }, args),
});

/** Who follows the caller, the newest first (clawrent.md section 2.9). */
export const listFollowers = query({
  summary: "The users who follow the caller",
  auth: "user",
  args: { page, limit, cursor },
  returns: pageOf(follow),
  handler: (ctx, args) => listFollows(ctx, { of: "userId", shows: "followerId" }, args),
});

const newestFirst = {
  userId: cursorsOf("follows:listFollowing", { createdAt: "integer", userId: "id" }),
  followerId: cursorsOf("follows:listFollowers", { createdAt: "integer", userId: "id" }),
};

/** One page of the caller's follows: `of` is the column that holds the caller, `shows` the other one. */
async function listFollows(
  ctx: UserQuery,
  sides: { of: "followerId"; shows: "userId" } | { of: "userId"; shows: "followerId" },
  args: { page: number; limit: number; cursor?: string | null | undefined },
): Promise<z.input<ReturnType<typeof pageOf<typeof follow>>>> {
  const cursors = newestFirst[sides.shows].under(ctx);
  const after = cursors.read(args.cursor);
  const ofCaller = ctx.db.selectFrom("follows").where(`follows.${sides.of}`, "=", ctx.caller.userId);
  const [found, { total }] = await Promise.all([
    ofCaller
      .leftJoin("users", "users.userId", `follows.${sides.shows}`)
      .select([`follows.${sides.shows} as userId`, "users.name", "follows.createdAt"])
      .$call((all) => cursors.behind(all, after, { createdAt: "follows.createdAt", userId: `follows.${sides.shows}` }))
      .orderBy("follows.createdAt", "desc")
      .orderBy(`follows.${sides.shows}`, "desc")
      .limit(args.limit + 1)
      .offset(skippedBy(args))
      // A user who follows exists.
      .$narrowType<{ name: NotNull }>()
      .execute(),
    ofCaller.select((select) => select.fn.countAll<number>().as("total")).executeTakeFirstOrThrow(),
  ]);
  const { rows, nextCursor } = cursors.page(found, args.limit, (row) => row);
  const data = rows.map((row) => ({ ...row, createdAt: isoTime(row.createdAt) }));
  return { data, total, page: args.page, limit: args.limit, nextCursor };
}

function refuseOneself(ctx: UserQuery, userId: string): void {
  if (userId === ctx.caller.userId) throw new CallError("failed_precondition", "You cannot follow yourself");
}
