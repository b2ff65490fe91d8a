/**
 * What a session costs and how it is paid (clawrent.md sections 6.2 to 6.4). The money that it needs to start is held
 * while it is open, a metered one holds more as it goes on, and its end settles it: the consumer pays what is due, the
 * platform keeps its fee, the provider gets the rest, and nobody pays more than they have.
 */
import { z } from "zod";
import type { MutationContext } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import type { BillingRecordsTable } from "../../schema/ledger.js";
import { currencies, type PricingModel, pricingModels } from "../../schema/listings.js";
import { printAmount, printSettled } from "../../schema/money.js";
import { partitions } from "../../schema/partitions.js";
import type { SessionsTable } from "../../schema/sessions.js";
import { isoTime } from "../../schema/values.js";
import { endHold, findHold, growHold, letGo, loadWallet, type NewEntry, postTransfer } from "./ledger.js";

/** What the platform keeps, in percent. */
const feePercent = 15;
/** How many minutes of a session that is paid by the minute are held at once. */
const minutesHeld = 5;
const minuteMs = 60_000;

/** How many times its price a session needs to start. */
const unitsToStart: Record<PricingModel, number> = {
  per_session: 1,
  fixed: 1,
  per_minute: minutesHeld,
  per_token: 1_000,
};

type Priced = Pick<SessionsTable, "pricingModel" | "priceMinor">;
type Used = Priced & Pick<SessionsTable, "startedAt" | "endedAt" | "totalTokensProvider">;

/** What must be there, and is held, for a session to start. */
export function requiredToStart({ pricingModel, priceMinor }: Priced): number {
  return unitsToStart[pricingModel] * priceMinor;
}

/** What a session comes to, and how many times its price that is. A clock that was set back makes nothing negative. */
export function chargeFor(session: Used): { amountMinor: number; quantity: number } {
  const quantity = quantityOf(session);
  // Token counts are the provider's word, and may be huge.
  const amount = BigInt(session.priceMinor) * BigInt(quantity);
  const most = BigInt(Number.MAX_SAFE_INTEGER);
  return { amountMinor: Number(amount < most ? amount : most), quantity };
}

function quantityOf({ pricingModel, startedAt, endedAt, totalTokensProvider }: Used): number {
  if (pricingModel === "per_token") return totalTokensProvider;
  if (pricingModel !== "per_minute") return 1;
  return startedAt === null || endedAt === null ? 1 : Math.max(1, Math.ceil((endedAt - startedAt) / minuteMs));
}

/** The platform's part, rounded half up, and the provider's, which is the rest: they add up exactly. */
export function splitFee(amountMinor: number): { feeMinor: number; incomeMinor: number } {
  const feeMinor = Number((BigInt(amountMinor) * BigInt(feePercent) + 50n) / 100n);
  return { feeMinor, incomeMinor: amountMinor - feeMinor };
}

/** A settlement as the reply to the end of a session shows it (clawrent.md section 6.3). */
export const settlement = z.object({
  amount: z.string(),
  platformFee: z.string(),
  providerIncome: z.string(),
  currency: z.enum(currencies),
  pricingModel: z.enum(pricingModels),
  quantity: z.number(),
});

/** How the session was settled; null where it was not, because it never became active or still is. */
export function settlementOf(session: SessionsTable): z.input<typeof settlement> | null {
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
 * Settles a session that ends, with its `endedAt` set: one transfer and one record, and its hold is over. Called once
 * per session, by the one transition that ends it; a second time fails, as there is one record per session.
 */
export async function settle(ctx: MutationContext, session: SessionsTable): Promise<Amounts> {
  const { sessionId, consumerUserId, providerUserId, currency, pricingModel, priceMinor, startedAt, endedAt } = session;
  const [hold, wallet] = await Promise.all([findHold(ctx, sessionId), loadWallet(ctx, consumerUserId, currency)]);
  const heldMinor = hold?.amountMinor ?? 0;
  const { amountMinor: dueMinor, quantity } = chargeFor(session);
  // Money that other sessions hold is theirs.
  const amountMinor = Math.min(dueMinor, heldMinor + wallet.availableMinor);
  const { feeMinor, incomeMinor } = splitFee(amountMinor);

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
          description: `Income from session ${sessionId}`,
        },
        ...feeEntry(providerUserId, "fee", feeMinor, `Fee for session ${sessionId}`),
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
  };
  ctx.defer(
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
        createdAt: ctx.now,
      })
      .execute(),
  );
  return amounts;
}

/** The fee of the smallest amounts rounds to nothing, which is no entry. */
function feeEntry(userId: string, type: "fee" | "refund", amountMinor: number, description: string): NewEntry[] {
  return amountMinor === 0 ? [] : [{ account: "fees", userId, type, amountMinor, description }];
}

