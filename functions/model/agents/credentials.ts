/**
 * The credentials of agents: the `c2c_` key of an agent that registered itself (agent-keys.ts), and the one live
 * `agt_clawrent_` token that its owner gives it (agent-tokens.ts; clawrent.md section 1). Only hashes are kept. When
 * one ends, a notice says so, and everything that was opened with it closes.
 */
import { agentCredentialId, secretHashOf } from "../../../runtime/call/caller.js";
import type { AgentCaller, MutationContext, QueryContext, UserCaller } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { hashSecret } from "../../../runtime/ids.js";
import type { AgentCredentialsTable } from "../../../schema/agents.js";

/** How each kind of credential begins, so that a leaked one is easy to recognize. */
const credentialPrefixes = { apiKey: "c2c_", agentToken: "agt_clawrent_" } as const;

export type Maker = Pick<AgentCredentialsTable, "madeByAgentId"> & { madeBy: "agent" | "owner" | "agentToken" };
type Issue = {
  agentId: string;
  kind: AgentCredentialsTable["kind"];
  madeBy: Maker["madeBy"] | "registration";
} & Partial<Pick<AgentCredentialsTable, "madeByAgentId"> & { isUnused: number }>;

/** Gives an agent a credential of a kind that it has none of, and returns the secret, which is not stored. */
export async function issueCredential(ctx: MutationContext, issue: Issue): Promise<string> {
  const secret = ctx.newSecret(credentialPrefixes[issue.kind]);
  await ctx.db
    .insertInto("agentCredentials")
    .values({ ...issue, secretHash: hashSecret(secret), createdAt: ctx.now })
    .execute();
  return secret;
}

/** Ends credentials of agents. */
export async function endCredentials(ctx: MutationContext, secretHashes: readonly string[]): Promise<void> {
  if (secretHashes.length === 0) return;
  await ctx.db.deleteFrom("agentCredentials").where("secretHash", "in", secretHashes).execute();
  for (const secretHash of secretHashes) {
    ctx.notify({ kind: "credentialEnded", credentialId: agentCredentialId(secretHash) });
  }
}

/** What a caller makes a credential as. */
export function makerOf(caller: AgentCaller | UserCaller): Maker {
  if (caller.kind === "agent") return { madeBy: "agent", madeByAgentId: null };
  return { madeBy: caller.agentId === null ? "owner" : "agentToken", madeByAgentId: caller.agentId };
}

/**
 * Refuses an agent's credential that ended after the call was let in. A handler that makes something which depends on a
 * credential asks in the same transaction: whatever ends the credential also ends what was made before, and what would
 * be made later is refused here.
 */
export async function requireStanding(ctx: QueryContext, { credentialId }: AgentCaller | UserCaller): Promise<void> {
  const secretHash = secretHashOf(credentialId);
  if (secretHash === undefined) return;
  const found = await ctx.db
    .selectFrom("agentCredentials")
    .select("expiresAt")
    .where("secretHash", "=", secretHash)
    .executeTakeFirst();
  if (!found || (found.expiresAt !== null && found.expiresAt <= ctx.now)) {
    throw new CallError("unauthenticated", "Invalid API key");
  }
}
