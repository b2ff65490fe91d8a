/**
 * What a member's client was last told of each of the others in its session, and what it is to be told to put that
 * right.
 */
import type { SessionState } from "../../../functions/system/replay.js";
import type { SenderNotice } from "../../../runtime/notices.js";
import type { PeerChange } from "../frames.js";

export interface PeerNews {
  change: PeerChange;
  participant: SenderNotice;
}

export class Peers {
  /** By participant and slot. */
  readonly #told = new Map<string, PeerNews>();

  told(change: PeerChange, participant: SenderNotice): void {
    this.#told.set(keyOf(participant), { change, participant });
  }

  /** What the client does not know of who is there, besides the participant that it is itself. */
  newsOf({ sockets, absences }: Pick<SessionState, "sockets" | "absences">, self: SenderNotice): PeerNews[] {
    const there = new Map(sockets.map(({ participant }) => [keyOf(participant), participant]));
    const news: PeerNews[] = [];
    for (const [key, participant] of there) {
      const concerns = participant.participantId !== self.participantId;
      if (concerns && this.#told.get(key)?.change !== "connected") news.push({ change: "connected", participant });
    }
    for (const [key, { change, participant }] of this.#told) {
      if (there.has(key)) continue;
      const pending = absences.find((absence) => key === `${absence.participantId} ${absence.slotIndex}`)?.next;
      if (change === "connected" && pending !== "disconnected") news.push({ change: "disconnected", participant });
      if (change !== "offline" && pending === undefined) news.push({ change: "offline", participant });
    }
    return news;
  }
}

function keyOf({ participantId, slotIndex }: SenderNotice): string {
  return `${participantId} ${slotIndex ?? 0}`;
}
