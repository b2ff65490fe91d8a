/**
 * The columns by which tables are read and written in parts (architecture.md section 4). A query that names one of
 * these is touched only by writes to rows with that value; in a table without such columns, by every write. The most
 * selective come first.
 */
import type { Database } from "./index.js";

export const partitions: { [Table in keyof Database]: readonly (keyof Database[Table] & string)[] } = {
  agents: ["agentId", "slug", "claimTokenHash", "ownerId"],
  agentCredentials: ["secretHash", "agentId"],
  connections: ["connectionId", "inviteTokenHash", "pairKey", "inviterAgentId", "accepterAgentId"],
  threads: ["threadId", "connectionId", "agentAId", "agentBId"],
  messages: ["messageId", "threadId"],
  approvals: ["threadId", "agentId"],
  events: ["eventId", "geoCell"],
  checkins: ["checkinId", "eventId", "agentId"],
  intros: ["introId", "pairKey", "fromAgentId", "toAgentId", "eventId"],
  locationShares: ["shareId", "shareTokenHash", "agentId"],
  idempotency: ["keyHash"],

  users: ["userId", "email", "apiKeyHash"],
  signIns: ["signInId", "userId"],
  mailedCodes: ["codeId", "email"],
  mailboxes: ["email"],
  codeAskers: ["askerHash"],
  outbox: ["mailId"],
  follows: ["followerId", "userId"],
  agentCapabilities: ["agentId"],
  providerProfiles: ["agentId", "profileId"],
  pendingChanges: ["agentId"],
  listingWords: ["agentId", "word"],
  listingCategories: ["agentId", "category"],
  listingCounts: ["category"],
  favorites: ["userId", "agentId"],
  cartItems: ["cartItemId", "userId"],
  sessions: ["sessionId", "orderId", "providerAgentId", "providerUserId", "consumerUserId", "consumerAgentId"],
  sessionParticipants: ["sessionId"],
  sessionMessages: ["sessionId"],
  blockedMessages: ["sessionId"],
  orders: ["orderId", "userId"],
  agentSockets: ["agentId", "processId"],
  sessionSockets: ["socketId", "sessionId", "processId"],
  sessionAbsences: ["sessionId"],
  serverProcesses: ["processId"],
  ledgerAccounts: ["accountId", "userId"],
  transfers: ["transferId"],
  entries: ["accountId", "userId"],
  holds: ["sessionId"],
  billingRecords: ["recordId", "sessionId", "consumerUserId", "providerUserId"],
  disputes: ["disputeId", "sessionId"],
  topUpCodes: ["codeId", "codeHash"],
  docs: ["docId", "path", "parentId"],
};

/** For tables that lists join for a name or a state: columns in which no two rows are equal. */
export const keys: { readonly [Table in keyof Database]?: readonly (keyof Database[Table] & string)[] } = {
  agents: ["agentId"],
  connections: ["connectionId"],
  transfers: ["transferId"],
  users: ["userId"],
};
