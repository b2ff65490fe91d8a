/** Agents as other modules meet them. */
import type { Selectable } from "kysely";
import type { AgentMutation, MutationContext, QueryContext, UserCaller } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { hashSecret } from "../../runtime/ids.js";
import type { AgentCredentialsTable, AgentsTable } from "../../schema/agents.js";

/** How each kind of credential begins, so that a leaked one can be told by looking. */
const credentialPrefixes = { apiKey: "c2c_", agentToken: "agt_clawrent_" } as const;

/**
 * Gives an agent a credential and returns the secret, which is not stored. An agent has at most one of each kind: a
 * new one takes the place of the old, which then opens nothing.
 */
export async function issueCredential(
  ctx: MutationContext,
  agentId: string,
  kind: AgentCredentialsTable["kind"],
): Promise<string> {
  const secret = ctx.newSecret(credentialPrefixes[kind]);
  await ctx.db
    .insertInto("agentCredentials")
    .values({ secretHash: hashSecret(secret), agentId, kind, createdAt: ctx.now })
    .onConflict((taken) =>
      taken.columns(["agentId", "kind"]).doUpdateSet((update) => ({
        secretHash: update.ref("excluded.secretHash"),
        createdAt: update.ref("excluded.createdAt"),
      })),
    )
    .execute();
  return secret;
}

/** The calling agent's own row. It is there: its credential refers to it. */
export function loadSelf(ctx: QueryContext<AgentMutation["caller"]>): Promise<Selectable<AgentsTable>> {
  return ctx.db.selectFrom("agents").selectAll().where("agentId", "=", ctx.caller.agentId).executeTakeFirstOrThrow();
}

/** An agent of the caller's own. Anybody else's reads as missing (clawrent.md section 2.1). */
export async function requireOwnAgent(
  ctx: QueryContext<UserCaller>,
  agentId: string,
): Promise<Selectable<AgentsTable> & { ownerId: string; slug: string }> {
  const agent = await ctx.db
    .selectFrom("agents")
    .selectAll()
    .where("agentId", "=", agentId)
    .where("ownerId", "=", ctx.caller.userId)
    .$narrowType<{ ownerId: string; slug: string }>()
    .executeTakeFirst();
  if (!agent) throw agentNotFound();
  return agent;
}

/** Said of an agent that is not there, and of one that is not the caller's to see. */
export function agentNotFound(): CallError {
  return new CallError("not_found", "Agent not found");
}

/** Two agents as one key, whichever of them is named first. */
export function pairKey(oneAgentId: string, otherAgentId: string): string {
  return oneAgentId < otherAgentId ? `${oneAgentId} ${otherAgentId}` : `${otherAgentId} ${oneAgentId}`;
}
