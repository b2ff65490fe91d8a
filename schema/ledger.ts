/**
 * Money, in double entry. All amounts are integers of 1/10000 of their currency. A transfer's entries sum to zero, an
 * account's balance is the sum of its entries, and rows of the journal never change (a trigger says so).
 */
import type { Currency, PricingModel } from "./listings.js";

const accountKinds = ["wallet", "fees", "outside"] as const;
/** The types of a wallet's transactions. */
export const transactionTypes = ["recharge", "payment", "income", "refund"] as const;

/**
 * Made when first needed. `balanceMinor`, `heldMinor`, `pendingMinor` and `entryCount` follow from entries, holds and
 * billing records; never deleted. Every user has three per currency, so that no two users ever wait for the same row:
 * what they have, what the platform earned from them as providers, and what they brought in from outside (which is
 * negative).
 */
export interface LedgerAccountsTable {
  /** `wallet:<userId>:CNY`, `fees:<userId>:CNY`, `outside:<userId>:CNY`. */
  accountId: string;
  kind: (typeof accountKinds)[number];
  userId: string;
  currency: Currency;
  balanceMinor: number;
  /** How much of the balance open holds reserve. */
  heldMinor: number;
  /** How much of the balance is income that a dispute can still take back. It cannot be spent. */
  pendingMinor: number;
  /** How many entries it has, which is the newest one's `position`. */
  entryCount: number;
}

/** Journal: inserted, never changed. There is one transfer of each kind per reference. */
export interface TransfersTable {
  transferId: string;
  kind: "recharge" | "payment" | "refund";
  currency: Currency;
  /** `record`: the rest of a record that a dispute had refunded in part. */
  referenceType: "topup" | "credit" | "code" | "session" | "record";
  referenceId: string;
  createdAt: number;
}

/** Journal: inserted, never changed. The entries on a wallet are its owner's transactions. */
export interface EntriesTable {
  entryId: string;
  transferId: string;
  accountId: string;
  /** The entries of an account are numbered from 1, in the order in which they were written. */
  position: number;
  /** The wallet's owner; null on the other accounts. */
  userId: string | null;
  type: (typeof transactionTypes)[number] | "fee" | "outside";
  /** Signed: what the account gains. */
  amountMinor: number;
  balanceAfterMinor: number;
  description: string;
  createdAt: number;
}

/** One per session that needed money to start. It ends once. */
export interface HoldsTable {
  holdId: string;
  sessionId: string;
  accountId: string;
  amountMinor: number;
  status: "held" | "captured" | "released" | "expired";
  createdAt: number;
  endedAt: number | null;
}

/** One per settled session. What was charged never changes; what was refunded of it, and what is pending, may. */
export interface BillingRecordsTable {
  recordId: string;
  sessionId: string;
  consumerUserId: string;
  providerUserId: string;
  amountMinor: number;
  platformFeeMinor: number;
  providerIncomeMinor: number;
  currency: Currency;
  pricingModel: PricingModel;
  /** JSON object. */
  meteringData: string;
  /** `refunded` once all of it was. */
  status: "settled" | "refunded";
  /** What was refunded to the consumer, and how much of that came out of the fee. */
  refundedMinor: number;
  refundedFeeMinor: number;
  /** Until when the consumer can dispute it; null for records from before there were disputes. */
  disputeUntil: number | null;
  /** How much of the provider's income is pending, and when it is released; null where nothing is pending. */
  pendingMinor: number;
  releaseAt: number | null;
  createdAt: number;
}

export const disputeStatuses = ["open", "withdrawn", "decided", "lapsed"] as const;
/** How much of the amount a decision gives back to the consumer. */
export const disputeDecisions = ["all", "part", "none"] as const;

/** One per disputed session; never deleted. Written by `sessions:dispute`, admins and the timer. Ends once. */
export interface DisputesTable {
  disputeId: string;
  sessionId: string;
  consumerUserId: string;
  reason: string;
  /** `lapsed`: nobody decided in time, so the income is the provider's. */
  status: (typeof disputeStatuses)[number];
  decision: (typeof disputeDecisions)[number] | null;
  /** The admin's word for both sides. */
  note: string | null;
  openedAt: number;
  decideBy: number;
  endedAt: number | null;
}

/** Codes that bring in money where there are no top-ups. Made and revoked by admins, redeemed once; never deleted. */
export interface TopUpCodesTable {
  codeId: string;
  codeHash: string;
  amountMinor: number;
  currency: Currency;
  /** For the admin: what the codes are for. */
  note: string | null;
  createdAt: number;
  expiresAt: number;
  revokedAt: number | null;
  redeemedAt: number | null;
  redeemedBy: string | null;
}
