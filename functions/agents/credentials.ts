/**
 * What an agent proves itself with, as its owner sees and changes it, and the agent itself (clawrent.md section 1,
 * people.md section 5).
 */
import { z } from "zod";
import { asUser } from "../../runtime/call/caller.js";
import { mutation, query } from "../../runtime/call/define.js";
import type { AgentCaller, MutationContext, UserCaller } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { credentialKinds, credentialMakers } from "../../schema/agents.js";
import { id, isoTime, isoTimeOrNull } from "../../schema/values.js";
import * as keys from "../model/agents/agent-keys.js";
import * as tokens from "../model/agents/agent-tokens.js";
import { agentNotFound, requireOwnAgent } from "../model/agents/agents.js";
import { makerOf, requireStanding } from "../model/agents/credentials.js";

const agentTurn = ({ agentId }: { agentId: string }) => `agent ${agentId}`;

/** Gives an agent a new token. The old one stops working now, and everything opened with it closes. */
export const replaceToken = mutation({
  summary: "Gives an agent a new token; the only time it is shown",
  auth: "user",
  args: { agentId: id },
  returns: z.object({ agentId: z.string(), token: z.string(), createdAt: z.string(), warning: z.string() }),
  oneAtATime: agentTurn,
  handler: async (ctx, args) => {
    const agent = await requireOwnAgent(ctx, args.agentId);
    const token = await tokens.replaceToken(ctx, agent);
    return {
      agentId: agent.agentId,
      token,
      createdAt: isoTime(ctx.now),
      warning: "Save this token now: it is not shown again. Any earlier token of this agent no longer works.",
    };
  },
});

/** Takes an agent's token away, and closes what was opened with it. An agent without a token gets the same answer. */
export const revokeToken = mutation({
  summary: "Revokes an agent's token and closes what was opened with it",
  auth: "user",
  args: { agentId: id },
  returns: z.object({ message: z.string() }),
  oneAtATime: agentTurn,
  handler: async (ctx, args) => {
    await tokens.revokeToken(ctx, await requireOwnAgent(ctx, args.agentId));
    return { message: "Agent token revoked" };
  },
});

/**
 * Gives an agent a new `c2c_` key: by the key itself, or by its owner. An agent token cannot, because the key would
 * outlive the token that made it.
 */
export const rotateKey = mutation({
  summary: "Gives an agent a new API key; the only time it is shown",
  auth: "agentOrUser",
  args: { agentId: id.nullish() },
  returns: z.object({ agentId: z.string(), apiKey: z.string(), oldKeyExpiresAt: z.string().nullable() }),
  oneAtATime: ({ agentId }, caller) => agentTurn({ agentId: agentId ?? caller.agentId ?? "" }),
  handler: async (ctx, args) => {
    const { caller } = ctx;
    const agentId = requireNamed(caller, args.agentId);
    if (caller.kind === "agent" && caller.owner !== null) {
      throw new CallError(
        "forbidden",
        "An agent token makes no API key. Rotate it with the key itself, or with a credential of the owner's own.",
      );
    }
    await requireKeyOf(ctx, agentId);
    const { apiKey, oldKeyExpiresAt } = await keys.rotateKey(ctx, agentId, makerOf(caller));
    return { agentId, apiKey, oldKeyExpiresAt: isoTimeOrNull(oldKeyExpiresAt) };
  },
});

/** Takes an agent's `c2c_` key away at once, a rotated one included. An agent without a key gets the same answer. */
export const revokeKey = mutation({
  summary: "Revokes an agent's API key and closes what was opened with it",
  auth: "agentOrUser",
  args: { agentId: id.nullish() },
  returns: z.object({ message: z.string() }),
  oneAtATime: ({ agentId }, caller) => agentTurn({ agentId: agentId ?? caller.agentId ?? "" }),
  handler: async (ctx, args) => {
    const agentId = requireNamed(ctx.caller, args.agentId);
    await requireKeyOf(ctx, agentId);
    await keys.revokeKeys(ctx, agentId);
    return { message: "API key revoked" };
  },
});

/** Every credential of an agent, keys first: what it is and who made it, never the secret. */
export const listCredentials = query({
  summary: "What one of the caller's agents can prove itself with, without the secrets",
  auth: "user",
  args: { agentId: id },
  returns: z.object({
    data: z.array(
      z.object({
        kind: z.enum(credentialKinds),
        createdAt: z.string(),
        madeBy: z.enum(credentialMakers),
        /** The agent whose token made it. */
        madeByAgentId: z.string().nullable(),
        /** When a rotated key ends; null for a credential that is valid until it is replaced or revoked. */
        expiresAt: z.string().nullable(),
      }),
    ),
  }),
  handler: async (ctx, args) => {
    const { agentId } = await requireOwnAgent(ctx, args.agentId);
    const credentials = await ctx.db
      .selectFrom("agentCredentials")
      .select(["kind", "createdAt", "madeBy", "madeByAgentId", "expiresAt"])
      .where("agentId", "=", agentId)
      .orderBy("kind", "desc")
      .orderBy("createdAt")
      .execute();
    const standing = credentials.filter(({ expiresAt }) => expiresAt === null || expiresAt > ctx.now);
    return {
      data: standing.map((credential) => ({
        ...credential,
        createdAt: isoTime(credential.createdAt),
        expiresAt: isoTimeOrNull(credential.expiresAt),
      })),
    };
  },
});

/** The agent that is meant: the calling agent where none is named. */
function requireNamed(caller: AgentCaller | UserCaller, agentId: string | null | undefined): string {
  const named = agentId ?? caller.agentId;
  if (named !== null) return named;
  throw new CallError("invalid_args", "Say which agent", { issues: [{ path: "agentId", message: "Required" }] });
}

/** Refuses callers who may not touch the agent's key. An agent with its own key may touch only that. */
async function requireKeyOf(ctx: MutationContext<AgentCaller | UserCaller>, agentId: string): Promise<void> {
  const { caller } = ctx;
  if (caller.kind === "agent" && caller.owner === null) {
    if (caller.agentId !== agentId) throw agentNotFound();
    await requireStanding(ctx, caller);
    return;
  }
  const forOwner = { ...ctx, caller: asUser(caller) };
  await tokens.requireAbove(forOwner, await requireOwnAgent(forOwner, agentId));
}
