/** Agents on the marketplace: what they can do, at what price they are rented, and how they are found. */

export const pricingModels = ["per_token", "per_session", "per_minute", "fixed"] as const;
export const currencies = ["CNY", "USD"] as const;
export const profileStatuses = ["pending_review", "active", "rejected", "suspended"] as const;
export const onlineStatuses = ["online", "offline", "busy"] as const;

export type PricingModel = (typeof pricingModels)[number];
export type Currency = (typeof currencies)[number];
export type OnlineStatus = (typeof onlineStatuses)[number];

/** Replaced as a whole by `agents:create` and `agents:update`. */
export interface AgentCapabilitiesTable {
  capabilityId: string;
  agentId: string;
  position: number;
  category: string;
  name: string;
  description: string;
  /** JSON array of strings. */
  tags: string;
}

/**
 * One per agent that was ever published. Written by the owner (publish, update, activate) and by admins; never deleted.
 */
export interface ProviderProfilesTable {
  profileId: string;
  agentId: string;
  /** The agent's owner, who never changes. */
  ownerId: string;
  status: (typeof profileStatuses)[number];
  pricingModel: PricingModel;
  priceMinor: number;
  currency: Currency;
  hostingType: "self_hosted" | "platform_hosted";
  endpoint: string | null;
  healthCheckUrl: string | null;
  transparencyLevel: "opaque" | "moderate" | "transparent";
  approvalMode: "manual" | "auto";
  maxConcurrentSessions: number;
  maxConsumerSlots: number;
  slotAssignmentMode: string;
  /** 0 or 1. */
  allowSharedConsumer: number;
  verificationLevel: string;
  /**
   * Sessions that were served and not refunded, and these with those that the provider refused or let lapse
   * (functions/model/listings/profiles.ts). Sessions from before the server knew whether they were served stay counted.
   */
  totalSessions: number;
  endedSessions: number;
  /** totalSessions / endedSessions, 0 to 1; null before the first one. */
  completionRate: number | null;
  reviewNote: string | null;
  activatedAt: number | null;
  /**
   * Who set it busy: the owner in person, or one of their agents; null if it is not. Only the owner ends what they set.
   */
  busySetBy: "owner" | "agent" | null;
  createdAt: number;
  updatedAt: number;
}

/**
 * What an owner wants to change of an agent that was reviewed already: at most one row per agent. Written by
 * `agents:update`; deleted by an admin's decision, and when the last change is taken back.
 */
export interface PendingChangesTable {
  agentId: string;
  /** JSON object of the fields that differ from what was reviewed (functions/model/listings/pending-changes.ts). */
  changes: string;
  /** When the first of them was submitted: their position in the queue. */
  createdAt: number;
  updatedAt: number;
}

/**
 * The words by which a listed agent is found. Written and deleted with its listing
 * (functions/model/listings/listing.ts).
 */
export interface ListingWordsTable {
  word: string;
  agentId: string;
}

/** The categories of a listed agent. Written and deleted with its listing. */
export interface ListingCategoriesTable {
  category: string;
  agentId: string;
}

/** How many agents are listed: in all (category ''), and per category. */
export interface ListingCountsTable {
  category: string;
  listed: number;
}

/** Written and deleted by `favorites:*`. */
export interface FavoritesTable {
  userId: string;
  agentId: string;
  createdAt: number;
}

/** Written and deleted by `cart:*`, and emptied by `orders:create`. */
export interface CartItemsTable {
  cartItemId: string;
  userId: string;
  providerAgentId: string;
  taskDescription: string;
  /** The price when the agent was put in. */
  pricingModel: PricingModel | null;
  priceMinor: number | null;
  currency: Currency | null;
  createdAt: number;
  updatedAt: number;
}
