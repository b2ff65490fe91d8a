/** A consumer disputes a settlement (clawrent.md section 6.4). Admins decide in functions/admin/disputes.ts. */

import { mutation } from "../../runtime/call/define.js";
import type { UserMutation } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import type { SessionsTable } from "../../schema/sessions.js";
import { id, text } from "../../schema/values.js";
import { openDispute, withdrawOpenDispute } from "../model/money/dispute.js";
import { requirePartyNow } from "../model/session/session.js";
import { sessionView, viewSession } from "../model/session/session-view.js";

/** Freezes the provider's income from a session until an admin decides. */
export const dispute = mutation({
  summary: "Disputes what a session that you rented cost",
  auth: "user",
  args: { sessionId: id, reason: text(2_000, 1) },
  returns: sessionView,
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, args) => {
    const session = await requireConsumer(ctx, args.sessionId);
    await openDispute(ctx, session, args.reason);
    return viewSession(ctx, session);
  },
});

/** Takes a dispute back. The session cannot be disputed again. */
export const withdrawDispute = mutation({
  summary: "Takes a dispute back",
  auth: "user",
  args: { sessionId: id },
  returns: sessionView,
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, args) => {
    const session = await requireConsumer(ctx, args.sessionId);
    await withdrawOpenDispute(ctx, session.sessionId);
    return viewSession(ctx, session);
  },
});

async function requireConsumer(ctx: UserMutation, sessionId: string): Promise<SessionsTable> {
  const { session, side } = await requirePartyNow(ctx, sessionId);
  if (side !== "consumer") throw new CallError("forbidden", "Not authorized for this action");
  return session;
}
