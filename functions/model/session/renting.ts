/**
 * Renting an agent: the checks and what a new session is made of, for `sessions:create` and for every item of an order
 * (clawrent.md sections 2.6 and 2.8). The agent need not be online: what it misses is announced when it returns.
 */

import { sql } from "kysely";
import { z } from "zod";
import type { UserMutation } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { prepared } from "../../../runtime/store/prepared.js";
import { currencies, type ProviderProfilesTable, pricingModels } from "../../../schema/listings.js";
import { maxAmount, price, printAmount } from "../../../schema/money.js";
import type { SessionsTable } from "../../../schema/sessions.js";
import { id, text } from "../../../schema/values.js";
import { requireOwnAgent } from "../agents/agents.js";
import { caps, requireRoom } from "../caps.js";
import { judgeTask } from "../guardrail/engine.js";
import { placeHold } from "../money/ledger.js";
import { currentWallet } from "../money/pending-income.js";
import { requiredToStart } from "../rules/charge.js";
import { grantedPermissions, missingPermissions } from "../rules/permissions.js";
import { sessionApprovalMs } from "../rules/session-states.js";
import { addParticipants } from "./participants.js";
import { announceStart, startedNow } from "./session.js";
import { limitOf } from "./spending-limit.js";

const longestTask = 2_000;

/** The task of a session. It is shorter in orders and carts than in a single rent (clawrent.md section 10). */
export const taskDescription = (min: number) => text(longestTask, min);

const expectedPrice = z.object({ amount: price, currency: z.enum(currencies), model: z.enum(pricingModels) });

/** What every rent may say besides the agent and the task. */
export const rentalArgs = {
  /** The consumer's agent in the session; if none is named, the agent that calls, if one does. */
  consumerAgentId: id.nullish(),
  grantedPermissions: grantedPermissions.nullish(),
  /** The most that the session may cost. */
  maxAmount: maxAmount.nullish(),
  /** The price that the caller saw; the rent is refused if the price has changed since. */
  expectedPrice: expectedPrice.nullish(),
};

/** Calls that take a place of an agent take turns under this key (`oneAtATime`). */
export function placesTurn(agentId: string): string {
  return `places of agent ${agentId}`;
}

export interface RentRequest {
  agentId: string;
  taskDescription: string;
  consumerAgentId?: string | null | undefined;
  grantedPermissions?: z.output<typeof grantedPermissions> | null | undefined;
  maxAmount?: number | null | undefined;
  expectedPrice?: z.output<typeof expectedPrice> | null | undefined;
}

/**
 * Makes the session, with its money held. Two calls cannot both get the last place of an agent, or the last money of a
 * wallet: each reads what the other writes, and transactions are serializable.
 */
export async function rentAgent(
  ctx: UserMutation,
  request: RentRequest,
  ids: { orderId?: string; sessionId?: string } = {},
): Promise<SessionsTable> {
  const { userId, agentId: callingAgentId } = ctx.caller;
  const { profile, requiredPermissions } = await requireRentable(ctx, request.agentId);
  if (request.expectedPrice) requireExpectedPrice(profile, request.expectedPrice);
  await requireRoomForSession(ctx, profile.ownerId);
  // An agent that rents takes part itself, unless it names another of its owner's.
  const consumerAgentId = request.consumerAgentId ?? callingAgentId;
  if (consumerAgentId !== null && consumerAgentId !== callingAgentId) await requireOwnAgent(ctx, consumerAgentId);

  const decision = judgeTask(request.taskDescription);
  const blocked = decision?.verdict === "block";
  const granted = request.grantedPermissions ?? {};
  const session: SessionsTable = {
    sessionId: ids.sessionId ?? ctx.newUuid(),
    orderId: ids.orderId ?? null,
    providerAgentId: request.agentId,
    providerUserId: profile.ownerId,
    consumerUserId: userId,
    consumerAgentId,
    taskDescription: request.taskDescription,
    grantedPermissions: JSON.stringify(granted),
    missingPermissions: JSON.stringify(missingPermissions(requiredPermissions, granted)),
    status: "pending_approval",
    needsManualReview: blocked ? 1 : 0,
    guardrailDecision: decision ? JSON.stringify(decision) : null,
    maxSlots: profile.maxConsumerSlots,
    pricingModel: profile.pricingModel,
    priceMinor: profile.priceMinor,
    currency: profile.currency,
    totalMessages: 0,
    totalInstructions: 0,
    totalTokensProvider: 0,
    totalTokensConsumer: 0,
    providerPayloadBytes: 0,
    consumerPayloadBytes: 0,
    totalTokensReported: 0,
    tokensUntil: null,
    maxAmountMinor: null,
    limitAt: null,
    toldLevel: 0,
    levelAt: null,
    servedAt: null,
    meterStoppedAt: null,
    disputedAt: null,
    billingStatus: "pending",
    billingAmountMinor: null,
    platformFeeMinor: null,
    providerIncomeMinor: null,
    startedAt: null,
    endedAt: null,
    endReason: null,
    expiresAt: ctx.now + sessionApprovalMs,
    meterAt: null,
    lastStampAt: ctx.now,
    announced: null,
    createdAt: ctx.now,
    updatedAt: ctx.now,
  };
  const { availableMinor } = await currentWallet(ctx, userId, session.currency);
  session.maxAmountMinor = limitOf(session, request.maxAmount ?? null, availableMinor);
  if (profile.approvalMode === "auto" && !blocked) {
    Object.assign(session, startedNow(session, ctx.now, { suspended: false }));
  }
  await ctx.db.insertInto("sessions").values(session).execute();
  await addParticipants(ctx, session);
  await placeHold(ctx, session, requiredToStart(session));

  if (session.status === "active") announceStart(ctx, session);
  else {
    ctx.notify({ kind: "announcementsDue", agentId: session.providerAgentId });
    ctx.wakeAt(ctx.now + sessionApprovalMs);
  }
  return session;
}

