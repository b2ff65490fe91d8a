/**
 * The sockets that are open for each session, whichever channel they came by: what the session's notices become on them,
 * and what their own frames become in the session. Clients move a cursor to the stamp of each frame and drop what comes
 * with an earlier one, so everything here keeps the order of the notices, which is that of the stamps.
 */
import type { Departure } from "../../functions/presence.js";
import { announceAway, type JoinRefusal, leave, reply, typing } from "../../functions/session-channel.js";
import type { Clock } from "../../runtime/clock.js";
import type { Outcome, Runtime } from "../../runtime/dispatch.js";
import { nextRequestId } from "../../runtime/ids.js";
import type { JoinedNotice, NoticeBoard } from "../../runtime/notices.js";
import { isoTime } from "../../schema/values.js";
import type { Background } from "./background.js";
import { type Closing, closingOf, closings } from "./close-codes.js";
import { Confirmations } from "./confirmations.js";
import { messageFrame, participantOf, peerFrame, perShape, type Shape, sessionFrame, typingFrame } from "./frames.js";
import { SocketIndex } from "./index-by-key.js";
import { Member } from "./member.js";
import type { InboundFrame, Opener, Socket } from "./socket.js";

/** After how long somebody without a socket is told to be disconnected, and how much later to be offline. */
const disconnectedAfterMs = 5_000;
const offlineAfterMs = 55_000;

export interface RoomsParts {
  runtime: Runtime;
  notices: NoticeBoard;
  clock: Clock;
  background: Background;
  /** Has the socket close when whoever opened it loses the right to it. */
  identify(socket: Socket, opener: Opener): void;
}

/** A socket on its way into a session. */
export interface Entrance {
  socket: Socket;
  sessionId: string;
  shape: Shape;
  byAgentToken: boolean;
  /** How the socket closes once its credential opens nothing any more. */
  revoked: Closing;
  /** Asks to be let in. */
  knock(): Promise<JoinRefusal | null>;
  refusals: Record<JoinRefusal, Closing>;
}

export class Rooms {
  readonly confirmations: Confirmations;
  readonly #parts: RoomsParts;
  readonly #members = new SocketIndex<Member>();
  /** Sockets that have knocked, each with the ids of those who lost their right to enter since. */
  readonly #entering = new Map<string, Entrance & { lapsed: Set<string> }>();
  /** What calls off the timers of those who are away. */
  readonly #away = new Map<string, () => void>();

  constructor(parts: RoomsParts) {
    this.#parts = parts;
    this.confirmations = new Confirmations(parts.runtime, parts.clock, parts.background);
    this.#listen(parts.notices);
  }

  /**
   * Lets a socket in, or closes it. The notice of its coming says that it is in, so that it gets what is noticed after
   * that, and nothing of what was before.
   */
  async enter(entrance: Entrance): Promise<void> {
    const { socket, sessionId, knock, refusals } = entrance;
    // What the same client has read a moment ago must not be replayed to it.
    await this.confirmations.write();
    this.#entering.set(socket.id, { ...entrance, lapsed: new Set() });
    try {
      const refusal = await knock();
      if (refusal !== null) socket.close(refusals[refusal]);
    } catch (error) {
      // The commit may have happened all the same.
      this.#leave(sessionId, socket.id);
      socket.close(closingOf(error, closings.later));
    } finally {
      this.#entering.delete(socket.id);
    }
  }

  /** Those whose sockets went with another process may be away now. */
  watch(departures: readonly Departure[]): void {
    for (const departure of departures) this.#watch(departure, "disconnected", disconnectedAfterMs);
  }

