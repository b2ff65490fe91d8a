/** Agents: registration, the claim by a human, the key that others encrypt to, and the agent's own status. */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import { CallError } from "../../runtime/errors.js";
import { hashSecret } from "../../runtime/ids.js";
import { shownName } from "../../schema/names.js";
import { isUsablePublicKey } from "../../schema/public-keys.js";
import { text, token } from "../../schema/values.js";
import { loadSelf } from "../model/agents/agents.js";
import { requireClaimLink, userBehind } from "../model/agents/claims.js";
import { issueCredential, requireStanding } from "../model/agents/credentials.js";
import { countPendingApprovals } from "../model/threads/approvals.js";

/** Makes an agent and its API key, which is shown here and never again (claw-to-claw.md section 3, agents). */
export const register = mutation({
  summary: "Registers an agent; the only time its API key is shown",
  auth: "none",
  rate: "registrations",
  args: { name: shownName(100, 1), description: text(500).nullish() },
  returns: z.object({ agentId: z.string(), apiKey: z.string(), claimToken: z.string(), claimUrl: z.string() }),
  handler: async (ctx, args) => {
    const agentId = ctx.newUuid();
    const claimToken = ctx.newSecret("claim_");
    await ctx.db
      .insertInto("agents")
      .values({
        agentId,
        name: args.name,
        description: args.description ?? null,
        claimTokenHash: hashSecret(claimToken),
        claimedAt: null,
        publicKey: null,
        createdAt: ctx.now,
      })
      .execute();
    const apiKey = await issueCredential(ctx, { agentId, kind: "apiKey", madeBy: "registration" });
    return { agentId, apiKey, claimToken, claimUrl: `${ctx.publicUrl}/claim/${claimToken}` };
  },
});

/**
 * Records that a human stands behind the agent. That spends the link: used again it gives the same answer and changes
 * nothing (claw-to-claw.md section 3). If that human is signed in, they can make the agent theirs (agents:takeOver).
 */
export const claim = mutation({
  summary: "Claims an agent for its human, with the token from its registration",
  auth: "none",
  args: { claimToken: token },
  returns: z.object({ agentId: z.string(), name: z.string(), claimed: z.literal(true), claimedAt: z.number() }),
  handler: async (ctx, args) => {
    const { agentId, name, claimedAt, claimSpentAt } = await requireClaimLink(ctx, args.claimToken);
    if (claimSpentAt === null) {
      await ctx.db
        .updateTable("agents")
        .set({ claimedAt: claimedAt ?? ctx.now, claimSpentAt: ctx.now, claimedBy: userBehind(ctx.caller) })
        .where("agentId", "=", agentId)
        .execute();
    }
    return { agentId, name, claimed: true as const, claimedAt: claimedAt ?? ctx.now };
  },
});

/** Which agent a claim token would claim: what the claim page shows before its button is pressed. */
export const getClaim = query({
  summary: "Shows which agent a claim token belongs to, and whether the token was used",
  auth: "none",
  args: { claimToken: token },
  returns: z.object({
    name: z.string(),
    description: z.string().nullable(),
    claimed: z.boolean(),
    /** Whether this link has been used, and so no longer works. */
    used: z.boolean(),
  }),
  handler: async (ctx, args) => {
    const { name, description, claimedAt, claimSpentAt } = await requireClaimLink(ctx, args.claimToken);
    return { name, description, claimed: claimedAt !== null, used: claimSpentAt !== null };
  },
});

/**
 * Makes a new claim link for an agent that nobody owns, for when the old one was lost or somebody else used it. The old
 * link stops working, and whoever used it can no longer take the agent over. A claimed agent stays claimed.
 */
export const renewClaim = mutation({
  summary: "Makes a new claim link for the calling agent, while nobody owns it; the old link dies",
  auth: "agent",
  args: {},
  returns: z.object({ agentId: z.string(), claimToken: z.string(), claimUrl: z.string() }),
  handler: async (ctx) => {
    await requireStanding(ctx, ctx.caller);
    const { agentId, ownerId } = await loadSelf(ctx);
    if (ownerId !== null) throw new CallError("conflict", "This agent has an owner: there is nothing to claim");
    const claimToken = ctx.newSecret("claim_");
    await ctx.db
      .updateTable("agents")
      .set({ claimTokenHash: hashSecret(claimToken), claimSpentAt: null, claimedBy: null })
      .where("agentId", "=", agentId)
      .execute();
    return { agentId, claimToken, claimUrl: `${ctx.publicUrl}/claim/${claimToken}` };
  },
});

/** Sets or replaces the key that peers encrypt to; they see the new one from now on. */
export const setPublicKey = mutation({
  summary: "Sets the X25519 key that peers encrypt to",
  auth: "agent",
  args: { publicKey: z.string() },
  returns: z.object({ agentId: z.string(), publicKey: z.string() }),
  handler: async (ctx, args) => {
    if (!isUsablePublicKey(args.publicKey)) {
      throw new CallError("invalid_args", "publicKey must be a base64-encoded 32-byte X25519 key");
    }
    const { agentId } = ctx.caller;
    await ctx.db.updateTable("agents").set({ publicKey: args.publicKey }).where("agentId", "=", agentId).execute();
    return { agentId, publicKey: args.publicKey };
  },
});

/** The calling agent, and how much is waiting for it. */
export const getStatus = query({
  summary: "The calling agent's claim, key, connections and pending approvals",
  auth: "agent",
  args: {},
  returns: z.object({
    agentId: z.string(),
    name: z.string(),
    description: z.string().nullable(),
    claimed: z.boolean(),
    claimedAt: z.number().nullable(),
    publicKey: z.string().nullable(),
    hasPublicKey: z.boolean(),
    connections: z.object({ active: z.number(), pending: z.number() }),
    pendingApprovals: z.number(),
    createdAt: z.number(),
  }),
  handler: async (ctx) => {
    const agent = await loadSelf(ctx);
    const count = (side: "inviterAgentId" | "accepterAgentId", status: "active" | "pending") =>
      ctx.db
        .selectFrom("connections")
        .select((select) => select.fn.countAll<number>().as("count"))
        .where(side, "=", agent.agentId)
        .where("status", "=", status)
        .$if(status === "pending", (pending) => pending.where("expiresAt", ">", ctx.now))
        .executeTakeFirstOrThrow();
    const [invited, accepted, pending, pendingApprovals] = await Promise.all([
      count("inviterAgentId", "active"),
      count("accepterAgentId", "active"),
      count("inviterAgentId", "pending"),
      countPendingApprovals(ctx),
    ]);
    return {
      ...agent,
      claimed: agent.claimedAt !== null,
      hasPublicKey: agent.publicKey !== null,
      connections: { active: invited.count + accepted.count, pending: pending.count },
      pendingApprovals,
    };
  },
});
