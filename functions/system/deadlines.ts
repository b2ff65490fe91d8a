/** What the server's timer runs (runtime/deadlines.ts). */
import { sql } from "kysely";
import { systemMutation } from "../../runtime/call/define.js";
import { dialectOf } from "../../runtime/store/dialects.js";
import { endExpiredKeys, nextKeyExpiry } from "../model/agents/agent-keys.js";
import { followMovedEnds } from "../model/events/event-changes.js";
import { batchSize, expireDue, forgetOld, nextDeadline } from "../model/expiry.js";
import { nextRelease, releaseDueIncome } from "../model/money/pending-income.js";
import { nextSessionDeadline, sweepSessions } from "../model/session/session-deadlines.js";
import { endRunOut, nextRunOut } from "../model/users/sign-ins.js";

const lookAgainMs = 1_000;

interface Swept {
  changed: number;
  more: boolean;
  nextDeadlineAt: number | null;
}

/** Expires what is due, a bounded amount at a time, and returns when the next deadline comes. */
export const expireDueRows = systemMutation("deadlines.expire", async (ctx): Promise<Swept> => {
  const { rows } = await sql.raw<{ locked: number }>(dialectOf(ctx.db).tryLock).execute(ctx.db);
  // Another process is doing it. Should that one fail, this one looks again soon.
  if (rows[0]?.locked !== 1) return { changed: 0, more: false, nextDeadlineAt: ctx.now + lookAgainMs };
  const { expired, more } = await expireDue(ctx, batchSize);
  const moreToFollow = await followMovedEnds(ctx);
  const moreToForget = await forgetOld(ctx, batchSize);
  const keys = await endExpiredKeys(ctx, batchSize);
  const sessions = await sweepSessions(ctx);
  const income = await releaseDueIncome(ctx);
  const signIns = await endRunOut(ctx, batchSize);
  const deadlines = [
    await nextDeadline(ctx),
    await nextKeyExpiry(ctx),
    await nextSessionDeadline(ctx),
    await nextRelease(ctx),
    await nextRunOut(ctx),
  ];
  const next = deadlines.flatMap((at) => at ?? []);
  const counts = [...Object.values(expired), keys, sessions.changed, income.changed, signIns];
  return {
    changed: counts.reduce((sum, count) => sum + count, 0),
    more: more || moreToFollow || moreToForget || sessions.more || income.more || Math.max(keys, signIns) === batchSize,
    nextDeadlineAt: next.length > 0 ? Math.min(...next) : null,
  };
});
