/**
 * The deadlines of sessions: nobody approved in time, or the money that is held for a session paid by the minute is
 * used up. Each of them moves money, an order and counters, so they are done one by one, like every other change of a
 * session (session.ts).
 */
import type { MutationContext, QueryContext } from "../../../runtime/context.js";
import { catchUp, followLimit, meterTime } from "./session.js";

/** The most of each kind that one transaction takes; each takes several statements. */
const sessionBatchSize = 20;

/**
 * Does what is due, the earliest first. A metered session moves one step at a time, so that two sessions of one
 * consumer share what is left in the order in which they used it.
 */
export async function sweepSessions(ctx: MutationContext): Promise<{ changed: number; more: boolean }> {
  const lapsed = await ctx.db
    .selectFrom("sessions")
    .selectAll()
    .where("status", "=", "pending_approval")
    .where("expiresAt", "<=", ctx.now)
    .orderBy("expiresAt")
    .limit(sessionBatchSize)
    .execute();
  for (const session of lapsed) await catchUp(ctx, session);

  const used = await ctx.db
    .selectFrom("sessions")
    .selectAll()
    .where("meterAt", "<=", ctx.now)
    .orderBy("meterAt")
    .limit(sessionBatchSize)
    .execute();
  for (const session of used) await meterTime(ctx, session);

  const toTell = await ctx.db
    .selectFrom("sessions")
    .selectAll()
    .where("levelAt", "<=", ctx.now)
    .orderBy("levelAt")
    .limit(sessionBatchSize)
    .execute();
  for (const session of toTell) await followLimit(ctx, session);
  return {
    changed: lapsed.length + used.length + toTell.length,
    // After a step the next one may be due at once.
    more: lapsed.length === sessionBatchSize || used.length > 0 || toTell.length === sessionBatchSize,
  };
}

/** The earliest of these deadlines, or null. */
export async function nextSessionDeadline(ctx: QueryContext): Promise<number | null> {
  const [expiry, meter, level] = await Promise.all([
    ctx.db
      .selectFrom("sessions")
      .select(({ fn }) => fn.min("expiresAt").as("next"))
      .where("status", "=", "pending_approval")
      .executeTakeFirstOrThrow(),
    ctx.db
      .selectFrom("sessions")
      .select(({ fn }) => fn.min("meterAt").as("next"))
      .where("meterAt", "is not", null)
      .executeTakeFirstOrThrow(),
    ctx.db
      .selectFrom("sessions")
      .select(({ fn }) => fn.min("levelAt").as("next"))
      .where("levelAt", "is not", null)
      .executeTakeFirstOrThrow(),
  ]);
  const open = [expiry.next, meter.next, level.next].flatMap((next) => (next === null ? [] : Number(next)));
  return open.length > 0 ? Math.min(...open) : null;
}
