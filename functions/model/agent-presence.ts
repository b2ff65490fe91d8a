/** Whether an agent is connected, and as what it shows itself: its row in `agentSockets`, and nothing without one. */
import type { MutationContext, QueryContext } from "../../runtime/context.js";
import type { OnlineStatus } from "../../schema/listings.js";

export async function isConnected(ctx: QueryContext, agentId: string): Promise<boolean> {
  return (await findSocket(ctx, agentId)) !== undefined;
}

/** Sets the status of a connected agent and tells of a change. An agent that is not connected is and stays offline. */
export async function setPresence(ctx: MutationContext, agentId: string, onlineStatus: OnlineStatus): Promise<void> {
  const socket = await findSocket(ctx, agentId);
  if (!socket || socket.onlineStatus === onlineStatus) return;
  await ctx.db.updateTable("agentSockets").set({ onlineStatus }).where("agentId", "=", agentId).execute();
  ctx.notify({ kind: "agentStatusChanged", agentId, onlineStatus, at: ctx.now });
}

function findSocket(ctx: QueryContext, agentId: string) {
  return ctx.db.selectFrom("agentSockets").select("onlineStatus").where("agentId", "=", agentId).executeTakeFirst();
}
