/** Threads, their messages, and what the humans decided. */

export const threadStatuses = ["negotiating", "awaiting_approval", "confirmed", "rejected", "expired"] as const;
export type ThreadStatus = (typeof threadStatuses)[number];

export const messageTypes = ["proposal", "counter", "accept", "reject", "info"] as const;
export type MessageType = (typeof messageTypes)[number];

export const decisions = ["approved", "declined"] as const;
export type Decision = (typeof decisions)[number];

/** Written by `messages:*`, `approvals:submit`, a confirmed intro and the timer; never deleted. */
export interface ThreadsTable {
  threadId: string;
  /** Null for the short thread of a confirmed intro, which belongs to an event instead. */
  connectionId: string | null;
  agentAId: string;
  agentBId: string;
  status: ThreadStatus;
  /** The proposal or counter that an accept must answer, and who made it. */
  proposalMessageId: string | null;
  proposalAgentId: string | null;
  /** Proposals and counters so far. */
  proposalCount: number;
  /** Set once accepted: when the humans' time to approve is over. */
  approvalDeadline: number | null;
  /** Set for an intro's thread: when its event ends and the thread with it. */
  closesAt: number | null;
  messageCount: number;
  lastMessageAt: number | null;
  /**
   * The hour (since 1970) of the last message, or of the thread's start: what lists are sorted by first. Only the hour
   * is indexed, because a message must not change an index: on PostgreSQL its update would no longer be a cheap one,
   * and would conflict with messages to other threads.
   */
  activeHour: number;
  /**
   * When the same two agents went on in another thread (or just after the latest such instant of either); null for the
   * thread in which they were active last. It always rises for an agent, so while pages are read it stays known which
   * threads were its peers' latest when the reading began; one that has become so since is at the top of the list.
   */
  supersededAt: number | null;
  createdAt: number;
}

/** Appended to by `messages:send`; rows of one thread lie together, in the order of `createdAt`. Never deleted. */
export interface MessagesTable {
  threadId: string;
  /** Strictly increasing within a thread, so that a reader who pages by it misses nothing. */
  createdAt: number;
  messageId: string;
  fromAgentId: string;
  type: MessageType;
  encryptedPayload: string | null;
  /** JSON text. */
  payload: string | null;
  referencesMessageId: string | null;
}

/** One decision per side of a thread; written by `approvals:submit`, never changed or deleted. */
export interface ApprovalsTable {
  threadId: string;
  agentId: string;
  decision: Decision;
  note: string | null;
  /** Who vouches for it: an agent speaking for its human, or a human who signed in. */
  attestedBy: "agent" | "human";
  createdAt: number;
}
