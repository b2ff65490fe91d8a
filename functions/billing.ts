/** A user's money: the wallet, what went in and out of it, and what sessions cost (clawrent.md section 2.7). */
import type { NotNull } from "kysely";
import { z } from "zod";
import { mutation, query } from "../runtime/call/define.js";
import type { QueryContext } from "../runtime/context.js";
import { CallError } from "../runtime/errors.js";
import { hashSecret } from "../runtime/ids.js";
import { transactionTypes } from "../schema/ledger.js";
import { currencies } from "../schema/listings.js";
import { printAmount, topUpAmount } from "../schema/money.js";
import { cursor, isoTime, limit, page, pageOf } from "../schema/values.js";
import { cursorsOf, skippedBy } from "./model/cursors.js";
import { billingRecord, billingRecordView } from "./model/money/billing-record.js";
import { loadWallets, walletTurn } from "./model/money/ledger.js";
import { rechargeWallet } from "./model/money/recharge.js";
import { requireOpenCode } from "./model/money/top-up-codes.js";

const wallet = z.object({
  balance: z.string(),
  currency: z.literal("CNY"),
  balances: z.object({ CNY: z.string(), USD: z.string() }),
  held: z.string(),
  /** Income that a dispute can still take back: it is in the balance, and cannot be spent yet. */
  pending: z.string(),
  available: z.string(),
});

/** The user's balance. Where only one currency is shown, it is CNY (clawrent.md section 6.1). */
async function walletView(ctx: QueryContext, userId: string): Promise<z.input<typeof wallet>> {
  const { CNY, USD } = await loadWallets(ctx, userId);
  return {
    balance: printAmount(CNY.balanceMinor),
    currency: "CNY",
    balances: { CNY: printAmount(CNY.balanceMinor), USD: printAmount(USD.balanceMinor) },
    held: printAmount(CNY.heldMinor),
    pending: printAmount(CNY.pendingMinor),
    available: printAmount(CNY.availableMinor),
  };
}

/** The caller's wallet (clawrent.md section 2.7). */
export const getWallet = query({
  summary: "Your balance, what of it open sessions hold, what is pending, and what is available",
  auth: "user",
  args: {},
  returns: wallet,
  handler: (ctx) => walletView(ctx, ctx.caller.userId),
});

/** Adds money at once, as there is no payment provider (clawrent.md section 2.7). */
export const topUp = mutation({
  summary: "Adds money to your wallet",
  auth: "user",
  args: { amount: topUpAmount, currency: z.enum(currencies).nullish() },
  returns: wallet,
  limit: (_args, { userId }) => [{ rate: "topUps", who: userId }],
  oneAtATime: (_args, { userId }) => walletTurn(userId),
  handler: async (ctx, args) => {
    if (!ctx.settings.topUps) throw new CallError("forbidden", "Top-ups are switched off on this server");
    const { userId } = ctx.caller;
    await rechargeWallet(ctx, {
      userId,
      currency: args.currency ?? "CNY",
      amountMinor: args.amount,
      reference: { type: "topup", id: ctx.newUuid() },
      description: "Top-up",
    });
    return walletView(ctx, userId);
  },
});

/**
 * Redeems a code that an admin handed out. If several try at the same moment, one of them gets it; wrong tries are
 * limited per account and per address.
 */
export const redeem = mutation({
  summary: "Redeems a code for money in your wallet",
  auth: "user",
  args: { code: z.string().min(1).max(200) },
  returns: wallet,
  rate: "redemptions",
  limit: (_args, { userId }) => [{ rate: "redemptionsPerUser", who: userId }],
  oneAtATime: ({ code }, { userId }) => [walletTurn(userId), `code ${hashSecret(code)}`],
  handler: async (ctx, { code }) => {
    const { userId } = ctx.caller;
    const { codeId, currency, amountMinor } = await requireOpenCode(ctx, code);
    await ctx.db
      .updateTable("topUpCodes")
      .set({ redeemedAt: ctx.now, redeemedBy: userId })
      .where("codeId", "=", codeId)
      .execute();
    const reference = { type: "code", id: codeId } as const;
    await rechargeWallet(ctx, { userId, currency, amountMinor, reference, description: "Redeemed code" });
    return walletView(ctx, userId);
  },
});

const newestRecords = cursorsOf("billing:listRecords", { createdAt: "integer", recordId: "id" });

