/**
 * Which listed agents a visitor of the marketplace asks for, in which order, and how many there are. However much is
 * listed, a look-up reads a bounded part of it:
 *
 * - Each condition (a word's beginning, a category, an owner) names a set of agents. If the smallest of these sets is
 *   smaller than `broadFrom`, it is read whole and the others are asked about each of its agents.
 * - If all are larger, the agents are walked in the order asked for, and each is asked about; a search looks at the
 *   first `lookedAt` of them. Up to that many listings, nothing is missed.
 */
import { type RawBuilder, sql } from "kysely";
import type { QueryContext } from "../../runtime/context.js";
import { allListings } from "./listing.js";
import { beginningsOf } from "./search-words.js";

const broadFrom = 5_000;
const lookedAt = 5_000;
/** Further words of a search are not looked at. */
const mostBeginnings = 16;
/** Behind this many agents there is no further page. */
export const deepest = 10_000;

export const sorts = ["newest", "rating", "popular"] as const;

export interface Wanted {
  /** Undefined: whatever it is called. */
  search: string | undefined;
  category: string | undefined;
  ownerId: string | undefined;
  sort: (typeof sorts)[number];
  page: number;
  limit: number;
}

interface Found {
  agentIds: string[];
  total: number;
}

/** What the orders go by, highest first; each has an index. An agent's id rises with the time it was made. */
const sortKeys: Record<Wanted["sort"], RawBuilder<unknown>> = {
  newest: sql`profile."agentId"`,
  // No call rates anything yet: the share of rentals that were completed stands in for it.
  rating: sql`coalesce(profile."completionRate", -1)`,
  popular: sql`profile."totalSessions"`,
};

/** One condition: the agents that meet it, and whether one agent does. */
interface Condition {
  agents: RawBuilder<unknown>;
  /** Whether these are listed agents only. */
  listed: boolean;
  /** Asks about the agent at hand. */
  isMet: RawBuilder<boolean>;
}

/** The agent at hand, in every query of this file. */
const agentAtHand = sql`profile."agentId"`;

/** As a value and not as `exists`, which PostgreSQL may turn into a join that reads all who meet the condition. */
function anyRow(rows: RawBuilder<unknown>): RawBuilder<boolean> {
  return sql`(${rows} limit 1) = 1`;
}

/** Sorts behind every word that begins with what stands before it. */
const behindAll = "\u{10ffff}";

function beginsWith(beginning: string): Condition {
  const range = sql`word >= ${beginning} and word < ${beginning + behindAll}`;
  return {
    agents: sql`select "agentId" from "listingWords" where ${range}`,
    listed: true,
    isMet: anyRow(sql`select 1 from "listingWords" as words where words."agentId" = ${agentAtHand} and ${range}`),
  };
}

function isIn(category: string): Condition {
  const members = sql`from "listingCategories" as members where members.category = ${category}`;
  return {
    agents: sql`select members."agentId" ${members}`,
    listed: true,
    isMet: anyRow(sql`select 1 ${members} and members."agentId" = ${agentAtHand}`),
  };
}

function isOwnedBy(userId: string): Condition {
  const owned = sql`from agents as owned where owned."ownerId" = ${userId}`;
  return {
    agents: sql`select owned."agentId" ${owned}`,
    listed: false,
    isMet: anyRow(sql`select 1 ${owned} and owned."agentId" = ${agentAtHand}`),
  };
}

export async function findListed(ctx: QueryContext, wanted: Wanted): Promise<Found> {
  const { search, category, ownerId } = wanted;
  const beginnings = search === undefined ? [] : beginningsOf(search).slice(0, mostBeginnings);
  if (search !== undefined && beginnings.length === 0) return { agentIds: [], total: 0 };

  const conditions = [
    ...beginnings.map(beginsWith),
    ...(category === undefined ? [] : [isIn(category)]),
    ...(ownerId === undefined ? [] : [isOwnedBy(ownerId)]),
  ];
  const driver = await narrowest(ctx, conditions);
  if (driver) return gather(ctx, wanted, driver, conditions);
  if (search === undefined && ownerId === undefined) return walk(ctx, wanted, category, conditions);
  return lookThrough(ctx, wanted, conditions);
}

