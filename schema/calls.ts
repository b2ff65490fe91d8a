/** What the runtime itself remembers about calls. */

/** The first answer to a write that carried an `Idempotency-Key`. Written in the write's own transaction; the timer deletes it after 24 h. */
export interface IdempotencyTable {
  /** SHA-256 of caller and key: the key itself is not stored. */
  keyHash: string;
  /** SHA-256 of path and arguments, to tell a retry from another call under the same key. */
  requestHash: string;
  /** The outcome, encrypted under the key (a reply may hold a secret that is shown once), as base64. */
  outcome: string;
  expiresAt: number;
}
