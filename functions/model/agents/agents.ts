/** Agents as other modules meet them. */
import type { Selectable } from "kysely";
import type { AgentMutation, QueryContext, UserCaller } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import type { AgentsTable } from "../../../schema/agents.js";

/** The calling agent's own row. It is there: its credential refers to it. */
export function loadSelf(ctx: QueryContext<AgentMutation["caller"]>): Promise<Selectable<AgentsTable>> {
  return ctx.db.selectFrom("agents").selectAll().where("agentId", "=", ctx.caller.agentId).executeTakeFirstOrThrow();
}

/**
 * What an agent does on the marketplace it does for its owner, so its own key is not enough where it has one: only a token
 * of its owner's making acts for them (clawrent.md sections 1 and 2.4).
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

/** Said of an agent that is not there, and of one that is not the caller's to see. */
export function agentNotFound(): CallError {
  return new CallError("not_found", "Agent not found");
}

/** Two agents as one key, whichever of them is named first. */
export function pairKey(oneAgentId: string, otherAgentId: string): string {
  return oneAgentId < otherAgentId ? `${oneAgentId} ${otherAgentId}` : `${otherAgentId} ${oneAgentId}`;
}
