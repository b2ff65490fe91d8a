/**
 * What agents prove themselves with: the `c2c_` key of an agent that registered itself, and the one live `agt_clawrent_`
 * token that its owner gives it (clawrent.md section 1). Issued here, and ended here with all that was opened by it.
 */
import { agentCredentialId } from "../../runtime/auth.js";
import type { MutationContext } from "../../runtime/context.js";
import { hashSecret } from "../../runtime/ids.js";
import type { AgentCredentialsTable } from "../../schema/agents.js";

/** How each kind of credential begins, so that a leaked one can be told by looking. */
const credentialPrefixes = { apiKey: "c2c_", agentToken: "agt_clawrent_" } as const;

type CredentialKind = AgentCredentialsTable["kind"];

/** Gives an agent a credential in the place of the one of its kind, and returns the secret, which is not stored. */
export async function issueCredential(ctx: MutationContext, agentId: string, kind: CredentialKind): Promise<string> {
  await endCredentials(ctx, agentId, kind);
  const secret = ctx.newSecret(credentialPrefixes[kind]);
  await ctx.db
    .insertInto("agentCredentials")
    .values({ secretHash: hashSecret(secret), agentId, kind, createdAt: ctx.now })
    .execute();
  return secret;
}

/** Takes away what an agent has of a kind. */
export async function endCredentials(ctx: MutationContext, agentId: string, kind: CredentialKind): Promise<void> {
  const ended = await ctx.db
    .deleteFrom("agentCredentials")
    .where("agentId", "=", agentId)
    .where("kind", "=", kind)
    .returning("secretHash")
    .execute();
  for (const { secretHash } of ended) {
    ctx.notify({ kind: "credentialEnded", credentialId: agentCredentialId(secretHash) });
  }
}
