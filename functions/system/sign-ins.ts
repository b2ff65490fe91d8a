/** What the server itself writes about sign-ins (runtime/call/caller.ts). */
import { systemMutation } from "../../runtime/call/define.js";
import { keepSignIn } from "../model/users/sign-ins.js";

interface SignIn {
  signInId: string;
  userId: string;
  createdAt: number;
  expiresAt: number;
}

/**
 * Makes the sign-in of a JWT from before sign-ins were kept, at its next use: from then on it can be listed and ended.
 */
export const adoptSignIn = systemMutation(
  "signIns.adopt",
  async (ctx, { signInId, userId, createdAt, expiresAt }: SignIn) => {
    const known = await ctx.db.selectFrom("signIns").select("signInId").where("signInId", "=", signInId).execute();
    const owner = await ctx.db.selectFrom("users").select("userId").where("userId", "=", userId).executeTakeFirst();
    if (known.length > 0 || !owner) return;
    const unknown = { address: null, userAgent: null };
    await keepSignIn(ctx, { signInId, userId, createdAt, expiresAt, lastSeenAt: ctx.now, ...unknown });
  },
  { oneAtATime: ({ userId }) => `sign-ins ${userId}` },
);

/** Notes that a sign-in is in use. */
export const seeSignIn = systemMutation("signIns.see", async (ctx, { signInId }: { signInId: string }) => {
  await ctx.db
    .updateTable("signIns")
    .set({ lastSeenAt: ctx.now })
    .where("signInId", "=", signInId)
    .returning(["signInId", "userId"])
    .execute();
});
