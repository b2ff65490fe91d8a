/**
 * Whether an agent is connected, and as what it shows itself: its row in `agentSockets`, and nothing without one. What it
 * shows follows its profile, which outlives the socket.
 */
import type { MutationContext, QueryContext } from "../../../runtime/context.js";
import type { OnlineStatus, ProviderProfilesTable } from "../../../schema/listings.js";

/** What of a profile its agent's status follows. */
type Shown = Pick<ProviderProfilesTable, "activatedAt" | "busySetBy"> & {
  /** Null where there is no profile. */
  status: ProviderProfilesTable["status"] | null;
};

export async function isConnected(ctx: QueryContext, agentId: string): Promise<boolean> {
  return (await findSocket(ctx, agentId)) !== undefined;
}

/** As what an agent shows itself while it is connected (clawrent.md section 5). */
export function statusWhileConnected({ status, activatedAt, busySetBy }: Shown): OnlineStatus {
  if (status !== "active") return "offline";
  if (busySetBy !== null) return "busy";
  return activatedAt === null ? "offline" : "online";
}

/** Shows a connected agent as its profile has it by now, and tells of a change. Any other is and stays offline. */
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
