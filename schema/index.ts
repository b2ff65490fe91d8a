/** The tables by name: the one type that every query is checked against. */
import type { AgentCredentialsTable, AgentsTable } from "./agents.js";
import type { IdempotencyTable } from "./calls.js";
import type { ConnectionsTable } from "./connections.js";
import type { CheckinsTable, EventsTable, IntrosTable, LocationSharesTable } from "./events.js";
import type { ApprovalsTable, MessagesTable, ThreadsTable } from "./threads.js";

export interface Database {
  agents: AgentsTable;
  agentCredentials: AgentCredentialsTable;
  connections: ConnectionsTable;
  threads: ThreadsTable;
  messages: MessagesTable;
  approvals: ApprovalsTable;
  events: EventsTable;
  checkins: CheckinsTable;
  intros: IntrosTable;
  locationShares: LocationSharesTable;
  idempotency: IdempotencyTable;
}
