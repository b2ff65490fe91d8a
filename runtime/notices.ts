/**
 * Notices: what a mutation tells the rest of the server after its commit. They are posted in the order of the commits.
 * A listener only wakes up or passes something on; what must not be lost is in the database.
 */
import type { Logger } from "pino";

/** A session's message, as its sockets need it. */
export interface MessageNotice {
  messageId: string;
  /** The sender's own id of the message, if it gave one. */
  clientId: string | null;
  type: string;
  /** JSON text. */
  payload: string;
  sender: SenderNotice;
  mentions: string[] | null;
  /** The one consumer slot that gets it; null for all. */
  targetSlot: number | null;
  stamp: number;
}

/** A participant of a session. */
export interface SenderNotice {
  participantId: string;
  side: "provider" | "consumer";
  userId: string;
  /** Null if the user acts without an agent. */
  agentId: string | null;
  /** Null for the provider. */
  slotIndex: number | null;
}

/**
 * The place of a notice in the order of its session. Notices of several processes may arrive in another order than that
 * of their commits. Because each notice names the one before it, a receiver can sort them and sees if one is missing.
 */
export interface Stamped {
  sessionId: string;
  /** The last stamp of the session's clock before this one. */
  after: number;
  stamp: number;
}

/** What a socket needs to know of the session that it has entered. */
export interface JoinedNotice {
  email: string;
  /** The socket has already seen messages up to this stamp; null if it gets no replay. */
  confirmedAt: number | null;
  /** Who is already there, each with the stamp under which the socket is told so. */
  present: { participant: SenderNotice; stamp: number }[];
}

/** Every notice. */
export type Notice =
  /** A credential was replaced or revoked, or its sign-in ended. Whatever was opened with it closes. */
  | { kind: "credentialEnded"; credentialId: string }
  /** The user was suspended or reinstated. */
  | { kind: "userStandingChanged"; userId: string; suspended: boolean }
  /** The agent has a new owner, so its credential now stands for somebody else. */
  | { kind: "agentOwnerChanged"; agentId: string }
  | { kind: "agentStatusChanged"; agentId: string; onlineStatus: "online" | "offline" | "busy"; at: number }
  /** The provider agent has announcements to get; the process that holds its socket reads them. */
  | { kind: "announcementsDue"; agentId: string }
  /** A newer socket replaced this one. */
  | { kind: "socketReplaced"; socketId: string }
  /** A socket has entered its session. From here on it gets the session's notices. */
  | ({
      kind: "sessionJoined";
      socketId: string;
      participant: SenderNotice;
      /** The last of the stamps that its entry took. */
      upTo: number;
      /** For the process that holds the socket. */
      joined?: JoinedNotice;
    } & Stamped)
  /** `message` is null if it was too long to send; it is in the database. */
  | ({ kind: "sessionMessage"; message: MessageNotice | null } & Stamped)
  | ({ kind: "sessionTyping"; sender: SenderNotice } & Stamped)
  | ({
      kind: "sessionPeer";
      change: "disconnected" | "offline";
      /** The participant who is away. */
      participant: SenderNotice;
      /** Whether nobody else is left on that side (for a consumer: in that slot). */
      last: boolean;
    } & Stamped)
  /** A frame for one socket, stamped like everything else that the socket gets. */
  | ({ kind: "sessionReply"; socketId: string; type: string; payload: object } & Stamped)
  | ({ kind: "sessionEnded"; reason: string; closeReason: string } & Stamped)
  | { kind: "participantPaused"; sessionId: string; participantId: string }
  | { kind: "participantResumed"; sessionId: string; participantId: string; agentId: string | null }
  /** A pending session became active: whoever was refused because it was pending may now enter. */
  | { kind: "sessionApproved"; sessionId: string }
  /** For the control channel of a consumer-side agent. */
  | { kind: "consumerSessionStarted"; agentId: string; sessionId: string }
  | { kind: "consumerSessionEnded"; agentId: string; sessionId: string; reason: string; at: number }
  /** How much of its limit a session has used. For the control channels of both sides. */
  | {
      kind: "sessionLimit";
      providerAgentId: string;
      consumerAgentId: string | null;
      sessionId: string;
      level: 0 | 50 | 80 | 100;
      amount: string;
      maxAmount: string;
      currency: string;
      /** When a session that is paid by the minute reaches its limit and ends. */
      limitAt: number | null;
      at: number;
    }
  | { kind: "serveRulesChanged"; agentId: string }
  /** Calls that another process has let through (runtime/rate-limits.ts). */
  | { kind: "callsCounted"; rate: string; who: string; points: number }
  /** A process died without a goodbye; nobody knows what it has not told. */
  | { kind: "processForgotten" }
  /**
   * Notices of other processes may have been missed since `since` (Unix ms). Whatever depends on them reads the
   * database again.
   */
  | { kind: "noticesMissed"; since: number }
  /** A mail waits in the outbox. */
  | { kind: "mailWaiting" };

export type NoticeKind = Notice["kind"];
export type NoticeOf<K extends NoticeKind> = Extract<Notice, { kind: K }>;

/** A notice as other processes get it; undefined if it does not concern them. */
export function forOthers(notice: Notice): Notice | undefined {
  // The process that wrote a mail also sends it, and what this process missed the others did not.
  if (notice.kind === "mailWaiting" || notice.kind === "noticesMissed") return undefined;
  // This process holds the socket. The others only need to know that its stamps are taken.
  if (notice.kind === "sessionReply") return { ...notice, payload: {} };
  if (notice.kind === "sessionJoined") return { ...notice, joined: undefined };
  return notice;
}

/** Passes notices on to the listeners in this process. */
export class NoticeBoard {
  readonly #listeners = new Map<NoticeKind, ((notice: never) => void)[]>();

  constructor(readonly log: Logger) {}

  on<K extends NoticeKind>(kind: K, listener: (notice: NoticeOf<K>) => void): void {
    this.#listeners.set(kind, [...(this.#listeners.get(kind) ?? []), listener]);
  }

  post(notice: Notice): void {
    for (const listener of this.#listeners.get(notice.kind) ?? []) {
      try {
        listener(notice as never);
      } catch (error) {
        // One listener's failure must not keep the other listeners from the notice, or the caller from the reply.
        this.log.error({ err: error, notice: notice.kind }, "a listener failed");
      }
    }
  }
}
