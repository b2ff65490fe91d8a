/**
 * Sign-ins (people.md section 6): one row for each, named by its JWT, which is good only while the row says so. A user
 * has a bounded number of them; those that are over are shown for a while.
 */
import type { Selectable } from "kysely";
import { signInCredentialId, signInOf } from "../../../runtime/call/caller.js";
import type { MutationContext, QueryContext, UserCaller } from "../../../runtime/context.js";
import { jwtMs } from "../../../runtime/tokens.js";
import type { SignInsTable } from "../../../schema/users.js";

type SignInRow = Selectable<SignInsTable>;

/** Of one user: how many are open at a time, where a further one ends the oldest; and how many are kept in all. */
const mostOpen = 50;
export const mostKept = 100;
/** How many characters are kept of a program's name for itself. */
const userAgentCharacters = 200;

/** The user's sign-ins that are kept, the oldest first. */
export function signInsOf(ctx: QueryContext, userId: string): Promise<SignInRow[]> {
  const ofUser = ctx.db.selectFrom("signIns").selectAll().where("userId", "=", userId);
  return ofUser.orderBy("createdAt").orderBy("signInId").execute();
}

/** The sign-in that a call came with; functions with `auth: "signIn"` have one. */
export function currentSignIn({ credentialId }: UserCaller): string | undefined {
  return signInOf(credentialId);
}

/** Whether its JWT is still valid. */
export function isOpen({ endedAt, expiresAt }: Pick<SignInRow, "endedAt" | "expiresAt">, now: number): boolean {
  return endedAt === null && expiresAt > now;
}

/** Signs a user in, from where the call comes from, under the id that the JWT names. */
export function startSignIn(ctx: MutationContext, userId: string, signInId: string): Promise<void> {
  return keepSignIn(ctx, {
    signInId,
    userId,
    createdAt: ctx.now,
    expiresAt: ctx.now + jwtMs,
    lastSeenAt: ctx.now,
    address: ctx.from.address,
    userAgent: ctx.from.userAgent?.slice(0, userAgentCharacters) ?? null,
  });
}

/** Keeps a sign-in. Where its user has too many, the oldest end and the oldest that are over are forgotten. */
export async function keepSignIn(ctx: MutationContext, signIn: Omit<SignInRow, "endedAt">): Promise<void> {
  await ctx.db
    .insertInto("signIns")
    .values({ ...signIn, endedAt: null })
    .execute();
  ctx.wakeAt(signIn.expiresAt);
  const kept = await signInsOf(ctx, signIn.userId);
  const open = kept.filter((row) => isOpen(row, ctx.now));
  const tooMany = open.slice(0, Math.max(open.length - mostOpen, 0));
  if (tooMany.length > 0) await end(ctx, tooMany);
  const over = kept.filter((row) => !open.includes(row) && isForgettable(row, ctx.now));
  for (const { signInId } of over.slice(0, Math.max(kept.length - mostKept, 0))) {
    await ctx.db.deleteFrom("signIns").where("signInId", "=", signInId).execute();
  }
}

/** A sign-in from before they were kept is made anew at the next use of its JWT, so it stays until that runs out. */
function isForgettable({ signInId, expiresAt }: SignInRow, now: number): boolean {
  return expiresAt <= now || signInId.includes("-");
}

/** Ends those of the user's open sign-ins that are meant, with all that was opened with them. Returns how many. */
export async function endSignIns(
  ctx: MutationContext,
  userId: string,
  isMeant: (signInId: string) => boolean = () => true,
): Promise<number> {
  const open = (await signInsOf(ctx, userId)).filter((row) => isOpen(row, ctx.now) && isMeant(row.signInId));
  if (open.length > 0) await end(ctx, open);
  return open.length;
}

async function end(ctx: MutationContext, signIns: readonly Pick<SignInRow, "signInId">[]): Promise<void> {
  const ids = signIns.map(({ signInId }) => signInId);
  await ctx.db.updateTable("signIns").set({ endedAt: ctx.now }).where("signInId", "in", ids).execute();
  for (const signInId of ids) ctx.notify({ kind: "credentialEnded", credentialId: signInCredentialId(signInId) });
}

/** Ends sign-ins that have run out, up to `limit`, so that sockets opened with them close. Returns how many. */
export async function endRunOut(ctx: MutationContext, limit: number): Promise<number> {
  const due = await ctx.db
    .selectFrom("signIns")
    .select("signInId")
    .where("endedAt", "is", null)
    .where("expiresAt", "<=", ctx.now)
    .orderBy("expiresAt")
    .limit(limit)
    .execute();
  if (due.length > 0) await end(ctx, due);
  return due.length;
}

/** When the next one runs out, or null. */
export async function nextRunOut(ctx: QueryContext): Promise<number | null> {
  const next = await ctx.db
    .selectFrom("signIns")
    .select("expiresAt")
    .where("endedAt", "is", null)
    .orderBy("expiresAt")
    .limit(1)
    .executeTakeFirst();
  return next?.expiresAt ?? null;
}
