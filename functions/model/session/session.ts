/** Sessions: finding one, its clock, and every change of its state (model/rules/session-states.ts). */
import type { MutationContext, QueryContext, UserCaller } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import type { Stamped } from "../../../runtime/notices.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { SessionStatus, SessionsTable, Side } from "../../../schema/sessions.js";
import { countSessions } from "../listings/profiles.js";
import { releaseHold } from "../money/ledger.js";
import { firstMeterAt, meterMinute, stopMeters } from "../money/metering.js";
import { followOrder } from "../money/order.js";
import { settleSession } from "../money/settlement.js";
import { afterAct, type SessionAct, sessionStatusOf } from "../rules/session-states.js";
import { limitReachedAt, tellLimit, toldOf } from "./spending-limit.js";

const sessionById = prepared(["sessionId"], (db, { sessionId }) =>
  db.selectFrom("sessions").selectAll().where("sessionId", "=", sessionId),
);

export async function findSession(ctx: QueryContext, sessionId: string): Promise<SessionsTable | undefined> {
  const { rows } = await sessionById(ctx, { sessionId });
  return rows[0];
}

/** The session, for one of its two parties. A stranger's reads as missing. */
export async function requireParty(
  ctx: QueryContext<UserCaller>,
  sessionId: string,
): Promise<{ session: SessionsTable; side: Side }> {
  const session = await findSession(ctx, sessionId);
  const side = session && sideOf(session, ctx.caller);
  if (!session || !side) throw new CallError("not_found", "Session not found");
  return { session, side };
}

/** The same, for what changes the session: everything that fell due before is done first. */
export async function requirePartyNow(
  ctx: MutationContext<UserCaller>,
  sessionId: string,
): Promise<{ session: SessionsTable; side: Side }> {
  const party = await requireParty(ctx, sessionId);
  await catchUp(ctx, party.session);
  return party;
}

export function sideOf(session: SessionsTable, caller: UserCaller): Side | undefined {
  if (session.consumerUserId === caller.userId) return "consumer";
  return session.providerUserId === caller.userId ? "provider" : undefined;
}

export function requireActive(session: SessionsTable): void {
  if (session.status !== "active") {
    throw new CallError("failed_precondition", "Session is not active", { status: session.status });
  }
}

/**
 * The next instant of the session's clock (clawrent.md section 4.6, step 1): later than every stamp before, whatever
 * the machine's clock did. A mutation that takes one has to write it, so that stamps rise in the order of commits.
 */
export function nextStamp(session: Pick<SessionsTable, "lastStampAt">, now: number): number {
  return Math.max(now, session.lastStampAt + 1);
}

const writeStamp = prepared(["sessionId", "lastStampAt"], (db, { sessionId, lastStampAt }) =>
  db.updateTable("sessions").set({ lastStampAt }).where("sessionId", "=", sessionId),
);

/**
 * Takes the next instant of the session's clock, or as many as are asked for, one millisecond apart, writes the last
 * one, and returns the first. Updates the row in hand as well.
 */
export async function stampSession(ctx: MutationContext, session: SessionsTable, count = 1): Promise<Stamped> {
  const { sessionId, lastStampAt: after } = session;
  const stamp = nextStamp(session, ctx.now);
  session.lastStampAt = stamp + count - 1;
  await writeStamp(ctx, { sessionId, lastStampAt: session.lastStampAt });
  return { sessionId, after, stamp };
}

/** The columns of a session that becomes active now. Polling from `startedAt` on must miss nothing. */
export function startedNow(
  session: SessionsTable,
  now: number,
  provider: { suspended: boolean },
): Partial<SessionsTable> {
  const timed = provider.suspended
    ? { meterStoppedAt: now }
    : {
        meterAt: firstMeterAt(session, now),
        limitAt: limitReachedAt(session, now),
        ...toldOf({ ...session, startedAt: now }, now),
      };
  return {
    status: "active",
    startedAt: now,
    expiresAt: null,
    needsManualReview: 0,
    ...timed,
    lastStampAt: Math.max(session.lastStampAt, now),
    updatedAt: now,
  };
}

