/** From a private agent to one for rent: submitting it for review, activating it, setting it busy and back. */
import { z } from "zod";
import { mutation } from "../../runtime/call/define.js";
import type { MutationContext } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { id } from "../../schema/values.js";
import { isConnected, showPresence } from "../model/agents/agent-presence.js";
import { agentView, loadAgentView } from "../model/agents/agent-view.js";
import { requireOwnAgent } from "../model/agents/agents.js";
import { listingTurn, submitProfile } from "../model/listings/profile-review.js";
import {
  applyDefaults,
  findProfile,
  type Profile,
  profileFields,
  profileView,
  providerProfile,
  publishDefaults,
  requireActiveProfile,
  termsOf,
} from "../model/listings/profiles.js";

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

/** The same with its own defaults; the answer is the profile. */
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

/**
 * Puts a reviewed and connected agent online; from the first time on it can be rented. Clients repeat this at every
 * reconnect, so it does not end `busy`.
 */
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
    const activatedAt = profile.activatedAt ?? ctx.now;
    if (profile.activatedAt === null) {
      await ctx.db
        .updateTable("providerProfiles")
        .set({ activatedAt, updatedAt: ctx.now })
        .where("agentId", "=", agentId)
        .execute();
    }
    await showPresence(ctx, { ...profile, activatedAt });
    return loadAgentView(ctx, agentId);
  },
});

/**
 * Sets an agent busy, or back. Busy lasts until somebody ends it, over reconnects and restarts, and no agent token can
 * end what the owner set in person. Online and offline follow from its connection: asking for the status that it has
 * already is harmless, asking for the other is refused.
 */
export const setOnlineStatus = mutation({
  summary: "Sets an agent busy, or ends that",
  auth: "user",
  args: { agentId: id, onlineStatus: z.string() },
  returns: agentView,
  oneAtATime: ({ agentId }) => `agent ${agentId}`,
  handler: async (ctx, args) => {
    const { agentId } = await requireOwnAgent(ctx, args.agentId);
    const isOwner = ctx.caller.agentId === null;
    if (args.onlineStatus === "busy") {
      const profile = await requireActiveProfile(ctx, agentId);
      await requireConnected(ctx, agentId);
      // What the owner set, only the owner ends.
      await setBusy(ctx, profile, isOwner || profile.busySetBy === "owner" ? "owner" : "agent");
      return loadAgentView(ctx, agentId);
    }
    const connected = await isConnected(ctx, agentId);
    const profile = await findProfile(ctx, agentId);
    if (args.onlineStatus === "online" && connected && profile?.status === "active" && profile.activatedAt !== null) {
      if (profile.busySetBy === "owner" && !isOwner) {
        throw new CallError("forbidden", "The owner set this agent busy, and only the owner can end that");
      }
      await setBusy(ctx, profile, null);
    } else if (args.onlineStatus !== "offline" || connected) {
      throw new CallError(
        "failed_precondition",
        "Only 'busy' can be set; online and offline follow the agent's WebSocket connection",
      );
    }
    return loadAgentView(ctx, agentId);
  },
});

async function setBusy(ctx: MutationContext, profile: Profile, busySetBy: Profile["busySetBy"]): Promise<void> {
  const { agentId } = profile;
  if (profile.busySetBy !== busySetBy) {
    await ctx.db.updateTable("providerProfiles").set({ busySetBy }).where("agentId", "=", agentId).execute();
  }
  await showPresence(ctx, { ...profile, busySetBy });
}

async function requireConnected(ctx: MutationContext, agentId: string): Promise<void> {
  if (await isConnected(ctx, agentId)) return;
  throw new CallError("failed_precondition", "Agent is not connected via WebSocket");
}
