/** Agents of a user: made, taken over, read and changed by their owner. */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import type { MutationContext, UserMutation } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { hashSecret } from "../../runtime/ids.js";
import { shownName } from "../../schema/names.js";
import { cursor, id, limit, page, pageOf, text, token } from "../../schema/values.js";
import { actingTokenOf, issueToken } from "../model/agents/agent-tokens.js";
import { agentView, agentViews, loadAgentView } from "../model/agents/agent-view.js";
import { requireOwnAgent } from "../model/agents/agents.js";
import { invalidClaimToken, requireClaimLink } from "../model/agents/claims.js";
import { requireStanding } from "../model/agents/credentials.js";
import { caps, requireRoom } from "../model/caps.js";
import { cursorsOf, skippedBy } from "../model/cursors.js";
import { capabilities, replaceCapabilities } from "../model/listings/capabilities.js";
import { relistAgent } from "../model/listings/listing.js";
import {
  applyChanges,
  changesOf,
  dropChanges,
  pendingChangesOf,
  submitChanges,
} from "../model/listings/pending-changes.js";
import { findProfile, parseTerms, profileFields, termsOf } from "../model/listings/profiles.js";

const slug = z.string().regex(/^[a-z0-9-]{3,50}$/, "must be 3 to 50 of a-z, 0-9 and -");
const description = text(500, 10);

/** What both a registration and a change may hold besides the name and the description. */
const details = {
  longDescription: text(5_000).nullish(),
  capabilities: capabilities.nullish(),
  requiredPermissions: z.array(text(100, 1)).max(100).nullish(),
};

/**
 * Makes an agent of the caller's, with its first token (clawrent.md section 2.4). Registering publishes nothing: prices
 * and terms that older clients send along are kept for the first publish.
 */
export const create = mutation({
  summary: "Makes an agent of the caller's; the only time its first token is shown",
  auth: "user",
  args: { name: shownName(100, 1), slug, description, ...details, ...profileFields },
  returns: agentView.extend({ agentToken: z.string() }),
  handler: async (ctx, args) => {
    await requireStanding(ctx, ctx.caller);
    await requireRoomForAgent(ctx);
    await refuseTakenSlug(ctx, args.slug);

    const agentId = ctx.newUuid();
    const terms = termsOf(args);
    await ctx.db
      .insertInto("agents")
      .values({
        agentId,
        name: args.name,
        description: args.description,
        // Its owner is known from the start, so nobody ever holds a claim token for it.
        claimTokenHash: hashSecret(ctx.newSecret("claim_")),
        claimedAt: ctx.now,
        claimSpentAt: ctx.now,
        parentTokenHash: actingTokenOf(ctx.caller),
        publicKey: null,
        createdAt: ctx.now,
        ownerId: ctx.caller.userId,
        slug: args.slug,
        longDescription: args.longDescription ?? null,
        requiredPermissions: JSON.stringify(args.requiredPermissions ?? []),
        publishDefaults: Object.keys(terms).length === 0 ? null : JSON.stringify(terms),
      })
      .execute();
    await replaceCapabilities(ctx, agentId, args.capabilities ?? []);
    const agentToken = await issueToken(ctx, agentId);
    return { ...(await loadAgentView(ctx, agentId)), agentToken };
  },
});

/**
 * Makes an agent that registered itself the caller's. The caller proves it with a claim token that is unused, or that
 * they used while signed in (people.md section 5). Taking over one's own agent again gives the same answer; somebody
 * else's reads as a wrong token.
 */
export const takeOver = mutation({
  summary: "Makes an agent that registered itself the caller's, by its claim token",
  auth: "user",
  args: { claimToken: token, slug, description: description.nullish() },
  returns: agentView,
  handler: async (ctx, args) => {
    const { userId } = ctx.caller;
    await requireStanding(ctx, ctx.caller);
    const agent = await requireClaimLink(ctx, args.claimToken);
    if (agent.ownerId === userId) return loadAgentView(ctx, agent.agentId);
    if (agent.ownerId !== null) throw invalidClaimToken();
    if (agent.claimSpentAt !== null && agent.claimedBy !== userId) {
      throw new CallError(
        "conflict",
        "This claim link has been used. Ask the agent for a new one: it makes it with agents:renewClaim.",
      );
    }

    const described = args.description ?? agent.description;
    if (described === null) {
      const message = "This agent has no description yet: give one";
      throw new CallError("invalid_args", message, { issues: [{ path: "description", message }] });
    }
    await requireRoomForAgent(ctx);
    await refuseTakenSlug(ctx, args.slug);
    await ctx.db
      .updateTable("agents")
      .set({
        ownerId: userId,
        slug: args.slug,
        description: described,
        claimedAt: agent.claimedAt ?? ctx.now,
        claimSpentAt: agent.claimSpentAt ?? ctx.now,
        claimedBy: null,
        parentTokenHash: actingTokenOf(ctx.caller),
        updatedAt: ctx.now,
      })
      .where("agentId", "=", agent.agentId)
      .execute();
    ctx.notify({ kind: "agentOwnerChanged", agentId: agent.agentId });
    return loadAgentView(ctx, agent.agentId);
  },
});

