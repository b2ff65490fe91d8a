/** The provider profile: at what price and on what terms an agent is rented. Its review is profile-review.ts. */
import { type Selectable, sql } from "kysely";
import { z } from "zod";
import type { QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { prepared } from "../../../runtime/store/prepared.js";
import { currencies, type ProviderProfilesTable, pricingModels, profileStatuses } from "../../../schema/listings.js";
import { price, printAmount } from "../../../schema/money.js";
import { isoTime, isoTimeOrNull, text } from "../../../schema/values.js";

export type Profile = Selectable<ProviderProfilesTable>;
export type ProfileStatus = Profile["status"];

/** The columns that an owner chooses. */
export type ProfileTerms = Pick<
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

/** What publish assumes where neither its arguments nor the registration say. */
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

/** The same for apply-provider: the defaults of the tool that calls it. */
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

/** Parses the terms that an agent's registration left for its first publish. */
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

/**
 * The agent's profile, which must be active. Activation and status changes check this first, in this order and words.
 */
export async function requireActiveProfile(ctx: QueryContext, agentId: string): Promise<Profile> {
  const profile = await findProfile(ctx, agentId);
  if (!profile) throw new CallError("failed_precondition", noProfile, { status: "draft" });
  if (profile.status !== "active") {
    throw new CallError("failed_precondition", profileStatusText(profile.status), { status: profile.status });
  }
  return profile;
}

export const noProfile = "Agent has no provider profile. Publish it first.";
export const profileStatusText = (status: ProfileStatus) => `Provider profile status is '${status}'`;

/**
 * Counts ended sessions of an agent. `completed` counts those in which its provider sent a dialogue or a result and
 * that were not refunded in full (-1 once they are); `ended` counts these and those that the provider refused or let
 * lapse.
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
