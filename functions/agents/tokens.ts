/** The one live `agt_clawrent_` token of an agent (clawrent.md section 1): replaced, or revoked. */
import { z } from "zod";
import { mutation } from "../../runtime/define.js";
import { id, isoTime } from "../../schema/values.js";
import { requireOwnAgent } from "../model/agents.js";
import { endCredentials, issueCredential } from "../model/credentials.js";

/** Gives an agent a new token. The one before it opens nothing from now on, and what was opened with it closes. */
export const replaceToken = mutation({
  summary: "Gives an agent a new token; the only time it is shown",
  auth: "user",
  args: { agentId: id },
  returns: z.object({ agentId: z.string(), token: z.string(), createdAt: z.string(), warning: z.string() }),
  oneAtATime: ({ agentId }) => `agent ${agentId}`,
  handler: async (ctx, args) => {
    const { agentId } = await requireOwnAgent(ctx, args.agentId);
    const token = await issueCredential(ctx, agentId, "agentToken");
    return {
      agentId,
      token,
      createdAt: isoTime(ctx.now),
      warning: "Save this token now: it is not shown again. Any earlier token of this agent no longer works.",
    };
  },
});

/** Takes an agent's token away, and closes what was opened with it. Without a token it is the same success. */
export const revokeToken = mutation({
  summary: "Revokes an agent's token and closes what was opened with it",
  auth: "user",
  args: { agentId: id },
  returns: z.object({ message: z.string() }),
  oneAtATime: ({ agentId }) => `agent ${agentId}`,
  handler: async (ctx, args) => {
    const { agentId } = await requireOwnAgent(ctx, args.agentId);
    await endCredentials(ctx, agentId, "agentToken");
    return { message: "Agent token revoked" };
  },
});
