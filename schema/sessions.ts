/** Rentals (a session is a rental), their messages, the orders that group them, and the sockets that are open for them. */
import type { Currency, OnlineStatus, PricingModel } from "./listings.js";

export const sessionStatuses = ["pending_approval", "active", "completed", "aborted", "expired"] as const;
export const billingStatuses = ["pending", "settled", "refunded"] as const;
export const orderStatuses = ["pending", "active", "completed", "cancelled"] as const;
export const sides = ["provider", "consumer"] as const;

/** At how many percent of its limit both sides of a session are told. */
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
  /** The tokens that count, and all that the provider's messages said. */
  totalTokensProvider: number;
  totalTokensReported: number;
  /** Until when the tokens that count take to produce; null before the first (functions/model/rules/token-counts.ts). */
  tokensUntil: number | null;
  totalTokensConsumer: number;
  /** Of the payloads that each side has sent. */
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
  /** When a session that nobody approves runs out; null once it is not pending. */
  expiresAt: number | null;
  /**
   * The most that the session may cost, which its consumer can raise; null where it costs nothing, and for what ended
   * before there were limits.
   */
  maxAmountMinor: number | null;
  /** When a session that is paid by the minute comes to `maxAmountMinor`; null for others. */
  limitAt: number | null;
  /** How much of `maxAmountMinor` both sides were last told is used, in percent. */
  toldLevel: SpendingLevel;
  /** When they are to be told more by time alone; null where time costs nothing or all is told. */
  levelAt: number | null;
  /** When the provider first sent a dialogue or a result; null before. A flat price is owed from then on. */
  servedAt: number | null;
  /** When the provider was suspended: what accrues after that is not charged. */
  meterStoppedAt: number | null;
  /** When the money that is held for a metered session is used up; null where time costs nothing or it ended. */
  meterAt: number | null;
  /** The session's clock: the last instant that was given to a message or frame. Rises strictly. */
  lastStampAt: number;
  /** Which status the provider's agent was last told over an open socket. */
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
  /** The consumer's slot that it goes to alone; null for all. */
  targetSlot: number | null;
  /** JSON array of participant ids. */
  mentions: string | null;
  /** JSON object. */
  payload: string;
  /** How many tokens a provider's message says it used, and how many of them count; null where it says nothing. */
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
  /** How many more of the session were stopped after this one, the last that was kept. */
  furtherBlocked: number;
  createdAt: number;
}

/** Written by `orders:create` and with the life of its sessions; never deleted. */
export interface OrdersTable {
  orderId: string;
  userId: string;
  note: string | null;
  status: OrderStatus;
  /** 1 while nothing but sessions that wait for approval keeps it open: it is closed once their time is over. */
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
 * Who has no socket in a session any more, and when the others are told so. A row is made with the last socket's end,
 * and goes when they are back, or once everything is told.
 */
export interface SessionAbsencesTable {
  sessionId: string;
  participantId: string;
  slotIndex: number;
  /** What they will be told to be. */
  next: "disconnected" | "offline";
  dueAt: number;
}

/** The server processes on this database; one that does not renew its lease is dead, and its sockets with it. */
export interface ServerProcessesTable {
  processId: string;
  leaseUntil: number;
  /** The same for processes that have the same secret, and tells nothing of it. */
  secretCheck: string | null;
}