/** Tells everybody whom a session that became active concerns. */
export function announceStart(ctx: MutationContext, session: SessionsTable): void {
  const { sessionId, providerAgentId, consumerAgentId } = session;
  ctx.notify({ kind: "announcementsDue", agentId: providerAgentId });
  if (consumerAgentId !== null) ctx.notify({ kind: "consumerSessionStarted", agentId: consumerAgentId, sessionId });
  for (const at of [session.meterAt, session.levelAt]) if (at !== null) ctx.wakeAt(at);
}

/** Makes a pending session active, and updates the row in hand. The caller checks who may approve. */
export async function activateSession(ctx: MutationContext, session: SessionsTable): Promise<void> {
  requireMove(session, "approve", "active");
  const profile = await ctx.db
    .selectFrom("providerProfiles")
    .select("status")
    .where("agentId", "=", session.providerAgentId)
    .executeTakeFirst();
  await change(ctx, session, startedNow(session, ctx.now, { suspended: profile?.status === "suspended" }));
  announceStart(ctx, session);
  ctx.notify({ kind: "sessionApproved", sessionId: session.sessionId });
  await followOrder(ctx, session.orderId);
}

interface Ending {
  as: Extract<SessionStatus, "completed" | "aborted" | "expired">;
  /** Kept as `endReason`, and told to its sockets. */
  reason: string;
  /** When it ended, if not now. */
  endedAt?: number;
}

/** Ends an open session, with its money, counters, order and sockets. Updates the row in hand. */
export async function endSession(ctx: MutationContext, session: SessionsTable, ending: Ending): Promise<void> {
  requireMove(session, ending.as === "expired" ? "expire" : "end", ending.as);
  const { sessionId, providerAgentId, consumerAgentId } = session;
  const { reason } = ending;
  // A clock that was set back must not make a session end before it began.
  const endedAt = Math.max(ending.endedAt ?? ctx.now, session.startedAt ?? session.createdAt);
  const place = { sessionId, after: session.lastStampAt, stamp: nextStamp(session, ctx.now) };
  const wasActive = ending.as === "completed";
  const ended = {
    status: ending.as,
    endedAt,
    endReason: reason,
    expiresAt: null,
    meterAt: null,
    limitAt: null,
    levelAt: null,
    lastStampAt: place.stamp,
    updatedAt: ctx.now,
  };
  if (wasActive) {
    const { toldLevel } = toldOf({ ...session, ...ended }, ctx.now);
    if (toldLevel > session.toldLevel) tellLimit(ctx, { ...session, ...ended, limitAt: session.limitAt });
    const { amountMinor, platformFeeMinor, providerIncomeMinor } = await settleSession(ctx, { ...session, ...ended });
    await change(ctx, session, {
      ...ended,
      toldLevel,
      billingStatus: "settled",
      billingAmountMinor: amountMinor,
      platformFeeMinor,
      providerIncomeMinor,
    });
  } else {
    await releaseHold(ctx, sessionId, ending.as === "expired" ? "expired" : "released");
    await change(ctx, session, ended);
  }
  // A session that its consumer called off before it began says nothing about the provider, so it is not counted.
  const isServed = wasActive && session.servedAt !== null;
  const wasLetDown = !wasActive && reason !== "cancelled";
  if (isServed || wasLetDown) {
    await countSessions(ctx, { agentId: providerAgentId, completed: isServed ? 1 : 0, ended: 1 });
  }
  await followOrder(ctx, session.orderId);

  ctx.notify({ kind: "sessionEnded", reason, closeReason: closeReasonOf(reason), ...place });
  if (wasActive && consumerAgentId !== null) {
    ctx.notify({ kind: "consumerSessionEnded", agentId: consumerAgentId, sessionId, reason, at: endedAt });
  }
}

