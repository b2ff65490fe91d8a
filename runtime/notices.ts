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

/**
 * Where something has its place among all that is told of a session. Notices of several processes may arrive in another
 * order than that of their commits; whoever knows what came before each can put them right, and sees what is missing.
 */
export interface Place {
  sessionId: string;
  /** The last stamp of the session's clock before this one. */
  after: number;
  stamp: number;
}

/** What a socket needs to know of the session that it entered. */
export interface JoinedNotice {
  email: string;
  /** Messages up to here are no news to it; null where it gets no replay. */
  confirmedAt: number | null;
  /** Who is there already, each with the stamp of telling so. */
  present: { participant: SenderNotice; stamp: number }[];
}

export type Notice =
  /** A credential was replaced or revoked, or its sign-in ended: whatever was opened with it closes. */
  | { kind: "credentialEnded"; credentialId: string }
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
  | ({
      kind: "sessionJoined";
      socketId: string;
      participant: SenderNotice;
      /** The last of the stamps that its coming took. */
      upTo: number;
      /** For the process that holds the socket. */
      joined?: JoinedNotice;
    } & Place)
  /** Without the message where it was too long to travel: it is in the database. */
  | ({ kind: "sessionMessage"; message: MessageNotice | null } & Place)
  | ({ kind: "sessionTyping"; sender: SenderNotice } & Place)
  | ({
      kind: "sessionPeer";
      change: "disconnected" | "offline";
      /** Who is away. */
      participant: SenderNotice;
      /** Whether nobody else is there on that side (of a consumer: in that slot). */
      last: boolean;
    } & Place)
  /** A frame for one socket, stamped like everything else that it gets. */
  | ({ kind: "sessionReply"; socketId: string; type: string; payload: object } & Place)
  | ({ kind: "sessionEnded"; reason: string; closeReason: string } & Place)
  | { kind: "participantPaused"; sessionId: string; participantId: string }
  | { kind: "participantResumed"; sessionId: string; participantId: string; agentId: string | null }
  /** A pending session is active now: whoever was refused because it was pending may come in. */
  | { kind: "sessionApproved"; sessionId: string }
  /** To the control channel of a consumer-side agent. */
  | { kind: "consumerSessionStarted"; agentId: string; sessionId: string }
  | { kind: "consumerSessionEnded"; agentId: string; sessionId: string; reason: string; at: number }
  /** How much of its limit a session has used, to the control channels of both sides. */
  | {
      kind: "sessionLimit";
      providerAgentId: string;
      consumerAgentId: string | null;
      sessionId: string;
      level: 0 | 50 | 80 | 100;
      amount: string;
      maxAmount: string;
      currency: string;
      /** When a session that is paid by the minute ends of it. */
      limitAt: number | null;
      at: number;
    }
  | { kind: "serveRulesChanged"; agentId: string }
  /** Calls that another process has let through (runtime/limits.ts). */
  | { kind: "callsCounted"; rate: string; who: string; points: number }
  /** A process died without a word; nobody knows what it has not told. */
  | { kind: "processForgotten" }
  /** Notices of other processes may have been missed since then (Unix ms): what hangs on them reads again. */
  | { kind: "noticesMissed"; since: number }
  /** A mail waits in the outbox. */
  | { kind: "mailWaiting" };

export type NoticeKind = Notice["kind"];
export type NoticeOf<K extends NoticeKind> = Extract<Notice, { kind: K }>;

/** A notice as the other processes get it; undefined where it is none of their business. */
export function forOthers(notice: Notice): Notice | undefined {
  // Whoever wrote the mail sends it, and what was missed here was not missed there.
  if (notice.kind === "mailWaiting" || notice.kind === "noticesMissed") return undefined;
  // The socket is held here; the others have to know that its stamps are taken.
  if (notice.kind === "sessionReply") return { ...notice, payload: {} };
  if (notice.kind === "sessionJoined") return { ...notice, joined: undefined };
  return notice;
}

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
