/** A user's sign-ins: listing and ending them (people.md section 6). */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import { CallError } from "../../runtime/errors.js";
import { id, isoTime, isoTimeOrNull } from "../../schema/values.js";
import { currentSignIn, endSignIns, isOpen, mostKept, signInsOf } from "../model/users/sign-ins.js";

const signInView = z.object({
  id: z.string(),
  /** Whether it is the one that makes this call. */
  isCurrent: z.boolean(),
  isOpen: z.boolean(),
  createdAt: z.string(),
  /** To about an hour. */
  lastSeenAt: z.string(),
  expiresAt: z.string(),
  /** When it ended, for whatever reason. */
  endedAt: z.string().nullable(),
  /** From where; null for one from before sign-ins were kept. */
  address: z.string().nullable(),
  userAgent: z.string().nullable(),
});

/** The caller's sign-ins, with ended ones that are still kept. */
export const listSignIns = query({
  summary: "Your sign-ins, newest first: when, from where, and whether they are over",
  auth: "signIn",
  args: {},
  returns: z.object({ data: z.array(signInView), total: z.number() }),
  handler: async (ctx) => {
    const kept = await signInsOf(ctx, ctx.caller.userId);
    const data = kept
      .slice(-mostKept)
      .reverse()
      .map((row) => ({
        id: row.signInId,
        isCurrent: row.signInId === currentSignIn(ctx.caller),
        isOpen: isOpen(row, ctx.now),
        createdAt: isoTime(row.createdAt),
        lastSeenAt: isoTime(row.lastSeenAt),
        expiresAt: isoTime(row.expiresAt),
        endedAt: isoTimeOrNull(row.endedAt ?? (row.expiresAt <= ctx.now ? row.expiresAt : null)),
        address: row.address,
        userAgent: row.userAgent,
      }));
    return { data, total: data.length };
  },
});

/**
 * Ends one of the caller's sign-ins, or all but this one; what was opened with them closes. Repeating changes nothing.
 */
export const endSignIn = mutation({
  summary: "Ends one of your sign-ins, or without `signInId` all but this one",
  auth: "signIn",
  args: { signInId: id.optional() },
  returns: z.object({ message: z.string(), ended: z.number() }),
  oneAtATime: (_args, { userId }) => `sign-ins ${userId}`,
  handler: async (ctx, { signInId }) => {
    const { userId } = ctx.caller;
    const current = currentSignIn(ctx.caller);
    if (signInId !== undefined) {
      const kept = await signInsOf(ctx, userId);
      if (!kept.some((row) => row.signInId === signInId)) throw new CallError("not_found", "Sign-in not found");
    }
    const isMeant = (one: string) => (signInId === undefined ? one !== current : one === signInId);
    const ended = await endSignIns(ctx, userId, isMeant);
    return { message: signInId === undefined ? "All other sign-ins ended" : "Sign-in ended", ended };
  },
});

/** Ends the sign-in that this call came with. */
export const signOut = mutation({
  summary: "Ends the sign-in that you call with",
  auth: "signIn",
  args: {},
  returns: z.object({ message: z.string() }),
  oneAtATime: (_args, { userId }) => `sign-ins ${userId}`,
  handler: async (ctx) => {
    const current = currentSignIn(ctx.caller);
    await endSignIns(ctx, ctx.caller.userId, (signInId) => signInId === current);
    return { message: "Signed out" };
  },
});
