/**
 * The meters of open sessions (clawrent.md section 6.2): the hold follows what a session costs so far, and a session
 * ends when it reaches its limit or its consumer runs out of money. A suspended provider's meters stop.
 */
import type { MutationContext } from "../../../runtime/context.js";
import type { SessionsTable } from "../../../schema/sessions.js";
import { chargeFor, minuteMs, minutesHeld, type Priced } from "../rules/charge.js";
import { findHold, growHold } from "./ledger.js";
import { currentWallet } from "./pending-income.js";

/** Why a meter ends its session: the limit is reached, or the consumer has no more money. */
type MeterEnd = "limit_reached" | "insufficient_balance";

/** When the money held for a session that starts now is used up; null where its cost does not grow with time. */
export function firstMeterAt({ pricingModel, priceMinor }: Priced, startedAt: number): number | null {
  return pricingModel === "per_minute" && priceMinor > 0 ? startedAt + minutesHeld * minuteMs : null;
}

/**
 * Holds more for a session whose held minutes are used up: as many minutes as were held at first, or as many of them as
 * its limit and its consumer's money allow. Returns the instant at which those will be used up, or why there is no
 * further minute: the session then ended at its `meterAt`. A timer that runs late catches up in one step.
 */
export async function meterMinute(ctx: MutationContext, session: SessionsTable): Promise<number | MeterEnd> {
  const { sessionId, consumerUserId, currency, priceMinor } = session;
  const meterAt = session.meterAt ?? ctx.now;
  const [hold, wallet] = await Promise.all([findHold(ctx, sessionId), currentWallet(ctx, consumerUserId, currency)]);
  if (!hold) return "insufficient_balance";
  const rounds = 1 + Math.max(0, Math.floor((ctx.now - meterAt) / (minutesHeld * minuteMs)));
  const affordable = Math.min(rounds * minutesHeld, Math.floor(wallet.availableMinor / priceMinor));
  if (affordable < 1) return "insufficient_balance";
  const left = (session.maxAmountMinor ?? Number.MAX_SAFE_INTEGER) - hold.amountMinor;
  const minutes = Math.min(affordable, Math.floor(left / priceMinor));
  if (minutes < 1) return "limit_reached";
  if (!(await growHold(ctx, hold, minutes * priceMinor))) return "insufficient_balance";
  return meterAt + minutes * minuteMs;
}

/**
 * Raises the hold of a session that is paid by the token to its running cost. Returns why the session may not go on, if
 * it may not: it has reached its limit, or the consumer has no more money for it.
 */
export async function meterTokens(ctx: MutationContext, session: SessionsTable): Promise<MeterEnd | undefined> {
  const { sessionId, consumerUserId, currency, pricingModel, priceMinor } = session;
  if (pricingModel !== "per_token" || priceMinor === 0) return undefined;
  const [hold, wallet] = await Promise.all([findHold(ctx, sessionId), currentWallet(ctx, consumerUserId, currency)]);
  if (!hold) return "insufficient_balance";
  const limitMinor = session.maxAmountMinor ?? Number.MAX_SAFE_INTEGER;
  const { amountMinor } = chargeFor(session);
  const missingMinor = Math.min(amountMinor, limitMinor) - hold.amountMinor;
  if (missingMinor >= wallet.availableMinor) return "insufficient_balance";
  if (missingMinor > 0 && !(await growHold(ctx, hold, missingMinor))) return "insufficient_balance";
  return amountMinor >= limitMinor ? "limit_reached" : undefined;
}

/**
 * Stops the meters of a suspended agent's sessions: what accrues from now on is not charged, for as long as they last.
 * Whatever fell due before has been dealt with already (session.ts).
 */
export async function stopMeters(ctx: MutationContext, agentId: string): Promise<void> {
  await ctx.db
    .updateTable("sessions")
    .set({ meterStoppedAt: ctx.now, meterAt: null, limitAt: null, levelAt: null, updatedAt: ctx.now })
    .where("providerAgentId", "=", agentId)
    .where("status", "=", "active")
    .where("meterStoppedAt", "is", null)
    .execute();
}
