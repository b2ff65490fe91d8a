/** Finding events: those that are on, those near a shared location, and one event as its reader sees it. */
import { z } from "zod";
import { query } from "../../runtime/call/define.js";
import type { QueryContext } from "../../runtime/context.js";
import { prepared } from "../../runtime/store/prepared.js";
import { cursor, id, token } from "../../schema/values.js";
import { cursorsOf } from "../model/cursors.js";
import {
  briefShape,
  type CheckinRow,
  countPresent,
  findCheckin,
  isoSeconds,
  presentBrief,
} from "../model/events/checkin.js";
import { type EventRow, eventValue, mostSkewMs, presentEvent, requireEvent } from "../model/events/event.js";
import { lastTurn } from "../model/events/event-caps.js";
import { fairPage, inListOrder, lookAhead } from "../model/events/fair-pages.js";
import { requireSharedPlace } from "../model/events/location-share.js";
import { byDistance, findNearest, type NearEvent } from "../model/events/nearby.js";

const roles = ["creator", "attendee", "none"] as const;

const listArgs = {
  includeScheduled: z.boolean().nullish(),
  limit: z.number().int().min(1).max(100).nullish(),
  cursor,
};
const listedByDefault = 20;

/** The latest start of an event that a list shows (Unix ms). */
function startsUntil({ includeScheduled }: { includeScheduled?: boolean | null | undefined }, now: number): number {
  return includeScheduled ? Number.MAX_SAFE_INTEGER : now;
}

const byStart = cursorsOf("events:listLive", { turn: "integer", startAt: "integer", eventId: "id" });

/** The open events of one turn behind a position, in the order of their starts. */
const ofTurn = prepared(["turn", "startAt", "eventId", "startsUntil", "soon", "now", "limit"], (db, behind) =>
  db
    .selectFrom("events")
    .selectAll()
    .where("turn", "=", behind.turn)
    .where("endedAt", "is", null)
    .where("endAt", ">", behind.now)
    // The first bounds what is read; the second sees what the timer of a process with another clock has written.
    .where("startAt", "<=", behind.soon)
    .where((eb) => eb.or([eb("startAt", "<=", behind.startsUntil), eb("startedAt", "is not", null)]))
    .where((eb) => eb(eb.refTuple("startAt", "eventId"), ">", eb.tuple(behind.startAt, behind.eventId)))
    .orderBy("startAt")
    .orderBy("eventId")
    .limit(behind.limit),
);

/** Lists live events, and upcoming ones where asked for. */
export const listLive = query({
  summary: "Lists live events, and scheduled ones if asked, by start",
  auth: "agent",
  args: listArgs,
  returns: z.array(eventValue.extend({ cursor: z.string() })),
  handler: async (ctx, args) => {
    const limit = args.limit ?? listedByDefault;
    const cursors = byStart.under(ctx, { includeScheduled: args.includeScheduled || null });
    const after = cursors.read(args.cursor) ?? { turn: 0, startAt: -1, eventId: "" };
    const first = Math.min(Math.max(after.turn, 0), lastTurn + 1);
    const next = async (turn: number) => {
      const { startAt, eventId } = turn === after.turn ? after : { startAt: -1, eventId: "" };
      const until = startsUntil(args, ctx.now);
      const soon = Math.min(until + mostSkewMs, Number.MAX_SAFE_INTEGER);
      const bounds = { turn, startAt, eventId, startsUntil: until, soon, now: ctx.now };
      return (await ofTurn(ctx, { ...bounds, limit: limit + lookAhead })).rows;
    };
    const rows = await next(first);
    if (rows.length < limit + lookAhead) {
      const later = Array.from({ length: Math.max(lastTurn - first, 0) }, (_, index) => next(first + 1 + index));
      rows.push(...(await Promise.all(later)).flat());
    }
    const page = fairPage(rows.slice(0, limit + lookAhead), limit);
    const present = await countPresent(ctx, page);
    const compare = (a: EventRow, b: EventRow) => a.startAt - b.startAt || (a.eventId < b.eventId ? -1 : 1);
    return inListOrder(page, compare, (event) => cursors.at(event)).map(({ row, cursor }) => ({
      ...presentEvent(row, ctx.now, present),
      cursor,
    }));
  },
});

const byNearness = cursorsOf("events:listNearby", {
  turn: "integer",
  km: "real",
  startAt: "integer",
  eventId: "id",
});

/** Finds events around a shared location. Searching does not spend the share, so that a check-in can follow. */
export const listNearby = query({
  summary: "Lists live events around a shared location, nearest first",
  auth: "agent",
  args: { shareToken: token, radiusKm: z.number().min(0.05).max(50).nullish(), ...listArgs },
  returns: z.array(eventValue.extend({ distanceKm: z.number(), cursor: z.string() })),
  handler: async (ctx, args) => {
    const here = await requireSharedPlace(ctx, args.shareToken);
    const radiusKm = args.radiusKm ?? 1;
    const limit = args.limit ?? listedByDefault;
    const filters = { shareToken: args.shareToken, radiusKm, includeScheduled: args.includeScheduled || null };
    const cursors = byNearness.under(ctx, filters);
    const near = await findNearest(ctx, {
      centre: here,
      radiusKm,
      startsUntil: startsUntil(args, ctx.now),
      after: cursors.read(args.cursor),
      count: limit + lookAhead,
    });
    const page = fairPage(near, limit);
    const events = await eventsById(ctx, page);
    const present = await countPresent(ctx, [...events.values()]);
    return inListOrder(page, byDistance, (event) => cursors.at(event)).flatMap(({ row, cursor }) => {
      const event = events.get(row.eventId);
      // Whole metres: finer than any phone can measure.
      const distanceKm = Math.round(row.km * 1_000) / 1_000;
      return event ? [{ ...presentEvent(event, ctx.now, present), distanceKm, cursor }] : [];
    });
  },
});

async function eventsById(ctx: QueryContext, near: readonly NearEvent[]): Promise<Map<string, EventRow>> {
  if (near.length === 0) return new Map();
  const ids = near.map(({ eventId }) => eventId);
  const events = await ctx.db.selectFrom("events").selectAll().where("eventId", "in", ids).execute();
  return new Map(events.map((event) => [event.eventId, event]));
}

/** Reads one event, with the caller's part in it. */
export const getById = query({
  summary: "Reads one event, with the caller's check-in and role",
  auth: "agent",
  args: { eventId: id },
  returns: eventValue.extend({
    myCheckin: z
      .object({ checkinId: z.string(), checkedInAt: z.string(), expiresAt: z.number(), ...briefShape })
      .nullable(),
    myRole: z.enum(roles),
  }),
  handler: async (ctx, args) => {
    const event = await requireEvent(ctx, args.eventId);
    const [checkin, present] = await Promise.all([
      findCheckin(ctx, event, ctx.caller.agentId),
      countPresent(ctx, [event]),
    ]);
    return {
      ...presentEvent(event, ctx.now, present),
      myCheckin: checkin
        ? {
            checkinId: checkin.checkinId,
            checkedInAt: isoSeconds(checkin.checkedInAt),
            expiresAt: checkin.expiresAt,
            ...presentBrief(checkin),
          }
        : null,
      myRole: roleOf(ctx.caller.agentId, event, checkin),
    };
  },
});

function roleOf(agentId: string, event: EventRow, checkin: CheckinRow | undefined): (typeof roles)[number] {
  if (event.createdBy === agentId) return "creator";
  return checkin ? "attendee" : "none";
}
