/**
 * Notices: what a mutation tells the rest of the server after its commit. They arrive in the order of the commits, and
 * what hears them only wakes up or passes something on; the database keeps what must not be lost.
 */
import type { Logger } from "pino";

/** A message of a session, as its sockets need it. */
export interface MessageNotice {
  messageId: string;
  /** The sender's own id of the message, where it gave one. */
  clientId: string | null;
  type: string;
  /** JSON text. */
  payload: string;
  sender: SenderNotice;
  mentions: string[] | null;
  /** The one consumer slot that it is for; null for all. */
  targetSlot: number | null;
  stamp: number;
}

export interface SenderNotice {
  participantId: string;
  side: "provider" | "consumer";
  userId: string;
  /** Null where the user acts without an agent. */
  agentId: string | null;
  /** Null for the provider. */
  slotIndex: number | null;
}

/** What a socket needs to know of the session that it entered. */
export interface JoinedNotice {
  participant: SenderNotice;
  email: string;
  /** The stamp of its coming. */
  stamp: number;
  /** Messages up to here are no news to it; null where it gets no replay. */
  confirmedAt: number | null;
  /** Who is there already, each with the stamp of telling so. */
  present: { participant: SenderNotice; stamp: number }[];
}

export type Notice =
  /** The agent's token was replaced or revoked: what was opened with it closes. */
  | { kind: "agentCredentialChanged"; agentId: string }
  /** The user was suspended or reinstated. */
  | { kind: "userStandingChanged"; userId: string; suspended: boolean }
  /** The agent changed hands, so what its credential stands for did. */
  | { kind: "agentOwnerChanged"; agentId: string }
  | { kind: "agentStatusChanged"; agentId: string; onlineStatus: "online" | "offline" | "busy"; at: number }
  /** There is something to announce to the provider agent; whoever holds its socket reads what. */
  | { kind: "announcementsDue"; agentId: string }
  /** A newer socket took this one's place. */
  | { kind: "socketReplaced"; socketId: string }
  /** A socket has entered its session; from here on the session's notices concern it. */
  | { kind: "sessionJoined"; sessionId: string; socketId: string; joined: JoinedNotice }
  | { kind: "sessionMessage"; sessionId: string; message: MessageNotice }
  | { kind: "sessionTyping"; sessionId: string; sender: SenderNotice; stamp: number }
  | {
      kind: "sessionPeer";
      sessionId: string;
      change: "connected" | "disconnected" | "offline";
      /** Whose coming or going it is. */
      participant: SenderNotice;
      /** Whether nobody else is there on that side (of a consumer: in that slot). */
      last: boolean;
      stamp: number;
    }
  /** A frame for one socket, stamped like everything else that it gets. */
  | { kind: "sessionReply"; sessionId: string; socketId: string; type: string; payload: object; stamp: number }
  | { kind: "sessionEnded"; sessionId: string; reason: string; closeReason: string; stamp: number }
  | { kind: "participantPaused"; sessionId: string; participantId: string }
  | { kind: "participantResumed"; sessionId: string; participantId: string; agentId: string | null }
  /** To the control channel of a consumer-side agent. */
  | { kind: "consumerSessionStarted"; agentId: string; sessionId: string }
  | { kind: "consumerSessionEnded"; agentId: string; sessionId: string; reason: string; at: number }
  | { kind: "serveRulesChanged"; agentId: string }
  /** A mail waits in the outbox. */
  | { kind: "mailWaiting" };

export type NoticeKind = Notice["kind"];
type NoticeOf<K extends NoticeKind> = Extract<Notice, { kind: K }>;

/** Passes notices on within this process. */
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
        // What one listener fails at must not keep the others, or the caller's reply, from what they wait for.
        this.log.error({ err: error, notice: notice.kind }, "a listener failed");
      }
    }
  }
}
