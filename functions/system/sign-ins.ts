/** What the server itself notes of sign-ins (runtime/call/caller.ts). Not callable from outside. */
import { z } from "zod";
import { mutation } from "../../runtime/call/define.js";
import { keepSignIn } from "../model/users/sign-ins.js";

/** Makes a sign-in of a JWT from before they were kept, at its first use: from then on it can be seen and ended. */
export const adoptSignIn = mutation({
  summary: "Keeps a sign-in from before they were kept",
  auth: "system",
  args: { signInId: z.string(), userId: z.string(), createdAt: z.number(), expiresAt: z.number() },
  returns: z.null(),
  oneAtATime: ({ userId }) => `sign-ins ${userId}`,
  handler: async (ctx, { signInId, userId, createdAt, expiresAt }) => {
    const known = await ctx.db.selectFrom("signIns").select("signInId").where("signInId", "=", signInId).execute();
    const owner = await ctx.db.selectFrom("users").select("userId").where("userId", "=", userId).executeTakeFirst();
    if (known.length > 0 || !owner) return null;
    const unknown = { address: null, userAgent: null };
    await keepSignIn(ctx, { signInId, userId, createdAt, expiresAt, lastSeenAt: ctx.now, ...unknown });
    return null;
  },
});

/** Notes that a sign-in is in use. */
export const seeSignIn = mutation({
  summary: "Notes the last use of a sign-in",
  auth: "system",
  args: { signInId: z.string() },
  returns: z.null(),
  handler: async (ctx, { signInId }) => {
    await ctx.db
      .updateTable("signIns")
      .set({ lastSeenAt: ctx.now })
      .where("signInId", "=", signInId)
      .returning(["signInId", "userId"])
      .execute();
    return null;
  },
});