/** What the caller's sessions cost or earned, on either side, newest first (clawrent.md section 2.7). */
export const listRecords = query({
  summary: "The settlements of sessions that you rented or provided, newest first",
  auth: "user",
  args: { page, limit, cursor },
  returns: pageOf(billingRecord),
  handler: async (ctx, args) => {
    const { userId } = ctx.caller;
    const cursors = newestRecords.under(ctx);
    const after = cursors.read(args.cursor);
    const skipped = skippedBy(args);
    const recordsAs = (party: "consumerUserId" | "providerUserId") =>
      ctx.db.selectFrom("billingRecords").where(party, "=", userId);
    // One walk along an index for each side; nobody is on both sides of a session.
    const newestAs = (party: "consumerUserId" | "providerUserId") =>
      ctx.db
        .selectFrom(
          recordsAs(party)
            .selectAll()
            .$call((all) => cursors.behind(all, after, { createdAt: "createdAt", recordId: "recordId" }))
            .orderBy("createdAt", "desc")
            .orderBy("recordId", "desc")
            .limit(skipped + args.limit + 1)
            .as("newest"),
        )
        .selectAll();
    const countAs = (party: "consumerUserId" | "providerUserId") =>
      recordsAs(party)
        .select(({ fn }) => fn.countAll<number>().as("count"))
        .executeTakeFirstOrThrow();

    const [found, rented, provided] = await Promise.all([
      newestAs("consumerUserId")
        .unionAll(newestAs("providerUserId"))
        .orderBy("createdAt", "desc")
        .orderBy("recordId", "desc")
        .limit(args.limit + 1)
        .offset(skipped)
        .execute(),
      countAs("consumerUserId"),
      countAs("providerUserId"),
    ]);
    const { rows, nextCursor } = cursors.page(found, args.limit, (row) => row);
    return {
      data: rows.map(billingRecordView),
      total: Number(rented.count) + Number(provided.count),
      page: args.page,
      limit: args.limit,
      nextCursor,
    };
  },
});

/** A WalletTransaction (clawrent.md sections 2.2 and 6.4). */
const walletTransaction = z.object({
  id: z.string(),
  userId: z.string(),
  type: z.enum(transactionTypes),
  /** Without a sign: the direction shows in the type and in `balanceAfter`. */
  amount: z.string(),
  currency: z.enum(currencies),
  balanceAfter: z.string(),
  referenceType: z.enum(["topup", "credit", "code", "session", "record"]),
  referenceId: z.string(),
  description: z.string(),
  createdAt: z.string(),
});

/** A position numbers the entries of one account, and a user has an account per currency. */
const newestEntries = cursorsOf("billing:listTransactions", {
  createdAt: "integer",
  position: "integer",
  entryId: "id",
});

/** Everything that went into the caller's wallets and out of them, newest first (clawrent.md section 2.7). */
export const listTransactions = query({
  summary: "What went in and out of your wallet, newest first",
  auth: "user",
  args: { page, limit, cursor, type: z.enum(transactionTypes).nullish() },
  returns: pageOf(walletTransaction),
  handler: async (ctx, args) => {
    const { userId } = ctx.caller;
    const { type } = args;
    const cursors = newestEntries.under(ctx, { type });
    const order = { createdAt: "entries.createdAt", position: "entries.position", entryId: "entries.entryId" };
    const after = cursors.read(args.cursor);
    const mine = ctx.db
      .selectFrom("entries")
      .where("entries.userId", "=", userId)
      .$if(type != null, (all) => all.where("entries.type", "=", type ?? "recharge"));
    const [found, counted] = await Promise.all([
      mine
        .leftJoin("transfers", "transfers.transferId", "entries.transferId")
        .select([
          "entries.entryId",
          "entries.transferId",
          "entries.type",
          "entries.amountMinor",
          "entries.balanceAfterMinor",
          "entries.description",
          "entries.createdAt",
          "entries.position",
          "transfers.currency",
          "transfers.referenceType",
          "transfers.referenceId",
        ])
        .$call((all) => cursors.behind(all, after, order))
        .orderBy("entries.createdAt", "desc")
        .orderBy("entries.position", "desc")
        .orderBy("entries.entryId", "desc")
        .limit(args.limit + 1)
        .offset(skippedBy(args))
        // Every entry belongs to a transfer.
        .$narrowType<{ currency: NotNull; referenceType: NotNull; referenceId: NotNull }>()
        .execute(),
      mine.select(({ fn }) => fn.countAll<number>().as("count")).executeTakeFirstOrThrow(),
    ]);
    const { rows, nextCursor } = cursors.page(found, args.limit, (row) => row);
    return {
      data: rows.map((row) => ({
        id: row.entryId,
        userId,
        // Entries on a wallet have no other types.
        type: row.type as (typeof transactionTypes)[number],
        amount: printAmount(Math.abs(row.amountMinor)),
        currency: row.currency,
        balanceAfter: printAmount(row.balanceAfterMinor),
        referenceType: row.referenceType,
        referenceId: row.referenceId,
        description: row.description,
        createdAt: isoTime(row.createdAt),
      })),
      total: Number(counted.count),
      page: args.page,
      limit: args.limit,
      nextCursor,
    };
  },
});
