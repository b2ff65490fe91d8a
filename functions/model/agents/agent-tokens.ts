/**
 * The one live `agt_clawrent_` token of an agent, and the tokens below it (people.md section 7). A token acts for the
 * owner, so it can make agents and give them tokens; an agent remembers the token that did (`parentTokenHash`). A token
 * ends with all tokens below it. Their agents stay the owner's, offline until they are given a new one.
 */
import { secretHashOf } from "../../../runtime/call/caller.js";
import type { MutationContext, QueryContext, UserCaller, UserMutation } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { hashSecret } from "../../../runtime/ids.js";
import type { AgentsTable } from "../../../schema/agents.js";
import { endCredentials, issueCredential, makerOf, requireStanding } from "./credentials.js";

type OwnAgent = Pick<AgentsTable, "agentId" | "parentTokenHash">;

/**
 * The hash of the agent token that acts for its owner here; null where the owner came with a credential of their own.
 */
export function actingTokenOf(caller: UserCaller): string | null {
  return caller.agentId === null ? null : (secretHashOf(caller.credentialId) ?? null);
}

/** Gives an agent that has none its token. */
export function issueToken(ctx: UserMutation, agentId: string): Promise<string> {
  return issueCredential(ctx, { agentId, kind: "agentToken", ...makerOf(ctx.caller) });
}

/**
 * Gives an agent a new token in place of the one that it has. A token that replaces itself hands the tokens below it on
 * to the new one. A token that is replaced by anybody else ends together with those below it, and its agent is from
 * then on below whoever gave it the new one.
 */
export async function replaceToken(ctx: UserMutation, agent: OwnAgent): Promise<string> {
  await requireAbove(ctx, agent);
  const { agentId } = agent;
  const before = await tokenHashOf(ctx, agentId);
  if (ctx.caller.agentId !== agentId) {
    const acting = actingTokenOf(ctx.caller);
    if (before !== undefined) await endWithDescent(ctx, before, acting);
    await hangBelow(ctx, [agentId], acting);
    return issueToken(ctx, agentId);
  }
  if (before !== undefined) await endCredentials(ctx, [before]);
  const token = await issueToken(ctx, agentId);
  await ctx.db
    .updateTable("agents")
    .set({ parentTokenHash: hashSecret(token) })
    .where("parentTokenHash", "=", before ?? "")
    .execute();
  return token;
}

/** Takes an agent's token away, and the tokens below it. */
export async function revokeToken(ctx: UserMutation, agent: OwnAgent): Promise<void> {
  await requireAbove(ctx, agent);
  const { agentId } = agent;
  // If its owner takes it away with a credential of their own, no token can give it back.
  const parent = ctx.caller.agentId === null ? null : agent.parentTokenHash;
  const before = await tokenHashOf(ctx, agentId);
  if (before !== undefined) await endWithDescent(ctx, before, parent);
  if (parent !== agent.parentTokenHash) await hangBelow(ctx, [agentId], parent);
}

/**
 * Refuses an agent token that would change a credential of another agent which is not below it. The token sees all of
 * its owner's agents, so that agent is no secret to it, and the refusal says what is missing.
 */
export async function requireAbove(ctx: UserMutation, agent: OwnAgent): Promise<void> {
  const { caller } = ctx;
  await requireStanding(ctx, caller);
  if (caller.agentId === null || caller.agentId === agent.agentId) return;
  const acting = actingTokenOf(caller);
  let parent = agent.parentTokenHash;
  while (parent !== null && parent !== acting) parent = await parentOf(ctx, parent);
  if (parent !== null) return;
  throw new CallError(
    "forbidden",
    "An agent token changes its own agent's credentials and those that it made. Use a credential of the owner's own.",
  );
}

/** Ends a token with every token below it. All their agents are below `parent` from now on. */
async function endWithDescent(ctx: MutationContext, tokenHash: string, parent: string | null): Promise<void> {
  const ended = new Set([tokenHash]);
  const agentIds: string[] = [];
  for (let above = [tokenHash]; above.length > 0; ) {
    const children = await ctx.db
      .selectFrom("agents")
      .leftJoin("agentCredentials", (join) =>
        join.onRef("agentCredentials.agentId", "=", "agents.agentId").on("agentCredentials.kind", "=", "agentToken"),
      )
      .select(["agents.agentId", "agentCredentials.secretHash"])
      .where("agents.parentTokenHash", "in", above)
      .execute();
    agentIds.push(...children.map(({ agentId }) => agentId));
    above = children.flatMap(({ secretHash }) => (secretHash === null || ended.has(secretHash) ? [] : secretHash));
    for (const secretHash of above) ended.add(secretHash);
  }
  await endCredentials(ctx, [...ended]);
  await hangBelow(ctx, agentIds, parent);
}

async function hangBelow(ctx: MutationContext, agentIds: readonly string[], parent: string | null): Promise<void> {
  if (agentIds.length === 0) return;
  await ctx.db.updateTable("agents").set({ parentTokenHash: parent }).where("agentId", "in", agentIds).execute();
}

async function tokenHashOf(ctx: QueryContext, agentId: string): Promise<string | undefined> {
  const token = await ctx.db
    .selectFrom("agentCredentials")
    .select("secretHash")
    .where("agentId", "=", agentId)
    .where("kind", "=", "agentToken")
    .executeTakeFirst();
  return token?.secretHash;
}

/** The token above a token; null at the top. */
async function parentOf(ctx: QueryContext, tokenHash: string): Promise<string | null> {
  const agent = await ctx.db
    .selectFrom("agentCredentials")
    .innerJoin("agents", "agents.agentId", "agentCredentials.agentId")
    .select("agents.parentTokenHash")
    .where("agentCredentials.secretHash", "=", tokenHash)
    .executeTakeFirst();
  return agent?.parentTokenHash ?? null;
}
