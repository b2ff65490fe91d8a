/** One-time links by which a human tells its agent where it is, and the search for events near that place. */
import type { NotNull } from "kysely";
import { z } from "zod";
import { everyMinute, mutation, query } from "../../runtime/define.js";
import { CallError } from "../../runtime/errors.js";
import { hashSecret } from "../../runtime/ids.js";
import { partitions } from "../../schema/partitions.js";
import { latitude, longitude, text, token } from "../../schema/values.js";
import { countPresent } from "../model/checkin.js";
import { eventValue, presentEvent } from "../model/event.js";
import { requireRoomForShare } from "../model/event-caps.js";
import { distanceKm, geoCellsAround } from "../model/geo.js";
import {
  locationUseMs,
  openPlace,
  requireOwnShare,
  requireShare,
  requireSharedPlace,
  sealPlace,
  shareStatus,
  shareStatuses,
} from "../model/location-share.js";

/** Makes a link for the agent's human. */
export const requestLocationShare = mutation({
  summary: "Makes a one-time link by which a human shares a location",
  auth: "agent",
  args: { label: text(120).nullish(), expiresInMinutes: z.number().int().min(1).max(60).nullish() },
  returns: z.object({ shareToken: z.string(), shareUrl: z.string(), expiresAt: z.number() }),
  oneAtATime: (_args, { agentId }) => `location shares of ${agentId}`,
  handler: async (ctx, args) => {
    await requireRoomForShare(ctx);
    const shareToken = ctx.newSecret("loc_");
    const expiresAt = ctx.now + (args.expiresInMinutes ?? 15) * 60_000;
    await ctx.db
      .insertInto("locationShares")
      .values({
        shareId: ctx.newId("shr"),
        shareTokenHash: hashSecret(shareToken),
        agentId: ctx.caller.agentId,
        label: args.label ?? null,
        status: "pending",
        sealedPlace: null,
        createdAt: ctx.now,
        sharedAt: null,
        expiresAt,
      })
      .execute();
    ctx.wakeAt(expiresAt);
    return { shareToken, shareUrl: `${ctx.publicUrl}/share/${shareToken}`, expiresAt };
  },
});

/** What the page behind the link shows to the human who opens it. */
export const getShareRequest = query({
  summary: "Says which agent asks for a location, and whether the link is still good",
  auth: "none",
  args: { shareToken: token },
  returns: z.object({
    agentName: z.string(),
    label: z.string().nullable(),
    status: z.enum(shareStatuses),
    expiresAt: z.number(),
  }),
  refreshMs: everyMinute,
  handler: async (ctx, args) => {
    const share = await requireShare(ctx, args.shareToken);
    const agent = await ctx.db
      .selectFrom("agents")
      .select("name")
      .where("agentId", "=", share.agentId)
      .executeTakeFirstOrThrow();
    return {
      agentName: agent.name,
      label: share.label,
      status: shareStatus(share, ctx.now),
      expiresAt: share.expiresAt,
    };
  },
});

/** Takes the location from whoever holds the link. That a human opened it also claims the agent. */
export const submitLocationShare = mutation({
  summary: "Submits the location that a link asks for, and claims the agent",
  auth: "none",
  args: {
    shareToken: token,
    lat: latitude,
    lng: longitude,
    accuracyMeters: z.number().nonnegative().nullish(),
  },
  returns: z.object({ status: z.literal("completed"), claimed: z.literal(true) }),
  handler: async (ctx, args) => {
    const share = await requireShare(ctx, args.shareToken);
    if (share.sharedAt !== null) {
      throw new CallError("conflict", "Location already shared with this link", {
        status: shareStatus(share, ctx.now),
      });
    }
    if (share.expiresAt <= ctx.now) {
      throw new CallError("expired", "Location share token has expired", { status: "expired" });
    }

    const expiresAt = ctx.now + locationUseMs;
    await ctx.db
      .updateTable("locationShares")
      .set({
        status: "completed",
        sealedPlace: sealPlace(args.shareToken, args, args.accuracyMeters ?? null),
        sharedAt: ctx.now,
        expiresAt,
      })
      .where("shareId", "=", share.shareId)
      .returning(partitions.locationShares)
      .execute();
    await ctx.db
      .updateTable("agents")
      .set({ claimedAt: ctx.now })
      .where("agentId", "=", share.agentId)
      .where("claimedAt", "is", null)
      .returning(partitions.agents)
      .execute();
    ctx.wakeAt(expiresAt);
    return { status: "completed" as const, claimed: true as const };
  },
});

/** Tells the agent that asked whether its human has answered. */
export const getLocationShare = query({
  summary: "Reads the state of the caller's own location share",
  auth: "agent",
  args: { shareToken: token },
  returns: z.object({
    status: z.enum(shareStatuses),
    label: z.string().nullable(),
    lat: z.number().optional(),
    lng: z.number().optional(),
    sharedAt: z.number().optional(),
    expiresAt: z.number(),
  }),
  refreshMs: everyMinute,
  handler: async (ctx, args) => {
    const share = await requireOwnShare(ctx, args.shareToken);
    const status = shareStatus(share, ctx.now);
    const { sealedPlace } = share;
    // The timer may not have removed the place yet; by the clock it is gone.
    const place = status === "completed" && sealedPlace !== null ? openPlace(args.shareToken, sealedPlace) : undefined;
    return {
      status,
      label: share.label,
      lat: place?.lat,
      lng: place?.lng,
      sharedAt: share.sharedAt ?? undefined,
      expiresAt: share.expiresAt,
    };
  },
});

/** Finds events around a shared location. Searching does not spend the share: a check-in follows. */
export const listNearby = query({
  summary: "Lists live events around a shared location, nearest first",
  auth: "agent",
  args: {
    shareToken: token,
    radiusKm: z.number().min(0.05).max(50).nullish(),
    includeScheduled: z.boolean().nullish(),
    limit: z.number().int().min(1).max(100).nullish(),
  },
  returns: z.array(eventValue.extend({ distanceKm: z.number() })),
  refreshMs: everyMinute,
  handler: async (ctx, args) => {
    const here = await requireSharedPlace(ctx, args.shareToken);
    const radiusKm = args.radiusKm ?? 1;
    const cells = geoCellsAround(here, radiusKm).map(({ number }) => number);
    let around = ctx.db
      .selectFrom("events")
      .selectAll()
      .where("geoCell", "in", cells)
      .where("endedAt", "is", null)
      .where("endAt", ">", ctx.now)
      .orderBy("startAt")
      .orderBy("eventId")
      .$narrowType<{ locationLat: NotNull; locationLng: NotNull }>();
    if (!args.includeScheduled) around = around.where("startAt", "<=", ctx.now);

    const nearest = (await around.execute())
      .map((event) => ({ ...event, km: distanceKm(here, { lat: event.locationLat, lng: event.locationLng }) }))
      .filter(({ km }) => km <= radiusKm)
      // Those at the same distance stay in the order of the query.
      .sort((a, b) => a.km - b.km)
      .slice(0, args.limit ?? 20);
    const present = await countPresent(ctx, nearest);
    return nearest.map((event) => ({
      ...presentEvent(event, ctx.now, present),
      // Whole metres: finer than any phone knows where it is.
      distanceKm: Math.round(event.km * 1_000) / 1_000,
    }));
  },
});
