/** The Session object (clawrent.md section 2.2), as one of its sides sees it, or an admin who is neither. */
import { z } from "zod";
import type { QueryContext, UserCaller } from "../../../runtime/context.js";
import { currencies, onlineStatuses, pricingModels } from "../../../schema/listings.js";
import { printAmount, printSettled } from "../../../schema/money.js";
import { billingStatuses, type SessionsTable, type Side, sessionStatuses, sides } from "../../../schema/sessions.js";
import { isoTime, isoTimeOrNull } from "../../../schema/values.js";
import { disputesOf, disputeValue } from "../money/dispute.js";
import { nextMinuteAt } from "../rules/charge.js";
import { isOpenSession, sessionStatusOf } from "../rules/session-states.js";
import { sideOf } from "./session.js";
import { sessionToken } from "./session-token.js";
import { spendingOf } from "./spending-limit.js";

export const sessionView = z.object({
  id: z.string(),
  orderId: z.string().nullable(),
  providerAgentId: z.string(),
  providerUserId: z.string(),
  consumerUserId: z.string(),
  consumerAgentId: z.string().nullable(),
  taskDescription: z.string(),
  grantedPermissions: z.record(z.string(), z.unknown()),
  status: z.enum(sessionStatuses),
  sessionType: z.literal("task"),
  /** Opens the caller's side while the session is open and the caller's credential stands. */
  sessionToken: z.string().nullable(),
  /** Null for an admin who is no party. */
  role: z.enum(sides).nullable(),
  /** A number for the consumer side, absent for the provider. */
  slotIndex: z.number().optional(),
  maxSlots: z.number(),
  pricingSnapshot: z.object({ model: z.enum(pricingModels), amount: z.string(), currency: z.enum(currencies) }),
  guardrailDecision: z.object({ verdict: z.string(), categories: z.array(z.string()), reason: z.string() }).nullable(),
  needsManualReview: z.boolean(),
  missingPermissions: z.array(z.string()),
  totalMessages: z.number(),
  totalInstructions: z.number(),
  totalTokensProvider: z.number(),
  totalTokensConsumer: z.number(),
  /** What the provider's messages said they used; `totalTokensProvider` is how much of it counts. */
  totalTokensReported: z.number(),
  /** The most that it may cost; null where it costs nothing. */
  maxAmount: z.string().nullable(),
  /** What it has cost so far. */
  currentAmount: z.string(),
  /** How much of `maxAmount` a metered session has used, in percent: 0, 50, 80 or 100. */
  limitLevel: z.number(),
  activeDurationMs: z.number(),
  billingAmount: z.string().nullable(),
  platformFee: z.string().nullable(),
  providerIncome: z.string().nullable(),
  /** `disputed` while a dispute waits for its decision. */
  billingStatus: z.enum([...billingStatuses, "disputed"]),
  dispute: disputeValue.nullable(),
  startedAt: z.string().nullable(),
  endedAt: z.string().nullable(),
  endReason: z.string().nullable(),
  createdAt: z.string(),
  updatedAt: z.string(),
  providerAgent: z.object({
    id: z.string(),
    name: z.string(),
    slug: z.string().nullable(),
    onlineStatus: z.enum(onlineStatuses),
  }),
});

type SessionView = z.input<typeof sessionView>;

/** The sessions as the caller sees them, in the order given. */
export async function sessionViews(
  ctx: QueryContext<UserCaller>,
  sessions: readonly SessionsTable[],
): Promise<SessionView[]> {
  const [agents, disputes] = await Promise.all([providerAgents(ctx, sessions), disputesOf(ctx, sessions)]);
  return sessions.map((session) => {
    const agent = agents.get(session.providerAgentId);
    if (!agent) throw new Error(`Session ${session.sessionId} has no provider agent`);
    return viewOf(ctx, session, agent, disputes.get(session.sessionId) ?? null);
  });
}

export async function viewSession(ctx: QueryContext<UserCaller>, session: SessionsTable): Promise<SessionView> {
  const [view] = await sessionViews(ctx, [session]);
  return view as SessionView;
}

