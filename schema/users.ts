/** The people of the marketplace and how they prove who they are. */

export const userRoles = ["consumer", "both"] as const;
export const userStatuses = ["active", "suspended", "banned"] as const;

/** Written by `users:register` and by admins; never deleted. */
export interface UsersTable {
  userId: string;
  /** Trimmed and lower-cased. */
  email: string;
  name: string;
  /** scrypt with its parameters and salt (runtime/passwords.ts). */
  passwordHash: string;
  apiKeyHash: string;
  role: (typeof userRoles)[number];
  status: (typeof userStatuses)[number];
  avatarUrl: string | null;
  createdAt: number;
  updatedAt: number;
}

/** One row per address that asked for a code; the timer deletes it an hour after the last mail. */
export interface EmailVerificationsTable {
  email: string;
  /** Null once the code is spent, or was guessed at too often. */
  codeHash: string | null;
  codeExpiresAt: number;
  wrongTries: number;
  sentAt: number;
  /** The hour in which `sentInHour` mails were sent. */
  hourStartedAt: number;
  sentInHour: number;
  expiresAt: number;
}

/** Mails that wait to be sent. Written with what they are about, in one transaction; deleted once sent or given up. */
export interface OutboxTable {
  mailId: string;
  recipient: string;
  subject: string;
  body: string;
  attempts: number;
  nextAttemptAt: number;
  createdAt: number;
}

/** Written and deleted by `follows:*`. */
export interface FollowsTable {
  followerId: string;
  userId: string;
  createdAt: number;
}
