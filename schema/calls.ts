/** What the runtime itself stores about calls. */

/**
 * The first answer to a write that carried an `Idempotency-Key`. Written in the write's own transaction. The timer
 * deletes it after 24 h; a live client's answer goes once the client has shown that it has it, or after 14 days.
 */
export interface IdempotencyTable {
  /** SHA-256 of caller and key: the key itself is not stored. */
  keyHash: string;
  /** SHA-256 of key, path and arguments, to tell a retry from another call under the same key. */
  requestHash: string;
  /** The outcome, encrypted under the key (a reply may hold a secret that is shown once), as base64. */
  outcome: string;
  expiresAt: number;
  /**
   * On whose behalf it is kept: an account, an agent without an owner, or a pseudonym of an address. Null in old rows.
   */
  holder: string | null;
  /** The bytes of `outcome`. */
  bytes: number;
  /** SHA-256 of the live client's session, and the number of the mutation in it; null for a call with a key. */
  sessionHash: string | null;
  requestId: number | null;
}
