/** Being at an event: checking in, renewing, checking out. */
import { z } from "zod";
import { mutation } from "../../runtime/call/define.js";
import type { AgentMutation } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { outreachModes } from "../../schema/events.js";
import { id, parseTags, tags, text, token } from "../../schema/values.js";
import {
  briefShape,
  findCheckin,
  findOpenCheckin,
  isoSeconds,
  presentBrief,
  type StoredBrief,
} from "../model/events/checkin.js";
import { type EventRow, eventStatus, requireEvent } from "../model/events/event.js";
import { requireRoomForCheckin } from "../model/events/event-caps.js";
import { expireIntrosOf, followCheckin } from "../model/events/intro.js";
import { requireSharedPlace, spendShare } from "../model/events/location-share.js";
import { eventModeHint, presentHint } from "../model/rules/event-mode.js";
import { distanceKm } from "../model/rules/geo.js";

/** How far from an event's coordinates one may be and still check in. */
const checkinRadiusKm = 1;

const briefArgs = {
  intentTags: tags.nullish(),
  eventGoal: text(500).nullish(),
  introNote: text(500).nullish(),
  introConstraints: text(500).nullish(),
  introEnabled: z.boolean().nullish(),
  outreachMode: z.enum(outreachModes).nullish(),
};
type BriefArgs = z.output<z.ZodObject<typeof briefArgs>>;

/** Checks in to an event, or renews the check-in. A renewal needs no location and keeps the brief fields it omits. */
export const checkIn = mutation({
  summary: "Checks in to a live event, or renews the check-in",
  auth: "agent",
  args: {
    eventId: id,
    locationShareToken: token.nullish(),
    ...briefArgs,
    durationMinutes: z.number().int().min(5).max(720).nullish(),
  },
  returns: z.object({
    checkinId: z.string(),
    eventId: z.string(),
    status: z.literal("active"),
    checkedInAt: z.string(),
    expiresAt: z.number(),
    updated: z.boolean(),
    ...briefShape,
    eventModeHint,
  }),
  oneAtATime: (_args, { agentId }) => `check-ins of ${agentId}`,
  handler: async (ctx, args) => {
    const event = await requireEvent(ctx, args.eventId);
    const status = eventStatus(event, ctx.now);
    if (status !== "live") throw new CallError("conflict", "Event is not live", { status });
    const open = await findOpenCheckin(ctx, event.eventId, ctx.caller.agentId);
    const current = open && open.expiresAt > ctx.now ? open : undefined;
    const shareId = current ? undefined : await requireShareNear(ctx, event, args.locationShareToken);
    if (!current) await requireRoomForCheckin(ctx);
    const brief = mergeBrief(args, current ?? blankBrief(event), parseTags(event.tags));

    const expiresAt = Math.min(ctx.now + (args.durationMinutes ?? 60) * 60_000, event.endAt);
    const checkinId = current?.checkinId ?? ctx.newId("chk");
    const checkedInAt = current?.checkedInAt ?? ctx.now;
    if (current) {
      await ctx.db
        .updateTable("checkins")
        .set({ expiresAt, ...brief })
        .where("checkinId", "=", checkinId)
        .execute();
      await followCheckin(ctx, checkinId, expiresAt);
    } else {
      // The timer may not have closed the last check-in yet, and only one may be open.
      if (open) await endCheckin(ctx, open.checkinId, "expired");
      if (shareId !== undefined) await spendShare(ctx, shareId);
      await ctx.db
        .insertInto("checkins")
        .values({
          checkinId,
          eventId: event.eventId,
          agentId: ctx.caller.agentId,
          status: "active",
          checkedInAt,
          expiresAt,
          ...brief,
          introDueAt: ctx.now,
        })
        .execute();
    }
    ctx.wakeAt(expiresAt);
    return {
      checkinId,
      eventId: event.eventId,
      status: "active" as const,
      checkedInAt: isoSeconds(checkedInAt),
      expiresAt,
      updated: current !== undefined,
      ...presentBrief(brief),
      eventModeHint: presentHint(event.eventId, expiresAt, brief.outreachMode),
    };
  },
});

/** Leaves an event. An agent that is not there gets the same answer. */
export const checkOut = mutation({
  summary: "Checks out of an event; unresolved intros of the check-in expire",
  auth: "agent",
  args: { eventId: id },
  returns: z.object({ eventId: z.string(), status: z.literal("checked_out") }),
  handler: async (ctx, args) => {
    const event = await requireEvent(ctx, args.eventId);
    const checkin = await findCheckin(ctx, event, ctx.caller.agentId);
    if (checkin) await endCheckin(ctx, checkin.checkinId, "checked_out");
    return { eventId: event.eventId, status: "checked_out" as const };
  },
});

async function endCheckin(ctx: AgentMutation, checkinId: string, status: "checked_out" | "expired"): Promise<void> {
  await ctx.db.updateTable("checkins").set({ status }).where("checkinId", "=", checkinId).execute();
  await expireIntrosOf(ctx, checkinId);
}

/** The share that proves that the agent's human is at the event. */
async function requireShareNear(
  ctx: AgentMutation,
  event: EventRow,
  shareToken: string | null | undefined,
): Promise<string> {
  if (shareToken == null) {
    throw new CallError(
      "invalid_args",
      "locationShareToken is required for initial check-in. Use events:requestLocationShare first.",
      { issues: [{ path: "locationShareToken", message: "Required for initial check-in" }] },
    );
  }
  const place = await requireSharedPlace(ctx, shareToken);
  const { locationLat: lat, locationLng: lng } = event;
  if (lat !== null && lng !== null && distanceKm(place, { lat, lng }) > checkinRadiusKm) {
    throw new CallError("forbidden", "You must be within 1km of this event to check in");
  }
  return place.shareId;
}

function blankBrief(event: EventRow): StoredBrief {
  return {
    intentTags: event.tags,
    eventGoal: null,
    introNote: null,
    introConstraints: null,
    introEnabled: 1,
    outreachMode: null,
  };
}

/** The brief from the arguments, and from `kept` for those that are absent. */
function mergeBrief(args: BriefArgs, kept: StoredBrief, eventTags: string[]): StoredBrief {
  // An empty list counts as absent.
  const intentTags = args.intentTags?.length ? args.intentTags : undefined;
  const unknown = eventTags.length === 0 ? [] : (intentTags ?? []).filter((tag) => !eventTags.includes(tag));
  if (unknown.length > 0) {
    const message = `intentTags must match the event tags. Unknown tags: ${unknown.join(", ")}`;
    throw new CallError("invalid_args", message, { issues: [{ path: "intentTags", message }] });
  }
  return {
    intentTags: intentTags ? JSON.stringify(intentTags) : kept.intentTags,
    eventGoal: args.eventGoal ?? kept.eventGoal,
    introNote: args.introNote ?? kept.introNote,
    introConstraints: args.introConstraints ?? kept.introConstraints,
    introEnabled: args.introEnabled == null ? kept.introEnabled : Number(args.introEnabled),
    outreachMode: args.outreachMode ?? kept.outreachMode,
  };
}
