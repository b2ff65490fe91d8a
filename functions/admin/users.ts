/**
 * What an admin does to accounts. A suspended user can do nothing, and neither can their agents (clawrent.md section
 * 2.2).
 */

import { mutation } from "../../runtime/call/define.js";
import type { MutationContext } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { id } from "../../schema/values.js";
import { reviewProfile } from "../model/listings/profile-review.js";
import { catchUp, stopMetersOf, terminateSession } from "../model/session/session.js";
import { requireUser, userValue, userView } from "../model/users/users.js";

/** Marks these suspensions, to tell them from those of single agents, which outlast the owner's. */
const ownerSuspended = "The owner's account is suspended";

/**
 * Shuts a user out from now on, on every surface, takes their agents off the marketplace, and ends the sessions that
 * they rent: they could not end those themselves, and one that is paid by the minute would go on until their wallet is
 * empty. Those who rent their agents decide for themselves, and pay nothing for what comes after this. Repeating
 * changes nothing.
 */
export const suspendUser = mutation({
  summary: "Suspends a user, ends what they rent, and takes their agents off the marketplace",
  auth: "admin",
  args: { userId: id },
  returns: userValue,
  handler: async (ctx, { userId }) => {
    const row = await requireUser(ctx, userId);
    // A single admin could never undo it.
    if (userId === ctx.caller.userId) throw new CallError("failed_precondition", "You cannot suspend yourself");
    if (row.status !== "active") return userView(ctx, row);

    const suspended = { status: "suspended" as const, updatedAt: ctx.now };
    await ctx.db.updateTable("users").set(suspended).where("userId", "=", userId).execute();
    for (const agent of await agentsToReview(ctx, userId, "active", null)) {
      await reviewProfile(ctx, agent, "suspend", ownerSuspended);
      await stopMetersOf(ctx, agent.agentId);
    }
    for (const session of await openRents(ctx, userId)) {
      await catchUp(ctx, session);
      await terminateSession(ctx, session);
    }
    ctx.notify({ kind: "userStandingChanged", userId, suspended: true });
    return userView(ctx, { ...row, ...suspended });
  },
});

/** Lets a user in again, with their agents as they were. Repeating changes nothing. */
export const reinstateUser = mutation({
  summary: "Reinstates a suspended user and their agents",
  auth: "admin",
  args: { userId: id },
  returns: userValue,
  handler: async (ctx, { userId }) => {
    const row = await requireUser(ctx, userId);
    if (row.status === "active") return userView(ctx, row);

    const active = { status: "active" as const, updatedAt: ctx.now };
    await ctx.db.updateTable("users").set(active).where("userId", "=", userId).execute();
    for (const agent of await agentsToReview(ctx, userId, "suspended", ownerSuspended)) {
      await reviewProfile(ctx, agent, "reinstate", null);
    }
    ctx.notify({ kind: "userStandingChanged", userId, suspended: false });
    return userView(ctx, { ...row, ...active });
  },
});

/** The sessions that a user rents and that have not ended. */
function openRents(ctx: MutationContext, userId: string) {
  return ctx.db
    .selectFrom("sessions")
    .selectAll()
    .where("consumerUserId", "=", userId)
    .where("status", "in", ["pending_approval", "active"])
    .orderBy("sessionId")
    .execute();
}

/** The user's agents whose profile is in a state, for this reason if one is given. */
function agentsToReview(ctx: MutationContext, ownerId: string, status: "active" | "suspended", note: string | null) {
  return ctx.db
    .selectFrom("agents")
    .innerJoin("providerProfiles as profile", "profile.agentId", "agents.agentId")
    .select(["agents.agentId", "agents.ownerId"])
    .where("agents.ownerId", "=", ownerId)
    .where("profile.status", "=", status)
    .$if(note !== null, (profiles) => profiles.where("profile.reviewNote", "=", note))
    .orderBy("agents.agentId")
    .execute();
}
