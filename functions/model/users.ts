/** Users as they see themselves, and the codes that prove an e-mail address. */
import type { Selectable } from "kysely";
import { z } from "zod";
import type { MutationContext, QueryContext } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { printAmount } from "../../schema/money.js";
import { type UsersTable, userRoles, userStatuses } from "../../schema/users.js";
import { isoTime } from "../../schema/values.js";
import { mail } from "./outbox.js";

export type UserRow = Selectable<UsersTable>;

/** A user, as they themselves see it (clawrent.md section 2.2). */
export const user = z.object({
  id: z.string(),
  email: z.string(),
  name: z.string(),
  role: z.enum(userRoles),
  isAdmin: z.boolean(),
  avatarUrl: z.string().nullable(),
  status: z.enum(userStatuses),
  /** Nothing rates users yet. */
  reputationScore: z.null(),
  /** The wallet's CNY. */
  walletBalance: z.string(),
  createdAt: z.string(),
  updatedAt: z.string(),
});

export async function userView(ctx: QueryContext, row: UserRow): Promise<z.input<typeof user>> {
  const wallet = await ctx.db
    .selectFrom("ledgerAccounts")
    .select("balanceMinor")
    .where("accountId", "=", `wallet:${row.userId}:CNY`)
    .executeTakeFirst();
  return {
    id: row.userId,
    email: row.email,
    name: row.name,
    role: row.role,
    isAdmin: ctx.settings.adminEmails.has(row.email),
    avatarUrl: row.avatarUrl,
    status: row.status,
    reputationScore: null,
    walletBalance: printAmount(wallet?.balanceMinor ?? 0),
    createdAt: isoTime(row.createdAt),
    updatedAt: isoTime(row.updatedAt),
  };
}

/** Loads a user or refuses. */
export async function requireUser(ctx: QueryContext, userId: string): Promise<UserRow> {
  const row = await ctx.db.selectFrom("users").selectAll().where("userId", "=", userId).executeTakeFirst();
  if (!row) throw new CallError("not_found", "User not found");
  return row;
}

export function findUserByEmail(ctx: Pick<QueryContext, "db">, email: string): Promise<UserRow | undefined> {
  return ctx.db.selectFrom("users").selectAll().where("email", "=", email).executeTakeFirst();
}

/*
 * Codes (clawrent.md section 2.3). An address has one row: its newest code as a hash under the server's secret, how
 * often it was guessed at, and how many mails it got. The row outlives the code, so that neither a used code nor a
 * restart gives an address more mails than it may have.
 */
const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const codeMs = 10 * minuteMs;
const mostWrongTries = 5;
const mailsPerHour = 5;

function codeHash(ctx: QueryContext, email: string, code: string): string {
  return ctx.derive(`verification code ${code} for ${email}`);
}

/** Mails a new code, which takes the place of an earlier one. Throws `rate_limited` where the address had too many. */
export async function mailCode(ctx: MutationContext, email: string): Promise<void> {
  const before = await ctx.db
    .selectFrom("emailVerifications")
    .selectAll()
    .where("email", "=", email)
    .executeTakeFirst();
  if (before && ctx.now < before.sentAt + minuteMs) throw tooManyMails(before.sentAt + minuteMs - ctx.now);
  const sameHour = before && ctx.now < before.hourStartedAt + hourMs ? before : undefined;
  if (sameHour && sameHour.sentInHour >= mailsPerHour) throw tooManyMails(sameHour.hourStartedAt + hourMs - ctx.now);

  const code = ctx.newDigits(6);
  const row = {
    codeHash: codeHash(ctx, email, code),
    codeExpiresAt: ctx.now + codeMs,
    wrongTries: 0,
    sentAt: ctx.now,
    hourStartedAt: sameHour?.hourStartedAt ?? ctx.now,
    sentInHour: (sameHour?.sentInHour ?? 0) + 1,
    expiresAt: ctx.now + hourMs,
  };
  await ctx.db
    .insertInto("emailVerifications")
    .values({ email, ...row })
    .onConflict((conflict) => conflict.column("email").doUpdateSet(row))
    .execute();

  // Whoever reads the address's mail may know that it has an account; whoever only types the address in may not.
  const known = await findUserByEmail(ctx, email);
  await mail(ctx, {
    recipient: email,
    subject: "Your verification code",
    body: [
      `Your verification code is ${code}.`,
      "",
      `It works once, until ${isoTime(row.codeExpiresAt).slice(11, 16)} UTC.`,
      ...(known ? ["This address already has an account: sign in with it, there is no need to register again."] : []),
      "If you did not ask for it, ignore this mail.",
      "",
    ].join("\n"),
  });
}

function tooManyMails(retryAfterMs: number): CallError {
  return new CallError(
    "rate_limited",
    `A code was mailed to this address already. Ask for another one in ${Math.ceil(retryAfterMs / 1_000)} s.`,
    { retryAfterMs },
  );
}

/** Whether this is the address's code. A wrong one counts: the caller must keep that, although it refuses. */
export async function tryCode(ctx: MutationContext, email: string, code: string): Promise<boolean> {
  const row = await ctx.db
    .selectFrom("emailVerifications")
    .select(["codeHash", "codeExpiresAt", "wrongTries"])
    .where("email", "=", email)
    .executeTakeFirst();
  if (!row || row.codeHash === null || row.codeExpiresAt <= ctx.now) return false;
  if (row.codeHash === codeHash(ctx, email, code)) return true;

  const wrongTries = row.wrongTries + 1;
  await ctx.db
    .updateTable("emailVerifications")
    .set({ wrongTries, ...(wrongTries >= mostWrongTries ? { codeHash: null } : {}) })
    .where("email", "=", email)
    .execute();
  return false;
}

export async function spendCode(ctx: MutationContext, email: string): Promise<void> {
  await ctx.db.updateTable("emailVerifications").set({ codeHash: null }).where("email", "=", email).execute();
}
