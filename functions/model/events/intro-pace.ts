/**
 * How fast one check-in may propose intros: three at once, then one a minute, and at most twelve in any hour, in which
 * the agent's earlier check-ins to the event count as well.
 */
import type { MutationContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import type { CheckinRow } from "./checkin.js";

const intervalMs = 60_000;
const burst = 3;
const windowMs = 60 * 60_000;
const mostInWindow = 12;

/** Counts one more intro, or refuses it with the time to wait. */
export async function takeIntroTurn(ctx: MutationContext, checkin: CheckinRow): Promise<void> {
  // GCRA: `introDueAt` is when the next one would be due at an even pace; a burst may run ahead of that.
  const dueAt = Math.max(checkin.introDueAt, ctx.now);
  const aheadMs = dueAt - ctx.now - (burst - 1) * intervalMs;
  if (aheadMs > 0) {
    throw new CallError("rate_limited", "Please wait a bit before sending another intro", { retryAfterMs: aheadMs });
  }

  const latest = await ctx.db
    .selectFrom("intros")
    .select("createdAt")
    .where("fromAgentId", "=", checkin.agentId)
    .where("eventId", "=", checkin.eventId)
    .orderBy("createdAt", "desc")
    .limit(mostInWindow)
    .execute();
  const freeAt = (latest[mostInWindow - 1]?.createdAt ?? Number.NEGATIVE_INFINITY) + windowMs;
  if (freeAt > ctx.now) {
    throw new CallError("rate_limited", "Hourly intro limit reached for this check-in", {
      retryAfterMs: freeAt - ctx.now,
    });
  }

  await ctx.db
    .updateTable("checkins")
    .set({ introDueAt: dueAt + intervalMs })
    .where("checkinId", "=", checkin.checkinId)
    .execute();
}
