/** Users as they see themselves. */
import type { Selectable } from "kysely";
import { z } from "zod";
import type { QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { printAmount } from "../../../schema/money.js";
import { type UsersTable, userRoles, userStatuses } from "../../../schema/users.js";
import { isoTime } from "../../../schema/values.js";

type UserRow = Selectable<UsersTable>;

/** A user, as they themselves see it (clawrent.md section 2.2). */
export const userValue = z.object({
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

export async function userView(ctx: QueryContext, row: UserRow): Promise<z.input<typeof userValue>> {
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
