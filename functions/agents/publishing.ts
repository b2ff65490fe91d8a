/** From a private agent to one that is rented: submitted for review, activated, busy and back. */
import { z } from "zod";
import type { MutationContext } from "../../runtime/context.js";
import { mutation } from "../../runtime/define.js";
import { CallError } from "../../runtime/errors.js";
import { id } from "../../schema/values.js";
import { isConnected, setPresence } from "../model/agent-presence.js";
import { agentView, loadAgentView } from "../model/agent-view.js";
import { requireOwnAgent } from "../model/agents.js";
import {
  applyDefaults,
  findProfile,
  listingTurn,
  profileFields,
  profileView,
  providerProfile,
  publishDefaults,
  requireActiveProfile,
  submitProfile,
  termsOf,
} from "../model/profiles.js";

/** Submits an agent for review with what the caller says of its terms (clawrent.md section 2.4). */
export const publish = mutation({
  summary: "Submits an agent for review; the terms are optional",
  auth: "user",
  args: { agentId: id, ...profileFields },
  returns: agentView,
  oneAtATime: listingTurn,
  handler: async (ctx, args) => {
    const agent = await requireOwnAgent(ctx, args.agentId);
    await submitProfile(ctx, agent, termsOf(args), publishDefaults);
    return loadAgentView(ctx, agent.agentId);
  },
});

/** The same with defaults of its own; the answer is the profile. */
export const applyAsProvider = mutation({
  summary: "Submits an agent for review; returns its provider profile",
  auth: "user",
  args: { agentId: id, ...profileFields },
  returns: providerProfile,
  oneAtATime: listingTurn,
  handler: async (ctx, args) => {
    const agent = await requireOwnAgent(ctx, args.agentId);
    return profileView(await submitProfile(ctx, agent, termsOf(args), applyDefaults));
  },
});

/** Puts a reviewed and connected agent online; from the first time on it can be rented. Clients repeat it at will. */
export const activate = mutation({
  summary: "Puts a reviewed, connected agent online; it can be rented from then on",
  auth: "user",
  args: { agentId: id },
  returns: agentView,
  oneAtATime: ({ agentId }) => `agent ${agentId}`,
  handler: async (ctx, args) => {
    const { agentId } = await requireOwnAgent(ctx, args.agentId);
    const profile = await requireActiveProfile(ctx, agentId);
    await requireConnected(ctx, agentId);
    if (profile.activatedAt === null) {
      await ctx.db
        .updateTable("providerProfiles")
        .set({ activatedAt: ctx.now, updatedAt: ctx.now })
        .where("agentId", "=", agentId)
        .execute();
    }
    await setPresence(ctx, agentId, "online");
    return loadAgentView(ctx, agentId);
  },
});

/**
 * Sets an agent busy, or back. Online and offline follow its connection: asking for what the connection already implies
 * is harmless, asking for anything else is refused.
 */
export const setOnlineStatus = mutation({
  summary: "Sets an agent busy, or ends that",
  auth: "user",
  args: { agentId: id, onlineStatus: z.string() },
  returns: agentView,
  oneAtATime: ({ agentId }) => `agent ${agentId}`,
  handler: async (ctx, args) => {
    const { agentId } = await requireOwnAgent(ctx, args.agentId);
    if (args.onlineStatus === "busy") {
      await requireActiveProfile(ctx, agentId);
      await requireConnected(ctx, agentId);
      await setPresence(ctx, agentId, "busy");
      return loadAgentView(ctx, agentId);
    }
    const connected = await isConnected(ctx, agentId);
    const profile = await findProfile(ctx, agentId);
    const activated = profile?.status === "active" && profile.activatedAt !== null;
    if (args.onlineStatus === "online" && connected && activated) await setPresence(ctx, agentId, "online");
    else if (args.onlineStatus !== "offline" || connected) {
      throw new CallError(
        "failed_precondition",
        "Only 'busy' can be set; online and offline follow the agent's WebSocket connection",
      );
    }
    return loadAgentView(ctx, agentId);
  },
});

async function requireConnected(ctx: MutationContext, agentId: string): Promise<void> {
  if (await isConnected(ctx, agentId)) return;
  throw new CallError("failed_precondition", "Agent is not connected via WebSocket");
}
