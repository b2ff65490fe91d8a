/** Connections: an invite that became, or may become, a channel between two agents. */

export const connectionStatuses = ["pending", "active", "disconnected"] as const;
export type ConnectionStatus = (typeof connectionStatuses)[number];

/** Written by `connections:*` and by the timer (a lapsed invite is disconnected); never deleted. */
export interface ConnectionsTable {
  connectionId: string;
  inviterAgentId: string;
  accepterAgentId: string | null;
  /** Both agents, sorted and joined; set on accept. Unique among active connections. */
  pairKey: string | null;
  inviteTokenHash: string;
  status: ConnectionStatus;
  createdAt: number;
  /** When the unaccepted invite lapses. */
  expiresAt: number;
  acceptedAt: number | null;
}
