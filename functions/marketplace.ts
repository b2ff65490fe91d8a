/**
 * The marketplace as everybody sees it: the listed agents, their categories, and one agent in full (clawrent.md section
 * 2.5).
 */
import { sql } from "kysely";
import { z } from "zod";
import { JsonText, query } from "../runtime/call/define.js";
import { cursor, id, limit, limitOf, page, pageOf, text } from "../schema/values.js";
import { agentNotFound } from "./model/agents/agents.js";
import { cursorsOf } from "./model/cursors.js";
import { agentCard, agentCards, cardsInOrder } from "./model/listings/cards.js";
import { findListed, listingSorts } from "./model/listings/listed-agents.js";
import { allListings } from "./model/listings/listing.js";

const mostCategories = 500;
const searchCharacters = 200;

/**
 * One page of the listed agents. Clients read them under `data` or under `agents`, so both hold the same. While there
 * are others, a page holds at most three of one owner, unless that owner's were asked for
 * (model/listings/fair-browse.ts).
 */
export const browse = query({
  summary: "The listed agents, searched and sorted",
  auth: "none",
  args: {
    search: text(searchCharacters).nullish(),
    category: text(searchCharacters).nullish(),
    ownerId: z.string().max(searchCharacters).nullish(),
    sort: z.enum(listingSorts).nullish(),
    page,
    limit,
    cursor,
  },
  returns: pageOf(agentCard).extend({ agents: z.array(agentCard) }),
  handler: async (ctx, args) => {
    const { agentIds, total, nextCursor } = await findListed(ctx, {
      search: given(args.search),
      category: given(args.category),
      ownerId: given(args.ownerId),
      sort: args.sort ?? "newest",
      page: args.page,
      limit: args.limit,
      cursor: args.cursor,
    });
    const cards = JSON.stringify(await cardsInOrder(ctx, agentIds));
    return new JsonText(
      `{"data":${cards},"agents":${cards},"total":${total},"page":${args.page},"limit":${args.limit},"nextCursor":${JSON.stringify(nextCursor)}}`,
    );
  },
});

/** An empty field of a form counts as absent. */
function given(field: string | null | undefined): string | undefined {
  return field?.trim() || undefined;
}

const category = z.object({ name: z.string(), count: z.number() });

const fullestFirst = cursorsOf("marketplace:listCategories", { emptiness: "integer", name: "text" });

/** The categories of the listed agents with how many are in each, the fullest first. */
export const listCategories = query({
  summary: "The categories of the listed agents",
  auth: "none",
  args: { limit: limitOf(mostCategories, mostCategories), cursor },
  returns: z.object({
    data: z.array(category),
    categories: z.array(category),
    nextCursor: z.string().nullable(),
  }),
  handler: async (ctx, args) => {
    const cursors = fullestFirst.under(ctx);
    const after = cursors.read(args.cursor);
    const emptiness = sql<number>`-${sql.ref("listed")}`;
    const found = await ctx.db
      .selectFrom("listingCounts")
      .select(["category as name", "listed as count"])
      .select(emptiness.as("emptiness"))
      .where(emptiness, "<", 0)
      // The count of all listings is stored among them.
      .where("category", "<>", allListings)
      .$call((all) => cursors.behind(all, after, { emptiness, name: "category" }, "asc"))
      .orderBy(emptiness)
      .orderBy("category")
      .limit(args.limit + 1)
      .execute();
    const { rows, nextCursor } = cursors.page(found, args.limit, (row) => row);
    const data = rows.map(({ name, count }) => ({ name, count }));
    return { data, categories: data, nextCursor };
  },
});

/** A listed agent in full. Any other reads as missing. */
export const getBySlug = query({
  summary: "A listed agent in full",
  auth: "none",
  args: { slug: id },
  returns: agentCard.extend({
    longDescription: z.string().nullable(),
    requiredPermissions: z.array(z.string()),
    maxConcurrentSessions: z.number(),
    maxConsumerSlots: z.number(),
  }),
  handler: async (ctx, args) => {
    const agent = await ctx.db
      .selectFrom("agents")
      .innerJoin("providerProfiles as profile", "profile.agentId", "agents.agentId")
      .select([
        "agents.agentId",
        "agents.longDescription",
        "agents.requiredPermissions",
        "profile.maxConcurrentSessions",
        "profile.maxConsumerSlots",
      ])
      .where("agents.slug", "=", args.slug)
      .where("profile.status", "=", "active")
      .executeTakeFirst();
    if (!agent) throw agentNotFound();
    const { agentId, requiredPermissions, ...more } = agent;
    const card = (await agentCards(ctx, [agentId])).get(agentId);
    if (!card) throw agentNotFound();
    return { ...card, ...more, requiredPermissions: JSON.parse(requiredPermissions) as string[] };
  },
});