/** The condition that fewest agents meet, if these are few enough to be read one by one. */
async function narrowest(ctx: QueryContext, conditions: Condition[]): Promise<Condition | undefined> {
  if (conditions.length === 0) return undefined;
  const sizes = conditions.map(
    ({ agents }, index) =>
      sql`(select count(*) from (${agents} limit ${sql.lit(broadFrom)}) as met) as ${sql.ref(`size${index}`)}`,
  );
  const { rows } = await sql<Record<string, number>>`select ${sql.join(sizes)}`.execute(ctx.db);
  const counted = conditions.map((condition, index) => ({ condition, size: rows[0]?.[`size${index}`] ?? 0 }));
  counted.sort((one, other) => one.size - other.size);
  const [smallest] = counted;
  return smallest && smallest.size < broadFrom ? smallest.condition : undefined;
}

/** Reads the agents that meet `driver`, and asks the other conditions about each. */
function gather(ctx: QueryContext, wanted: Wanted, driver: Condition, conditions: Condition[]): Promise<Found> {
  const others = all(conditions.filter((condition) => condition !== driver));
  const candidates = sql`(select distinct "agentId" from (${driver.agents}) as met)`;
  if (driver.listed && wanted.sort === "newest") {
    // The id is the order: no profile has to be looked at.
    return pageOfMatched(
      ctx,
      wanted,
      sql`select "agentId", "agentId" as "sortKey" from ${candidates} as profile where true${others}`,
    );
  }
  // The key is a value of its own for the reason that `anyRow` gives. Only a listed agent has one.
  return pageOfMatched(
    ctx,
    wanted,
    sql`
      select profile."agentId", profile."sortKey" from (
        select candidates."agentId", (
          select ${sortKeys[wanted.sort]} from "providerProfiles" as profile
          where profile."agentId" = candidates."agentId" and profile.status = 'active'
        ) as "sortKey" from ${candidates} as candidates
      ) as profile where profile."sortKey" is not null${others}`,
  );
}

/** Asks about the first agents in the order asked for. */
function lookThrough(ctx: QueryContext, wanted: Wanted, conditions: Condition[]): Promise<Found> {
  const key = sortKeys[wanted.sort];
  return pageOfMatched(
    ctx,
    wanted,
    sql`
      select profile."agentId", profile."sortKey" from (
        select profile."agentId", ${key} as "sortKey" from "providerProfiles" as profile
        where profile.status = 'active'
        order by ${key} desc, profile."agentId" desc limit ${sql.lit(lookedAt)}
      ) as profile where true${all(conditions)}`,
  );
}

async function pageOfMatched(ctx: QueryContext, wanted: Wanted, matched: RawBuilder<unknown>): Promise<Found> {
  const { rows } = await sql<{ total: number; agentIds: string | null }>`
    with matched as materialized (${matched})
    select
      (select count(*) from matched) as total,
      (select string_agg("agentId", ',') from (
        select "agentId" from matched order by "sortKey" desc, "agentId" desc ${pageInSql(wanted)}
      ) as page) as "agentIds"`.execute(ctx.db);
  const [found] = rows;
  return { total: found?.total ?? 0, agentIds: found?.agentIds?.split(",") ?? [] };
}

/** Walks to the page. How many there are in all is known: every listing is counted, in all and per category. */
async function walk(
  ctx: QueryContext,
  wanted: Wanted,
  category: string | undefined,
  conditions: Condition[],
): Promise<Found> {
  const [counted, { rows }] = await Promise.all([
    ctx.db
      .selectFrom("listingCounts")
      .select("listed")
      .where("category", "=", category ?? allListings)
      .executeTakeFirst(),
    sql<{ agentId: string }>`
      select profile."agentId" from "providerProfiles" as profile
      where profile.status = 'active'${all(conditions)}
      order by ${sortKeys[wanted.sort]} desc, profile."agentId" desc ${pageInSql(wanted)}`.execute(ctx.db),
  ]);
  return { total: counted?.listed ?? 0, agentIds: rows.map(({ agentId }) => agentId) };
}

function all(conditions: Condition[]): RawBuilder<unknown> {
  return sql.join(
    conditions.map(({ isMet }) => sql` and ${isMet}`),
    sql``,
  );
}

function pageInSql({ page, limit }: Wanted): RawBuilder<unknown> {
  const offset = (page - 1) * limit;
  return sql`limit ${offset < deepest ? limit : 0} offset ${Math.min(offset, deepest)}`;
}