  #listen(notices: NoticeBoard): void {
    // A join that runs beside a suspension or a revocation may not see it and still commit after it: then nothing else
    // would close the socket, which belongs to nobody until it is in.
    const lapse = (lostBy: string) => {
      for (const { lapsed } of this.#entering.values()) lapsed.add(lostBy);
    };
    notices.on("userStandingChanged", ({ userId, suspended }) => {
      if (suspended) lapse(userId);
    });
    notices.on("agentCredentialChanged", ({ agentId }) => lapse(agentId));
    notices.on("sessionJoined", ({ sessionId, socketId, joined }) => this.#entered(sessionId, socketId, joined));
    notices.on("sessionMessage", ({ sessionId, message }) => {
      const frameOf = perShape((shape) => messageFrame(sessionId, message, shape));
      for (const member of this.#members.get(sessionId)) {
        if (member.isFor(message)) member.sendMessage(message.stamp, frameOf(member.shape));
      }
    });
    notices.on("sessionTyping", ({ sessionId, sender, stamp }) => {
      const frameOf = perShape((shape) => typingFrame(sessionId, sender, stamp, shape));
      for (const member of this.#members.get(sessionId)) {
        if (member.participant.participantId !== sender.participantId) member.send(stamp, frameOf(member.shape));
      }
    });
    notices.on("sessionPeer", ({ sessionId, change, participant, last, stamp }) => {
      const { participantId, side } = participant;
      const frameOf = perShape((shape) => peerFrame(sessionId, change, participant, stamp, shape));
      for (const member of this.#members.get(sessionId)) {
        if (member.participant.participantId === participantId) continue;
        // By role there are two sides, and one is there as long as anybody of it is.
        const bySide = member.participant.side !== side && (last || change === "connected");
        const frame = member.shape === "group" || bySide ? frameOf(member.shape) : undefined;
        if (frame) member.send(stamp, frame);
      }
    });
    notices.on("sessionReply", ({ sessionId, socketId, type, payload, stamp }) => {
      const member = this.#members.get(sessionId).find(({ socket }) => socket.id === socketId);
      member?.send(stamp, sessionFrame(type, sessionId, payload, stamp));
    });
    notices.on("sessionEnded", ({ sessionId, reason, closeReason, stamp }) => {
      const frame = sessionFrame("system.session_ended", sessionId, { reason, timestamp: isoTime(stamp) }, stamp);
      for (const member of this.#members.get(sessionId)) member.end(stamp, frame, closeReason);
    });
    notices.on("participantPaused", ({ sessionId, participantId }) => {
      for (const { participant, socket } of this.#members.get(sessionId)) {
        if (participant.participantId === participantId) socket.close({ code: 4020, reason: "Participant paused" });
      }
    });
  }

  #entered(sessionId: string, socketId: string, joined: JoinedNotice): void {
    const entrance = this.#entering.get(socketId);
    if (!entrance) return;
    const { runtime, background, identify } = this.#parts;
    const { socket, shape, byAgentToken, revoked, lapsed } = entrance;
    const { participant, stamp, present } = joined;
    this.#callOff(keyOf(sessionId, participant.participantId, participant.slotIndex ?? 0));

    const member = new Member(socket, sessionId, shape, joined, runtime, (upTo) =>
      this.confirmations.confirm(sessionId, participant, upTo),
    );
    this.#members.add(sessionId, member, socket);
    socket.onGone(() => this.#leave(sessionId, socketId));
    identify(socket, {
      userId: participant.userId,
      agentId: byAgentToken ? participant.agentId : null,
      byAgentToken,
      revoked,
    });
    if (lapsed.has(participant.userId) || (byAgentToken && lapsed.has(participant.agentId ?? ""))) {
      socket.close(revoked);
      return;
    }

    if (shape === "group") {
      socket.send(sessionFrame("system.connected", sessionId, { participant: participantOf(participant) }, stamp));
    }
    for (const other of present) {
      const frame = peerFrame(sessionId, "connected", other.participant, other.stamp, shape);
      if (frame) member.send(other.stamp, frame);
    }
    void background.track(member.start());
    socket.handle({
      frame: (inbound) => this.#take(member, inbound),
      bad: (message) => this.#refuse(member, "invalid_args", message),
    });
  }

  /** A frame that a member sent. */
  async #take(member: Member, { type, fields }: InboundFrame): Promise<void> {
    const { socket, sessionId, caller, participant, shape } = member;
    if (fields.sessionId !== undefined && fields.sessionId !== null && fields.sessionId !== sessionId) {
      return this.#refuse(member, "invalid_args", "sessionId is not the session of this socket");
    }
    if (type === "dialogue.typing") return this.#typing(member);

    const id = typeof fields.id === "string" ? fields.id : undefined;
    const outcome = await this.#parts.runtime.dispatch({
      path: "sessions:sendMessage",
      kind: "mutation",
      args: {
        sessionId,
        id,
        type,
        payload: fields.payload,
        targetSlot: fields.targetSlot,
        // Who is mentioned is a matter of the group channel; another client's field of that name is none of it.
        mentions: shape === "group" ? fields.mentions : undefined,
        slotIndex: participant.slotIndex ?? undefined,
      },
      authorization: undefined,
      caller,
      idempotencyKey: undefined,
      address: socket.address,
      requestId: nextRequestId(),
    });
    return this.#answer(member, id, outcome);
  }

  /** By role nothing is said of a message that went well: some clients take the first frame for the peer's answer. */
  async #answer(member: Member, id: string | undefined, outcome: Outcome): Promise<void> {
    if (outcome.status === "fault") return this.#refuse(member, "internal", "Server error");
    if (outcome.status !== "success") {
      const { code, message, data } = outcome.error;
      if (data.gatewayResult !== "blocked") return this.#refuse(member, code, message);
      const { messageId, reason, category } = data;
      return this.#reply(member, "system.blocked", { id, messageId, reason, category });
    }
    if (member.shape !== "group") return;
    const { createdAt, messageId, delivered, gatewayResult } = outcome.value as Sent;
    const payload = { id, messageId, delivered, gatewayResult, timestamp: createdAt };
    member.socket.send(sessionFrame("system.message_ack", member.sessionId, payload, Date.parse(createdAt)));
  }

  async #typing({ sessionId, participant }: Member): Promise<void> {
    const { participantId } = participant;
    const isHeard = this.#members.get(sessionId).some((other) => other.participant.participantId !== participantId);
    if (isHeard) await this.#parts.runtime.runSystem(typing, { sessionId, sender: participant });
  }

  #refuse(member: Member, code: string, message: string): Promise<void> {
    return this.#reply(member, "system.error", { code, message });
  }

  async #reply(
    { sessionId, socket }: Member,
    type: "system.error" | "system.blocked",
    payload: Record<string, unknown>,
  ): Promise<void> {
    if (socket.gone) return;
    await this.#parts.runtime.runSystem(reply, { sessionId, socketId: socket.id, type, payload });
  }

  #leave(sessionId: string, socketId: string): void {
    this.#parts.background.ensure("leaving a session", async () => {
      await this.confirmations.write();
      const { departed } = await this.#parts.runtime.runSystem(leave, { sessionId, socketId });
      if (departed) this.watch([{ sessionId, ...departed }]);
    });
  }

  #watch(departure: Departure, change: "disconnected" | "offline", afterMs: number): void {
    const { sessionId, participantId, slotIndex } = departure;
    const key = keyOf(sessionId, participantId, slotIndex);
    this.#callOff(key);
    const callOff = this.#parts.clock.after(afterMs, () => {
      this.#away.delete(key);
      this.#parts.background.ensure("telling who is away", async () => {
        const { away } = await this.#parts.runtime.runSystem(announceAway, { ...departure, change });
        if (away && change === "disconnected") this.#watch(departure, "offline", offlineAfterMs);
      });
    });
    this.#away.set(key, callOff);
  }

  #callOff(key: string): void {
    this.#away.get(key)?.();
    this.#away.delete(key);
  }
}

interface Sent {
  messageId: string;
  delivered: boolean;
  gatewayResult: string;
  createdAt: string;
}

function keyOf(sessionId: string, participantId: string, slotIndex: number): string {
  return `${sessionId} ${participantId} ${slotIndex}`;
}
