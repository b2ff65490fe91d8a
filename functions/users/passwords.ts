/**
 * The password and the API key of an account, changed by its owner (people.md section 6).
 *
 * What each credential may do: whoever holds a leaked JWT or API key must not be able to take the account over or shut
 * its owner out. So a new password asks for the present one or for a code from the mailbox. Only sign-ins can list and
 * end sign-ins: an API key that could end them would keep the owner signed out, and then nobody could take that key
 * back. The API key is replaced by a sign-in, or by the key itself: an owner who lost control of it signs in and
 * replaces it. An agent's token can do none of this (people.md section 7).
 */
import { z } from "zod";
import { userKeyCredentialId, userKeyPrefix } from "../../runtime/call/caller.js";
import { mutation, Refusal } from "../../runtime/call/define.js";
import type { MutationContext } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { hashSecret } from "../../runtime/ids.js";
import { email, text } from "../../schema/values.js";
import { lookAtCode, spendCodes } from "../model/users/mailed-codes.js";
import { currentSignIn, endSignIns } from "../model/users/sign-ins.js";
import { findUserByEmail, requireUser } from "../model/users/users.js";

/** The most agents that a reply names. */
const mostNamed = 100;

const newPassword = text(128, 8);

/** Sets a new password with the present one. Every other sign-in ends; the API key and agent tokens go on working. */
export const changePassword = mutation({
  summary: "Sets a new password, with the present one; ends your other sign-ins",
  auth: "signIn",
  rate: "signIns",
  // Counted by sign-in: guesses with a stolen one do not count against the owner's.
  limit: (_args, { credentialId }) => [{ rate: "wrongPasswords", who: credentialId, failuresOnly: true }],
  args: { password: text(1_000), newPassword },
  returns: z.object({ message: z.string(), endedSignIns: z.number() }),
  prepare: async (world, args, { userId }) => {
    const present = await world.read((db) =>
      db.selectFrom("users").select("passwordHash").where("userId", "=", userId).executeTakeFirst(),
    );
    if (!present || !(await world.verifyPassword(args.password, present.passwordHash))) return undefined;
    return { before: present.passwordHash, passwordHash: await world.hashPassword(args.newPassword) };
  },
  oneAtATime: (_args, { userId }) => `sign-ins ${userId}`,
  handler: async (ctx, _args, prepared) => {
    const { userId } = ctx.caller;
    const row = await requireUser(ctx, userId);
    if (!prepared || row.passwordHash !== prepared.before) {
      throw new CallError("forbidden", "The present password is wrong");
    }
    const current = currentSignIn(ctx.caller);
    await setPassword(ctx, row, prepared.passwordHash);
    const endedSignIns = await endSignIns(ctx, userId, (signInId) => signInId !== current);
    return { message: "Password changed. Your other sign-ins have ended.", endedSignIns };
  },
});

/** Sets a new password with a code from the mailbox. All sign-ins end; the reply names what still works. */
export const resetPassword = mutation({
  summary: "Sets a new password, with the reset code that was mailed; ends all sign-ins",
  auth: "none",
  rate: "signIns",
  args: {
    email,
    resetCode: z
      .string()
      .max(40, "Too long (max 40 characters)")
      .transform((code) => code.replaceAll(/[\s-]/g, "").toUpperCase()),
    newPassword,
  },
  returns: z.object({
    message: z.string(),
    endedSignIns: z.number(),
    /** What a new password does not end. */
    stillWorking: z.object({
      apiKey: z.boolean(),
      agentTokens: z.array(z.object({ agentId: z.string(), name: z.string() })),
    }),
  }),
  prepare: async (world, args) => {
    // No hash is calculated for a wrong code.
    const looked = await world.read((db) => lookAtCode({ ...world, db }, args.email, "reset", args.resetCode));
    return looked === "right" ? { passwordHash: await world.hashPassword(args.newPassword) } : undefined;
  },
  oneAtATime: (args) => `verification ${args.email}`,
  handler: async (ctx, args, prepared) => {
    const looked = await lookAtCode(ctx, args.email, "reset", args.resetCode);
    const row = await findUserByEmail(ctx, args.email);
    if (looked !== "right" || !prepared || !row) {
      return new Refusal(new CallError("failed_precondition", "Invalid or expired reset code"));
    }
    if (row.status !== "active") throw new CallError("forbidden", "Account is suspended");
    await setPassword(ctx, row, prepared.passwordHash);
    const endedSignIns = await endSignIns(ctx, row.userId);
    return {
      message:
        "Password changed, and all sign-ins ended. Your API key and the tokens of your agents still work: " +
        "users:rotateApiKey and agents:revokeToken end them.",
      endedSignIns,
      stillWorking: { apiKey: true, agentTokens: await agentsWithToken(ctx, row.userId) },
    };
  },
});

/** Gives the account a new API key. The one before it opens nothing from now on, and what was opened with it closes. */
export const rotateApiKey = mutation({
  summary: "Gives your account a new API key; the only time it is shown",
  auth: "account",
  args: {},
  returns: z.object({ apiKey: z.string(), message: z.string() }),
  oneAtATime: (_args, { userId }) => `sign-ins ${userId}`,
  handler: async (ctx) => {
    const { userId } = ctx.caller;
    const { apiKeyHash } = await requireUser(ctx, userId);
    const apiKey = ctx.newSecret(userKeyPrefix);
    await ctx.db
      .updateTable("users")
      .set({ apiKeyHash: hashSecret(apiKey), updatedAt: ctx.now })
      .where("userId", "=", userId)
      .execute();
    ctx.notify({ kind: "credentialEnded", credentialId: userKeyCredentialId(apiKeyHash) });
    return { apiKey, message: "Save this key now: it is not shown again. The key before it no longer works." };
  },
});

/** Writes the new password, and removes codes that were mailed for the old one: nobody who means well needs them. */
async function setPassword(
  ctx: MutationContext,
  user: { userId: string; email: string },
  passwordHash: string,
): Promise<void> {
  await ctx.db
    .updateTable("users")
    .set({ passwordHash, updatedAt: ctx.now })
    .where("userId", "=", user.userId)
    .execute();
  await spendCodes(ctx, user.email, "reset");
}

function agentsWithToken(ctx: MutationContext, ownerId: string): Promise<{ agentId: string; name: string }[]> {
  return ctx.db
    .selectFrom("agents")
    .innerJoin("agentCredentials", "agentCredentials.agentId", "agents.agentId")
    .select(["agents.agentId", "agents.name"])
    .where("agents.ownerId", "=", ownerId)
    .where("agentCredentials.kind", "=", "agentToken")
    .orderBy("agents.createdAt")
    .limit(mostNamed)
    .execute();
}
