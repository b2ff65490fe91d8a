/** The tables by name: the one type that every query is checked against. */
import type { AgentCredentialsTable, AgentsTable } from "./agents.js";
import type { IdempotencyTable } from "./calls.js";
import type { ConnectionsTable } from "./connections.js";
import type { DocsTable } from "./docs.js";
import type { CheckinsTable, EventsTable, IntrosTable, LocationSharesTable } from "./events.js";
import type {
  BillingRecordsTable,
  DisputesTable,
  EntriesTable,
  HoldsTable,
  LedgerAccountsTable,
  TopUpCodesTable,
  TransfersTable,
} from "./ledger.js";
import type {
  AgentCapabilitiesTable,
  CartItemsTable,
  FavoritesTable,
  ListingCategoriesTable,
  ListingCountsTable,
  ListingWordsTable,
  PendingChangesTable,
  ProviderProfilesTable,
} from "./listings.js";
import type {
  AgentSocketsTable,
  BlockedMessagesTable,
  OrdersTable,
  ServerProcessesTable,
  SessionAbsencesTable,
  SessionMessagesTable,
  SessionParticipantsTable,
  SessionSocketsTable,
  SessionsTable,
} from "./sessions.js";
import type { ApprovalsTable, MessagesTable, ThreadsTable } from "./threads.js";
import type {
  CodeAskersTable,
  FollowsTable,
  MailboxesTable,
  MailedCodesTable,
  OutboxTable,
  SignInsTable,
  UsersTable,
} from "./users.js";

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

  users: UsersTable;
  signIns: SignInsTable;
  mailedCodes: MailedCodesTable;
  mailboxes: MailboxesTable;
  codeAskers: CodeAskersTable;
  outbox: OutboxTable;
  follows: FollowsTable;
  agentCapabilities: AgentCapabilitiesTable;
  providerProfiles: ProviderProfilesTable;
  pendingChanges: PendingChangesTable;
  listingWords: ListingWordsTable;
  listingCategories: ListingCategoriesTable;
  listingCounts: ListingCountsTable;
  favorites: FavoritesTable;
  cartItems: CartItemsTable;
  sessions: SessionsTable;
  sessionParticipants: SessionParticipantsTable;
  sessionMessages: SessionMessagesTable;
  blockedMessages: BlockedMessagesTable;
  orders: OrdersTable;
  agentSockets: AgentSocketsTable;
  sessionSockets: SessionSocketsTable;
  sessionAbsences: SessionAbsencesTable;
  serverProcesses: ServerProcessesTable;
  ledgerAccounts: LedgerAccountsTable;
  transfers: TransfersTable;
  entries: EntriesTable;
  holds: HoldsTable;
  billingRecords: BillingRecordsTable;
  disputes: DisputesTable;
  topUpCodes: TopUpCodesTable;
  docs: DocsTable;
}
