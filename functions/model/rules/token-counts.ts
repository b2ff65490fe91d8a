/**
 * How many tokens a provider's message says it used, and how many of them count (clawrent.md section 6.2). A session
 * can have produced only so many since its last message: the rest does not count, and both numbers are kept.
 */
import { tokenRate } from "../../../runtime/limits.js";
import type { SessionsTable } from "../../../schema/sessions.js";

const { perMs, burst } = tokenRate;

/** The tokens that a provider's message says it used: `payload.usage.totalTokens`, or 0 where that is not a count. */
export function tokensReported(payload: Record<string, unknown>): number {
  const { usage } = payload;
  if (typeof usage !== "object" || usage === null) return 0;
  const { totalTokens } = usage as { totalTokens?: unknown };
  return typeof totalTokens === "number" && Number.isSafeInteger(totalTokens) && totalTokens > 0 ? totalTokens : 0;
}

type Counting = Pick<
  SessionsTable,
  "startedAt" | "meterStoppedAt" | "tokensUntil" | "totalTokensProvider" | "totalTokensReported"
>;

/**
 * Counts what a message reports, as far as the session can have produced it, and updates the row in hand. `tokensUntil`
 * is how far into the session's time the counted tokens reach. It starts one burst before the session does, and after
 * each message it is never more than a burst behind the clock: tokens that were not reported are not saved up.
 */
export function countTokens(session: Counting, reported: number, now: number): number {
  if (reported === 0) return 0;
  const burstMs = Math.ceil(burst / perMs);
  const from = session.tokensUntil ?? (session.startedAt ?? now) - burstMs;
  const possible = session.meterStoppedAt === null ? Math.max(0, Math.floor((now - from) * perMs)) : 0;
  const counted = Math.min(reported, possible, Number.MAX_SAFE_INTEGER - session.totalTokensProvider);
  session.totalTokensProvider += counted;
  session.totalTokensReported = Math.min(session.totalTokensReported + reported, Number.MAX_SAFE_INTEGER);
  session.tokensUntil = Math.max(from + Math.ceil(counted / perMs), now - burstMs);
  return counted;
}
