/**
 * How much one agent may have open, and how much may be open at one place, so that nobody's events crowd out the others'.
 * A cap is looked at when something is added: what is above it from before stays.
 */
import { sql } from "kysely";
import type { AgentMutation, MutationContext, QueryContext } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { cellOfCode, codesOf, geoCellLevel } from "../../schema/place-code.js";
import { active } from "./checkin.js";
import { open } from "./intro.js";

/** Events of an agent that are neither over nor cancelled. */
export const mostOpenEvents = 20;
/** The same at one place. */
export const mostOpenAtPlace = 200;
/** Links of an agent that wait for an answer, and answers that are not used up. */
export const mostOpenShares = 20;
/** Events that an agent is checked in to at the same time. */
export const mostCheckins = 10;
/** Intros that an agent proposed and that nobody has confirmed, rejected or let lapse. */
export const mostPendingIntros = 50;

/** What counts as one place: a cell of 100 to 200 m. */
const placeLevel = 16;

/** Open events of one creator in one turn (model/fair-pages.ts). */
export const eventsPerTurn = 3;
/** The last turn. It takes whatever a creator has beyond the ones before it, from before there was a cap. */
export const lastTurn = Math.ceil(mostOpenEvents / eventsPerTurn) - 1;

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
  refuseAbove(mostOpenEvents, openEvents.length, "open events. Cancel one, or wait until one is over.");
  const inTurn = new Map<number, number>();
  for (const { turn } of openEvents) inTurn.set(turn, (inTurn.get(turn) ?? 0) + 1);
  let turn = 0;
  while ((inTurn.get(turn) ?? 0) >= eventsPerTurn && turn < lastTurn) turn += 1;
  return turn;
}

/** Refuses one more event at the place of a code where there are as many as may be. */
export async function requireRoomAt(ctx: QueryContext, code: number | null): Promise<void> {
  if (code === null) return;
  const { first, last } = codesOf({ level: placeLevel, number: cellOfCode(code, placeLevel) });
  const there = await ctx.db
    .selectFrom("events")
    .select("eventId")
    .where("geoCell", "=", cellOfCode(code, geoCellLevel))
    .where("placeCode", ">=", first)
    .where("placeCode", "<=", last)
    .where("endedAt", "is", null)
    .where("endAt", ">", ctx.now)
    .limit(mostCounted)
    .execute();
  refuseAbove(mostOpenAtPlace, there.length, "open events at this place. Choose another, or wait until one is over.");
}

/** What calls that count the same place have in common. */
export function placeName(code: number | null): string[] {
  return code === null ? [] : [`place ${cellOfCode(code, placeLevel)}`];
}

export async function requireRoomForShare(ctx: AgentMutation): Promise<void> {
  const shares = await ctx.db
    .selectFrom("locationShares")
    .select("shareId")
    .where("agentId", "=", ctx.caller.agentId)
    .where("status", "in", [sql.lit<"pending">("pending"), sql.lit<"completed">("completed")])
    .where("expiresAt", ">", ctx.now)
    .limit(mostCounted)
    .execute();
  refuseAbove(mostOpenShares, shares.length, "open location shares. Use one, or wait until one expires.");
}

export async function requireRoomForCheckin(ctx: AgentMutation): Promise<void> {
  const stays = await ctx.db
    .selectFrom("checkins")
    .select("checkinId")
    .where("agentId", "=", ctx.caller.agentId)
    .where("status", "=", active)
    .where("expiresAt", ">", ctx.now)
    .limit(mostCounted)
    .execute();
  refuseAbove(mostCheckins, stays.length, "check-ins at the same time. Check out of one first.");
}

export async function requireRoomForIntro(ctx: AgentMutation): Promise<void> {
  const pending = await ctx.db
    .selectFrom("intros")
    .select("introId")
    .where("fromAgentId", "=", ctx.caller.agentId)
    .where("status", "in", open)
    .where("status", "<>", sql.lit("confirmed"))
    .where("expiresAt", ">", ctx.now)
    .limit(mostCounted)
    .execute();
  refuseAbove(mostPendingIntros, pending.length, "intros that wait for an answer. Wait until some are answered.");
}

/** Beyond this nobody counts what is there from before a cap. */
const mostCounted = 1_000;

function refuseAbove(limit: number, have: number, what: string): void {
  if (have >= limit) throw new CallError("conflict", `There may be ${limit} ${what}`, { limit, have });
}