/** Refuses a rent at a price other than the caller saw, and says which it is now. */
function requireExpectedPrice(terms: RentableProfile, expected: z.output<typeof expectedPrice>): void {
  const { priceMinor, pricingModel: model, currency } = terms;
  if (expected.amount === priceMinor && expected.currency === currency && expected.model === model) return;
  const amount = printAmount(priceMinor);
  throw new CallError("conflict", `The price has changed: it is ${amount} ${currency} ${model} now`, {
    price: { amount, currency, model },
  });
}

const openRentsOf = prepared(["userId", "providerUserId", "now"], (db, { userId, providerUserId, now }) =>
  db
    .selectFrom("sessions")
    .select(({ fn }) => [
      fn.countAll<number>().as("open"),
      sql<number>`coalesce(sum(case when status = 'pending_approval' and "providerUserId" = ${providerUserId} then 1 else 0 end), 0)`.as(
        "pendingAtProvider",
      ),
    ])
    .where("consumerUserId", "=", userId)
    .where("status", "in", ["pending_approval", "active"])
    .where(({ or, eb }) => or([eb("status", "=", "active"), eb("expiresAt", ">", now)])),
);

/** Sessions that wait for a provider take places of its agents, and open ones hold money: both are bounded. */
async function requireRoomForSession(ctx: UserMutation, providerUserId: string): Promise<void> {
  const [have] = (await openRentsOf(ctx, { userId: ctx.caller.userId, providerUserId, now: ctx.now })).rows;
  requireRoom(
    "pendingAtProvider",
    have?.pendingAtProvider ?? 0,
    `${caps.pendingAtProvider.most} of your sessions wait for this provider's approval. End one of them, or wait.`,
  );
  requireRoom(
    "openSessions",
    have?.open ?? 0,
    `You rent in ${caps.openSessions.most} open sessions. End one of them before you begin another.`,
  );
}

type RentableProfile = Pick<
  ProviderProfilesTable,
  "approvalMode" | "maxConcurrentSessions" | "maxConsumerSlots" | "pricingModel" | "priceMinor" | "currency"
> & { ownerId: string };

const agentToRent = prepared(["agentId"], (db, { agentId }) =>
  db
    .selectFrom("agents")
    .leftJoin("users as owner", "owner.userId", "agents.ownerId")
    .leftJoin("providerProfiles as profile", "profile.agentId", "agents.agentId")
    .leftJoin("agentSockets as socket", "socket.agentId", "agents.agentId")
    .select([
      "agents.ownerId",
      "agents.requiredPermissions",
      "owner.status as ownerStatus",
      "socket.onlineStatus",
      "profile.status",
      "profile.activatedAt",
      "profile.approvalMode",
      "profile.maxConcurrentSessions",
      "profile.maxConsumerSlots",
      "profile.pricingModel",
      "profile.priceMinor",
      "profile.currency",
    ])
    .where("agents.agentId", "=", agentId),
);

const openSessionsOf = prepared(["agentId", "now"], (db, { agentId, now }) =>
  db
    .selectFrom("sessions")
    .select(({ fn }) => fn.countAll<number>().as("open"))
    .where("providerAgentId", "=", agentId)
    .where("status", "in", ["pending_approval", "active"])
    .where(({ or, eb }) =>
      or([
        eb("expiresAt", ">", now),
        eb("limitAt", ">", now),
        eb("status", "=", sql.lit("active")).and("limitAt", "is", null),
      ]),
    ),
);

/** The agent's terms, or the first reason why it cannot be rented. */
async function requireRentable(
  ctx: UserMutation,
  agentId: string,
): Promise<{ profile: RentableProfile; requiredPermissions: string[] }> {
  const { rows } = await agentToRent(ctx, { agentId });
  const [agent] = rows;
  // Only its owner may know of an agent that was never listed.
  const isPublic = agent?.status === "active" || agent?.status === "suspended";
  if (!agent || (!isPublic && agent.ownerId !== ctx.caller.userId)) throw new CallError("not_found", "Agent not found");
  const { ownerId, ownerStatus, onlineStatus, status, activatedAt, requiredPermissions, ...terms } = agent;
  if (ownerId === ctx.caller.userId) throw new CallError("failed_precondition", "Cannot rent your own agent");
  if (ownerId === null || ownerStatus !== "active" || status !== "active" || activatedAt === null) {
    throw new CallError("failed_precondition", "Agent is not available for rent");
  }
  if (onlineStatus === "busy") throw new CallError("conflict", "Agent is busy");
  // The join made its columns nullable; an active profile has them.
  const profile = { ...terms, ownerId } as RentableProfile;
  const [counted] = (await openSessionsOf(ctx, { agentId, now: ctx.now })).rows;
  if (Number(counted?.open) >= profile.maxConcurrentSessions) {
    throw new CallError("conflict", "Agent has reached its maximum concurrent sessions");
  }
  return { profile, requiredPermissions: JSON.parse(requiredPermissions) as string[] };
}