const newestFirst = cursorsOf("agents:listMine", { createdAt: "integer", agentId: "id" });

/** The caller's agents, the newest first. */
export const listMine = query({
  summary: "The caller's agents, the newest first",
  auth: "user",
  args: { page, limit, cursor, roles: z.enum(["consumer", "both"]).nullish() },
  returns: pageOf(agentView),
  handler: async (ctx, args) => {
    const { roles } = args;
    const cursors = newestFirst.under(ctx, { roles });
    const after = cursors.read(args.cursor);
    const mine = ctx.db
      .selectFrom("agents")
      .where("ownerId", "=", ctx.caller.userId)
      .$if(roles != null, (all) => all.where("roles", "=", roles ?? "consumer"));
    const [{ total }, found] = await Promise.all([
      mine.select((select) => select.fn.countAll<number>().as("total")).executeTakeFirstOrThrow(),
      mine
        .select(["agentId", "createdAt"])
        .$call((all) => cursors.behind(all, after, { createdAt: "createdAt", agentId: "agentId" }))
        .orderBy("createdAt", "desc")
        .orderBy("agentId", "desc")
        .limit(args.limit + 1)
        .offset(skippedBy(args))
        .execute(),
    ]);
    const { rows, nextCursor } = cursors.page(found, args.limit, (row) => row);
    const data = await agentViews(
      ctx,
      rows.map(({ agentId }) => agentId),
    );
    return { data, total, page: args.page, limit: args.limit, nextCursor };
  },
});

/** One agent of the caller's. */
export const get = query({
  summary: "One agent of the caller's",
  auth: "user",
  args: { agentId: id },
  returns: agentView,
  handler: async (ctx, args) => {
    const { agentId } = await requireOwnAgent(ctx, args.agentId);
    return loadAgentView(ctx, agentId);
  },
});

/**
 * Changes the given fields of an agent and of its profile; an agent without a profile keeps such terms for its first
 * publish. New prices hold for sessions made afterwards: every session has its own snapshot. Fields that were reviewed
 * are shown as they were until an admin has reviewed the change (clawrent.md sections 2.4 and 2.5).
 */
export const update = mutation({
  summary: "Changes an agent and, where it has one, its profile; what was reviewed waits for another review",
  auth: "user",
  args: {
    agentId: id,
    name: shownName(100, 1).nullish(),
    description: description.nullish(),
    ...details,
    ...profileFields,
  },
  returns: agentView,
  oneAtATime: ({ agentId }) => `agent ${agentId}`,
  handler: async (ctx, args) => {
    const agent = await requireOwnAgent(ctx, args.agentId);
    const { agentId } = agent;
    const profile = await findProfile(ctx, agentId);
    const given = changesOf(args);
    const { endpoint: _endpoint, healthCheckUrl: _healthCheckUrl, ...terms } = termsOf(args);
    if (profile && Object.keys(terms).length > 0) {
      await ctx.db
        .updateTable("providerProfiles")
        .set({ ...terms, updatedAt: ctx.now })
        .where("agentId", "=", agentId)
        .execute();
    }
    if (!profile) await keepTerms(ctx, agent, termsOf(args));

    const wasReviewed = profile?.status === "active" || profile?.status === "suspended";
    if (wasReviewed && !ctx.settings.autoApproveProviders) {
      await submitChanges(ctx, agentId, given);
      return loadAgentView(ctx, agentId);
    }
    // If the operator has switched reviews off meanwhile, nobody would ever decide what waits.
    const waited = (await pendingChangesOf(ctx, [agentId])).get(agentId);
    if (waited) await dropChanges(ctx, agentId);
    await applyChanges(ctx, agentId, { ...waited, ...given });
    if (profile?.status === "active") await relistAgent(ctx, agentId);
    return loadAgentView(ctx, agentId);
  },
});

/** Keeps terms for the first publish. */
async function keepTerms(
  ctx: MutationContext,
  { agentId, publishDefaults }: { agentId: string; publishDefaults: string | null },
  terms: ReturnType<typeof termsOf>,
): Promise<void> {
  if (Object.keys(terms).length === 0) return;
  await ctx.db
    .updateTable("agents")
    .set({ publishDefaults: JSON.stringify({ ...parseTerms(publishDefaults), ...terms }) })
    .where("agentId", "=", agentId)
    .execute();
}

async function requireRoomForAgent(ctx: UserMutation): Promise<void> {
  const { have } = await ctx.db
    .selectFrom("agents")
    .select(({ fn }) => fn.countAll<number>().as("have"))
    .where("ownerId", "=", ctx.caller.userId)
    .executeTakeFirstOrThrow();
  requireRoom("agents", have, `You have ${have} agents, and a user can have ${caps.agents.most}.`);
}

async function refuseTakenSlug(ctx: MutationContext, wanted: string): Promise<void> {
  const taken = await ctx.db.selectFrom("agents").select("agentId").where("slug", "=", wanted).executeTakeFirst();
  if (taken) throw new CallError("conflict", "Slug is already taken");
}
