import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import { CallError } from "../../runtime/errors.js";
import { hashSecret } from "../../runtime/ids.js";
import { shownName } from "../../schema/names.js";
import { latitude, longitude, token } from "../../schema/values.js";
import { requireRoomForShare } from "../model/events/event-caps.js";
import {
  locationUseMs,
  openPlace,
  requireOwnShare,
  requireShare,
  sealPlace,
  shareStatus,
  shareStatuses,
} from "../model/events/location-share.js";

/** Makes a link for the agent's human. */
export const requestLocationShare = mutation({
  summary: "Makes a one-time link by which a human shares a location",
  auth: "agent",
  args: { label: shownName(120).nullish(), expiresInMinutes: z.number().int().min(1).max(60).nullish() },
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

/**
 * Takes the location from whoever holds the link. This human also claims the agent by it, which spends its claim link.
 */
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
      .execute();
    await ctx.db
      .updateTable("agents")
      .set({ claimedAt: ctx.now, claimSpentAt: ctx.now })
      .where("agentId", "=", share.agentId)
      .where("claimedAt", "is", null)
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
  handler: async (ctx, args) => {
    const share = await requireOwnShare(ctx, args.shareToken);
    const status = shareStatus(share, ctx.now);
    const { sealedPlace } = share;
    // By the clock the place is gone, even if the timer has not removed it yet.
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
