/**
 * Check-ins: who is at an event right now, and what each one says about its agent. A row's `status` may lag behind the
 * clock until the timer ran; whoever asks here gets the answer by the clock.
 */
import { sql } from "kysely";
import { z } from "zod";
import type { QueryContext } from "../../../runtime/context.js";
import { prepared } from "../../../runtime/store/prepared.js";
import { type CheckinsTable, outreachModes } from "../../../schema/events.js";
import { parseTags } from "../../../schema/values.js";
import { type EventRow, eventStatus } from "./event.js";

export type CheckinRow = CheckinsTable;

/** `active` as a literal: a bound parameter could not use the partial indexes. */
export const activeCheckin = sql.lit<"active">("active");

/** What an agent says about itself at an event. */
export const briefShape = {
  intentTags: z.array(z.string()),
  eventGoal: z.string().nullable(),
  introNote: z.string().nullable(),
  introConstraints: z.string().nullable(),
  introEnabled: z.boolean(),
  outreachMode: z.enum(outreachModes).nullable(),
};

/** The columns that hold a brief. */
export type StoredBrief = Pick<CheckinRow, keyof typeof briefShape>;

export function presentBrief(stored: StoredBrief) {
  return {
    intentTags: parseTags(stored.intentTags),
    eventGoal: stored.eventGoal,
    introNote: stored.introNote,
    introConstraints: stored.introConstraints,
    introEnabled: stored.introEnabled === 1,
    outreachMode: stored.outreachMode,
  };
}

/** An ISO instant in whole seconds, such as 2026-02-10T16:50:50Z: how `checkedInAt` goes out. */
export function isoSeconds(at: number): string {
  return new Date(at).toISOString().replace(/\.\d{3}Z$/, "Z");
}

/** The one check-in that has not been closed. Its time may have passed. */
export async function findOpenCheckin(
  ctx: QueryContext,
  eventId: string,
  agentId: string,
): Promise<CheckinRow | undefined> {
  return ctx.db
    .selectFrom("checkins")
    .selectAll()
    .where("eventId", "=", eventId)
    .where("agentId", "=", agentId)
    .where("status", "=", activeCheckin)
    .executeTakeFirst();
}

/** The agent's check-in, if it is at the event now. Nobody is at an event that is over, whatever the rows still say. */
export async function findCheckin(
  ctx: QueryContext,
  event: EventRow,
  agentId: string,
): Promise<CheckinRow | undefined> {
  const open = await findOpenCheckin(ctx, event.eventId, agentId);
  return open && open.expiresAt > ctx.now && eventStatus(event, ctx.now) !== "ended" ? open : undefined;
}

/** Counting stops here: a list of large events must not cost more than a list of small ones. */
const mostPresent = 1_000;

const presentAt = prepared(["eventId", "now"], (db, { eventId, now }) =>
  db
    .selectFrom(
      db
        .selectFrom("checkins")
        .select("checkinId")
        .where("eventId", "=", eventId)
        .where("status", "=", activeCheckin)
        .where("expiresAt", ">", now)
        .limit(mostPresent)
        .as("present"),
    )
    .select(({ fn }) => fn.countAll<number>().as("count")),
);

/** How many agents are at each of the events now, counted up to 1,000. */
export async function countPresent(
  ctx: QueryContext,
  events: readonly EventRow[],
): Promise<ReadonlyMap<string, number>> {
  const counts = await Promise.all(
    events.map(async (event): Promise<[string, number]> => {
      if (eventStatus(event, ctx.now) !== "live") return [event.eventId, 0];
      const { rows } = await presentAt(ctx, { eventId: event.eventId, now: ctx.now });
      return [event.eventId, rows[0]?.count ?? 0];
    }),
  );
  return new Map(counts);
}
