/**
 * Refunds (clawrent.md section 6.4): a consumer gets back what a session cost, or a part of it, from the provider's
 * income and the platform's fee. Within the dispute window the income is still pending, so it can be given back; after
 * that, a provider who has spent or reserved it cannot.
 */
import type { MutationContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import type { BillingRecordsTable } from "../../../schema/ledger.js";
import { printAmount } from "../../../schema/money.js";
import { countSessions } from "../listings/profiles.js";
import { splitFee } from "../rules/charge.js";
import { type NewEntry, postTransfer } from "./ledger.js";
import { currentWallet, releaseIncome } from "./pending-income.js";

/** Gives a consumer back all that is left of a record. That also decides an open dispute of it. */
export async function refundRecord(ctx: MutationContext, recordId: string): Promise<BillingRecordsTable> {
  const record = await ctx.db
    .selectFrom("billingRecords")
    .selectAll()
    .where("recordId", "=", recordId)
    .executeTakeFirst();
  if (!record) throw new CallError("not_found", "Billing record not found");
  if (record.status === "refunded") {
    throw new CallError("conflict", "Billing record is already refunded", { status: record.status });
  }
  await ctx.db
    .updateTable("disputes")
    .set({ status: "decided", decision: "all", endedAt: ctx.now })
    .where("sessionId", "=", record.sessionId)
    .where("status", "=", "open")
    .where("decideBy", ">", ctx.now)
    .execute();
  return giveBack(ctx, record, record.amountMinor - record.refundedMinor);
}

/** Gives back a part of what is left of a record. Its pending income belongs to the provider from then on. */
export async function giveBack(
  ctx: MutationContext,
  record: BillingRecordsTable,
  backMinor: number,
): Promise<BillingRecordsTable> {
  const { recordId, sessionId, consumerUserId, providerUserId, currency, pendingMinor } = record;
  const refundedMinor = record.refundedMinor + backMinor;
  // The rest is divided as if only that had been charged, so every part adds up exactly.
  const kept = splitFee(record.amountMinor - refundedMinor);
  const refundedFeeMinor = record.platformFeeMinor - kept.feeMinor;
  const feeBackMinor = refundedFeeMinor - record.refundedFeeMinor;
  const incomeBackMinor = backMinor - feeBackMinor;

  if (backMinor > 0) {
    const { availableMinor } = await currentWallet(ctx, providerUserId, currency);
    const isPending = pendingMinor > 0 && record.releaseAt !== null && record.releaseAt > ctx.now;
    if (!isPending && availableMinor < incomeBackMinor) {
      const [needed, available] = [printAmount(incomeBackMinor), printAmount(availableMinor)];
      throw new CallError(
        "insufficient_funds",
        `Insufficient balance of the provider. The refund takes ${needed} ${currency} from the provider's wallet, and ${available} ${currency} is available there.`,
        { needed, available, currency },
      );
    }
    if (isPending) await releaseIncome(ctx, [record]);
    const description = `Refund of session ${sessionId}`;
    const entries: NewEntry[] = [
      { account: "wallet", userId: consumerUserId, type: "refund", amountMinor: backMinor, description },
      { account: "wallet", userId: providerUserId, type: "refund", amountMinor: -incomeBackMinor, description },
      { account: "fees", userId: providerUserId, type: "refund", amountMinor: -feeBackMinor, description },
    ];
    await postTransfer(ctx, {
      kind: "refund",
      currency,
      // There is one transfer of each kind per reference, and a part of this session was refunded before.
      reference: record.refundedMinor > 0 ? { type: "record", id: recordId } : { type: "session", id: sessionId },
      // The smallest amounts have no fee, or consist of the fee alone.
      entries: entries.filter(({ amountMinor }) => amountMinor !== 0),
    });
  } else if (pendingMinor > 0) await releaseIncome(ctx, [record]);

  const status = refundedMinor === record.amountMinor ? ("refunded" as const) : record.status;
  const changed = { status, refundedMinor, refundedFeeMinor, pendingMinor: 0, releaseAt: null };
  await ctx.db.updateTable("billingRecords").set(changed).where("recordId", "=", recordId).execute();
  const session = await ctx.db
    .updateTable("sessions")
    .set({ ...(status === "refunded" ? { billingStatus: "refunded" as const } : {}), updatedAt: ctx.now })
    .where("sessionId", "=", sessionId)
    .returning(["providerAgentId", "servedAt"])
    .executeTakeFirstOrThrow();
  if (status === "refunded" && session.servedAt !== null) {
    await countSessions(ctx, { agentId: session.providerAgentId, completed: -1, ended: 0 });
  }
  return { ...record, ...changed };
}
