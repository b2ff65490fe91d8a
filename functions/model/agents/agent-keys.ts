/** The `c2c_` key of an agent: the agent's own, which it or its owner rotates and revokes (people.md section 5). */
import type { MutationContext, QueryContext } from "../../../runtime/context.js";
import { endCredentials, issueCredential, type Maker } from "./credentials.js";

/** How long a key stays valid after it was rotated, unless the new one is used before. */
const rotatedKeyMs = 10 * 60_000;

/**
 * Gives an agent a new key. The present one stays valid until the new one is first used, and for ten minutes at most. A
 * new key that nobody has used yet is replaced at once: perhaps its secret never arrived.
 */
export async function rotateKey(
  ctx: MutationContext,
  agentId: string,
  { madeBy }: Maker,
): Promise<{ apiKey: string; oldKeyExpiresAt: number | null }> {
  await endKeys(ctx, agentId, ({ expiresAt }) => expiresAt !== null && expiresAt <= ctx.now);
  await endKeys(ctx, agentId, ({ expiresAt, isUnused }) => expiresAt === null && isUnused === 1);
  const keys = await keysOf(ctx, agentId);
  const current = keys.find(({ expiresAt }) => expiresAt === null);
  const oldKeyExpiresAt = current ? ctx.now + rotatedKeyMs : (keys[0]?.expiresAt ?? null);
  if (current) {
    await ctx.db
      .updateTable("agentCredentials")
      .set({ expiresAt: oldKeyExpiresAt })
      .where("secretHash", "=", current.secretHash)
      .execute();
    ctx.wakeAt(ctx.now + rotatedKeyMs);
  }
  const isUnused = oldKeyExpiresAt === null ? 0 : 1;
  return { apiKey: await issueCredential(ctx, { agentId, kind: "apiKey", madeBy, isUnused }), oldKeyExpiresAt };
}

/** Takes an agent's key away, and the one before it where that is still valid. */
export function revokeKeys(ctx: MutationContext, agentId: string): Promise<void> {
  return endKeys(ctx, agentId, () => true);
}

/** A key that replaced another is used for the first time: the other one ends. */
export async function settleKey(ctx: MutationContext, secretHash: string): Promise<void> {
  const used = await ctx.db
    .updateTable("agentCredentials")
    .set({ isUnused: 0 })
    .where("secretHash", "=", secretHash)
    .where("isUnused", "=", 1)
    .returning("agentId")
    .executeTakeFirst();
  if (used) await endKeys(ctx, used.agentId, ({ expiresAt }) => expiresAt !== null);
}

/** Ends rotated keys whose time is over, up to `limit`. Returns how many. */
export async function endExpiredKeys(ctx: MutationContext, limit: number): Promise<number> {
  const due = await ctx.db
    .selectFrom("agentCredentials")
    .select("secretHash")
    .where("expiresAt", "is not", null)
    .where("expiresAt", "<=", ctx.now)
    .orderBy("expiresAt")
    .limit(limit)
    .execute();
  await endCredentials(
    ctx,
    due.map(({ secretHash }) => secretHash),
  );
  return due.length;
}

/** When the next of them ends, or null. */
export async function nextKeyExpiry(ctx: QueryContext): Promise<number | null> {
  const next = await ctx.db
    .selectFrom("agentCredentials")
    .select("expiresAt")
    .where("expiresAt", "is not", null)
    .orderBy("expiresAt")
    .limit(1)
    .executeTakeFirst();
  return next?.expiresAt ?? null;
}

type Key = Awaited<ReturnType<typeof keysOf>>[number];

async function endKeys(ctx: MutationContext, agentId: string, isMeant: (key: Key) => boolean): Promise<void> {
  const keys = (await keysOf(ctx, agentId)).filter(isMeant);
  await endCredentials(
    ctx,
    keys.map(({ secretHash }) => secretHash),
  );
}

function keysOf(ctx: QueryContext, agentId: string) {
  return ctx.db
    .selectFrom("agentCredentials")
    .select(["secretHash", "expiresAt", "isUnused"])
    .where("agentId", "=", agentId)
    .where("kind", "=", "apiKey")
    .execute();
}
