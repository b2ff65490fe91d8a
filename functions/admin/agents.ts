/** Admins and agents: the review queue, and taking an agent off the marketplace and back (clawrent.md section 2.10). */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import type { MutationContext, QueryContext } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { profileStatuses } from "../../schema/listings.js";
import { userStatuses } from "../../schema/users.js";
import { cursor, id, limit, page, pageOf, text } from "../../schema/values.js";
import { type AgentView, agentView, agentViews } from "../model/agents/agent-view.js";
import { agentNotFound } from "../model/agents/agents.js";
import { cursorsOf, skippedBy } from "../model/cursors.js";
import { versionOf } from "../model/listings/pending-changes.js";
import { listingTurn, type ReviewMove, reviewProfile } from "../model/listings/profile-review.js";
import { stopMetersOf } from "../model/session/session.js";

/** The most that is counted and paged through: the total stops here, and so do the pages. */
const mostCounted = 10_000;

const agentWithOwner = agentView.extend({
  owner: z.object({ id: z.string(), name: z.string(), email: z.string(), status: z.enum(userStatuses) }).nullable(),
  /** Names what is shown here. A decision that brings it is refused if the agent has changed since. */
  version: z.string(),
});
type AgentWithOwner = z.input<typeof agentWithOwner>;

const newestFirst = cursorsOf("admin:listAgents", { agentId: "id" });
const longestWaitingFirst = cursorsOf("admin:listAgents by status", { createdAt: "integer", profileId: "id" });

/**
 * The agents that were ever submitted: of one state, the longest waiting first; of all states, the newest first.
 * `changed` are listed agents with changes that wait for review.
 */
export const listAgents = query({
  summary: "The agents that were submitted for review, with their owners",
  auth: "admin",
  args: { status: z.enum([...profileStatuses, "changed"]).nullish(), agentId: id.nullish(), page, limit, cursor },
  returns: pageOf(agentWithOwner),
  handler: async (ctx, args) => {
    const { status, agentId } = args;
    if (status === "changed") return listChanged(ctx, args);
    const newest = newestFirst.under(ctx, { agentId });
    const waiting = longestWaitingFirst.under(ctx, { status, agentId });
    const submitted = ctx.db
      .selectFrom("providerProfiles")
      .select(["agentId", "createdAt", "profileId"])
      .$if(status != null, (all) => all.where("status", "=", status ?? "active"))
      .$if(agentId != null, (all) => all.where("agentId", "=", agentId ?? ""));
    const offset = skippedBy(args);
    // Each of the two orders has an index.
    const inOrder =
      status == null
        ? newest.behind(submitted, newest.read(args.cursor), { agentId: "agentId" }).orderBy("agentId", "desc")
        : waiting
            .behind(submitted, waiting.read(args.cursor), { createdAt: "createdAt", profileId: "profileId" }, "asc")
            .orderBy("createdAt")
            .orderBy("profileId");
    const [{ total }, found] = await Promise.all([
      ctx.db
        .selectFrom(submitted.limit(mostCounted).as("counted"))
        .select((select) => select.fn.countAll<number>().as("total"))
        .executeTakeFirstOrThrow(),
      inOrder
        .limit(offset < mostCounted ? args.limit + 1 : 0)
        .offset(Math.min(offset, mostCounted))
        .execute(),
    ]);
    const { rows, nextCursor } =
      status == null ? newest.page(found, args.limit, (row) => row) : waiting.page(found, args.limit, (row) => row);
    const data = await viewsWithOwners(
      ctx,
      rows.map(({ agentId }) => agentId),
    );
    return { data, total, page: args.page, limit: args.limit, nextCursor };
  },
});

const longestChangedFirst = cursorsOf("admin:listAgents changed", { createdAt: "integer", agentId: "id" });

