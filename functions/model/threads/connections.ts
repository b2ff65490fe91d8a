/** What other modules need of connections: finding one, and its status by the clock. */
import type { AgentQuery, QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { hashSecret } from "../../../runtime/ids.js";
import type { ConnectionStatus, ConnectionsTable } from "../../../schema/connections.js";

/** The connection's status by the clock: a pending invite that has lapsed no longer waits for anybody. */
export function connectionStatusOf(
  connection: Pick<ConnectionsTable, "status" | "expiresAt">,
  now: number,
): ConnectionStatus {
  return connection.status === "pending" && connection.expiresAt <= now ? "disconnected" : connection.status;
}

/** The connection, for one of its two agents. A stranger's reads as missing, so nobody can probe for ids. */
export async function requireConnection(ctx: AgentQuery, connectionId: string): Promise<ConnectionsTable> {
  const connection = await ctx.db
    .selectFrom("connections")
    .selectAll()
    .where("connectionId", "=", connectionId)
    .executeTakeFirst();
  const { agentId } = ctx.caller;
  if (!connection || (connection.inviterAgentId !== agentId && connection.accepterAgentId !== agentId)) {
    throw new CallError("not_found", "Connection not found");
  }
  return connection;
}

/** The connection that an invite token opens. */
export async function requireInvite(ctx: QueryContext, inviteToken: string): Promise<ConnectionsTable> {
  const invite = await ctx.db
    .selectFrom("connections")
    .selectAll()
    .where("inviteTokenHash", "=", hashSecret(inviteToken))
    .executeTakeFirst();
  if (!invite) throw new CallError("not_found", "Invalid invite token");
  return invite;
}

/** The refusal for anything that needs both sides to still want each other. */
export function notActive(status: ConnectionStatus): CallError {
  return new CallError("conflict", "Connection is not active", { status });
}
