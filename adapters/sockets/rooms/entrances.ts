/**
 * Sockets that have asked to be let into a session and are not in yet. A join that runs beside a suspension, a
 * revocation or a pause may not see it and still commit after it. Nothing else would close such a socket, which belongs
 * to nobody until it is in; so what happens meanwhile is remembered here.
 */
import type { JoinRefusal } from "../../../functions/system/joins.js";
import type { CredentialId } from "../../../runtime/context.js";
import type { NoticeBoard, SenderNotice } from "../../../runtime/notices.js";
import type { Closing } from "../close-codes.js";
import type { Shape } from "../frames.js";
import type { Socket } from "../socket.js";

export const pausedClosing: Closing = { code: 4020, reason: "Participant paused" };

/** A socket on its way into a session. */
export interface Entrance {
  socket: Socket;
  sessionId: string;
  shape: Shape;
  /** What it came with, or what its session token was obtained with. */
  credentialId: CredentialId;
  /** The agent whose credential it came with; null for a user's, and for a session token. */
  agentId: string | null;
  /** Asks to be let in. */
  knock(): Promise<JoinRefusal | null>;
  refusals: Record<JoinRefusal, Closing>;
}

/** The same once it has knocked. */
export interface Entering extends Entrance {
  /** Users who were suspended, and credentials that ended, since it knocked: by their ids. */
  lapsed: Set<string>;
  /** Whether a notice of either may have been lost since then. */
  unsure: boolean;
  /** Who was paused since then, by their participants' ids. */
  paused: Set<string>;
}

export class Entrances {
  readonly #entering = new Map<string, Entering>();

  constructor(notices: NoticeBoard) {
    notices.on("userStandingChanged", ({ userId, suspended }) => {
      if (suspended) for (const { lapsed } of this.#entering.values()) lapsed.add(userId);
    });
    notices.on("credentialEnded", ({ credentialId }) => {
      for (const { lapsed } of this.#entering.values()) lapsed.add(credentialId);
    });
    notices.on("participantPaused", ({ sessionId, participantId }) => {
      for (const entering of this.#of(sessionId)) entering.paused.add(participantId);
    });
    notices.on("participantResumed", ({ sessionId, participantId }) => {
      for (const entering of this.#of(sessionId)) entering.paused.delete(participantId);
    });
    notices.on("noticesMissed", () => {
      for (const entering of this.#entering.values()) entering.unsure = true;
    });
  }

  #of(sessionId: string): Entering[] {
    return [...this.#entering.values()].filter((entering) => entering.sessionId === sessionId);
  }

  /** The socket is about to knock. */
  begin(entrance: Entrance): void {
    this.#entering.set(entrance.socket.id, { ...entrance, lapsed: new Set(), unsure: false, paused: new Set() });
  }

  find(socketId: string): Entering | undefined {
    return this.#entering.get(socketId);
  }

  /** It is in, or will not be. Returns whether it was on its way. */
  end(socketId: string): boolean {
    return this.#entering.delete(socketId);
  }
}

/** How a socket closes that is in and has lost the right to it meanwhile; undefined where it has not. */
export function closingMeanwhile(entering: Entering, participant: SenderNotice): Closing | undefined {
  const { lapsed, paused, credentialId, refusals } = entering;
  if (lapsed.has(credentialId)) return refusals.revoked;
  if (lapsed.has(participant.userId)) return refusals.suspended;
  return paused.has(participant.participantId) ? pausedClosing : undefined;
}