/** What the charge of a record was made of. */
const meteringData = z.object({
  quantity: z.number(),
  unitPrice: z.string(),
  startedAt: z.string(),
  endedAt: z.string(),
  /** What was due beyond what the consumer had. */
  unpaid: z.string(),
});
type MeteringData = z.input<typeof meteringData>;

/** A BillingRecord (clawrent.md section 2.2). */
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
  createdAt: z.string(),
});

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
    createdAt: isoTime(record.createdAt),
  };
}

/**
 * Gives a consumer back what a session cost, once per record (clawrent.md section 6.4). The provider gives the income
 * back, the platform its fee. A provider who has spent or reserved the income meanwhile cannot.
 */
export async function refund(ctx: MutationContext, recordId: string): Promise<BillingRecordsTable> {
  const record = await ctx.db
    .selectFrom("billingRecords")
    .selectAll()
    .where("recordId", "=", recordId)
    .executeTakeFirst();
  if (!record) throw new CallError("not_found", "Billing record not found");
  if (record.status === "refunded") {
    throw new CallError("conflict", "Billing record is already refunded", { status: record.status });
  }
  const { sessionId, consumerUserId, providerUserId, currency, amountMinor, platformFeeMinor } = record;
  const { providerIncomeMinor } = record;
  if (amountMinor > 0) {
    const { availableMinor } = await loadWallet(ctx, providerUserId, currency);
    if (availableMinor < providerIncomeMinor) {
      const [needed, available] = [printAmount(providerIncomeMinor), printAmount(availableMinor)];
      throw new CallError(
        "insufficient_funds",
        `Insufficient balance of the provider. The refund takes ${needed} ${currency} from the provider's wallet, and ${available} ${currency} is available there.`,
        { needed, available, currency },
      );
    }
    const description = `Refund of session ${sessionId}`;
    await postTransfer(ctx, {
      kind: "refund",
      currency,
      reference: { type: "session", id: sessionId },
      entries: [
        { account: "wallet", userId: consumerUserId, type: "refund", amountMinor, description },
        { account: "wallet", userId: providerUserId, type: "refund", amountMinor: -providerIncomeMinor, description },
        ...feeEntry(providerUserId, "refund", -platformFeeMinor, description),
      ],
    });
  }
  const refunded = { status: "refunded" as const };
  await Promise.all([
    ctx.db
      .updateTable("billingRecords")
      .set(refunded)
      .where("recordId", "=", recordId)
      .returning(partitions.billingRecords)
      .execute(),
    ctx.db
      .updateTable("sessions")
      .set({ billingStatus: "refunded", updatedAt: ctx.now })
      .where("sessionId", "=", sessionId)
      .returning(partitions.sessions)
      .execute(),
  ]);
  return { ...record, ...refunded };
}

/** When what is held for a session that starts now is used up; null where its cost does not grow with time. */
export function firstMeterAt({ pricingModel, priceMinor }: Priced, startedAt: number): number | null {
  return pricingModel === "per_minute" && priceMinor > 0 ? startedAt + minutesHeld * minuteMs : null;
}

/**
 * Holds more for a session whose held minutes are used up: as many as were held at first, or what of them is available.
 * Gives the instant at which those will be used up, or null where there is no money for another minute: the session
 * then ended at its `meterAt`. A timer that comes late catches up in one step.
 */
export async function meterMinute(ctx: MutationContext, session: SessionsTable): Promise<number | null> {
  const { sessionId, consumerUserId, currency, priceMinor } = session;
  const meterAt = session.meterAt ?? ctx.now;
  const [hold, wallet] = await Promise.all([findHold(ctx, sessionId), loadWallet(ctx, consumerUserId, currency)]);
  if (!hold) return null;
  const rounds = 1 + Math.max(0, Math.floor((ctx.now - meterAt) / (minutesHeld * minuteMs)));
  const minutes = Math.min(rounds * minutesHeld, Math.floor(wallet.availableMinor / priceMinor));
  if (minutes < 1 || !(await growHold(ctx, hold, minutes * priceMinor))) return null;
  return meterAt + minutes * minuteMs;
}

/**
 * Has the hold of a session that is paid by the token follow its running cost. Whether the session may go on; it may
 * not once it has cost all that the consumer has for it.
 */
export async function meterTokens(ctx: MutationContext, session: SessionsTable): Promise<boolean> {
  const { sessionId, consumerUserId, currency, pricingModel, priceMinor } = session;
  if (pricingModel !== "per_token" || priceMinor === 0) return true;
  const [hold, wallet] = await Promise.all([findHold(ctx, sessionId), loadWallet(ctx, consumerUserId, currency)]);
  if (!hold) return false;
  const { amountMinor: costMinor } = chargeFor(session);
  const missingMinor = costMinor - hold.amountMinor;
  if (missingMinor >= wallet.availableMinor) return false;
  return missingMinor <= 0 || growHold(ctx, hold, missingMinor);
}
