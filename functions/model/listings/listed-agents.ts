/**
 * Which listed agents a visitor of the marketplace asks for, in which order, and how many there are. However many are
 * listed, a search reads a bounded number of them:
 *
 * - Each condition (a word's beginning, a category, an owner) names a set of agents. If the smallest of these sets is
 *   smaller than `broadFrom`, it is read whole, and the other conditions are checked for each of its agents.
 * - If all are larger, the agents are walked in the order asked for, and each is checked; a search by words looks at
 *   the first `lookedAt` of them. Up to that many listings, nothing is missed.
 *
 * What is found is shown on fair pages (fair-browse.ts); one owner's agents are shown as they are sorted.
 */
import { type RawBuilder, sql } from "kysely";
import type { QueryContext } from "../../../runtime/context.js";
import { beginningsOf } from "../../../schema/search-words.js";
import { cursorsOf } from "../cursors.js";
import {
  type Listing,
  type ListingPosition,
  lookAhead,
  mostOfOwner,
  Pages,
  readLastShown,
  startOf,
  writeLastShown,
} from "./fair-browse.js";
import { allListings } from "./listing.js";

const broadFrom = 5_000;
const lookedAt = 5_000;
/** The most words of a search that count. */
const mostBeginnings = 16;
/** The most agents that numbered pages reach. A cursor goes further. */
const mostNumberedAgents = 10_000;
/**
 * How much is read, in pages, until it is enough: more only where a few owners hold the front of the list. From a
 * cursor on, at most `mostRead` rows are read: those that may be waiting, and those that a page looks ahead.
 */
const pagesRead = [5, 40];
const mostRead = 10_500;

export const listingSorts = ["newest", "rating", "popular"] as const;

interface Wanted {
  /** Undefined: no search by words. */
  search: string | undefined;
  category: string | undefined;
  ownerId: string | undefined;
  sort: (typeof listingSorts)[number];
  page: number;
  limit: number;
  cursor: string | null | undefined;
}

interface Found {
  agentIds: string[];
  total: number;
  nextCursor: string | null;
}

/** A stretch of the agents that meet all conditions, in the order asked for. */
interface Stretch {
  listings: Listing[];
  total: number;
}
interface Span {
  /** Undefined: from the first one on. */
  behind: ListingPosition | undefined;
  limit: number;
}
type Read = (span: Span) => Promise<Stretch>;

interface Sort {
  /**
   * What the list is sorted by, highest first, and then by the id, which rises with the time when the agent was made.
   */
  key: RawBuilder<unknown>;
  kind: "integer" | "real";
  /** The same order, in the words of its index. */
  order: RawBuilder<unknown>;
}

/** The agent at hand, in every query of this file. */
const agentAtHand = sql`profile."agentId"`;

const sortedBy = (key: RawBuilder<unknown>, kind: Sort["kind"]): Sort => ({
  key,
  kind,
  order: sql`${key} desc, ${agentAtHand} desc`,
});

const sortOf: Record<Wanted["sort"], Sort> = {
  newest: { key: sql`0`, kind: "integer", order: sql`${agentAtHand} desc` },
  // There are no ratings yet: the share of completed rentals takes their place.
  rating: sortedBy(sql`coalesce(profile."completionRate", -1)`, "real"),
  popular: sortedBy(sql`profile."totalSessions"`, "integer"),
};

const cursorsBy = {
  integer: cursorsOf("marketplace:browse", { sortKey: "integer", agentId: "id", lastShown: "text" }),
  real: cursorsOf("marketplace:browse", { sortKey: "real", agentId: "id", lastShown: "text" }),
};

/** One condition: the agents that meet it, and whether one agent does. */
interface Condition {
  agents: RawBuilder<unknown>;
  /** Whether these are listed agents only. */
  listed: boolean;
  /** Checks the agent at hand. */
  isMet: RawBuilder<boolean>;
}

/**
 * As a value and not as `exists`, which PostgreSQL may turn into a join that reads everybody who meets the condition.
 */
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
  const { search, category, ownerId, sort, page, limit } = wanted;
  const { kind } = sortOf[sort];
  const cursors = cursorsBy[kind].under(ctx, { search, category, ownerId, sort });
  const after = cursors.read(wanted.cursor);
  const from = after && { lookedAt: after, lastShown: readLastShown(after.lastShown, kind) };
  const read = await reader(ctx, wanted);
  if (!read) return { agentIds: [], total: 0, nextCursor: null };

  // Whoever asks for one owner's agents wants nobody else's.
  const most = ownerId === undefined ? mostOfOwner : limit;
  const number = from ? 1 : page;
  const offset = (number - 1) * limit;
  if (offset >= mostNumberedAgents)
    return { agentIds: [], total: (await read({ behind: undefined, limit: 0 })).total, nextCursor: null };
  const behind = from && startOf(from);
  const atMost = from ? mostRead : offset + limit + lookAhead(limit);
  // Far down the list, reading twice would cost more than looking ahead at once.
  const tries = pagesRead.map((pages) => offset + pages * limit).filter((rows) => rows < atMost / 2);
  for (const rows of [...tries, atMost]) {
    const { listings, total } = await read({ behind, limit: rows });
    const isAll = listings.length < rows;
    const pages = new Pages(listings, from, limit, most);
    let isEnough = isAll || rows === atMost || pages.reachesReader;
    let shown: Listing[] = [];
    for (let taken = 1; taken <= number; taken += 1) {
      // Each page looks equally far ahead, whichever page is asked for.
      const { page: next, isShort } = pages.take(from ? undefined : taken * limit + lookAhead(limit));
      if (isShort && !isAll && rows < atMost) isEnough = false;
      shown = next;
    }
    if (!isEnough) continue;
    const { progress } = pages;
    const isLast = isAll && !pages.hasMore;
    const nextCursor =
      isLast || !progress ? null : cursors.at({ ...progress.lookedAt, lastShown: writeLastShown(progress.lastShown) });
    return { agentIds: shown.map(({ agentId }) => agentId), total, nextCursor };
  }
  throw new Error("The last look is always enough");
}

