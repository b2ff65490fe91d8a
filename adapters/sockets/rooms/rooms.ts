/**
 * The sockets that are open for each session, whichever channel they came by: what the session's notices become on them,
 * and what their own frames become in the session. Clients move a cursor to the stamp of each frame and drop what comes
 * with an earlier one, so everything here keeps the order of the notices, which is that of the stamps.
 */
import type { Logger } from "pino";
import { announceAbsences } from "../../../functions/system/absences.js";
import { type JoinRefusal, leaveSession } from "../../../functions/system/joins.js";
import { readMessage, recheckSession, type SessionState } from "../../../functions/system/replay.js";
import { replyToSocket, signalTyping } from "../../../functions/system/signals.js";
import type { Outcome } from "../../../runtime/call/call.js";
import type { Runtime } from "../../../runtime/call/runtime.js";
import type { Clock } from "../../../runtime/clock.js";
import type { CredentialId } from "../../../runtime/context.js";
import { DeadlineTimer } from "../../../runtime/deadlines.js";
import type {
  JoinedNotice,
  MessageNotice,
  NoticeBoard,
  NoticeOf,
  Place,
  SenderNotice,
} from "../../../runtime/notices.js";
import { isoTime } from "../../../schema/values.js";
import { newCall } from "../../new-call.js";
import type { Background } from "../background.js";
import { type Closing, closingOf, closings } from "../close-codes.js";
import {
  messageFrame,
  type PeerChange,
  participantOf,
  peerFrame,
  peerNews,
  perShape,
  type Shape,
  sessionFrame,
  typingFrame,
} from "../frames.js";
import { SocketIndex } from "../index-by-key.js";
import type { InboundFrame, Opener, Socket } from "../socket.js";
import { Confirmations } from "./confirmations.js";
import { Member, peerKey } from "./member.js";
import { type Moment, type Reread, Timeline } from "./timeline.js";

/** How often it looks for those whom a dead process would have told of. */
const lookAgainMs = 5_000;
/** How many messages are read again at a time. */
const rereadAtOnce = 50;

const paused: Closing = { code: 4020, reason: "Participant paused" };

export interface RoomsParts {
  runtime: Runtime;
  notices: NoticeBoard;
  clock: Clock;
  log: Logger;
  background: Background;
  /** Whether no other process works on the database. */
  alone: boolean;
  /** Has the socket close when whoever opened it loses the right to it. */
  identify(socket: Socket, opener: Opener): void;
  /** Has it close where they have lost it by now. */
  recheck(socket: Socket): void;
}

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

interface Entering extends Entrance {
  /** Users who were suspended, and credentials that ended, since it knocked: by their ids. */
  lapsed: Set<string>;
  /** Whether a notice of either may have been lost since then. */
  unsure: boolean;
  /** Who was set aside since then, by their participants' ids. */
  paused: Set<string>;
}

export class Rooms {
  readonly confirmations: Confirmations;
  readonly #parts: RoomsParts;
  readonly #members = new SocketIndex<Member>();
  /** Sockets that have knocked and are not in yet. */
  readonly #entering = new Map<string, Entering>();
  /** Of the sessions that have sockets here, or are about to. */
  readonly #timelines = new Map<string, { timeline: Timeline; holders: number }>();
  /** Tells who is away (functions/system/absences.ts). */
  readonly #absences: DeadlineTimer;

