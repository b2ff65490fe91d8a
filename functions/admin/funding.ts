/** Admins and money that comes in: crediting a wallet, and codes that people redeem (clawrent.md section 2.7). */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import { CallError } from "../../runtime/errors.js";
import { hashSecret } from "../../runtime/ids.js";
import type { TopUpCodesTable } from "../../schema/ledger.js";
import { currencies } from "../../schema/listings.js";
import { maxAmount, printAmount, topUpAmount } from "../../schema/money.js";
import { cursor, id, limit, page, pageOf, text } from "../../schema/values.js";
import { cursorsOf, skippedBy } from "../model/cursors.js";
import { loadWallet, walletTurn } from "../model/money/ledger.js";
import { rechargeWallet } from "../model/money/recharge.js";
import { codePrefix, topUpCode, topUpCodeView } from "../model/money/top-up-codes.js";
import { requireUser } from "../model/users/users.js";

const mostCodes = 100;
const dayMs = 24 * 60 * 60 * 1_000;
/** The most that is counted and paged through: the total stops here, and so do the pages. */
const mostCounted = 10_000;

/** Brings money into a user's wallet. The reason is in the journal, and the user reads it. */
export const credit = mutation({
  summary: "Adds money to a user's wallet, for a reason that they read",
  auth: "admin",
  args: { userId: id, amount: maxAmount, currency: z.enum(currencies).nullish(), reason: text(500, 1) },
  returns: z.object({
    creditId: z.string(),
    userId: z.string(),
    amount: z.string(),
    currency: z.enum(currencies),
    balance: z.string(),
  }),
  oneAtATime: ({ userId }) => walletTurn(userId),
  handler: async (ctx, { userId, amount: amountMinor, reason, ...args }) => {
    await requireUser(ctx, userId);
    const currency = args.currency ?? "CNY";
    const creditId = ctx.newUuid();
    const reference = { type: "credit", id: creditId } as const;
    await rechargeWallet(ctx, { userId, currency, amountMinor, reference, description: `Credit: ${reason}` });
    ctx.log.info({ creditId, userId, by: ctx.caller.userId }, "wallet credited");
    const { balanceMinor } = await loadWallet(ctx, userId, currency);
    return { creditId, userId, amount: printAmount(amountMinor), currency, balance: printAmount(balanceMinor) };
  },
});

/** Makes codes of one amount. They are shown here and never again. */
export const createTopUpCodes = mutation({
  summary: "Makes codes that people redeem for money in their wallets",
  auth: "admin",
  args: {
    amount: topUpAmount,
    currency: z.enum(currencies).nullish(),
    count: z.number().int().min(1).max(mostCodes).default(1),
    validDays: z.number().int().min(1).max(1_825).default(90),
    /** For admins: what they are for. */
    note: text(500).nullish(),
  },
  returns: z.object({ codes: z.array(topUpCode.extend({ topUpCode: z.string() })) }),
  handler: async (ctx, { amount: amountMinor, count, validDays, ...args }) => {
    const made = Array.from({ length: count }, () => {
      const code = ctx.newSecret(codePrefix);
      const row: TopUpCodesTable = {
        codeId: ctx.newUuid(),
        codeHash: hashSecret(code),
        amountMinor,
        currency: args.currency ?? "CNY",
        note: args.note ?? null,
        createdAt: ctx.now,
        expiresAt: ctx.now + validDays * dayMs,
        revokedAt: null,
        redeemedAt: null,
        redeemedBy: null,
      };
      return { code, row };
    });
    await ctx.db
      .insertInto("topUpCodes")
      .values(made.map(({ row }) => row))
      .execute();
    return { codes: made.map(({ code, row }) => ({ ...topUpCodeView(ctx, row), topUpCode: code })) };
  },
});

const newestCodes = cursorsOf("admin:listTopUpCodes", { createdAt: "integer", codeId: "id" });

/** The codes that were made, newest first, and what became of them. */
export const listTopUpCodes = query({
  summary: "The codes that were made, newest first",
  auth: "admin",
  args: { page, limit, cursor },
  returns: pageOf(topUpCode),
  handler: async (ctx, args) => {
    const cursors = newestCodes.under(ctx);
    const after = cursors.read(args.cursor);
    const offset = skippedBy(args);
    const codes = ctx.db.selectFrom("topUpCodes");
    const [found, { total }] = await Promise.all([
      codes
        .selectAll()
        .$call((all) => cursors.behind(all, after, { createdAt: "createdAt", codeId: "codeId" }))
        .orderBy("createdAt", "desc")
        .orderBy("codeId", "desc")
        .limit(offset < mostCounted ? args.limit + 1 : 0)
        .offset(Math.min(offset, mostCounted))
        .execute(),
      ctx.db
        .selectFrom(codes.select("codeId").limit(mostCounted).as("counted"))
        .select(({ fn }) => fn.countAll<number>().as("total"))
        .executeTakeFirstOrThrow(),
    ]);
    const { rows, nextCursor } = cursors.page(found, args.limit, (row) => row);
    const data = rows.map((row) => topUpCodeView(ctx, row));
    return { data, total: Number(total), page: args.page, limit: args.limit, nextCursor };
  },
});

/** Takes a code back that nobody has redeemed. Repeating changes nothing. */
export const revokeTopUpCode = mutation({
  summary: "Revokes a code that nobody has redeemed",
  auth: "admin",
  args: { codeId: id },
  returns: topUpCode,
  handler: async (ctx, { codeId }) => {
    const row = await ctx.db.selectFrom("topUpCodes").selectAll().where("codeId", "=", codeId).executeTakeFirst();
    if (!row) throw new CallError("not_found", "Code not found");
    if (row.redeemedAt !== null)
      throw new CallError("conflict", "The code was redeemed already", { status: "redeemed" });
    if (row.revokedAt !== null) return topUpCodeView(ctx, row);
    const revoked = { revokedAt: ctx.now };
    await ctx.db.updateTable("topUpCodes").set(revoked).where("codeId", "=", codeId).execute();
    return topUpCodeView(ctx, { ...row, ...revoked });
  },
});