/** The changes of a suspended agent are decided once it is back, so they are not shown until then. */
async function listChanged(ctx: QueryContext, args: Asked) {
  const { agentId } = args;
  const waiting = longestChangedFirst.under(ctx, { agentId });
  const changed = ctx.db
    .selectFrom("pendingChanges as changes")
    .select(["changes.createdAt", "changes.agentId"])
    .where(
      // As a value: a join could start from all listed agents.
      (select) =>
        select
          .selectFrom("providerProfiles as profile")
          .select("profile.status")
          .whereRef("profile.agentId", "=", "changes.agentId"),
      "=",
      "active",
    )
    .$if(agentId != null, (all) => all.where("changes.agentId", "=", agentId ?? ""));
  const offset = skippedBy(args);
  const [{ total }, found] = await Promise.all([
    ctx.db
      .selectFrom(changed.limit(mostCounted).as("counted"))
      .select((select) => select.fn.countAll<number>().as("total"))
      .executeTakeFirstOrThrow(),
    waiting
      .behind(changed, waiting.read(args.cursor), { createdAt: "changes.createdAt", agentId: "changes.agentId" }, "asc")
      .orderBy("changes.createdAt")
      .orderBy("changes.agentId")
      .limit(offset < mostCounted ? args.limit + 1 : 0)
      .offset(Math.min(offset, mostCounted))
      .execute(),
  ]);
  const { rows, nextCursor } = waiting.page(found, args.limit, (row) => row);
  const data = await viewsWithOwners(
    ctx,
    rows.map((row) => row.agentId),
  );
  return { data, total: Number(total), page: args.page, limit: args.limit, nextCursor };
}

interface Asked {
  agentId?: string | null | undefined;
  page: number;
  limit: number;
  cursor?: string | null | undefined;
}

/** Lets an agent onto the marketplace, or applies its waiting changes: it and its owner are providers from now on. */
export const approveAgent = decision("approve", "Approves an agent, or a listed one's changes, that wait for review");

/** Sends an agent back to its owner, who may publish it again; or drops the waiting changes of a listed one. */
export const rejectAgent = decision("reject", "Rejects an agent, or a listed one's changes, that wait for review");

/** Takes an agent off the marketplace: offline, unlisted, not for rent. Its sessions go on, at no further cost. */
export const suspendAgent = decision("suspend", "Takes an agent off the marketplace");

/** Puts a suspended agent back. */
export const reinstateAgent = decision("reinstate", "Puts a suspended agent back on the marketplace");

/** The four decisions differ only in the move; the table of moves says when each may be made. */
function decision(move: ReviewMove, summary: string) {
  return mutation({
    summary,
    auth: "admin",
    args: { agentId: id, note: text(1_000).nullish(), version: text(100).nullish() },
    returns: agentWithOwner,
    oneAtATime: listingTurn,
    handler: async (ctx: MutationContext, args) => {
      const agent = await ctx.db
        .selectFrom("agents")
        .select(["agentId", "ownerId"])
        .where("agentId", "=", args.agentId)
        .executeTakeFirst();
      if (!agent) throw agentNotFound();
      if (args.version != null) await requireVersion(ctx, agent.agentId, args.version);
      await reviewProfile(ctx, agent, move, args.note ?? null);
      if (move === "suspend") await stopMetersOf(ctx, agent.agentId);
      const [view] = await viewsWithOwners(ctx, [agent.agentId]);
      if (!view) throw agentNotFound();
      return view;
    },
  });
}

/** Refuses a decision about an agent that its owner changed after the admin looked. */
async function requireVersion(ctx: QueryContext, agentId: string, version: string): Promise<void> {
  const [view] = await viewsWithOwners(ctx, [agentId]);
  if (view?.version === version) return;
  throw new CallError("conflict", "The agent was changed after you looked at it. Look again, then decide.");
}

function versionOfView({ providerProfile, pendingChanges, ...view }: AgentView): string {
  const { endpoint = null, healthCheckUrl = null } = providerProfile ?? {};
  return versionOf({ ...view, endpoint, healthCheckUrl }, pendingChanges);
}

async function viewsWithOwners(ctx: QueryContext, agentIds: string[]): Promise<AgentWithOwner[]> {
  const views = (await agentViews(ctx, agentIds)).map((view) => ({ ...view, version: versionOfView(view) }));
  const ownerIds = [...new Set(views.flatMap(({ ownerId }: AgentView) => ownerId ?? []))];
  if (ownerIds.length === 0) return views.map((view) => ({ ...view, owner: null }));
  const rows = await ctx.db
    .selectFrom("users")
    .select(["userId as id", "name", "email", "status"])
    .where("userId", "in", ownerIds)
    .execute();
  const owners = new Map(rows.map((owner) => [owner.id, owner]));
  return views.map((view) => ({ ...view, owner: owners.get(view.ownerId ?? "") ?? null }));
}
