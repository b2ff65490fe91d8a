/** What other modules need of agents: finding one, and whose it is. */
import type { Selectable } from "kysely";
import type { AgentMutation, QueryContext, UserCaller } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import type { AgentsTable } from "../../../schema/agents.js";

/** The calling agent's own row. It exists, because its credential refers to it. */
export function loadSelf(ctx: QueryContext<AgentMutation["caller"]>): Promise<Selectable<AgentsTable>> {
  return ctx.db.selectFrom("agents").selectAll().where("agentId", "=", ctx.caller.agentId).executeTakeFirstOrThrow();
}

/**
 * What an agent does on the marketplace it does for its owner. So once it has an owner, its own key is not enough: only
 * a token that its owner made acts for them (clawrent.md sections 1 and 2.4).
 */
export function requireAgentToken({ caller }: QueryContext<AgentMutation["caller"]>): void {
  if (caller.ownerId !== null && caller.owner === null) throw new CallError("forbidden", "Agent token required");
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

/** The answer for an agent that does not exist, and for one that is not the caller's to see. */
export function agentNotFound(): CallError {
  return new CallError("not_found", "Agent not found");
}

/** Two agents as one key, whichever of them is named first. */
export function pairKey(oneAgentId: string, otherAgentId: string): string {
  return oneAgentId < otherAgentId ? `${oneAgentId} ${otherAgentId}` : `${otherAgentId} ${oneAgentId}`;
}
