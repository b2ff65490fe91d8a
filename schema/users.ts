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

/** What signed somebody in, and when it ended. Written by `users:*`; deleted by the timer some time after it ran out. */
export interface SignInsTable {
  signInId: string;
  userId: string;
  createdAt: number;
  /** Of the JWT that names it. */
  expiresAt: number;
  /** When it was ended before that. */
  endedAt: number | null;
  /** To about an hour. */
  lastSeenAt: number;
  /** From where: the network address and what the program called itself; null for what is from before they were kept. */
  address: string | null;
  userAgent: string | null;
}

export const codePurposes = ["register", "reset"] as const;

/** The codes that were mailed and still work (functions/model/users/mailed-codes.ts). Deleted once spent, void or run out. */
export interface MailedCodesTable {
  codeId: string;
  email: string;
  purpose: (typeof codePurposes)[number];
  codeHash: string;
  /** Wrong guesses by anybody since it was mailed. */
  wrongTries: number;
  expiresAt: number;
}

/** Addresses that mails were sent to of late; the timer deletes a row once its address may have all its mails again. */
export interface MailboxesTable {
  email: string;
  expiresAt: number;
}

/** What one asker did about one address; the timer deletes it an hour after the last of it. */
export interface CodeAskersTable {
  /** Of the two addresses, under the server's secret. */
  askerHash: string;
  /** Since the asker's last mail. */
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
