/**
 * Disputes (clawrent.md section 6.4): a consumer who is not content with a settlement says so within the dispute
 * window, and its income stays pending until an admin decides or the consumer withdraws. If nobody decides in time, the
 * dispute lapses, and the income is the provider's. There is at most one for each session.
 */
import { z } from "zod";
import type { MutationContext, QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { type DisputesTable, disputeDecisions, disputeStatuses } from "../../../schema/ledger.js";
import { currencies } from "../../../schema/listings.js";
import { printSettled } from "../../../schema/money.js";
import type { SessionsTable } from "../../../schema/sessions.js";
import { isoTime, isoTimeOrNull } from "../../../schema/values.js";
import { findRecord } from "./billing-record.js";
import { releaseIncome } from "./pending-income.js";
import { giveBack } from "./refund.js";

/** How long a dispute waits for a decision. */
const undecidedMs = 14 * 24 * 60 * 60 * 1_000;

/** The dispute's status by the clock: the stored one may lag behind until the timer has run. */
function statusOf({ status, decideBy }: Pick<DisputesTable, "status" | "decideBy">, now: number) {
  return status === "open" && decideBy <= now ? ("lapsed" as const) : status;
}

export const disputeValue = z.object({
  id: z.string(),
  sessionId: z.string(),
  consumerUserId: z.string(),
  providerUserId: z.string(),
  reason: z.string(),
  status: z.enum(disputeStatuses),
  /** What the admin decided to give back; null where nobody decided. */
  decision: z.enum(disputeDecisions).nullable(),
  note: z.string().nullable(),
  /** What the session cost, and how much of that was refunded. */
  amount: z.string(),
  refunded: z.string(),
  currency: z.enum(currencies),
  openedAt: z.string(),
  /** If it is still undecided then, the income is the provider's. */
  decideBy: z.string(),
  endedAt: z.string().nullable(),
});
export type Dispute = z.input<typeof disputeValue>;

/** Disputes with their records, for a query to narrow down. */
export function disputesWithRecords(ctx: QueryContext) {
  return ctx.db
    .selectFrom("disputes")
    .innerJoin("billingRecords as record", "record.sessionId", "disputes.sessionId")
    .selectAll("disputes")
    .select(["record.providerUserId", "record.amountMinor", "record.refundedMinor", "record.currency"]);
}
type WithRecord = Awaited<ReturnType<ReturnType<typeof disputesWithRecords>["executeTakeFirstOrThrow"]>>;

export function disputeView(row: WithRecord, now: number): Dispute {
  const { disputeId, sessionId, consumerUserId, providerUserId, reason, decision, note, currency } = row;
  const status = statusOf(row, now);
  return {
    id: disputeId,
    sessionId,
    consumerUserId,
    providerUserId,
    reason,
    status,
    decision,
    note,
    amount: printSettled(row.amountMinor),
    refunded: printSettled(row.refundedMinor),
    currency,
    openedAt: isoTime(row.openedAt),
    decideBy: isoTime(row.decideBy),
    endedAt: isoTimeOrNull(status === "lapsed" ? row.decideBy : row.endedAt),
  };
}

/** The disputes of some sessions, by the sessions' ids. */
export async function disputesOf(
  ctx: QueryContext,
  sessions: readonly Pick<SessionsTable, "sessionId" | "disputedAt">[],
): Promise<Map<string, Dispute>> {
  const disputed = sessions.filter(({ disputedAt }) => disputedAt !== null).map(({ sessionId }) => sessionId);
  if (disputed.length === 0) return new Map();
  const rows = await disputesWithRecords(ctx).where("disputes.sessionId", "in", disputed).execute();
  return new Map(rows.map((row) => [row.sessionId, disputeView(row, ctx.now)]));
}

/** Opens the dispute of a session by its consumer; the row in hand follows. */
export async function openDispute(ctx: MutationContext, session: SessionsTable, reason: string): Promise<void> {
  const { sessionId, consumerUserId } = session;
  if (session.disputedAt !== null) {
    throw new CallError("conflict", "This session was disputed already. There is one dispute for each session.");
  }
  const record = await findRecord(ctx, sessionId);
  if (!record) {
    throw new CallError("failed_precondition", "Session is not settled yet", { status: session.status });
  }
  if (record.amountMinor === 0) {
    throw new CallError("failed_precondition", "This session cost nothing, so there is nothing to dispute");
  }
  if (record.status === "refunded") {
    throw new CallError("conflict", "Billing record is already refunded", { status: record.status });
  }
  const { disputeUntil, releaseAt } = record;
  // By another process's clock, or before this one was set back, the window may have closed: what was released stays
  // so.
  if (disputeUntil === null || disputeUntil <= ctx.now || releaseAt === null) {
    const until = isoTimeOrNull(disputeUntil);
    throw new CallError("expired", `The time to dispute this session is over${until ? ` since ${until}` : ""}`, {
      disputeUntil: until,
    });
  }
  const decideBy = ctx.now + undecidedMs;
  const opened = { reason, status: "open", decision: null, note: null, openedAt: ctx.now, decideBy } as const;
  await ctx.db
    .insertInto("disputes")
    .values({ disputeId: ctx.newUuid(), sessionId, consumerUserId, ...opened, endedAt: null })
    .execute();
  await setRelease(ctx, sessionId, decideBy);
  const disputed = { disputedAt: ctx.now, updatedAt: ctx.now };
  await ctx.db.updateTable("sessions").set(disputed).where("sessionId", "=", sessionId).execute();
  Object.assign(session, disputed);
}

/** Ends the dispute of a session as if it had never been opened. */
export async function withdrawOpenDispute(ctx: MutationContext, sessionId: string): Promise<void> {
  const found = await ctx.db.selectFrom("disputes").selectAll().where("sessionId", "=", sessionId).executeTakeFirst();
  if (!found) throw new CallError("not_found", "Dispute not found");
  requireOpen(ctx, found);
  await endDispute(ctx, found, { status: "withdrawn" });
  const record = await findRecord(ctx, sessionId);
  if (record?.disputeUntil != null && record.disputeUntil > ctx.now) {
    await setRelease(ctx, sessionId, record.disputeUntil);
  } else if (record) await releaseIncome(ctx, [record]);
}

interface Decision {
  decision: NonNullable<DisputesTable["decision"]>;
  /** How much is refunded; for `part` alone. */
  partMinor: number | null;
  note: string | null;
}

/** Decides a dispute: the refund comes out of the session's own income, and the rest is the provider's at once. */
export async function decideOpenDispute(ctx: MutationContext, disputeId: string, given: Decision): Promise<void> {
  const found = await ctx.db.selectFrom("disputes").selectAll().where("disputeId", "=", disputeId).executeTakeFirst();
  if (!found) throw new CallError("not_found", "Dispute not found");
  requireOpen(ctx, found);
  const record = await findRecord(ctx, found.sessionId);
  if (!record) throw new Error(`Session ${found.sessionId} is disputed and has no record`);
  const { decision, partMinor, note } = given;
  if (decision === "part" && (partMinor === null || partMinor >= record.amountMinor)) {
    const most = printSettled(record.amountMinor);
    throw new CallError("invalid_args", `A part needs an amount below the ${most} that the session cost`, {
      issues: [{ path: "amount", message: `must be below ${most}` }],
    });
  }
  if (decision !== "part" && partMinor !== null) {
    throw new CallError("invalid_args", "An amount belongs to a part alone", {
      issues: [{ path: "amount", message: "belongs to a part alone" }],
    });
  }
  await endDispute(ctx, found, { status: "decided", decision, note });
  await giveBack(ctx, record, decision === "all" ? record.amountMinor : (partMinor ?? 0));
}

function requireOpen(ctx: QueryContext, found: DisputesTable): void {
  const status = statusOf(found, ctx.now);
  if (status !== "open") throw new CallError("conflict", `The dispute is over: it is ${status}`, { status });
}

async function endDispute(
  ctx: MutationContext,
  { disputeId }: DisputesTable,
  as: Partial<Pick<DisputesTable, "status" | "decision" | "note">>,
): Promise<void> {
  await ctx.db
    .updateTable("disputes")
    .set({ ...as, endedAt: ctx.now })
    .where("disputeId", "=", disputeId)
    .execute();
}

async function setRelease(ctx: MutationContext, sessionId: string, releaseAt: number): Promise<void> {
  await ctx.db.updateTable("billingRecords").set({ releaseAt }).where("sessionId", "=", sessionId).execute();
  ctx.wakeAt(releaseAt);
}
