/**
 * The listing: what makes an agent with an active profile findable. Its words, its categories and the counts change in
 * the transaction that changes the agent, so a page and its total never disagree.
 */
import { sql } from "kysely";
import type { MutationContext } from "../../../runtime/context.js";
import { wordsOfListing } from "../../../schema/search-words.js";
import { capabilitiesOf } from "./capabilities.js";

/**
 * The name of the count of all listings, which is stored beside those of the categories. No category is called that.
 */
export const allListings = "";

interface Listing {
  words: ReadonlySet<string>;
  categories: ReadonlySet<string>;
}
const nothing: Listing = { words: new Set(), categories: new Set() };

/** Puts an agent on the marketplace that was not there before. */
export async function listAgent(ctx: MutationContext, agentId: string): Promise<void> {
  await replace(ctx, agentId, nothing, await describe(ctx, agentId), 1);
}

/** Takes an agent off the marketplace that was there before. */
export async function unlistAgent(ctx: MutationContext, agentId: string): Promise<void> {
  await replace(ctx, agentId, await stored(ctx, agentId), nothing, -1);
}

/** Updates a listing to what its agent says of itself now. */
export async function relistAgent(ctx: MutationContext, agentId: string): Promise<void> {
  await replace(ctx, agentId, await stored(ctx, agentId), await describe(ctx, agentId), 0);
}

/** What an agent is found by: name, description and capabilities (clawrent.md section 2.5). */
async function describe(ctx: MutationContext, agentId: string): Promise<Listing> {
  const agent = await ctx.db
    .selectFrom("agents")
    .select(["name", "description"])
    .where("agentId", "=", agentId)
    .executeTakeFirstOrThrow();
  const capabilities = (await capabilitiesOf(ctx, [agentId])).get(agentId) ?? [];
  const texts = [
    agent.name,
    agent.description ?? "",
    ...capabilities.flatMap(({ category, name, description, tags }) => [category, name, ...tags, description]),
  ];
  return {
    words: wordsOfListing(texts),
    categories: new Set(capabilities.map(({ category }) => category)),
  };
}

async function stored(ctx: MutationContext, agentId: string): Promise<Listing> {
  const [words, categories] = await Promise.all([
    ctx.db.selectFrom("listingWords").select("word").where("agentId", "=", agentId).execute(),
    ctx.db.selectFrom("listingCategories").select("category").where("agentId", "=", agentId).execute(),
  ]);
  return {
    words: new Set(words.map(({ word }) => word)),
    categories: new Set(categories.map(({ category }) => category)),
  };
}

async function replace(ctx: MutationContext, agentId: string, before: Listing, after: Listing, listings: 1 | 0 | -1) {
  const newWords = missing(after.words, before.words);
  const oldWords = missing(before.words, after.words);
  const newCategories = missing(after.categories, before.categories);
  const oldCategories = missing(before.categories, after.categories);
  if (oldWords.length > 0) {
    await ctx.db.deleteFrom("listingWords").where("agentId", "=", agentId).where("word", "in", oldWords).execute();
  }
  if (newWords.length > 0) {
    const rows = newWords.map((word) => ({ word, agentId }));
    await ctx.db.insertInto("listingWords").values(rows).execute();
  }
  if (oldCategories.length > 0) {
    await ctx.db
      .deleteFrom("listingCategories")
      .where("agentId", "=", agentId)
      .where("category", "in", oldCategories)
      .execute();
  }
  if (newCategories.length > 0) {
    const rows = newCategories.map((category) => ({ category, agentId }));
    await ctx.db.insertInto("listingCategories").values(rows).execute();
  }
  const changes = [
    ...newCategories.map((category) => ({ category, change: 1 })),
    ...oldCategories.map((category) => ({ category, change: -1 })),
    ...(listings === 0 ? [] : [{ category: allListings, change: listings }]),
  ];
  // In the same order everywhere, so that two transactions that change the same counts do not deadlock.
  changes.sort((one, other) => (one.category < other.category ? -1 : 1));
  for (const { category, change } of changes) await count(ctx, category, change);
}

async function count(ctx: MutationContext, category: string, change: number): Promise<void> {
  if (change > 0) {
    await ctx.db
      .insertInto("listingCounts")
      .values({ category, listed: change })
      .onConflict((known) => known.column("category").doUpdateSet({ listed: sql`"listingCounts".listed + 1` }))
      .execute();
    return;
  }
  const left = await ctx.db
    .updateTable("listingCounts")
    .set({ listed: sql`listed - 1` })
    .where("category", "=", category)
    .returning("listed")
    .executeTakeFirst();
  // A category without agents does not exist any more.
  if (left?.listed === 0) await ctx.db.deleteFrom("listingCounts").where("category", "=", category).execute();
}

function missing(wanted: ReadonlySet<string>, among: ReadonlySet<string>): string[] {
  return [...wanted].filter((one) => !among.has(one));
}
