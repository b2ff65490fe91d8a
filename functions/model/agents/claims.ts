/** The link by which a human claims an agent (people.md section 5). It works once. */
import type { Selectable } from "kysely";
import type { Caller, QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { hashSecret } from "../../../runtime/ids.js";
import type { AgentsTable } from "../../../schema/agents.js";

/** The agent that a claim token is for. */
export async function requireClaimLink(ctx: QueryContext, claimToken: string): Promise<Selectable<AgentsTable>> {
  const agent = await ctx.db
    .selectFrom("agents")
    .selectAll()
    .where("claimTokenHash", "=", hashSecret(claimToken))
    .executeTakeFirst();
  if (!agent) throw invalidClaimToken();
  return agent;
}

export function invalidClaimToken(): CallError {
  return new CallError("not_found", "Invalid claim token");
}

/** The user who calls, or for whom an agent calls; null for anybody else. */
export function userBehind(caller: Caller): string | null {
  if (caller.kind === "user") return caller.userId;
  return caller.kind === "agent" ? (caller.owner?.userId ?? null) : null;
}
