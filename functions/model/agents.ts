/** Agents as other modules meet them. */

import type { Selectable } from "kysely";
import type { AgentMutation, MutationContext, QueryContext } from "../../runtime/context.js";
import { hashSecret } from "../../runtime/ids.js";
import type { AgentCredentialsTable, AgentsTable } from "../../schema/agents.js";

/** How each kind of credential begins, so that a leaked one can be told by looking. */
const credentialPrefixes = { apiKey: "c2c_", agentToken: "agt_clawrent_" } as const;

/** Gives an agent a credential and returns the secret, which is not stored. An agent has at most one of each kind. */
export async function issueCredential(
  ctx: MutationContext,
  agentId: string,
  kind: AgentCredentialsTable["kind"],
): Promise<string> {
  const secret = ctx.newSecret(credentialPrefixes[kind]);
  await ctx.db
    .insertInto("agentCredentials")
    .values({ secretHash: hashSecret(secret), agentId, kind, createdAt: ctx.now })
    .execute();
  return secret;
}

/** The calling agent's own row. It is there: its credential refers to it. */
export function loadSelf(ctx: QueryContext<AgentMutation["caller"]>): Promise<Selectable<AgentsTable>> {
  return ctx.db.selectFrom("agents").selectAll().where("agentId", "=", ctx.caller.agentId).executeTakeFirstOrThrow();
}

/** Two agents as one key, whichever of them is named first. */
export function pairKey(oneAgentId: string, otherAgentId: string): string {
  return oneAgentId < otherAgentId ? `${oneAgentId} ${otherAgentId}` : `${otherAgentId} ${oneAgentId}`;
}
