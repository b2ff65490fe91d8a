/**
 * Rentals (a session is a rental), their messages, the orders that group them, and the sockets that are open for them.
 */
import type { Currency, OnlineStatus, PricingModel } from "./listings.js";

export const sessionStatuses = ["pending_approval", "active", "completed", "aborted", "expired"] as const;
export const billingStatuses = ["pending", "settled", "refunded"] as const;
export const orderStatuses = ["pending", "active", "completed", "cancelled"] as const;
export const sides = ["provider", "consumer"] as const;

/** The shares of its limit, in percent, at which both sides of a session are told. */
export const spendingLevels = [50, 80, 100] as const;
export type SpendingLevel = 0 | (typeof spendingLevels)[number];

export type SessionStatus = (typeof sessionStatuses)[number];
export type OrderStatus = (typeof orderStatuses)[number];
/** The two sides of a rental. */
export type Side = (typeof sides)[number];

/** Written by `sessions:*`, `orders:*`, admins and the timer; never deleted. */
export interface SessionsTable {
  sessionId: string;
  orderId: string | null;
  providerAgentId: string;
  providerUserId: string;
  consumerUserId: string;
  consumerAgentId: string | null;
  taskDescription: string;
  /** JSON object: permission id → {granted, constraints?}. */
  grantedPermissions: string;
  /** JSON array of permission ids. */
  missingPermissions: string;
  status: SessionStatus;
  /** 0 or 1. */
  needsManualReview: number;
  /** JSON, null when clean. */
  guardrailDecision: string | null;
  maxSlots: number;
  pricingModel: PricingModel;
  priceMinor: number;
  currency: Currency;
  totalMessages: number;
  totalInstructions: number;
  /** The tokens that count, and all that the provider's messages reported. */
  totalTokensProvider: number;
  totalTokensReported: number;
  /**
   * How far the counted tokens reach into the session's time; null before the first
   * (functions/model/rules/token-counts.ts).
   */
  tokensUntil: number | null;
  totalTokensConsumer: number;
  /** The bytes of the payloads that each side has sent. */
  providerPayloadBytes: number;
  consumerPayloadBytes: number;
  billingStatus: (typeof billingStatuses)[number];
  /** When its consumer disputed it; null where they never did. What became of that is in `disputes`. */
  disputedAt: number | null;
  /** The three amounts of the settlement; null before it. */
  billingAmountMinor: number | null;
  platformFeeMinor: number | null;
  providerIncomeMinor: number | null;
  startedAt: number | null;
  endedAt: number | null;
  endReason: string | null;
  /** When a session that nobody approves expires; null once it is no longer pending. */
  expiresAt: number | null;
  /**
   * The most that the session may cost, which its consumer can raise; null where it costs nothing, and for sessions
   * that ended before there were limits.
   */
  maxAmountMinor: number | null;
  /** When a session that is paid by the minute reaches `maxAmountMinor`; null for others. */
  limitAt: number | null;
  /** The share of `maxAmountMinor`, in percent, that both sides were last told is used. */
  toldLevel: SpendingLevel;
  /** When time alone brings the next such share; null where time costs nothing or both have been told of the last. */
  levelAt: number | null;
  /** When the provider first sent a dialogue or a result; null before. A flat price is owed from then on. */
  servedAt: number | null;
  /** When the provider was suspended: what accrues after that is not charged. */
  meterStoppedAt: number | null;
  /** When the money that is held for a metered session is used up; null where time costs nothing, or after its end. */
  meterAt: number | null;
  /** The session's clock: the last instant that was given to a message or frame. Rises strictly. */
  lastStampAt: number;
  /** The status that the provider's agent last heard of over an open socket. */
  announced: "pending_approval" | "active" | null;
  createdAt: number;
  updatedAt: number;
}

/** Who may take part in a session. Made with it; `pausedAt` and `confirmedAt` change. */
export interface SessionParticipantsTable {
  sessionId: string;
  /** The agent's id, or the user's where no agent acts. */
  participantId: string;
  type: "agent" | "user";
  side: Side;
  userId: string;
  agentId: string | null;
  pausedAt: number | null;
  /** Everything for this participant up to this stamp is known to have arrived. */
  confirmedAt: number;
}

/** Written once; only `delivered` changes, from 0 to 1. */
export interface SessionMessagesTable {
  sessionId: string;
  /** The stamp: unique and rising within the session. */
  createdAt: number;
  messageId: string;
  /** The id that the sender gave it; the same id from the same side is the same message. */
  clientId: string | null;
  type: string;
  senderSide: Side;
  senderParticipantId: string;
  senderUserId: string;
  senderAgentId: string | null;
  /** The consumer's slot that it came from; null for the provider. */
  slotIndex: number | null;
  /** The one consumer slot that it is for; null for all. */
  targetSlot: number | null;
  /** JSON array of participant ids. */
  mentions: string | null;
  /** JSON object. */
  payload: string;
  /** How many tokens a provider's message says it used, and how many of them count; null where it reports none. */
  tokensReported: number | null;
  tokensCounted: number | null;
  delivered: number;
}

/** Messages that the gateway stopped, kept for audit; never deleted. */
export interface BlockedMessagesTable {
  messageId: string;
  sessionId: string;
  type: string;
  senderSide: Side;
  senderParticipantId: string;
  payload: string;
  category: string;
  reason: string;
  /** On the last message kept of a session: how many more were stopped after it. */
  furtherBlocked: number;
  createdAt: number;
}

/** Written by `orders:create` and with the life of its sessions; never deleted. */
export interface OrdersTable {
  orderId: string;
  userId: string;
  note: string | null;
  status: OrderStatus;
  /** 1 while only sessions that wait for approval keep it open: it ends once their time is over. */
  awaitsApproval: number;
  totalMinor: number;
  currency: Currency;
  createdAt: number;
  updatedAt: number;
}

/** The open `/ws/agent` socket of an agent; a row goes with its socket or with its process. */
export interface AgentSocketsTable {
  agentId: string;
  socketId: string;
  processId: string;
  onlineStatus: OnlineStatus;
  connectedAt: number;
}

/** Every open `/ws/session` and `/ws/group` socket; a row goes with its socket or with its process. */
export interface SessionSocketsTable {
  socketId: string;
  sessionId: string;
  participantId: string;
  side: Side;
  /** 0 for the provider. */
  slotIndex: number;
  channel: "session" | "group";
  processId: string;
  connectedAt: number;
}

/**
 * Participants without a socket in a session, and when the others are told. A row is written when their last socket is
 * gone, and deleted when they are back or the others have been told everything.
 */
export interface SessionAbsencesTable {
  sessionId: string;
  participantId: string;
  slotIndex: number;
  /** What the others will hear next. */
  next: "disconnected" | "offline";
  dueAt: number;
}

/**
 * The server processes on this database. One that does not renew its lease counts as dead, and its sockets as closed.
 */
export interface ServerProcessesTable {
  processId: string;
  leaseUntil: number;
  /** Equal for processes that have the same secret, and reveals nothing of it. */
  secretCheck: string | null;
}
