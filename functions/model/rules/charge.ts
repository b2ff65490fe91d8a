/**
 * What a session costs (clawrent.md sections 6.2 and 6.3): what it needs to start, what is due, and how that is
 * divided.
 */
import type { PricingModel } from "../../../schema/listings.js";
import type { SessionsTable } from "../../../schema/sessions.js";

/** What the platform keeps, in percent. */
const feePercent = 15;
/** How many minutes of a session that is paid by the minute are held at once. */
export const minutesHeld = 5;
export const minuteMs = 60_000;

/** How many times its price a session needs to start. */
const unitsToStart: Record<PricingModel, number> = {
  per_session: 1,
  fixed: 1,
  per_minute: minutesHeld,
  per_token: 1_000,
};

export type Priced = Pick<SessionsTable, "pricingModel" | "priceMinor">;
export type Used = Priced &
  Pick<SessionsTable, "startedAt" | "endedAt" | "servedAt" | "meterStoppedAt" | "totalTokensProvider">;

/** What must be there, and is held, for a session to start. */
export function requiredToStart({ pricingModel, priceMinor }: Priced): number {
  return unitsToStart[pricingModel] * priceMinor;
}

/** What a session costs so far, and how many times its price that is; never negative, even if a clock was set back. */
export function chargeFor(session: Used): { amountMinor: number; quantity: number } {
  const quantity = quantityOf(session);
  const amount = BigInt(session.priceMinor) * BigInt(quantity);
  const most = BigInt(Number.MAX_SAFE_INTEGER);
  return { amountMinor: Number(amount < most ? amount : most), quantity };
}

/** How many tokens, minutes or sessions are owed. A flat price is not owed where the provider did nothing. */
export function quantityOf(session: Used): number {
  const { pricingModel, startedAt, endedAt, servedAt, meterStoppedAt, totalTokensProvider } = session;
  if (pricingModel === "per_token") return totalTokensProvider;
  if (pricingModel !== "per_minute") return servedAt === null ? 0 : 1;
  if (startedAt === null || endedAt === null) return 1;
  if (meterStoppedAt !== null && meterStoppedAt <= startedAt) return 0;
  const until = meterStoppedAt === null ? endedAt : Math.min(endedAt, meterStoppedAt);
  return Math.max(1, Math.ceil((until - startedAt) / minuteMs));
}

/** When the next minute of a running session begins to count (Unix ms). */
export function nextMinuteAt(startedAt: number, now: number): number {
  return startedAt + Math.max(1, Math.ceil((now - startedAt) / minuteMs)) * minuteMs + 1;
}

/** The platform's part, rounded half up, and the provider's, which is the rest: they add up exactly. */
export function splitFee(amountMinor: number): { feeMinor: number; incomeMinor: number } {
  const feeMinor = Number((BigInt(amountMinor) * BigInt(feePercent) + 50n) / 100n);
  return { feeMinor, incomeMinor: amountMinor - feeMinor };
}
