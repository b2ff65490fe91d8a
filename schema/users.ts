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

/** Sign-ins, open and ended. Written by `users:*`; deleted by the timer some time after they ran out. */
export interface SignInsTable {
  signInId: string;
  userId: string;
  createdAt: number;
  /** When the JWT that names it expires. */
  expiresAt: number;
  /** When it was ended, if before that. */
  endedAt: number | null;
  /** To about an hour. */
  lastSeenAt: number;
  /** Where it came from: the network address, and the program's name for itself; null for older sign-ins. */
  address: string | null;
  userAgent: string | null;
}

const codePurposes = ["register", "reset"] as const;

/** The mailed codes that still work (functions/model/users/mailed-codes.ts). Deleted once spent, void or expired. */
export interface MailedCodesTable {
  codeId: string;
  email: string;
  purpose: (typeof codePurposes)[number];
  codeHash: string;
  /** Wrong guesses by anybody since it was mailed. */
  wrongTries: number;
  expiresAt: number;
}

/** Addresses that were mailed to lately; the timer deletes a row once its address may have all its mails again. */
export interface MailboxesTable {
  email: string;
  expiresAt: number;
}

/** What one asker did about one address; the timer deletes a row an hour after the last change. */
export interface CodeAskersTable {
  /** A hash of the two addresses, under the server's secret. */
  askerHash: string;
  /** Since the asker's last mail. */
  wrongTries: number;
  sentAt: number;
  /** The hour in which `sentInHour` mails were sent. */
  hourStartedAt: number;
  sentInHour: number;
  expiresAt: number;
}

/** Mails that wait to be sent. Written in one transaction with what they are about; deleted once sent or given up. */
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
