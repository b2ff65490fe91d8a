/**
 * Changing an event and calling it off, by its creator or by an admin. When the end moves, check-ins and intros follow:
 * a bounded number in the call's own transaction, the rest by the timer. What callers see of an event that is over is
 * right at once.
 *
 * | | scheduled | live | ended |
 * |---|---|---|---|
 * | name, description, location, tags | may change | may change | no |
 * | coordinates | may change | while nobody is checked in | no |
 * | start | may change | no | no |
 * | end | may change, to a future instant | the same | no |
 * | cancel | ends it | ends it | only what was cancelled: the same success |
 */
import type { MutationContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { dayMs } from "../caps.js";
import { openIntros } from "../rules/intro-states.js";
import { activeCheckin } from "./checkin.js";
import { type EventRow, eventStatus, longestEventMs, storedPlace } from "./event.js";
import { requireRoomAt } from "./event-caps.js";

/** How far ahead an event may start: an organiser plans a year, and nobody blocks a place for longer. */
const furthestStartMs = 365 * dayMs;

/** Rows of one kind that follow an event's end in one transaction. */
const followedAtOnce = 500;

interface EventChanges {
  name?: string | null | undefined;
  description?: string | null | undefined;
  location?: string | null | undefined;
  locationLat?: number | null | undefined;
  locationLng?: number | null | undefined;
  tags?: string[] | null | undefined;
  startAt?: number | null | undefined;
  endAt?: number | null | undefined;
}

/** An argument that is wrong only together with another one, or with the clock. */
function refusedArg(path: string, message: string): CallError {
  return new CallError("invalid_args", message, { issues: [{ path, message }] });
}

/** The times and the place of an event, as `events:create` takes them too. */
export function requireTimes({ startAt, endAt }: { startAt: number; endAt: number }, now: number): void {
  if (endAt <= startAt) throw refusedArg("endAt", "endAt must be greater than startAt");
  if (endAt - startAt > longestEventMs) throw refusedArg("endAt", "Event duration cannot exceed 7 days");
  if (endAt <= now) throw refusedArg("endAt", "endAt must be in the future");
}

/** Only for a start that changes: an unchanged one may be older than the limit. */
export function requireStart(startAt: number, now: number): void {
  if (startAt > now + furthestStartMs) throw refusedArg("startAt", "startAt cannot be more than 365 days ahead");
}

export function requireBothCoordinates(lat: number | null, lng: number | null): void {
  if ((lat === null) === (lng === null)) return;
  const missing = lat === null ? "locationLat" : "locationLng";
  throw refusedArg(missing, "locationLat and locationLng must be given together");
}

/** Changes what is given; what is absent stays. Gives back the event as it is now. */
export async function changeEvent(ctx: MutationContext, event: EventRow, changes: EventChanges): Promise<EventRow> {
  const status = eventStatus(event, ctx.now);
  if (status === "ended") throw hasEnded();
  requireBothCoordinates(changes.locationLat ?? null, changes.locationLng ?? null);
  const startAt = changes.startAt ?? event.startAt;
  const endAt = changes.endAt ?? event.endAt;
  if (status === "live" && startAt !== event.startAt) {
    throw new CallError("conflict", "Event has started, so startAt cannot change", { status });
  }
  if (startAt !== event.startAt) requireStart(startAt, ctx.now);
  requireTimes({ startAt, endAt }, ctx.now);

  const changed: EventRow = {
    ...event,
    ...(await placeAfter(ctx, event, changes)),
    name: changes.name ?? event.name,
    description: changes.description ?? event.description,
    location: changes.location ?? event.location,
    tags: changes.tags ? JSON.stringify(changes.tags) : event.tags,
    startAt,
    endAt,
    startedAt: event.startedAt ?? (startAt <= ctx.now ? ctx.now : null),
  };
  const columns = Object.keys(changed) as (keyof EventRow)[];
  const differing = Object.fromEntries(
    columns.filter((column) => changed[column] !== event[column]).map((column) => [column, changed[column]]),
  );
  if (Object.keys(differing).length === 0) return event;
  await write(ctx, event, differing);
  if (changed.startedAt === null) ctx.wakeAt(startAt);
  if (endAt !== event.endAt) {
    ctx.wakeAt(endAt);
    await followOrLeave(ctx, changed);
  }
  return changed;
}

/** The columns of the place after a change. It cannot move while people are checked in there. */
async function placeAfter(ctx: MutationContext, event: EventRow, { locationLat, locationLng }: EventChanges) {
  if (locationLat == null || locationLng == null) return {};
  if (locationLat === event.locationLat && locationLng === event.locationLng) return {};
  const somebody = await ctx.db
    .selectFrom("checkins")
    .select("checkinId")
    .where("eventId", "=", event.eventId)
    .where("status", "=", activeCheckin)
    .where("expiresAt", ">", ctx.now)
    .limit(1)
    .executeTakeFirst();
  if (somebody) {
    throw new CallError(
      "conflict",
      "Somebody is checked in, so the coordinates cannot change. The location's text can.",
      {
        status: eventStatus(event, ctx.now),
      },
    );
  }
  const place = storedPlace(locationLat, locationLng);
  await requireRoomAt(ctx, place.placeCode, event);
  return place;
}

/** Calls an event off. Doing it again changes nothing. */
export async function cancelEvent(ctx: MutationContext, event: EventRow): Promise<EventRow> {
  if (event.cancelledAt !== null) return event;
  if (eventStatus(event, ctx.now) === "ended") throw hasEnded();
  const over = { cancelledAt: ctx.now, endedAt: ctx.now };
  await write(ctx, event, over);
  const cancelled = { ...event, ...over };
  await followOrLeave(ctx, cancelled);
  // Wakes the timer, which writes what callers see already: expired check-ins and intros, closed threads.
  ctx.wakeAt(ctx.now);
  return cancelled;
}

function hasEnded(): CallError {
  return new CallError("conflict", "Event has ended", { status: "ended" });
}

async function write(ctx: MutationContext, { eventId }: EventRow, columns: Partial<EventRow>): Promise<void> {
  await ctx.db.updateTable("events").set(columns).where("eventId", "=", eventId).execute();
}

async function followOrLeave(ctx: MutationContext, event: EventRow): Promise<void> {
  if (!(await followEnd(ctx, event))) return;
  await write(ctx, event, { trimAt: ctx.now });
  ctx.wakeAt(ctx.now);
}

/** Continues where more rows follow a moved end than one transaction takes. Returns whether there is more to do. */
export async function followMovedEnds(ctx: MutationContext): Promise<boolean> {
  const event = await ctx.db
    .selectFrom("events")
    .selectAll()
    .where("trimAt", "<=", ctx.now)
    .orderBy("trimAt")
    .limit(1)
    .executeTakeFirst();
  if (!event) return false;
  if (!(await followEnd(ctx, event))) await write(ctx, event, { trimAt: null });
  return true;
}

/**
 * Cuts check-ins and intros to the event's end. Confirmed intros and their threads, whose end is the event's own, move
 * with it. Returns whether there are more rows than it took.
 */
async function followEnd(ctx: MutationContext, event: EventRow): Promise<boolean> {
  const endsAt = event.cancelledAt ?? event.endAt;
  const stays = ctx.db
    .selectFrom("checkins")
    .select("checkinId")
    .where("eventId", "=", event.eventId)
    .where("status", "=", activeCheckin)
    .where("expiresAt", ">", endsAt)
    .limit(followedAtOnce);
  const cut = await ctx.db
    .updateTable("checkins")
    .set({ expiresAt: endsAt })
    .where("checkinId", "in", stays)
    .returning("checkinId")
    .execute();

  const introsThere = ctx.db.selectFrom("intros").select("introId").where("eventId", "=", event.eventId);
  const late = introsThere.where("status", "in", openIntros).where("expiresAt", ">", endsAt).limit(followedAtOnce);
  const early = introsThere
    .where("status", "in", openIntros)
    .where("status", "=", "confirmed")
    .where("expiresAt", "<", endsAt)
    .limit(followedAtOnce);
  let more = cut.length === followedAtOnce;
  for (const moved of [late, early]) {
    const intros = await ctx.db
      .updateTable("intros")
      .set({ expiresAt: endsAt })
      .where("introId", "in", moved)
      .returning("threadId")
      .execute();
    more ||= intros.length === followedAtOnce;
    const threadIds = intros.flatMap(({ threadId }) => threadId ?? []);
    if (threadIds.length === 0) continue;
    await ctx.db.updateTable("threads").set({ closesAt: endsAt }).where("threadId", "in", threadIds).execute();
  }
  return more;
}
