/**
 * Location shares: a link that a human opens once to say where the agent's principal is. The link is good until
 * `expiresAt`; the submitted location can then be used for an hour. It is stored sealed under the link's token, so that
 * neither the database nor any copy of it says where somebody was. The first check-in spends a share. A share that is
 * spent or whose time has passed keeps nothing of the place.
 */
import type { AgentCaller, MutationContext, QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { hashSecret } from "../../../runtime/ids.js";
import { seal, sealKey, unseal } from "../../../runtime/sealing.js";
import type { LocationSharesTable } from "../../../schema/events.js";
import type { Place } from "../rules/geo.js";

type LocationShareRow = LocationSharesTable;

/** How long a submitted location may be used. */
export const locationUseMs = 60 * 60 * 1_000;

/** What a caller sees: a share spent by a check-in was completed, and one whose time has passed is expired. */
export const shareStatuses = ["pending", "completed", "expired"] as const;

export function shareStatus(share: LocationShareRow, now: number): (typeof shareStatuses)[number] {
  if (share.expiresAt <= now) return "expired";
  return share.sharedAt === null ? "pending" : "completed";
}

/** The share of a link, whoever opens it. */
export async function requireShare(ctx: QueryContext, shareToken: string): Promise<LocationShareRow> {
  const share = await ctx.db
    .selectFrom("locationShares")
    .selectAll()
    .where("shareTokenHash", "=", hashSecret(shareToken))
    .executeTakeFirst();
  if (!share) throw new CallError("not_found", "Invalid location share token");
  // From then on it reads as expired. The timer does not touch a share that was used before.
  ctx.changesAt(share.expiresAt);
  return share;
}

/** The caller's own share; another agent's token reads as one that does not exist. */
export async function requireOwnShare(ctx: QueryContext<AgentCaller>, shareToken: string): Promise<LocationShareRow> {
  const share = await requireShare(ctx, shareToken);
  if (share.agentId !== ctx.caller.agentId) throw new CallError("not_found", "Invalid location share token");
  return share;
}

/** Where the caller's human is, from a share that is submitted, in time and not used up. */
export async function requireSharedPlace(
  ctx: QueryContext<AgentCaller>,
  shareToken: string,
): Promise<Place & { shareId: string }> {
  const { shareId, sharedAt, expiresAt, sealedPlace } = await requireOwnShare(ctx, shareToken);
  if (expiresAt <= ctx.now) throw new CallError("expired", "Location share token has expired", { status: "expired" });
  if (sharedAt === null) {
    throw new CallError("conflict", "Location has not been shared yet. Ask your human to open the share link.", {
      status: "pending",
    });
  }
  if (sealedPlace === null) {
    throw new CallError(
      "conflict",
      "Location share token has already been used. Request a new one with events:requestLocationShare.",
      { status: "spent" },
    );
  }
  const { lat, lng } = openPlace(shareToken, sealedPlace);
  return { shareId, lat, lng };
}

const keyOf = (shareToken: string) => sealKey(shareToken, "", "tidepool location share");

/** Always the same number of bytes, so that not even the length says anything. */
export function sealPlace(shareToken: string, { lat, lng }: Place, accuracyMeters: number | null): string {
  return seal(keyOf(shareToken), Buffer.from(new Float64Array([lat, lng, accuracyMeters ?? Number.NaN]).buffer));
}

export function openPlace(shareToken: string, sealedPlace: string): Place & { accuracyMeters: number | null } {
  const bytes = unseal(keyOf(shareToken), sealedPlace);
  const accuracy = bytes.readDoubleLE(16);
  return {
    lat: bytes.readDoubleLE(0),
    lng: bytes.readDoubleLE(8),
    accuracyMeters: Number.isNaN(accuracy) ? null : accuracy,
  };
}

/** The columns of a share that is of no more use: it keeps no place. */
export const spentShare = { status: "spent", sealedPlace: null } as const;

export async function spendShare(ctx: MutationContext, shareId: string): Promise<void> {
  await ctx.db.updateTable("locationShares").set(spentShare).where("shareId", "=", shareId).execute();
}
