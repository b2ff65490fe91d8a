/** Billing records: what a session was charged, and what became of the money (clawrent.md section 2.2). */
import { z } from "zod";
import type { QueryContext } from "../../../runtime/context.js";
import type { BillingRecordsTable } from "../../../schema/ledger.js";
import { currencies, pricingModels } from "../../../schema/listings.js";
import { printSettled } from "../../../schema/money.js";
import { isoTime, isoTimeOrNull } from "../../../schema/values.js";

/** How the charge of a record came about. */
const meteringData = z.object({
  quantity: z.number(),
  unitPrice: z.string(),
  startedAt: z.string(),
  endedAt: z.string(),
  /** How much was due that the consumer could not pay. */
  unpaid: z.string(),
  /** How far the use exceeded the session's limit. Nobody owes that. */
  overLimit: z.string().optional(),
  /** The tokens that the provider's messages reported, where the session could not have produced that many. */
  tokensReported: z.number().optional(),
});
export type MeteringData = z.input<typeof meteringData>;

export const billingRecord = z.object({
  id: z.string(),
  sessionId: z.string(),
  consumerUserId: z.string(),
  providerUserId: z.string(),
  amount: z.string(),
  platformFee: z.string(),
  providerIncome: z.string(),
  currency: z.enum(currencies),
  pricingModel: z.enum(pricingModels),
  meteringData,
  status: z.enum(["settled", "refunded"]),
  /** What of the amount went back to the consumer. */
  refunded: z.string(),
  /** Until when the consumer can dispute it; null for records from before there were disputes. */
  disputeUntil: z.string().nullable(),
  createdAt: z.string(),
});

/** The record of a session that was settled. */
export function findRecord(ctx: QueryContext, sessionId: string): Promise<BillingRecordsTable | undefined> {
  return ctx.db.selectFrom("billingRecords").selectAll().where("sessionId", "=", sessionId).executeTakeFirst();
}

export function billingRecordView(record: BillingRecordsTable): z.input<typeof billingRecord> {
  return {
    id: record.recordId,
    sessionId: record.sessionId,
    consumerUserId: record.consumerUserId,
    providerUserId: record.providerUserId,
    amount: printSettled(record.amountMinor),
    platformFee: printSettled(record.platformFeeMinor),
    providerIncome: printSettled(record.providerIncomeMinor),
    currency: record.currency,
    pricingModel: record.pricingModel,
    meteringData: JSON.parse(record.meteringData) as MeteringData,
    status: record.status,
    refunded: printSettled(record.refundedMinor),
    disputeUntil: isoTimeOrNull(record.disputeUntil),
    createdAt: isoTime(record.createdAt),
  };
}
