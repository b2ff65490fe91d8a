/**
 * Income that a dispute can still take back. It is in the provider's balance from the settlement on but cannot be
 * spent: first for as long as the consumer may dispute it; then, if they did, until an admin decides or the time to
 * decide runs out. So the session's own income is still there when it is to be refunded.
 */
import { sql } from "kysely";
import type { MutationContext, QueryContext } from "../../../runtime/context.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { BillingRecordsTable } from "../../../schema/ledger.js";
import type { Currency } from "../../../schema/listings.js";
import { loadWallet, type Wallet, walletId } from "./ledger.js";

/** How many records one statement releases at most. */
const releaseBatchSize = 200;

/** The wallet as it is now, for whatever spends from it: income that is no longer pending has been released. */
export async function currentWallet(ctx: MutationContext, userId: string, currency: Currency): Promise<Wallet> {
  const wallet = await loadWallet(ctx, userId, currency);
  if (wallet.dueMinor === 0) return wallet;
  let due: Pending[];
  do {
    due = await dueRecords(ctx).where("providerUserId", "=", userId).where("currency", "=", currency).execute();
    await releaseIncome(ctx, due);
  } while (due.length === releaseBatchSize);
  return { ...wallet, dueMinor: 0 };
}

type Pending = Pick<BillingRecordsTable, "recordId" | "sessionId" | "providerUserId" | "currency" | "pendingMinor">;

function dueRecords(ctx: QueryContext) {
  return ctx.db
    .selectFrom("billingRecords")
    .select(["recordId", "sessionId", "providerUserId", "currency", "pendingMinor"])
    .where("releaseAt", "<=", ctx.now)
    .orderBy("releaseAt")
    .limit(releaseBatchSize);
}

const lessPending = prepared(["accountId", "amountMinor"], (db, { accountId, amountMinor }) =>
  db
    .updateTable("ledgerAccounts")
    .set({ pendingMinor: sql<number>`"pendingMinor" - ${amountMinor}` })
    .where("accountId", "=", accountId),
);

/** Makes the pending income of these records available: nobody can dispute them any more. */
export async function releaseIncome(ctx: MutationContext, records: readonly Pending[]): Promise<void> {
  if (records.length === 0) return;
  const sessionIds = records.map(({ sessionId }) => sessionId);
  await ctx.db
    .updateTable("disputes")
    .set({ status: "lapsed", endedAt: sql<number>`"decideBy"` })
    .where("sessionId", "in", sessionIds)
    .where("status", "=", "open")
    .execute();
  await ctx.db
    .updateTable("billingRecords")
    .set({ pendingMinor: 0, releaseAt: null })
    .where("sessionId", "in", sessionIds)
    .execute();
  const byAccount = new Map<string, number>();
  for (const { providerUserId, currency, pendingMinor } of records) {
    const accountId = walletId(providerUserId, currency);
    byAccount.set(accountId, (byAccount.get(accountId) ?? 0) + pendingMinor);
  }
  // In the order in which every transaction locks accounts.
  for (const [accountId, amountMinor] of [...byAccount].sort()) await lessPending(ctx, { accountId, amountMinor });
}

/** Releases what is due, a bounded amount at a time. */
export async function releaseDueIncome(ctx: MutationContext): Promise<{ changed: number; more: boolean }> {
  const due = await dueRecords(ctx).execute();
  await releaseIncome(ctx, due);
  return { changed: due.length, more: due.length === releaseBatchSize };
}

/** When the next pending income is released, or null. */
export async function nextRelease(ctx: QueryContext): Promise<number | null> {
  const { next } = await ctx.db
    .selectFrom("billingRecords")
    .select(({ fn }) => fn.min<number | null>("releaseAt").as("next"))
    .where("releaseAt", "is not", null)
    .executeTakeFirstOrThrow();
  return next === null ? null : Number(next);
}
