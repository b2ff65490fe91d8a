/** Admins and agents: the review queue, and taking an agent off the marketplace and back (clawrent.md section 2.10). */
import { z } from "zod";
import type { MutationContext, QueryContext } from "../../runtime/context.js";
import { mutation, query } from "../../runtime/define.js";
import { profileStatuses } from "../../schema/listings.js";
import { userStatuses } from "../../schema/users.js";
import { cursor, id, limit, page, pageOf, text } from "../../schema/values.js";
import { type AgentView, agentView, agentViews } from "../model/agent-view.js";
import { agentNotFound } from "../model/agents.js";
import { cursorsOf, skippedBy } from "../model/cursors.js";
import { listingTurn, type ReviewMove, review } from "../model/profiles.js";
import { stopMetersOf } from "../model/session.js";

/** Beyond this nobody reads on: a total stops counting here, and there is no further page. */
const mostCounted = 10_000;

const agentWithOwner = agentView.extend({
  owner: z.object({ id: z.string(), name: z.string(), email: z.string(), status: z.enum(userStatuses) }).nullable(),
});
type AgentWithOwner = z.input<typeof agentWithOwner>;

const newestFirst = cursorsOf("admin:listAgents", { agentId: "id" });
const longestWaitingFirst = cursorsOf("admin:listAgents by status", { createdAt: "integer", profileId: "id" });

/** The agents that were ever submitted: of one state those that wait longest first, of all the newest first. */
export const listAgents = query({
  summary: "The agents that were submitted for review, with their owners",
  auth: "admin",
  args: { status: z.enum(profileStatuses).nullish(), agentId: id.nullish(), page, limit, cursor },
  returns: pageOf(agentWithOwner),
  handler: async (ctx, args) => {
    const { status, agentId } = args;
    const newest = newestFirst.under(ctx, { agentId });
    const waiting = longestWaitingFirst.under(ctx, { status, agentId });
    const submitted = ctx.db
      .selectFrom("providerProfiles")
      .select(["agentId", "createdAt", "profileId"])
      .$if(status != null, (all) => all.where("status", "=", status ?? "active"))
      .$if(agentId != null, (all) => all.where("agentId", "=", agentId ?? ""));
    const offset = skippedBy(args);
    // Each of the two orders is that of an index.
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

/** Lets an agent onto the marketplace: it and its owner are providers from now on. */
export const approveAgent = decision("approve", "Approves an agent that waits for review");

/** Sends an agent back to its owner, who may publish it again. */
export const rejectAgent = decision("reject", "Rejects an agent that waits for review");

/** Takes an agent off the marketplace: offline, unlisted, not rentable. Its sessions go on, and cost no more from now on. */
export const suspendAgent = decision("suspend", "Takes an agent off the marketplace");

/** Puts a suspended agent back. */
export const reinstateAgent = decision("reinstate", "Puts a suspended agent back on the marketplace");

/** The four decisions differ in the move alone; the table of moves says when each may be made. */
function decision(move: ReviewMove, summary: string) {
  return mutation({
    summary,
    auth: "admin",
    args: { agentId: id, note: text(1_000).nullish() },
    returns: agentWithOwner,
    oneAtATime: listingTurn,
    handler: async (ctx: MutationContext, args) => {
      const agent = await ctx.db
        .selectFrom("agents")
        .select(["agentId", "ownerId"])
        .where("agentId", "=", args.agentId)
        .executeTakeFirst();
      if (!agent) throw agentNotFound();
      await review(ctx, agent, move, args.note ?? null);
      if (move === "suspend") await stopMetersOf(ctx, agent.agentId);
      const [view] = await viewsWithOwners(ctx, [agent.agentId]);
      if (!view) throw agentNotFound();
      return view;
    },
  });
}

async function viewsWithOwners(ctx: QueryContext, agentIds: string[]): Promise<AgentWithOwner[]> {
  const views = await agentViews(ctx, agentIds);
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
