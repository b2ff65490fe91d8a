/**
 * Events as functions see them: loaded or refused, with their status by the clock, and in the shape that callers get.
 * checkin.ts knows who is there.
 */
import { z } from "zod";
import type { QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { type EventStatus, type EventsTable, eventStatuses } from "../../../schema/events.js";
import { cellOfCode, geoCellLevel, placeCode } from "../../../schema/place-code.js";
import { parseTags } from "../../../schema/values.js";

export type EventRow = EventsTable;

export const longestEventMs = 7 * 24 * 60 * 60 * 1_000;

/** An event on the wire. */
export const eventValue = z.object({
  eventId: z.string(),
  name: z.string(),
  description: z.string().optional(),
  location: z.string().optional(),
  locationLat: z.number().optional(),
  locationLng: z.number().optional(),
  tags: z.array(z.string()),
  startAt: z.number(),
  endAt: z.number(),
  status: z.enum(eventStatuses),
  createdBy: z.string(),
  checkinCount: z.number(),
  cancelledAt: z.number().optional(),
});

/**
 * A cancelled event has ended, since clients know three states. What the timer has written counts even for a process
 * whose clock is behind the timer's: nothing would wake that process again at the instant by its own clock.
 */
export function eventStatus(
  event: Pick<EventRow, "startAt" | "startedAt" | "endAt" | "endedAt" | "cancelledAt">,
  now: number,
): EventStatus {
  if (event.cancelledAt !== null || event.endedAt !== null || event.endAt <= now) return "ended";
  return event.startedAt !== null || event.startAt <= now ? "live" : "scheduled";
}

/** How far the clock of the timer's process may be ahead of this one's. */
export const mostSkewMs = 60_000;

export async function requireEvent(ctx: QueryContext, eventId: string): Promise<EventRow> {
  const event = await ctx.db.selectFrom("events").selectAll().where("eventId", "=", eventId).executeTakeFirst();
  if (!event) throw new CallError("not_found", "Event not found");
  return event;
}

/** The columns of an event's coordinates. */
export function storedPlace(lat: number | null, lng: number | null) {
  const code = lat === null || lng === null ? null : placeCode({ lat, lng });
  return {
    locationLat: lat,
    locationLng: lng,
    placeCode: code,
    geoCell: code === null ? null : cellOfCode(code, geoCellLevel),
  };
}

/** An event as its callers see it; `present` comes from `countPresent`. */
export function presentEvent(
  event: EventRow,
  now: number,
  present: ReadonlyMap<string, number>,
): z.input<typeof eventValue> {
  return {
    eventId: event.eventId,
    name: event.name,
    description: event.description ?? undefined,
    location: event.location ?? undefined,
    locationLat: event.locationLat ?? undefined,
    locationLng: event.locationLng ?? undefined,
    tags: parseTags(event.tags),
    startAt: event.startAt,
    endAt: event.endAt,
    status: eventStatus(event, now),
    createdBy: event.createdBy,
    checkinCount: present.get(event.eventId) ?? 0,
    cancelledAt: event.cancelledAt ?? undefined,
  };
}
