/**
 * How many events one agent may have open, and how many may be open at one place (caps.ts), so that nobody's events
 * crowd out the others'. A cap is checked when something is added: what was above it before stays.
 */
import { sql } from "kysely";
import type { AgentMutation, MutationContext, QueryContext } from "../../../runtime/context.js";
import { cellOfCode, codesOf, geoCellLevel } from "../../../schema/place-code.js";
import { caps, countedOfOwner, requireRoom } from "../caps.js";
import { openIntros } from "../rules/intro-states.js";
import { activeCheckin } from "./checkin.js";

/** What counts as one place: a cell of 100 to 200 m. */
const placeLevel = 16;

/** Open events of one creator in one turn (fair-pages.ts). */
export const eventsPerTurn = 3;
/** The last turn. It takes whatever a creator has beyond the earlier turns, from a time before the cap. */
export const lastTurn = Math.ceil(caps.openEvents.most / eventsPerTurn) - 1;

/** Rows from before a cap are counted up to this many. */
const mostCounted = 1_000;

/** The turn of one more event of an agent: the first with room. Refused where the agent has as many as it may. */
export async function takeEventTurn(ctx: MutationContext, agentId: string): Promise<number> {
  const openEvents = await ctx.db
    .selectFrom("events")
    .select("turn")
    .where("createdBy", "=", agentId)
    .where("endedAt", "is", null)
    .where("endAt", ">", ctx.now)
    .limit(mostCounted)
    .execute();
  refuseAbove("openEvents", openEvents.length, "open events. Cancel one, or wait until one is over.");
  const inTurn = new Map<number, number>();
  for (const { turn } of openEvents) inTurn.set(turn, (inTurn.get(turn) ?? 0) + 1);
  let turn = 0;
  while ((inTurn.get(turn) ?? 0) >= eventsPerTurn && turn < lastTurn) turn += 1;
  return turn;
}

/**
 * Refuses one more event of an agent at a place that is full. Only a few events of each owner count, so that it takes
 * many owners to fill a place. `eventId` is the event to be placed, which does not count.
 */
export async function requireRoomAt(
  ctx: QueryContext,
  code: number | null,
  { eventId, createdBy }: { eventId: string; createdBy: string },
): Promise<void> {
  if (code === null) return;
  const { first, last } = codesOf({ level: placeLevel, number: cellOfCode(code, placeLevel) });
  const [creator, there] = await Promise.all([
    ctx.db.selectFrom("agents").select("ownerId").where("agentId", "=", createdBy).executeTakeFirst(),
    ctx.db
      .selectFrom("events")
      .innerJoin("agents", "agents.agentId", "events.createdBy")
      .select(({ fn }) => [
        fn.coalesce("agents.ownerId", "agents.agentId").as("owner"),
        sql<number>`cast(count(*) as integer)`.as("have"),
      ])
      .where("geoCell", "=", cellOfCode(code, geoCellLevel))
      .where("placeCode", ">=", first)
      .where("placeCode", "<=", last)
      .where("endedAt", "is", null)
      .where("endAt", ">", ctx.now)
      .where("eventId", "<>", eventId)
      .groupBy(({ fn }) => fn.coalesce("agents.ownerId", "agents.agentId"))
      .execute(),
  ]);
  const owner = creator?.ownerId ?? createdBy;
  const own = there.find((one) => one.owner === owner)?.have ?? 0;
  refuseAbove("openEventsAtPlace", own, "open events of one owner at this place. Choose another, or cancel one there.");
  const counted = there.reduce((sum, { have }) => sum + Math.min(have, countedOfOwner), 0);
  refuseAbove("eventsAtPlace", counted, "open events at this place. Choose another, or wait until one is over.");
}

/** The key (`oneAtATime`) of calls that count events at the same place. */
export function placeName(code: number | null): string[] {
  return code === null ? [] : [`place ${cellOfCode(code, placeLevel)}`];
}

export async function requireRoomForShare(ctx: AgentMutation): Promise<void> {
  const shares = ctx.db
    .selectFrom("locationShares")
    .select("shareId")
    .where("agentId", "=", ctx.caller.agentId)
    .where("status", "in", [sql.lit<"pending">("pending"), sql.lit<"completed">("completed")])
    .where("expiresAt", ">", ctx.now);
  await refuseAmong("openShares", shares, "open location shares. Use one, or wait until one expires.");
}

export async function requireRoomForCheckin(ctx: AgentMutation): Promise<void> {
  const stays = ctx.db.selectFrom("checkins").select("checkinId").where("agentId", "=", ctx.caller.agentId);
  const current = stays.where("status", "=", activeCheckin).where("expiresAt", ">", ctx.now);
  await refuseAmong("checkins", current, "check-ins at the same time. Check out of one first.");
}

export async function requireRoomForIntro(ctx: AgentMutation): Promise<void> {
  const pending = ctx.db
    .selectFrom("intros")
    .select("introId")
    .where("fromAgentId", "=", ctx.caller.agentId)
    .where("status", "in", openIntros)
    .where("status", "<>", sql.lit("confirmed"))
    .where("expiresAt", ">", ctx.now);
  await refuseAmong("pendingIntros", pending, "intros that wait for an answer. Wait until some are answered.");
}

interface Rows {
  limit(most: number): { execute(): Promise<unknown[]> };
}

async function refuseAmong(cap: keyof typeof caps, rows: Rows, what: string): Promise<void> {
  refuseAbove(cap, (await rows.limit(mostCounted).execute()).length, what);
}

function refuseAbove(cap: keyof typeof caps, have: number, what: string): void {
  requireRoom(cap, have, `There may be ${caps[cap].most} ${what}`);
}