function viewOf(
  ctx: QueryContext<UserCaller>,
  session: SessionsTable,
  providerAgent: SessionView["providerAgent"],
  disputed: SessionView["dispute"],
): SessionView {
  const role = sideOf(session, ctx.caller) ?? null;
  const status = sessionStatusOf(session, ctx.now);
  // The timer will write what the clock already says.
  const lapsed = status === "expired" && session.status !== "expired";
  const limitHit = status === "completed" && session.status === "active";
  const endedAt = lapsed ? session.expiresAt : limitHit ? session.limitAt : session.endedAt;
  const { amountMinor, level } = spendingOf({ ...session, endedAt }, ctx);
  const { startedAt } = session;
  if (status === "active" && startedAt !== null) ctx.changesAt(nextMinuteAt(startedAt, ctx.now));
  return {
    id: session.sessionId,
    orderId: session.orderId,
    providerAgentId: session.providerAgentId,
    providerUserId: session.providerUserId,
    consumerUserId: session.consumerUserId,
    consumerAgentId: session.consumerAgentId,
    taskDescription: session.taskDescription,
    grantedPermissions: JSON.parse(session.grantedPermissions) as Record<string, unknown>,
    status,
    sessionType: "task",
    sessionToken: isOpenSession(status) ? tokenFor(ctx, session, role) : null,
    role,
    slotIndex: role === "consumer" ? 0 : undefined,
    maxSlots: session.maxSlots,
    pricingSnapshot: {
      model: session.pricingModel,
      amount: printAmount(session.priceMinor),
      currency: session.currency,
    },
    guardrailDecision:
      session.guardrailDecision === null
        ? null
        : (JSON.parse(session.guardrailDecision) as SessionView["guardrailDecision"]),
    needsManualReview: session.needsManualReview === 1,
    missingPermissions: JSON.parse(session.missingPermissions) as string[],
    totalMessages: session.totalMessages,
    totalInstructions: session.totalInstructions,
    totalTokensProvider: session.totalTokensProvider,
    totalTokensConsumer: session.totalTokensConsumer,
    totalTokensReported: session.totalTokensReported,
    maxAmount: session.maxAmountMinor === null ? null : printAmount(session.maxAmountMinor),
    currentAmount: printSettled(session.billingAmountMinor ?? amountMinor),
    limitLevel: level,
    activeDurationMs: startedAt === null ? 0 : Math.max((endedAt ?? ctx.now) - startedAt, 0),
    billingAmount: settledOrNull(session.billingAmountMinor),
    platformFee: settledOrNull(session.platformFeeMinor),
    providerIncome: settledOrNull(session.providerIncomeMinor),
    billingStatus: disputed?.status === "open" ? "disputed" : session.billingStatus,
    dispute: disputed,
    startedAt: isoTimeOrNull(startedAt),
    endedAt: isoTimeOrNull(endedAt),
    endReason: lapsed ? "expired" : session.endReason,
    createdAt: isoTime(session.createdAt),
    updatedAt: isoTime(session.updatedAt),
    providerAgent,
  };
}

/**
 * The caller's token for its side. An agent gets none for the session of another agent of the same owner: only the
 * session's own agent and its owner come in as the provider.
 */
function tokenFor(ctx: QueryContext<UserCaller>, session: SessionsTable, role: Side | null): string | null {
  const { credentialId, agentId } = ctx.caller;
  const isAnothers = role === "provider" && agentId !== null && agentId !== session.providerAgentId;
  return role === null || isAnothers ? null : sessionToken(ctx, session.sessionId, role, credentialId);
}

function settledOrNull(amountMinor: number | null): string | null {
  return amountMinor === null ? null : printSettled(amountMinor);
}

/** An agent without a socket is offline. */
async function providerAgents(
  ctx: QueryContext,
  sessions: readonly SessionsTable[],
): Promise<Map<string, SessionView["providerAgent"]>> {
  const agentIds = [...new Set(sessions.map(({ providerAgentId }) => providerAgentId))];
  if (agentIds.length === 0) return new Map();
  const rows = await ctx.db
    .selectFrom("agents")
    .leftJoin("agentSockets", "agentSockets.agentId", "agents.agentId")
    .select(["agents.agentId", "agents.name", "agents.slug", "agentSockets.onlineStatus"])
    .where("agents.agentId", "in", agentIds)
    .execute();
  return new Map(
    rows.map(({ agentId, name, slug, onlineStatus }) => [
      agentId,
      { id: agentId, name, slug, onlineStatus: onlineStatus ?? "offline" },
    ]),
  );
}
