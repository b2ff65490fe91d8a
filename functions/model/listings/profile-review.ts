/**
 * The review of an agent: its owner submits the provider profile, an admin decides. What each move does to a profile in
 * each state is the table `reviewMoves` (clawrent.md section 5).
 */
import type { MutationContext, QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { showPresence } from "../agents/agent-presence.js";
import { listAgent, unlistAgent } from "./listing.js";
import { decideChanges } from "./pending-changes.js";
import {
  findProfile,
  noProfile,
  type Profile,
  type ProfileStatus,
  type ProfileTerms,
  parseTerms,
  profileStatusText,
} from "./profiles.js";

/**
 * Submits the agent for review: makes its profile, or renews one that waits or was rejected. What the caller leaves out
 * stays as it was; in a new profile it is what the registration said, else the default of the call.
 */
export async function submitProfile(
  ctx: MutationContext,
  agent: { agentId: string; ownerId: string; publishDefaults: string | null },
  given: Partial<ProfileTerms>,
  defaults: ProfileTerms,
): Promise<Profile> {
  const { agentId, ownerId } = agent;
  const earlier = await findProfile(ctx, agentId);
  if (earlier?.status === "active") {
    throw new CallError("conflict", "Agent already has an active provider profile", { status: earlier.status });
  }
  if (earlier?.status === "suspended") {
    throw new CallError("forbidden", profileStatusText(earlier.status), { status: earlier.status });
  }
  const submitted: Profile = {
    ...(earlier ?? {
      profileId: ctx.newUuid(),
      agentId,
      ownerId,
      ...defaults,
      ...parseTerms(agent.publishDefaults),
      verificationLevel: "unverified",
      totalSessions: 0,
      endedSessions: 0,
      completionRate: null,
      activatedAt: null,
      busySetBy: null,
      createdAt: ctx.now,
    }),
    ...given,
    status: "pending_review",
    reviewNote: null,
    updatedAt: ctx.now,
  };
  if (earlier) {
    await ctx.db.updateTable("providerProfiles").set(submitted).where("agentId", "=", agentId).execute();
  } else {
    await ctx.db.insertInto("providerProfiles").values(submitted).execute();
  }
  return ctx.settings.autoApproveProviders ? reviewProfile(ctx, agent, "approve", null) : submitted;
}

/**
 * Calls that may list or unlist an agent take turns under this key: all of them change the one count of all listings.
 */
export const listingTurn = () => "listings";

/** What an admin, or the operator's automatic approval, does to a profile. */
export type ReviewMove = "approve" | "reject" | "suspend" | "reinstate";

/** From which state each move leads where. Anything else is refused. */
const reviewMoves: Record<ReviewMove, { from: ProfileStatus; to: ProfileStatus }> = {
  approve: { from: "pending_review", to: "active" },
  reject: { from: "pending_review", to: "rejected" },
  suspend: { from: "active", to: "suspended" },
  reinstate: { from: "suspended", to: "active" },
};

/**
 * An approval or a rejection of an agent that is listed already decides its waiting changes. The note tells its owner
 * why.
 */
async function reviewChanges(
  ctx: MutationContext,
  profile: Profile,
  move: ReviewMove,
  note: string | null,
): Promise<Profile | undefined> {
  if (profile.status !== "active" || (move !== "approve" && move !== "reject")) return undefined;
  const { agentId } = profile;
  if (!(await decideChanges(ctx, agentId, move === "approve"))) return undefined;
  const decided = { reviewNote: note, updatedAt: ctx.now };
  await ctx.db.updateTable("providerProfiles").set(decided).where("agentId", "=", agentId).execute();
  return { ...profile, ...decided };
}

/**
 * Makes one move, with all its consequences: an approved agent and its owner become providers, exactly the active
 * profiles are listed, and a suspended agent is offline at once.
 */
export async function reviewProfile(
  ctx: MutationContext,
  agent: { agentId: string; ownerId: string | null },
  move: ReviewMove,
  note: string | null,
): Promise<Profile> {
  const { agentId, ownerId } = agent;
  const profile = await findProfile(ctx, agentId);
  if (!profile) throw new CallError("conflict", noProfile, { status: "draft" });
  const changed = await reviewChanges(ctx, profile, move, note);
  if (changed) return changed;
  const { from, to } = reviewMoves[move];
  if (profile.status !== from) {
    throw new CallError("conflict", profileStatusText(profile.status), { status: profile.status });
  }
  if (to === "active") await requireActiveOwner(ctx, ownerId);
  const decided = { status: to, reviewNote: note, updatedAt: ctx.now };
  await ctx.db.updateTable("providerProfiles").set(decided).where("agentId", "=", agentId).execute();
  if (move === "approve") {
    await ctx.db.updateTable("agents").set({ roles: "both" }).where("agentId", "=", agentId).execute();
    await ctx.db
      .updateTable("users")
      .set({ role: "both", updatedAt: ctx.now })
      .where("userId", "=", ownerId)
      .where("role", "=", "consumer")
      .execute();
  }
  if (to === "active") await listAgent(ctx, agentId);
  if (from === "active") await unlistAgent(ctx, agentId);
  const reviewed = { ...profile, ...decided };
  // At a reinstatement too: the agent's client kept its connection and would not activate again.
  await showPresence(ctx, reviewed);
  return reviewed;
}

/** Refuses while the owner is suspended: their agents come back together with them (admin:reinstateUser). */
async function requireActiveOwner(ctx: QueryContext, ownerId: string | null): Promise<void> {
  const owner = await ctx.db.selectFrom("users").select("status").where("userId", "=", ownerId).executeTakeFirst();
  if (owner?.status !== "active") throw new CallError("conflict", "The owner's account is suspended");
}
