/** The events themselves: making one, its tags, and finding what is on. Who is there is checkins.ts. */
import { z } from "zod";
import { everyMinute, mutation, query } from "../../runtime/define.js";
import { CallError } from "../../runtime/errors.js";
import { partitions } from "../../schema/partitions.js";
import { id, latitude, longitude, tags, text, timestamp } from "../../schema/values.js";
import { loadSelf } from "../model/agents.js";
import { briefShape, type CheckinRow, countPresent, findCheckin, isoSeconds, presentBrief } from "../model/checkin.js";
import { type EventRow, eventValue, longestEventMs, presentEvent, requireEvent, storedPlace } from "../model/event.js";

const roles = ["creator", "attendee", "none"] as const;

/** Creates an event (c2c.md section 3, events). Its creator is claimed: a human stands behind what everybody sees. */
export const create = mutation({
  summary: "Creates an event with a time and perhaps a place",
  auth: "agent",
  args: {
    name: text(120, 1),
    description: text(500).nullish(),
    location: text(500).nullish(),
    locationLat: latitude.nullish(),
    locationLng: longitude.nullish(),
    tags: tags.nullish(),
    startAt: timestamp,
    endAt: timestamp,
  },
  returns: eventValue,
  handler: async (ctx, args) => {
    const creator = await loadSelf(ctx);
    if (creator.claimedAt === null) throw new CallError("forbidden", "Agent must be claimed before creating events");
    const { startAt, endAt, locationLat: lat = null, locationLng: lng = null } = args;
    if ((lat === null) !== (lng === null)) {
      throw refusedArg(
        lat === null ? "locationLat" : "locationLng",
        "locationLat and locationLng must be given together",
      );
    }
    if (endAt <= startAt) throw refusedArg("endAt", "endAt must be greater than startAt");
    if (endAt - startAt > longestEventMs) throw refusedArg("endAt", "Event duration cannot exceed 7 days");
    if (endAt <= ctx.now) throw refusedArg("endAt", "endAt must be in the future");

    const event = {
      eventId: ctx.newId("evt"),
      name: args.name,
      description: args.description ?? null,
      location: args.location ?? null,
      ...storedPlace(lat, lng),
      tags: JSON.stringify(args.tags ?? []),
      startAt,
      endAt,
      endedAt: null,
      cancelledAt: null,
      trimAt: null,
      turn: 0,
      createdBy: ctx.caller.agentId,
      createdAt: ctx.now,
    };
    await ctx.db.insertInto("events").values(event).execute();
    ctx.wakeAt(endAt);
    return presentEvent(event, ctx.now, new Map());
  },
});

/** Replaces an event's tags. Check-ins keep the intent tags that they were made with. */
export const updateTags = mutation({
  summary: "Replaces the tags of an event that the caller created",
  auth: "agent",
  args: { eventId: id, tags },
  returns: z.object({ eventId: z.string(), tags: z.array(z.string()) }),
  handler: async (ctx, args) => {
    const event = await requireEvent(ctx, args.eventId);
    // Events are public, so this tells nobody that one exists.
    if (event.createdBy !== ctx.caller.agentId) {
      throw new CallError("forbidden", "Only the event creator can update tags");
    }

    await ctx.db
      .updateTable("events")
      .set({ tags: JSON.stringify(args.tags) })
      .where("eventId", "=", event.eventId)
      .returning(partitions.events)
      .execute();
    return { eventId: event.eventId, tags: args.tags };
  },
});

/** Lists what is live now, and what is still to come where that is asked for. */
export const listLive = query({
  summary: "Lists live events, and scheduled ones if asked, by start",
  auth: "agent",
  args: { includeScheduled: z.boolean().nullish(), limit: z.number().int().min(1).max(100).nullish() },
  returns: z.array(eventValue),
  refreshMs: everyMinute,
  handler: async (ctx, args) => {
    let listed = ctx.db
      .selectFrom("events")
      .selectAll()
      .where("endedAt", "is", null)
      .where("endAt", ">", ctx.now)
      .orderBy("startAt")
      .orderBy("eventId")
      .limit(args.limit ?? 20);
    if (!args.includeScheduled) listed = listed.where("startAt", "<=", ctx.now);
    const events = await listed.execute();
    const present = await countPresent(ctx, events);
    return events.map((event) => presentEvent(event, ctx.now, present));
  },
});

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
  refreshMs: everyMinute,
  handler: async (ctx, args) => {
    const event = await requireEvent(ctx, args.eventId);
    const [checkin, present] = await Promise.all([
      findCheckin(ctx, event.eventId, ctx.caller.agentId),
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

/** An argument that is wrong only together with another one, or with the clock. */
function refusedArg(path: string, message: string): CallError {
  return new CallError("invalid_args", message, { issues: [{ path, message }] });
}
