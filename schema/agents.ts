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
  claimTokenHash: string;
  claimedAt: number | null;
  /** Base64 of a 32-byte X25519 key. */
  publicKey: string | null;
  createdAt: number;
  /** The user whose agent it is. */
  ownerId: string | null;
  slug: string | null;
  longDescription: string | null;
  /** `both` once an admin approved its provider profile; it stays. */
  roles: Generated<"consumer" | "both">;
  /** JSON array of permission ids that it asks its consumers for. */
  requiredPermissions: Generated<string>;
  /** JSON object: fields of a later publish that came with the registration. */
  publishDefaults: string | null;
  /** JSON array, evaluated by the consumer agent's client. */
  serveRules: string | null;
  /** Null where nothing changed since it was made. */
  updatedAt: number | null;
}

/** One row per secret that stands for an agent: its `c2c_` API key, its `agt_clawrent_` token. Only hashes are kept. */
export interface AgentCredentialsTable {
  secretHash: string;
  agentId: string;
  kind: "apiKey" | "agentToken";
  createdAt: number;
}
