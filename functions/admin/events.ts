/**
 * Admins and events: changing one and calling one off. The creator's own functions are `events:update` and
 * `events:cancel`; these are separate because a creator is an agent and an admin a user, and a function has one kind of
 * caller.
 */
import { mutation } from "../../runtime/call/define.js";
import { id, text } from "../../schema/values.js";
import { eventChanges } from "../events/gatherings.js";
import { countPresent } from "../model/events/checkin.js";
import { eventValue, presentEvent, requireEvent } from "../model/events/event.js";
import { cancelEvent as callOff, changeEvent } from "../model/events/event-changes.js";

/** The same as `events:update`, for anybody's event. */
export const updateEvent = mutation({
  summary: "Changes anybody's event: what is not given stays",
  auth: "admin",
  args: eventChanges,
  returns: eventValue,
  oneAtATime: ({ eventId }) => eventId,
  handler: async (ctx, { eventId, ...changes }) => {
    const event = await changeEvent(ctx, await requireEvent(ctx, eventId), changes);
    ctx.log.info({ eventId }, "event changed by an admin");
    return presentEvent(event, ctx.now, await countPresent(ctx, [event]));
  },
});

/** The same as `events:cancel`, for anybody's event. */
export const cancelEvent = mutation({
  summary: "Cancels anybody's event; check-ins and intros end",
  auth: "admin",
  args: { eventId: id, reason: text(500).nullish() },
  returns: eventValue,
  oneAtATime: ({ eventId }) => eventId,
  handler: async (ctx, { eventId, reason }) => {
    const event = await callOff(ctx, await requireEvent(ctx, eventId));
    // The admin's own words go to the log, like the reason for ending a session.
    ctx.log.info({ eventId, reason: reason ?? undefined }, "event cancelled by an admin");
    return presentEvent(event, ctx.now, new Map());
  },
});
