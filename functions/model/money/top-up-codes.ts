/**
 * Codes that bring money into a wallet where nobody can top up: an admin makes them and hands them out, and each is
 * redeemed once. Only their hashes are stored.
 */
import { z } from "zod";
import type { QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { hashSecret } from "../../../runtime/ids.js";
import type { TopUpCodesTable } from "../../../schema/ledger.js";
import { currencies } from "../../../schema/listings.js";
import { printAmount } from "../../../schema/money.js";
import { isoTime, isoTimeOrNull } from "../../../schema/values.js";

export const codePrefix = "top_";

const codeStatuses = ["open", "redeemed", "expired", "revoked"] as const;

function statusOf({ redeemedAt, revokedAt, expiresAt }: TopUpCodesTable, now: number): (typeof codeStatuses)[number] {
  if (redeemedAt !== null) return "redeemed";
  if (revokedAt !== null) return "revoked";
  return expiresAt <= now ? "expired" : "open";
}

/** A code as admins see it: never the code itself. */
export const topUpCode = z.object({
  id: z.string(),
  amount: z.string(),
  currency: z.enum(currencies),
  note: z.string().nullable(),
  status: z.enum(codeStatuses),
  createdAt: z.string(),
  expiresAt: z.string(),
  revokedAt: z.string().nullable(),
  redeemedAt: z.string().nullable(),
  redeemedBy: z.string().nullable(),
});

export function topUpCodeView(ctx: QueryContext, row: TopUpCodesTable): z.input<typeof topUpCode> {
  ctx.changesAt(row.expiresAt);
  return {
    id: row.codeId,
    amount: printAmount(row.amountMinor),
    currency: row.currency,
    note: row.note,
    status: statusOf(row, ctx.now),
    createdAt: isoTime(row.createdAt),
    expiresAt: isoTime(row.expiresAt),
    revokedAt: isoTimeOrNull(row.revokedAt),
    redeemedAt: isoTimeOrNull(row.redeemedAt),
    redeemedBy: row.redeemedBy,
  };
}

/** The code that can be redeemed, or why it cannot. */
export async function requireOpenCode(ctx: QueryContext, code: string): Promise<TopUpCodesTable> {
  const row = await ctx.db
    .selectFrom("topUpCodes")
    .selectAll()
    .where("codeHash", "=", hashSecret(code))
    .executeTakeFirst();
  if (!row) throw new CallError("not_found", "There is no such code");
  const status = statusOf(row, ctx.now);
  if (status === "expired") throw new CallError("expired", "The code has expired");
  if (status !== "open") throw new CallError("conflict", `The code was ${status} already`, { status });
  return row;
}
