/** Agents and what they prove themselves with. */
import type { Generated } from "kysely";

/**
 * Written by `agents:*` and by a submitted location share (which claims); never deleted. An agent that registered
 * itself has no owner and no slug until a signed-in user takes it over.
 */
export interface AgentsTable {
  agentId: string;
  name: string;
  description: string | null;
  /** The hash of the token in the link by which a human claims it; a new link replaces the old one. */
  claimTokenHash: string;
  /** When that link was used; null for one that still works. */
  claimSpentAt: number | null;
  /** The signed-in user who claimed it, until it has an owner or a new link. */
  claimedBy: string | null;
  claimedAt: number | null;
  /** Base64 of a 32-byte X25519 key. */
  publicKey: string | null;
  createdAt: number;
  /** The user whose agent it is. */
  ownerId: string | null;
  /**
   * The hash of the agent token that made it, took it over or gave it its token; null where its owner did so
   * themselves.
   */
  parentTokenHash: string | null;
  slug: string | null;
  longDescription: string | null;
  /** `both` once an admin has approved its provider profile, and for good. */
  roles: Generated<"consumer" | "both">;
  /** JSON array of permission ids that it asks its consumers for. */
  requiredPermissions: Generated<string>;
  /** JSON object: fields for the first publish that came with the registration. */
  publishDefaults: string | null;
  /** JSON array, evaluated by the consumer agent's client. */
  serveRules: string | null;
  /** Null if nothing has changed since it was made. */
  updatedAt: number | null;
}

export const credentialKinds = ["apiKey", "agentToken"] as const;
/** What made a credential: the registration, the agent by its own key, its owner in person, or an agent token. */
export const credentialMakers = ["registration", "agent", "owner", "agentToken"] as const;

/** One row per secret that stands for an agent: its `c2c_` API key, its `agt_clawrent_` token. Only hashes are kept. */
export interface AgentCredentialsTable {
  secretHash: string;
  agentId: string;
  kind: (typeof credentialKinds)[number];
  createdAt: number;
  madeBy: Generated<(typeof credentialMakers)[number]>;
  /** The agent whose token made it, where one did. */
  madeByAgentId: string | null;
  /** When a rotated key ends; null for the current one of its kind. */
  expiresAt: number | null;
  /** 1 for a key that replaced another and was never used. */
  isUnused: Generated<number>;
}
