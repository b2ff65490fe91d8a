/**
 * The provider profile: at what price and on what terms an agent is rented, and whether it may be. An owner submits it,
 * an admin decides. What a profile in a state may do is the table `reviewMoves` (clawrent.md section 5).
 */
import { type Selectable, sql } from "kysely";
import { z } from "zod";
import type { MutationContext, QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { prepared } from "../../../runtime/store/prepared.js";
import { currencies, type ProviderProfilesTable, pricingModels, profileStatuses } from "../../../schema/listings.js";
import { price, printAmount } from "../../../schema/money.js";
import { isoTime, isoTimeOrNull, text } from "../../../schema/values.js";
import { showPresence } from "../agents/agent-presence.js";
import { list, unlist } from "./listing.js";
import { decideChanges } from "./pending-changes.js";

export type Profile = Selectable<ProviderProfilesTable>;
export type ProfileStatus = Profile["status"];

/** The columns that an owner chooses. */
type ProfileTerms = Pick<
  Profile,
  | "pricingModel"
  | "priceMinor"
  | "currency"
  | "hostingType"
  | "approvalMode"
  | "transparencyLevel"
  | "maxConcurrentSessions"
  | "maxConsumerSlots"
  | "slotAssignmentMode"
  | "allowSharedConsumer"
  | "endpoint"
  | "healthCheckUrl"
>;

const webAddress = z.url({ protocol: /^https?$/, error: "must be an http or https URL" }).max(2_000);

/** The body of publish and apply-provider (clawrent.md section 2.4). */
export const profileFields = {
  pricingModel: z.enum(pricingModels).nullish(),
  priceAmount: price.nullish(),
  currency: z.enum(currencies).nullish(),
  hostingType: z.enum(["self_hosted", "platform_hosted"]).nullish(),
  approvalMode: z.enum(["manual", "auto"]).nullish(),
  transparencyLevel: z.enum(["opaque", "moderate", "transparent"]).nullish(),
  maxConcurrentSessions: z.number().int().min(1).max(1_000).nullish(),
  maxConsumerSlots: z.number().int().min(1).max(100).nullish(),
  slotAssignmentMode: text(50, 1).nullish(),
  allowSharedConsumer: z.boolean().nullish(),
  endpoint: webAddress.nullish(),
  healthCheckUrl: webAddress.nullish(),
};
type ProfileFields = z.output<z.ZodObject<typeof profileFields>>;

/** What publish assumes where neither it nor the registration said. */
export const publishDefaults: ProfileTerms = {
  pricingModel: "per_token",
  priceMinor: 500,
  currency: "CNY",
  hostingType: "self_hosted",
  approvalMode: "manual",
  transparencyLevel: "moderate",
  maxConcurrentSessions: 5,
  maxConsumerSlots: 1,
  slotAssignmentMode: "flexible",
  allowSharedConsumer: 0,
  endpoint: null,
  healthCheckUrl: null,
};

/** The same for apply-provider, as the tool that calls it has them. */
export const applyDefaults: ProfileTerms = { ...publishDefaults, pricingModel: "per_session", priceMinor: 10_000 };

/** The terms among the arguments, as columns. A field that is null counts as absent. */
export function termsOf(fields: ProfileFields): Partial<ProfileTerms> {
  const { priceAmount, allowSharedConsumer, ...same } = fields;
  const terms = {
    pricingModel: same.pricingModel,
    priceMinor: priceAmount,
    currency: same.currency,
    hostingType: same.hostingType,
    approvalMode: same.approvalMode,
    transparencyLevel: same.transparencyLevel,
    maxConcurrentSessions: same.maxConcurrentSessions,
    maxConsumerSlots: same.maxConsumerSlots,
    slotAssignmentMode: same.slotAssignmentMode,
    allowSharedConsumer: allowSharedConsumer == null ? undefined : Number(allowSharedConsumer),
    endpoint: same.endpoint,
    healthCheckUrl: same.healthCheckUrl,
  };
  return Object.fromEntries(Object.entries(terms).filter(([, value]) => value != null)) as Partial<ProfileTerms>;
}

/** What an agent's registration left for its first publish. */
export function parseTerms(stored: string | null): Partial<ProfileTerms> {
  return stored === null ? {} : (JSON.parse(stored) as Partial<ProfileTerms>);
}

/** A ProviderProfile as its owner sees it (clawrent.md section 2.2). */
export const providerProfile = z.object({
  id: z.string(),
  agentId: z.string(),
  status: z.enum(profileStatuses),
  pricingModel: z.enum(pricingModels),
  priceAmount: z.string(),
  currency: z.enum(currencies),
  hostingType: z.string(),
  endpoint: z.string().nullable(),
  healthCheckUrl: z.string().nullable(),
  transparencyLevel: z.string(),
  approvalMode: z.string(),
  maxConcurrentSessions: z.number(),
  maxConsumerSlots: z.number(),
  slotAssignmentMode: z.string(),
  allowSharedConsumer: z.boolean(),
  verificationLevel: z.string(),
  totalSessions: z.number(),
  avgRating: z.null(),
  completionRate: z.number().nullable(),
  reviewNote: z.string().nullable(),
  activatedAt: z.string().nullable(),
  createdAt: z.string(),
  updatedAt: z.string(),
});

export function profileView(profile: Profile): z.input<typeof providerProfile> {
  const {
    profileId,
    ownerId: _,
    priceMinor,
    allowSharedConsumer,
    activatedAt,
    createdAt,
    updatedAt,
    ...same
  } = profile;
  return {
    ...same,
    id: profileId,
    priceAmount: printAmount(priceMinor),
    allowSharedConsumer: allowSharedConsumer === 1,
    avgRating: null,
    activatedAt: isoTimeOrNull(activatedAt),
    createdAt: isoTime(createdAt),
    updatedAt: isoTime(updatedAt),
  };
}

export function findProfile(ctx: QueryContext, agentId: string): Promise<Profile | undefined> {
  return ctx.db.selectFrom("providerProfiles").selectAll().where("agentId", "=", agentId).executeTakeFirst();
}

/** The agent's profile, which must be active: what activation and a status ask first, in this order and words. */
export async function requireActiveProfile(ctx: QueryContext, agentId: string): Promise<Profile> {
  const profile = await findProfile(ctx, agentId);
  if (!profile) throw new CallError("failed_precondition", noProfile, { status: "draft" });
  if (profile.status !== "active") {
    throw new CallError("failed_precondition", statusText(profile.status), { status: profile.status });
  }
  return profile;
}

const noProfile = "Agent has no provider profile. Publish it first.";
const statusText = (status: ProfileStatus) => `Provider profile status is '${status}'`;

/**
 * Has an admin look at the agent: makes its profile, or renews one that waits or was rejected. What the caller leaves
 * out stays as it was; in a new profile it is what the registration said, else the default of the call.
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
    throw new CallError("forbidden", statusText(earlier.status), { status: earlier.status });
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
  return ctx.settings.autoApproveProviders ? review(ctx, agent, "approve", null) : submitted;
}

/** What may list or unlist an agent takes turns: all of it changes the one count of all listings. */
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
 * What an approval or a rejection is for an agent that is listed already: it decides what waits to be changed of it. The
 * note says to its owner why.
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
 * Makes one move, with all that hangs on it: an approved agent and its owner become providers, what is active is listed
 * and nothing else is, and a suspended agent is offline at once.
 */
export async function review(
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
    throw new CallError("conflict", statusText(profile.status), { status: profile.status });
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
  if (to === "active") await list(ctx, agentId);
  if (from === "active") await unlist(ctx, agentId);
  const reviewed = { ...profile, ...decided };
  // At a reinstatement as well: its owner's client kept the connection and would not activate again.
  await showPresence(ctx, reviewed);
  return reviewed;
}

/** Nothing of a suspended user's is for rent: their agents come back with them (admin:reinstateUser), not before. */
async function requireActiveOwner(ctx: QueryContext, ownerId: string | null): Promise<void> {
  const owner = await ctx.db.selectFrom("users").select("status").where("userId", "=", ownerId).executeTakeFirst();
  if (owner?.status !== "active") throw new CallError("conflict", "The owner's account is suspended");
}

/**
 * Counts ended sessions of an agent. `completed` are those in which its provider sent a dialogue or a result and of which
 * not everything was given back (-1 once it is); they and those that the provider refused or let lapse are `ended`.
 */
export const countSessions = prepared(["agentId", "completed", "ended"], (db, { agentId, completed, ended }) => {
  const totalSessions = sql<number>`"totalSessions" + cast(${completed} as integer)`;
  const endedSessions = sql<number>`"endedSessions" + cast(${ended} as integer)`;
  return db
    .updateTable("providerProfiles")
    .set({
      totalSessions,
      endedSessions,
      completionRate: sql<number>`cast(${totalSessions} as double precision) / (${endedSessions})`,
    })
    .where("agentId", "=", agentId);
});
