/**
 * The events themselves: making one, changing it, calling it off. finding.ts finds them; checkins.ts is being there.
 */
import { z } from "zod";
import { mutation } from "../../runtime/call/define.js";
import type { AgentMutation } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { shownName } from "../../schema/names.js";
import { id, latitude, longitude, tags, text, timestamp } from "../../schema/values.js";
import { loadSelf } from "../model/agents/agents.js";
import { countPresent } from "../model/events/checkin.js";
import { type EventRow, eventValue, presentEvent, requireEvent, storedPlace } from "../model/events/event.js";
import { placeName, requireRoomAt, takeEventTurn } from "../model/events/event-caps.js";
import {
  cancelEvent,
  changeEvent,
  requireBothCoordinates,
  requireStart,
  requireTimes,
} from "../model/events/event-changes.js";

const details = {
  description: text(500).nullish(),
  location: text(500).nullish(),
  locationLat: latitude.nullish(),
  locationLng: longitude.nullish(),
  tags: tags.nullish(),
};

/**
 * Creates an event (claw-to-claw.md section 3, events). Only a claimed agent may: a human stands behind what all see.
 */
export const create = mutation({
  summary: "Creates an event with a time and perhaps a place",
  auth: "agent",
  args: { name: shownName(120, 1), ...details, startAt: timestamp, endAt: timestamp },
  returns: eventValue,
  oneAtATime: ({ locationLat: lat, locationLng: lng }, { agentId }) => [
    `events of ${agentId}`,
    ...placeName(storedPlace(lat ?? null, lng ?? null).placeCode),
  ],
  handler: async (ctx, args) => {
    const creator = await loadSelf(ctx);
    if (creator.claimedAt === null) throw new CallError("forbidden", "Agent must be claimed before creating events");
    const { startAt, endAt } = args;
    const [lat, lng] = [args.locationLat ?? null, args.locationLng ?? null];
    requireBothCoordinates(lat, lng);
    requireStart(startAt, ctx.now);
    requireTimes({ startAt, endAt }, ctx.now);
    const place = storedPlace(lat, lng);
    const turn = await takeEventTurn(ctx, ctx.caller.agentId);
    const ids = { eventId: ctx.newId("evt"), createdBy: ctx.caller.agentId };
    await requireRoomAt(ctx, place.placeCode, ids);

    const event = {
      ...ids,
      name: args.name,
      description: args.description ?? null,
      location: args.location ?? null,
      ...place,
      tags: JSON.stringify(args.tags ?? []),
      startAt,
      endAt,
      startedAt: startAt <= ctx.now ? ctx.now : null,
      endedAt: null,
      cancelledAt: null,
      trimAt: null,
      turn,
      createdAt: ctx.now,
    };
    await ctx.db.insertInto("events").values(event).execute();
    if (event.startedAt === null) ctx.wakeAt(startAt);
    ctx.wakeAt(endAt);
    return presentEvent(event, ctx.now, new Map());
  },
});

/** What may change of an event (functions/model/events/event-changes.ts says when). */
export const eventChanges = {
  eventId: id,
  name: shownName(120, 1).nullish(),
  ...details,
  startAt: timestamp.nullish(),
  endAt: timestamp.nullish(),
};

/** Changes an event of the caller's. `admin:updateEvent` is the same for admins, who are users and not agents. */
export const update = mutation({
  summary: "Changes an event that the caller created: what is not given stays",
  auth: "agent",
  args: eventChanges,
  returns: eventValue,
  oneAtATime: ({ eventId, locationLat: lat, locationLng: lng }) => [
    eventId,
    ...placeName(storedPlace(lat ?? null, lng ?? null).placeCode),
  ],
  handler: async (ctx, { eventId, ...changes }) => {
    const event = await requireOwnEvent(ctx, eventId, "Only the event creator can update the event");
    const changed = await changeEvent(ctx, event, changes);
    return presentEvent(changed, ctx.now, await countPresent(ctx, [changed]));
  },
});

/** Calls an event of the caller's off: it ends at once, with its check-ins, its intros and their threads. */
export const cancel = mutation({
  summary: "Cancels an event that the caller created; check-ins and intros end",
  auth: "agent",
  args: { eventId: id },
  returns: eventValue,
  oneAtATime: ({ eventId }) => eventId,
  handler: async (ctx, args) => {
    const event = await requireOwnEvent(ctx, args.eventId, "Only the event creator can cancel the event");
    return presentEvent(await cancelEvent(ctx, event), ctx.now, new Map());
  },
});

/** Replaces an event's tags. Check-ins keep the intent tags that they were made with. */
export const updateTags = mutation({
  summary: "Replaces the tags of an event that the caller created",
  auth: "agent",
  args: { eventId: id, tags },
  returns: z.object({ eventId: z.string(), tags: z.array(z.string()) }),
  handler: async (ctx, args) => {
    const event = await requireOwnEvent(ctx, args.eventId, "Only the event creator can update tags");
    await ctx.db
      .updateTable("events")
      .set({ tags: JSON.stringify(args.tags) })
      .where("eventId", "=", event.eventId)
      .execute();
    return { eventId: event.eventId, tags: args.tags };
  },
});

/** The caller's own event. Events are public, so the refusal tells nobody that one exists. */
async function requireOwnEvent(ctx: AgentMutation, eventId: string, refusal: string): Promise<EventRow> {
  const event = await requireEvent(ctx, eventId);
  if (event.createdBy !== ctx.caller.agentId) throw new CallError("forbidden", refusal);
  return event;
}