/** A function that reads the agents that meet all conditions; undefined where none can. */
async function reader(ctx: QueryContext, wanted: Wanted): Promise<Read | undefined> {
  const { search, category, ownerId } = wanted;
  const beginnings = search === undefined ? [] : beginningsOf(search).slice(0, mostBeginnings);
  if (search !== undefined && beginnings.length === 0) return undefined;

  const conditions = [
    ...beginnings.map(beginsWith),
    ...(category === undefined ? [] : [isIn(category)]),
    ...(ownerId === undefined ? [] : [isOwnedBy(ownerId)]),
  ];
  const sort = sortOf[wanted.sort];
  const driver = await narrowest(ctx, conditions);
  if (driver) return gather(ctx, wanted.sort, driver, conditions);
  if (search === undefined && ownerId === undefined) return walk(ctx, sort, category, conditions);
  return lookThrough(ctx, sort, conditions);
}

/** The condition that the fewest agents meet, if these are few enough to be read one by one. */
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

/** Reads the agents that meet `driver`, and checks the other conditions for each. */
function gather(ctx: QueryContext, sort: Wanted["sort"], driver: Condition, conditions: Condition[]): Read {
  const others = all(conditions.filter((condition) => condition !== driver));
  const candidates = sql`(select distinct "agentId" from (${driver.agents}) as met)`;
  if (driver.listed && sort === "newest") {
    // The id is the order, so no profile has to be read.
    return stretchOf(ctx, sql`select "agentId", 0 as "sortKey" from ${candidates} as profile where true${others}`);
  }
  // The key is a value for the reason given at `anyRow`. Only a listed agent has one.
  return stretchOf(
    ctx,
    sql`
      select profile."agentId", profile."sortKey" from (
        select candidates."agentId", (
          select ${sortOf[sort].key} from "providerProfiles" as profile
          where profile."agentId" = candidates."agentId" and profile.status = 'active'
        ) as "sortKey" from ${candidates} as candidates
      ) as profile where profile."sortKey" is not null${others}`,
  );
}

/** Checks the first agents in the order asked for. */
function lookThrough(ctx: QueryContext, { key, order }: Sort, conditions: Condition[]): Read {
  return stretchOf(
    ctx,
    sql`
      select profile."agentId", profile."sortKey" from (
        select profile."agentId", ${key} as "sortKey" from "providerProfiles" as profile
        where profile.status = 'active'
        order by ${order} limit ${sql.lit(lookedAt)}
      ) as profile where true${all(conditions)}`,
  );
}

function stretchOf(ctx: QueryContext, matched: RawBuilder<unknown>): Read {
  return async ({ behind, limit }) => {
    const further = behind
      ? sql`where "sortKey" < ${behind.sortKey} or ("sortKey" = ${behind.sortKey} and "agentId" < ${behind.agentId})`
      : sql``;
    const { rows } = await sql<{ total: number } & (Listing | { agentId: null })>`
      with matched as materialized (${matched}), stretch as (
        select "agentId", "sortKey" from matched ${further} order by "sortKey" desc, "agentId" desc limit ${limit}
      )
      select counted.total, stretch."agentId", stretch."sortKey", (
        select profile."ownerId" from "providerProfiles" as profile where profile."agentId" = stretch."agentId"
      ) as "ownerId"
      from (select count(*) as total from matched) as counted left join stretch on true
      order by stretch."sortKey" desc, stretch."agentId" desc`.execute(ctx.db);
    return {
      total: rows[0]?.total ?? 0,
      listings: rows.filter((row): row is { total: number } & Listing => row.agentId !== null),
    };
  };
}

/** Walks to the page. How many there are in all is known: every listing is counted, in all and per category. */
function walk(
  ctx: QueryContext,
  { key, kind, order }: Sort,
  category: string | undefined,
  conditions: Condition[],
): Read {
  const isNewest = key === sortOf.newest.key;
  const further = ({ sortKey, agentId }: ListingPosition) => {
    if (isNewest) return sql` and ${agentAtHand} < ${agentId}`;
    const type = sql.raw(kind === "integer" ? "bigint" : "double precision");
    return sql` and (${key}, ${agentAtHand}) < (cast(${sortKey} as ${type}), ${agentId})`;
  };
  return async ({ behind, limit }) => {
    const [counted, { rows }] = await Promise.all([
      ctx.db
        .selectFrom("listingCounts")
        .select("listed")
        .where("category", "=", category ?? allListings)
        .executeTakeFirst(),
      sql<Listing>`
        select profile."agentId", profile."ownerId", ${key} as "sortKey" from "providerProfiles" as profile
        where profile.status = 'active'${behind ? further(behind) : sql``}${all(conditions)}
        order by ${order} limit ${limit}`.execute(ctx.db),
    ]);
    return { total: counted?.listed ?? 0, listings: rows };
  };
}

function all(conditions: Condition[]): RawBuilder<unknown> {
  return sql.join(
    conditions.map(({ isMet }) => sql` and ${isMet}`),
    sql``,
  );
}
