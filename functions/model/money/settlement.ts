/**
 * How a session is paid (clawrent.md sections 6.3 and 6.4): the consumer pays what is due, never more than the
 * session's limit nor than they have, the platform keeps its fee, and the provider gets the rest, pending while it can
 * be disputed.
 */
import { z } from "zod";
import type { MutationContext } from "../../../runtime/context.js";
import type { BillingRecordsTable } from "../../../schema/ledger.js";
import { currencies, pricingModels } from "../../../schema/listings.js";
import { printAmount, printSettled } from "../../../schema/money.js";
import type { SessionsTable } from "../../../schema/sessions.js";
import { isoTime } from "../../../schema/values.js";
import { chargeFor, quantityOf, splitFee } from "../rules/charge.js";
import type { MeteringData } from "./billing-record.js";
import { endHold, findHold, letGo, postTransfer } from "./ledger.js";
import { currentWallet } from "./pending-income.js";

/** A settlement as the reply to the end of a session shows it (clawrent.md section 6.3). */
export const settlementValue = z.object({
  amount: z.string(),
  platformFee: z.string(),
  providerIncome: z.string(),
  currency: z.enum(currencies),
  pricingModel: z.enum(pricingModels),
  quantity: z.number(),
});

/** How the session was settled; null where it was not, because it never became active or has not ended yet. */
export function settlementOf(session: SessionsTable): z.input<typeof settlementValue> | null {
  const { billingAmountMinor, platformFeeMinor, providerIncomeMinor, currency, pricingModel } = session;
  if (billingAmountMinor === null || platformFeeMinor === null || providerIncomeMinor === null) return null;
  return {
    amount: printSettled(billingAmountMinor),
    platformFee: printSettled(platformFeeMinor),
    providerIncome: printSettled(providerIncomeMinor),
    currency,
    pricingModel,
    quantity: quantityOf(session),
  };
}

type Amounts = Pick<BillingRecordsTable, "amountMinor" | "platformFeeMinor" | "providerIncomeMinor">;

/**
 * Settles a session that ends, with its `endedAt` set: writes one transfer and one record, and ends its hold. Called
 * once per session, by the one transition that ends it. A second call fails, because there is one record per session.
 */
export async function settleSession(ctx: MutationContext, session: SessionsTable): Promise<Amounts> {
  const { sessionId, consumerUserId, providerUserId, currency, pricingModel, priceMinor, startedAt, endedAt } = session;
  const { totalTokensReported, totalTokensProvider } = session;
  const [hold, wallet] = await Promise.all([findHold(ctx, sessionId), currentWallet(ctx, consumerUserId, currency)]);
  const heldMinor = hold?.amountMinor ?? 0;
  const { amountMinor: chargeMinor, quantity } = chargeFor(session);
  const dueMinor = Math.min(chargeMinor, session.maxAmountMinor ?? chargeMinor);
  // Money that other sessions hold stays with them.
  const amountMinor = Math.min(dueMinor, heldMinor + wallet.availableMinor);
  const { feeMinor, incomeMinor } = splitFee(amountMinor);
  const disputeUntil = ctx.now + ctx.settings.disputeMs;
  const pendingMinor = disputeUntil > ctx.now ? incomeMinor : 0;

  if (hold) endHold(ctx, hold, amountMinor > 0 ? "captured" : "released");
  if (amountMinor > 0) {
    await postTransfer(ctx, {
      kind: "payment",
      currency,
      reference: { type: "session", id: sessionId },
      entries: [
        {
          account: "wallet",
          userId: consumerUserId,
          type: "payment",
          amountMinor: -amountMinor,
          capturedMinor: heldMinor,
          description: `Payment for session ${sessionId}`,
        },
        {
          account: "wallet",
          userId: providerUserId,
          type: "income",
          amountMinor: incomeMinor,
          pendingMinor,
          description: `Income from session ${sessionId}`,
        },
        // The fee of the smallest amounts rounds to zero, and an entry of zero is not written.
        ...(feeMinor > 0
          ? [
              {
                account: "fees" as const,
                userId: providerUserId,
                type: "fee" as const,
                amountMinor: feeMinor,
                description: `Fee for session ${sessionId}`,
              },
            ]
          : []),
      ],
    });
  } else if (hold) letGo(ctx, hold);

  const amounts = { amountMinor, platformFeeMinor: feeMinor, providerIncomeMinor: incomeMinor };
  const meteringData: MeteringData = {
    quantity,
    unitPrice: printAmount(priceMinor),
    startedAt: isoTime(startedAt ?? ctx.now),
    endedAt: isoTime(endedAt ?? ctx.now),
    unpaid: printSettled(dueMinor - amountMinor),
    ...(chargeMinor > dueMinor ? { overLimit: printSettled(chargeMinor - dueMinor) } : {}),
    ...(totalTokensReported > totalTokensProvider ? { tokensReported: totalTokensReported } : {}),
  };
  ctx.commitWaitsFor(
    ctx.db
      .insertInto("billingRecords")
      .values({
        recordId: ctx.newUuid(),
        sessionId,
        consumerUserId,
        providerUserId,
        ...amounts,
        currency,
        pricingModel,
        meteringData: JSON.stringify(meteringData),
        status: "settled",
        refundedMinor: 0,
        refundedFeeMinor: 0,
        disputeUntil,
        pendingMinor,
        releaseAt: pendingMinor > 0 ? disputeUntil : null,
        createdAt: ctx.now,
      })
      .execute(),
  );
  if (pendingMinor > 0) ctx.wakeAt(disputeUntil);
  return amounts;
}
