/**
 * Money, in double entry. All amounts are integers of 1/10000 of their currency. A transfer's entries sum to zero, an
 * account's balance is the sum of its entries, and rows of the journal never change (a trigger says so).
 */
import type { Currency, PricingModel } from "./listings.js";

export const accountKinds = ["wallet", "fees", "outside"] as const;
/** What a wallet's transactions can be. */
export const transactionTypes = ["recharge", "payment", "income", "refund"] as const;

/**
 * Made when first needed. `balanceMinor`, `heldMinor` and `entryCount` follow from entries and holds; never deleted.
 * Every user has three per currency, so that no two users ever wait for the same row: what they have, what the platform
 * earned from them as providers, and what they brought in from outside (which is negative).
 */
export interface LedgerAccountsTable {
  /** `wallet:<userId>:CNY`, `fees:<userId>:CNY`, `outside:<userId>:CNY`. */
  accountId: string;
  kind: (typeof accountKinds)[number];
  userId: string;
  currency: Currency;
  balanceMinor: number;
  /** What open holds reserve of the balance. */
  heldMinor: number;
  /** How many entries it has: the newest one's `position`. */
  entryCount: number;
}

/** Journal: inserted, never changed. A kind happens once to what it refers to. */
export interface TransfersTable {
  transferId: string;
  kind: "recharge" | "payment" | "refund";
  currency: Currency;
  referenceType: "topup" | "session";
  referenceId: string;
  createdAt: number;
}

/** Journal: inserted, never changed. The entries on a wallet are its owner's transactions. */
export interface EntriesTable {
  entryId: string;
  transferId: string;
  accountId: string;
  /** The entries of an account are numbered from 1, in the order in which they came about. */
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

/** One per session that needed money to start. Ends once. */
export interface HoldsTable {
  holdId: string;
  sessionId: string;
  accountId: string;
  amountMinor: number;
  status: "held" | "captured" | "released" | "expired";
  createdAt: number;
  endedAt: number | null;
}

/** One per settled session. Only `status` changes, once, by a refund. */
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
  status: "settled" | "refunded";
  createdAt: number;
}
