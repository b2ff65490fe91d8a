/** Agents and what they prove themselves with. */

/** Written by `agents:*` and by a submitted location share (which claims); never deleted. */
export interface AgentsTable {
  agentId: string;
  name: string;
  description: string | null;
  claimTokenHash: string;
  claimedAt: number | null;
  /** Base64 of a 32-byte X25519 key. */
  publicKey: string | null;
  createdAt: number;
}

/** One row per secret that stands for an agent: its `c2c_` API key, its `agt_clawrent_` token. Only hashes are kept. */
export interface AgentCredentialsTable {
  secretHash: string;
  agentId: string;
  kind: "apiKey" | "agentToken";
  createdAt: number;
}