/** The reason with which the sockets of an ended session close (section 4.7). */
export function closeReasonOf(reason: string): string {
  return reason === "terminated" ? "Session terminated" : "Session ended";
}

/** Ends an open session in the name of the platform: an active one settles. One that has ended stays as it is. */
export async function terminateSession(ctx: MutationContext, session: SessionsTable): Promise<void> {
  const reason = "terminated";
  if (session.status === "active") await endSession(ctx, session, { as: "completed", reason });
  else if (session.status === "pending_approval") await endSession(ctx, session, { as: "aborted", reason });
}

/** Does whatever fell due for the session, as of the instant when it did, before anything else changes it. */
export async function catchUp(ctx: MutationContext, session: SessionsTable): Promise<void> {
  if (session.status === "pending_approval" && sessionStatusOf(session, ctx.now) === "expired") {
    await endSession(ctx, session, { as: "expired", reason: "expired", endedAt: session.expiresAt ?? ctx.now });
  }
  if (session.levelAt !== null && session.levelAt <= ctx.now) await followLimit(ctx, session);
  while (session.meterAt !== null && session.meterAt <= ctx.now) await meterTime(ctx, session);
}

/** One step of a session that is paid by the minute: its hold grows, or it ends for its limit or for lack of money. */
export async function meterTime(ctx: MutationContext, session: SessionsTable): Promise<void> {
  const { meterAt } = session;
  if (meterAt === null) return;
  const extendedTo = await meterMinute(ctx, session);
  if (typeof extendedTo === "string") {
    await endSession(ctx, session, { as: "completed", reason: extendedTo, endedAt: meterAt });
    return;
  }
  await change(ctx, session, { meterAt: extendedTo });
  ctx.wakeAt(extendedTo);
}

/** Tells both sides how much of its limit an active session has used. */
export async function followLimit(ctx: MutationContext, session: SessionsTable): Promise<void> {
  const before = session.toldLevel;
  await change(ctx, session, toldOf(session, ctx.now));
  if (session.toldLevel > before) tellLimit(ctx, session);
  if (session.levelAt !== null) ctx.wakeAt(session.levelAt);
}

/** Lets an open session cost more, and tells both sides how much of the new limit is used. */
export async function raiseSessionLimit(
  ctx: MutationContext,
  session: SessionsTable,
  maxAmountMinor: number,
): Promise<void> {
  const raised = { ...session, maxAmountMinor };
  const isRunning = session.startedAt !== null && session.meterStoppedAt === null;
  await change(ctx, session, {
    maxAmountMinor,
    limitAt: isRunning ? limitReachedAt(raised, session.startedAt ?? ctx.now) : null,
    ...(isRunning ? toldOf(raised, ctx.now) : {}),
    updatedAt: ctx.now,
  });
  tellLimit(ctx, session);
  if (session.levelAt !== null) ctx.wakeAt(session.levelAt);
}

/** Does what fell due for the sessions of an agent that is suspended, and then stops their meters. */
export async function stopMetersOf(ctx: MutationContext, agentId: string): Promise<void> {
  const due = await ctx.db
    .selectFrom("sessions")
    .selectAll()
    .where("providerAgentId", "=", agentId)
    .where("status", "=", "active")
    .where("meterAt", "<=", ctx.now)
    .execute();
  for (const session of due) await catchUp(ctx, session);
  await stopMeters(ctx, agentId);
}

async function change(ctx: MutationContext, session: SessionsTable, changes: Partial<SessionsTable>): Promise<void> {
  await ctx.db.updateTable("sessions").set(changes).where("sessionId", "=", session.sessionId).execute();
  Object.assign(session, changes);
}

/** A move that the table does not have is a mistake of this file, not of the caller. */
function requireMove(session: SessionsTable, act: SessionAct, to: SessionStatus): void {
  if (session.status === to || afterAct[session.status][act] !== to) {
    throw new Error(`A session cannot go from ${session.status} to ${to}`);
  }
}
