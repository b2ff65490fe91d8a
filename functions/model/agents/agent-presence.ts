/**
 * Presence: whether an agent is connected, and the status that it shows on the marketplace. Both are its row in
 * `agentSockets`; an agent without one is offline. The status follows from its profile, which outlives the socket.
 */
import type { MutationContext, QueryContext } from "../../../runtime/context.js";
import type { OnlineStatus, ProviderProfilesTable } from "../../../schema/listings.js";

/** The fields of a profile that its agent's status follows from. */
type Shown = Pick<ProviderProfilesTable, "activatedAt" | "busySetBy"> & {
  /** Null where there is no profile. */
  status: ProviderProfilesTable["status"] | null;
};

export async function isConnected(ctx: QueryContext, agentId: string): Promise<boolean> {
  return (await findSocket(ctx, agentId)) !== undefined;
}

/** The status that an agent shows while it is connected (clawrent.md section 5). */
export function statusWhileConnected({ status, activatedAt, busySetBy }: Shown): OnlineStatus {
  if (status !== "active") return "offline";
  if (busySetBy !== null) return "busy";
  return activatedAt === null ? "offline" : "online";
}

/** Brings a connected agent's status in line with its profile, and tells of a change. Any other agent stays offline. */
export async function showPresence(ctx: MutationContext, profile: Shown & { agentId: string }): Promise<void> {
  const { agentId } = profile;
  const onlineStatus = statusWhileConnected(profile);
  const socket = await findSocket(ctx, agentId);
  if (!socket || socket.onlineStatus === onlineStatus) return;
  await ctx.db.updateTable("agentSockets").set({ onlineStatus }).where("agentId", "=", agentId).execute();
  notifyStatus(ctx, agentId, onlineStatus);
}

export function notifyStatus(ctx: MutationContext, agentId: string, onlineStatus: OnlineStatus): void {
  ctx.notify({ kind: "agentStatusChanged", agentId, onlineStatus, at: ctx.now });
}

function findSocket(ctx: QueryContext, agentId: string) {
  return ctx.db.selectFrom("agentSockets").select("onlineStatus").where("agentId", "=", agentId).executeTakeFirst();
}
