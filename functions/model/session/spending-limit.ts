/**
 * The most that a session may cost (clawrent.md section 6.2): what its consumer allowed, or else a default by its
 * price. A metered session ends when it gets there. Until then its consumer can raise the limit, and both sides see how
 * much of it is used.
 */
import type { MutationContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import type { PricingModel } from "../../../schema/listings.js";
import { parseAmount, printAmount, printSettled } from "../../../schema/money.js";
import { type SessionsTable, type SpendingLevel, spendingLevels } from "../../../schema/sessions.js";
import { chargeFor, minuteMs, type Priced, requiredToStart, type Used } from "../rules/charge.js";

/** Where the consumer names no limit, it is this many times what the session needs to start. */
const timesNeeded: Record<PricingModel, number> = { per_session: 1, fixed: 1, per_minute: 100, per_token: 2 };
/** The least default limit of a session that is paid by the token. */
const leastPerToken = parseAmount("10.00", { maxDecimals: 2 }) ?? 0;

/** Some hundred years, so that no instant calculated from minutes is beyond the largest date. */
const mostMinutes = 100_000_000;

export function isMetered({ pricingModel }: Pick<SessionsTable, "pricingModel">): boolean {
  return pricingModel === "per_token" || pricingModel === "per_minute";
}

/** A session whose cost grows until its limit is reached. */
type Limited = Used & Pick<SessionsTable, "status" | "maxAmountMinor">;

/**
 * The limit of a session that is being rented: never more than its consumer has, nor more than a flat price. Null for a
 * session that costs nothing. Refuses a limit that is too low for the session to start.
 */
export function limitOf(terms: Priced, asked: number | null, availableMinor: number): number | null {
  const needed = requiredToStart(terms);
  if (needed === 0) return null;
  if (asked !== null && asked < needed) {
    const [least, given] = [printAmount(needed), printAmount(asked)];
    throw new CallError(
      "failed_precondition",
      `maxAmount is ${given}, and the session needs ${least} to start. Allow at least that, or leave maxAmount out.`,
      { maxAmount: given, needed: least },
    );
  }
  const byPrice = timesNeeded[terms.pricingModel] * needed;
  if (!isMetered(terms)) return byPrice;
  const limit = asked ?? (terms.pricingModel === "per_token" ? Math.max(byPrice, leastPerToken) : byPrice);
  // A rent without the money to start is refused when the money is held.
  return Math.max(needed, Math.min(limit, availableMinor));
}

/** How many minutes, the begun one included, a session's limit allows. */
function minutesAllowed(session: Pick<Limited, "maxAmountMinor" | "priceMinor">): number {
  return Math.min(Math.floor((session.maxAmountMinor ?? 0) / session.priceMinor), mostMinutes);
}

/** When a session that is paid by the minute reaches its limit; null where time does not bring it there. */
export function limitReachedAt(session: Limited, startedAt: number): number | null {
  const { pricingModel, priceMinor, maxAmountMinor } = session;
  if (pricingModel !== "per_minute" || priceMinor === 0 || maxAmountMinor === null) return null;
  return startedAt + minutesAllowed(session) * minuteMs;
}

interface Spending {
  /** What the session has cost so far, at most its limit. */
  amountMinor: number;
  /** The highest level of the limit that was reached; 0 below the first level, and where nothing is metered. */
  level: SpendingLevel;
}

/** What an active or ended session has cost. */
export function spendingOf(session: Limited, ctx: { readonly now: number }): Spending {
  if (session.startedAt === null) return { amountMinor: 0, level: 0 };
  const charged = chargeFor({ ...session, endedAt: session.endedAt ?? ctx.now });
  const maxMinor = session.maxAmountMinor;
  const amountMinor = maxMinor === null ? charged.amountMinor : Math.min(charged.amountMinor, maxMinor);
  if (!isMetered(session) || maxMinor === null) return { amountMinor, level: 0 };
  // A limit need not be a whole number of minutes: the last one that fits uses it up.
  if (session.pricingModel === "per_minute" && charged.quantity >= minutesAllowed(session)) {
    return { amountMinor, level: 100 };
  }
  const reached = spendingLevels.filter((level) => BigInt(amountMinor) * 100n >= BigInt(maxMinor) * BigInt(level));
  return { amountMinor, level: reached.at(-1) ?? 0 };
}

/** When time alone brings a session that is paid by the minute to a level beyond `told`; null where it does not. */
function nextLevelAt(session: Limited, told: SpendingLevel): number | null {
  const { startedAt, maxAmountMinor, priceMinor, meterStoppedAt } = session;
  if (startedAt === null || maxAmountMinor === null || meterStoppedAt !== null) return null;
  if (limitReachedAt(session, startedAt) === null) return null;
  const next = spendingLevels.find((level) => level > told);
  if (next === undefined) return null;
  const due = Number((BigInt(maxAmountMinor) * BigInt(next) + 99n) / 100n);
  const minutes = Math.min(Math.ceil(due / priceMinor), minutesAllowed(session));
  // The first minute counts from the first instant on, each further one as soon as the one before is over.
  return minutes <= 1 ? startedAt : startedAt + (minutes - 1) * minuteMs + 1;
}

/** The columns that record what both sides know of the limit, with their present values. */
export function toldOf(session: Limited, now: number): Pick<SessionsTable, "toldLevel" | "levelAt"> {
  const { level } = spendingOf(session, { now });
  return { toldLevel: level, levelAt: nextLevelAt(session, level) };
}

/** Tells both sides over their agents' control channels where the session stands (clawrent.md sections 4.2 and 4.5). */
export function tellLimit(ctx: MutationContext, session: SessionsTable): void {
  const { sessionId, providerAgentId, consumerAgentId, currency, maxAmountMinor, limitAt } = session;
  if (maxAmountMinor === null) return;
  const { amountMinor, level } = spendingOf(session, ctx);
  ctx.notify({
    kind: "sessionLimit",
    providerAgentId,
    consumerAgentId,
    sessionId,
    level,
    amount: printSettled(amountMinor),
    maxAmount: printAmount(maxAmountMinor),
    currency,
    limitAt,
    at: ctx.now,
  });
}