  constructor(parts: RoomsParts) {
    this.#parts = parts;
    const { runtime, clock, log, background, alone } = parts;
    this.confirmations = new Confirmations(runtime, clock, background);
    this.#absences = new DeadlineTimer(
      clock,
      log,
      () => background.track(runtime.runSystem(announceAbsences)),
      // What a process that died had still to tell is found by the others.
      alone ? undefined : lookAgainMs,
    );
    this.#listen(parts.notices);
  }

  /** Tells who is away, from now on. */
  async start(): Promise<void> {
    await this.#absences.start();
  }

  async stop(): Promise<void> {
    await this.#absences.stop();
  }

  /**
   * Lets a socket in, or says how it closes. The notice of its coming says that it is in, so that it gets what is noticed after
   * that, and nothing of what was before.
   */
  async enter(entrance: Entrance): Promise<Closing | undefined> {
    const { socket, sessionId, knock, refusals } = entrance;
    // What the same client has read a moment ago must not be replayed to it.
    await this.confirmations.write();
    const release = this.#hold(sessionId);
    this.#entering.set(socket.id, { ...entrance, lapsed: new Set(), unsure: false, paused: new Set() });
    try {
      const refusal = await knock();
      if (refusal === null) return undefined;
      this.#entering.delete(socket.id);
      return refusals[refusal];
    } catch (error) {
      this.#entering.delete(socket.id);
      // The commit may have happened all the same.
      this.#leave(sessionId, socket.id);
      return closingOf(error, closings.later);
    } finally {
      release();
    }
  }

  /** Sockets of another process were forgotten: whoever had them may be away now. */
  lookForAbsences(): void {
    this.#absences.wakeAt(this.#parts.runtime.now());
  }

  /** Reads every session again that has sockets here. */
  async #rereadAll(): Promise<void> {
    for (const [sessionId] of [...this.#timelines]) {
      this.#timelines.get(sessionId)?.timeline.reread();
      // Not all at once: others have their turn at the database in between.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Has the session's notices collected until it is released. */
  #hold(sessionId: string): () => void {
    const { clock, log } = this.#parts;
    const held = this.#timelines.get(sessionId) ?? {
      timeline: new Timeline(clock, log, (after) => this.#reread(sessionId, after)),
      holders: 0,
    };
    this.#timelines.set(sessionId, held);
    held.holders += 1;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      held.holders -= 1;
      if (held.holders > 0) return;
      held.timeline.end();
      this.#timelines.delete(sessionId);
    };
  }

  #listen(notices: NoticeBoard): void {
    const at = (place: Place, tell: Moment["tell"], more: Partial<Moment> = {}) => {
      const { after, stamp } = place;
      this.#timelines.get(place.sessionId)?.timeline.add({ after, stamp, upTo: stamp, tell, ...more });
    };
    // A join that runs beside a suspension or a revocation may not see it and still commit after it: then nothing else
    // would close the socket, which belongs to nobody until it is in.
    notices.on("userStandingChanged", ({ userId, suspended }) => {
      if (suspended) for (const { lapsed } of this.#entering.values()) lapsed.add(userId);
    });
    notices.on("credentialEnded", ({ credentialId }) => {
      for (const entering of this.#entering.values()) entering.lapsed.add(credentialId);
    });
    notices.on("sessionJoined", (notice) => this.#joined(notice));
    notices.on("sessionMessage", (notice) => {
      const { sessionId, stamp, message } = notice;
      at(notice, () => (message ? this.#passOn(sessionId, message) : this.#tellStored(sessionId, stamp)));
    });
    notices.on("sessionTyping", (notice) => {
      const { sessionId, sender, stamp } = notice;
      at(notice, () => {
        const frameOf = perShape((shape) => typingFrame(sessionId, sender, stamp, shape));
        for (const member of this.#members.get(sessionId)) {
          if (member.participant.participantId !== sender.participantId) member.send(stamp, frameOf(member.shape));
        }
      });
    });
    notices.on("sessionPeer", (notice) => {
      const { sessionId, change, participant, stamp, last } = notice;
      at(notice, () => this.#tellPeer(sessionId, change, participant, stamp, last));
    });
    notices.on("sessionReply", (notice) => {
      const { sessionId, socketId, type, payload, stamp } = notice;
      const isHere = (member: Member) => member.socket.id === socketId;
      const tell = () => {
        this.#members
          .get(sessionId)
          .find(isHere)
          ?.send(stamp, sessionFrame(type, sessionId, payload, stamp));
      };
      at(notice, tell, { always: this.#members.get(sessionId).some(isHere) });
    });
    notices.on("sessionEnded", (notice) => {
      const { sessionId, reason, closeReason, stamp } = notice;
      at(notice, () => this.#tellEnd(sessionId, reason, closeReason, stamp));
    });
    notices.on("participantPaused", ({ sessionId, participantId }) => {
      for (const entering of this.#entering.values()) {
        if (entering.sessionId === sessionId) entering.paused.add(participantId);
      }
      for (const { participant, socket } of this.#members.get(sessionId)) {
        if (participant.participantId === participantId) socket.close(paused);
      }
    });
    notices.on("participantResumed", ({ sessionId, participantId }) => {
      for (const entering of this.#entering.values()) {
        if (entering.sessionId === sessionId) entering.paused.delete(participantId);
      }
    });
    notices.on("noticesMissed", () => {
      for (const entering of this.#entering.values()) entering.unsure = true;
      this.lookForAbsences();
      void this.#parts.background.track(this.#rereadAll());
    });
  }

  #joined(notice: NoticeOf<"sessionJoined">): void {
    const { sessionId, socketId, participant, after, stamp, upTo, joined } = notice;
    const held = this.#timelines.get(sessionId);
    if (!held) return;
    const { timeline } = held;
    const entrance = this.#entering.get(socketId);
    const tell = () => {
      this.#tellPeer(sessionId, "connected", participant, stamp, false);
    };
    if (!entrance || !joined) {
      timeline.add({ after, stamp, upTo, tell });
      return;
    }
    const release = this.#hold(sessionId);
    entrance.socket.onGone(() => {
      // Its coming may never be told where nobody is left to tell it to.
      if (this.#entering.delete(socketId)) this.#leave(sessionId, socketId);
      release();
    });
    timeline.begin(after);
    timeline.add({
      after,
      stamp,
      upTo,
      always: true,
      tell: () => {
        // Where the session was read again meanwhile, this comes late.
        const isLate = timeline.toldUpTo > stamp;
        tell();
        this.#entered(entrance, notice, joined, timeline.toldUpTo);
        this.#entering.delete(socketId);
        if (isLate) timeline.reread();
      },
    });
  }

  /** Reads the message first where it was too long for the notice. */
  async #tellStored(sessionId: string, stamp: number): Promise<void> {
    const message = await this.#parts.runtime.runSystem(readMessage, { sessionId, stamp });
    if (message) this.#passOn(sessionId, message);
  }

  #passOn(sessionId: string, message: MessageNotice): void {
    const frameOf = perShape((shape) => messageFrame(sessionId, message, shape));
    for (const member of this.#members.get(sessionId)) {
      if (member.isFor(message)) member.sendMessage(message.stamp, frameOf(member.shape));
    }
  }

  #tellPeer(sessionId: string, change: PeerChange, participant: SenderNotice, stamp: number, last: boolean): void {
    const { participantId, side } = participant;
    const frameOf = perShape((shape) => peerFrame(sessionId, change, participant, stamp, shape));
    for (const member of this.#members.get(sessionId)) {
      if (member.participant.participantId === participantId) continue;
      member.peers.set(peerKey(participant), { change, participant });
      // By role there are two sides, and one is there as long as anybody of it is.
      const bySide = member.participant.side !== side && (last || change === "connected");
      const frame = member.shape === "group" || bySide ? frameOf(member.shape) : undefined;
      if (frame) member.send(stamp, frame);
    }
  }

  #tellEnd(sessionId: string, reason: string, closeReason: string, stamp: number): void {
    const frame = sessionFrame("system.session_ended", sessionId, { reason, timestamp: isoTime(stamp) }, stamp);
    for (const member of this.#members.get(sessionId)) member.end(stamp, frame, closeReason);
  }

  #entered(entrance: Entering, place: NoticeOf<"sessionJoined">, joined: JoinedNotice, toldUpTo: number): void {
    const { runtime, background, identify, recheck } = this.#parts;
    const { socket, sessionId, shape, credentialId, agentId, refusals, lapsed } = entrance;
    const { participant, stamp } = place;

    const member = new Member(
      socket,
      sessionId,
      shape,
      stamp,
      toldUpTo,
      participant,
      credentialId,
      joined,
      runtime,
      (upTo) => this.confirmations.confirm(sessionId, participant, upTo),
    );
    this.#members.add(sessionId, member, socket);
    socket.onGone(() => this.#leave(sessionId, socket.id));
    const { revoked, suspended } = refusals;
    identify(socket, { credentialId, agentId, userId: participant.userId, revoked, suspended });
    if (entrance.unsure) recheck(socket);
    if (lapsed.has(participant.userId) || lapsed.has(credentialId)) {
      socket.close(lapsed.has(credentialId) ? revoked : suspended);
      return;
    }
    if (entrance.paused.has(participant.participantId)) {
      socket.close(paused);
      return;
    }

    if (shape === "group") {
      socket.send(sessionFrame("system.connected", sessionId, { participant: participantOf(participant) }, stamp));
    }
    for (const other of joined.present) {
      const frame = peerFrame(sessionId, "connected", other.participant, other.stamp, shape);
      if (frame) member.send(other.stamp, frame);
    }
    void background.track(member.start());
    socket.handle({
      frame: (inbound) => this.#take(member, inbound),
      bad: (message) => this.#refuse(member, "invalid_args", message),
    });
  }

  /** What the session's notices after a stamp would have said. */
  async #reread(sessionId: string, after: number): Promise<Reread | undefined> {
    const { runtime } = this.#parts;
    const state = await runtime.runSystem(recheckSession, { sessionId, after, atOnce: rereadAtOnce });
    if (!state) return undefined;
    const moments = state.messages.map((message) => ({
      after,
      stamp: message.stamp,
      upTo: message.stamp,
      tell: () => {
        this.#passOn(sessionId, message);
      },
    }));
    const { upTo, more } = state;
    return { moments, upTo, more, finish: () => this.#putRight(sessionId, state) };
  }

  /** Puts right what sockets were told of who is there, and closes those that are not in any more. */
  #putRight(sessionId: string, { ended, sockets, absences, paused: pausedIds, upTo }: SessionState): void {
    const { background } = this.#parts;
    if (ended) {
      this.#tellEnd(sessionId, ended.reason, ended.closeReason, ended.stamp);
      return;
    }
    const open = new Set(sockets.map(({ socketId }) => socketId));
    for (const member of this.#members.get(sessionId)) {
      const { socket, participant, shape, peers, stamp } = member;
      if (pausedIds.includes(participant.participantId)) {
        socket.close(paused);
        continue;
      }
      if (!open.has(socket.id) && stamp <= upTo) {
        // A consumer may have several on the session channel.
        const isReplaced = sockets.some(
          (other) =>
            other.participant.participantId === participant.participantId &&
            (participant.side === "provider" || (shape === "group" && other.channel === "group")),
        );
        socket.close(isReplaced ? closings.replaced : closings.restart);
        continue;
      }
      const there = new Map(sockets.map((other) => [peerKey(other.participant), other.participant]));
      const news: [PeerChange, SenderNotice][] = [];
      for (const [key, other] of there) {
        const concerns = other.participantId !== participant.participantId;
        if (concerns && peers.get(key)?.change !== "connected") news.push(["connected", other]);
      }
      for (const [key, { change, participant: other }] of peers) {
        if (there.has(key)) continue;
        const pending = absences.find((absence) => key === `${absence.participantId} ${absence.slotIndex}`)?.next;
        if (change === "connected" && pending !== "disconnected") news.push(["disconnected", other]);
        if (change !== "offline" && pending === undefined) news.push(["offline", other]);
      }
      for (const [change, other] of news) {
        peers.set(peerKey(other), { change, participant: other });
        const told = shape === "group" || other.side !== participant.side ? peerNews(change, other, shape) : undefined;
        if (told) background.ensure("telling who is there", () => this.#reply(member, told));
      }
    }
  }

  /** A frame that a member sent. */
  async #take(member: Member, { type, fields }: InboundFrame): Promise<void> {
    const { socket, sessionId, caller, participant, shape } = member;
    if (fields.sessionId !== undefined && fields.sessionId !== null && fields.sessionId !== sessionId) {
      return this.#refuse(member, "invalid_args", "sessionId is not the session of this socket");
    }
    if (type === "dialogue.typing") return this.#typing(member);

    const id = typeof fields.id === "string" ? fields.id : undefined;
    const args = {
      sessionId,
      id,
      type,
      payload: fields.payload,
      targetSlot: fields.targetSlot,
      // Only the group channel has mentions. On the session channel a field of that name means something else.
      mentions: shape === "group" ? fields.mentions : undefined,
      slotIndex: participant.slotIndex ?? undefined,
    };
    const asked = { path: "sessions:sendMessage", kind: "mutation" as const, args };
    const call = newCall(asked, { caller, address: socket.address });
    return this.#answer(member, id, await this.#parts.runtime.dispatch(call));
  }

  /** By role nothing is said of a message that went well: some clients take the first frame for the peer's answer. */
  async #answer(member: Member, id: string | undefined, outcome: Outcome): Promise<void> {
    if (outcome.status === "fault") return this.#refuse(member, "internal", "Server error");
    if (outcome.status !== "success") {
      const { code, message, data } = outcome.error;
      if (data.gatewayResult !== "blocked") return this.#refuse(member, code, message);
      const { messageId, reason, category } = data;
      const payload = { id, messageId, reason, category };
      return this.#reply(member, { type: "system.blocked", payload, timed: true });
    }
    if (member.shape !== "group") return;
    const { createdAt, messageId, delivered, gatewayResult } = outcome.value as Sent;
    const payload = { id, messageId, delivered, gatewayResult, timestamp: createdAt };
    member.socket.send(sessionFrame("system.message_ack", member.sessionId, payload, Date.parse(createdAt)));
  }

  async #typing({ sessionId, participant }: Member): Promise<void> {
    const { participantId } = participant;
    const isHeard = this.#members.get(sessionId).some((other) => other.participant.participantId !== participantId);
    if (isHeard || !this.#parts.alone)
      await this.#parts.runtime.runSystem(signalTyping, { sessionId, sender: participant });
  }

  #refuse(member: Member, code: string, message: string): Promise<void> {
    return this.#reply(member, { type: "system.error", payload: { code, message }, timed: false });
  }

  async #reply(
    { sessionId, socket }: Member,
    told: { type: string; payload: Record<string, unknown>; timed: boolean },
  ): Promise<void> {
    if (!socket.gone) await this.#parts.runtime.runSystem(replyToSocket, { sessionId, socketId: socket.id, ...told });
  }

  #leave(sessionId: string, socketId: string): void {
    this.#parts.background.ensure("leaving a session", async () => {
      await this.confirmations.write();
      const { tellAt } = await this.#parts.runtime.runSystem(leaveSession, { sessionId, socketId });
      if (tellAt !== null) this.#absences.wakeAt(tellAt);
    });
  }
}

interface Sent {
  messageId: string;
  delivered: boolean;
  gatewayResult: string;
  createdAt: string;
}
