/**
 * The sockets that are open for each session, whichever channel they came by, and what the session's notices become on
 * them. Clients move a cursor to the stamp of each frame and drop any frame with an earlier stamp, so everything here
 * keeps the order of the notices, which is that of the stamps.
 */
import type { Logger } from "pino";
import { announceAbsences } from "../../../functions/system/absences.js";
import { leaveSession } from "../../../functions/system/joins.js";
import { readMessage, recheckSession, type SessionState } from "../../../functions/system/replay.js";
import type { Dispatcher } from "../../../runtime/call/dispatch.js";
import type { Clock } from "../../../runtime/clock.js";
import { DeadlineTimer } from "../../../runtime/deadlines.js";
import type {
  JoinedNotice,
  MessageNotice,
  NoticeBoard,
  NoticeOf,
  SenderNotice,
  Stamped,
} from "../../../runtime/notices.js";
import { isoTime } from "../../../schema/values.js";
import type { Background } from "../background.js";
import { type Closing, closingOf, closings } from "../close-codes.js";
import {
  messageFrame,
  type PeerChange,
  participantOf,
  peerFrame,
  peerNews,
  perShape,
  sessionFrame,
  typingFrame,
} from "../frames.js";
import { SocketIndex } from "../index-by-key.js";
import type { Openers } from "../openers.js";
import { Confirmations } from "./confirmations.js";
import { closingMeanwhile, type Entering, type Entrance, Entrances, pausedClosing } from "./entrances.js";
import { Member } from "./member.js";
import { MemberFrames } from "./member-frames.js";
import type { Moment, Reread } from "./timeline.js";
import { Timelines } from "./timelines.js";

/** How often it looks for absences that a dead process would have told of. */
const lookAgainMs = 5_000;
/** How many messages are read again at a time. */
const rereadAtOnce = 50;

export interface RoomsParts {
  dispatcher: Dispatcher;
  notices: NoticeBoard;
  clock: Clock;
  log: Logger;
  background: Background;
  /** Whether no other process works on the database. */
  alone: boolean;
  openers: Openers;
}

export class Rooms {
  readonly confirmations: Confirmations;
  readonly #parts: RoomsParts;
  readonly #members = new SocketIndex<Member>();
  readonly #entrances: Entrances;
  readonly #timelines: Timelines;
  readonly #frames: MemberFrames;
  /** Tells who is away (functions/system/absences.ts). */
  readonly #absences: DeadlineTimer;

  constructor(parts: RoomsParts) {
    this.#parts = parts;
    const { dispatcher, notices, clock, log, background, alone } = parts;
    this.confirmations = new Confirmations(dispatcher, clock, background);
    this.#timelines = new Timelines(clock, log, (sessionId, after) => this.#reread(sessionId, after));
    // Where there are other processes, whoever hears it may have a socket there.
    this.#frames = new MemberFrames(dispatcher, (member) => !alone || this.#hasOthers(member));
    this.#absences = new DeadlineTimer(
      clock,
      log,
      () => background.track(dispatcher.runSystem(announceAbsences)),
      // The others find what a process that died had still to tell.
      alone ? undefined : lookAgainMs,
    );
    this.#entrances = new Entrances(notices);
    this.#listen(notices);
  }

  /** Tells who is away, from now on. */
  async start(): Promise<void> {
    await this.#absences.start();
  }

  async stop(): Promise<void> {
    await this.#absences.stop();
  }

  /**
   * Lets a socket in, or says how it closes. It is in with the notice of its coming, so that it gets whatever is
   * noticed after that, and nothing from before.
   */
  async enter(entrance: Entrance): Promise<Closing | undefined> {
    const { socket, sessionId, knock, refusals } = entrance;
    // Messages that the same client has read a moment ago must not be replayed to it.
    await this.confirmations.write();
    const release = this.#timelines.hold(sessionId);
    this.#entrances.begin(entrance);
    try {
      const refusal = await knock();
      if (refusal === null) return undefined;
      this.#entrances.end(socket.id);
      return refusals[refusal];
    } catch (error) {
      this.#entrances.end(socket.id);
      // The commit may still have happened.
      this.#leave(sessionId, socket.id);
      return closingOf(error, closings.later);
    } finally {
      release();
    }
  }

  /** Sockets of another process were forgotten: whoever had them may be away now. */
  lookForAbsences(): void {
    this.#absences.wakeAt(this.#parts.clock.now());
  }

  #listen(notices: NoticeBoard): void {
    const at = ({ sessionId, after, stamp }: Stamped, tell: Moment["tell"], more: Partial<Moment> = {}) => {
      this.#timelines.find(sessionId)?.add({ after, stamp, upTo: stamp, tell, ...more });
    };
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
      for (const { participant, socket } of this.#members.get(sessionId)) {
        if (participant.participantId === participantId) socket.close(pausedClosing);
      }
    });
    notices.on("noticesMissed", () => {
      this.lookForAbsences();
      void this.#parts.background.track(this.#timelines.rereadAll());
    });
  }

  #joined(notice: NoticeOf<"sessionJoined">): void {
    const { sessionId, socketId, participant, after, stamp, upTo, joined } = notice;
    const timeline = this.#timelines.find(sessionId);
    if (!timeline) return;
    const entrance = this.#entrances.find(socketId);
    const tell = () => {
      this.#tellPeer(sessionId, "connected", participant, stamp, false);
    };
    if (!entrance || !joined) {
      timeline.add({ after, stamp, upTo, tell });
      return;
    }
    const release = this.#timelines.hold(sessionId);
    entrance.socket.onGone(() => {
      // Where nobody is left to tell, its coming may never be told.
      if (this.#entrances.end(socketId)) this.#leave(sessionId, socketId);
      release();
    });
    timeline.begin(after);
    timeline.add({
      after,
      stamp,
      upTo,
      always: true,
      tell: () => {
        // Late where the session was read again meanwhile.
        const isLate = timeline.toldUpTo > stamp;
        tell();
        this.#entered(entrance, notice, joined, timeline.toldUpTo);
        this.#entrances.end(socketId);
        if (isLate) timeline.reread();
      },
    });
  }

  /** Reads the message first where it was too long for the notice. */
  async #tellStored(sessionId: string, stamp: number): Promise<void> {
    const message = await this.#parts.dispatcher.runSystem(readMessage, { sessionId, stamp });
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
      member.peers.told(change, participant);
      // A socket that speaks by role knows two sides. A side is present while any of its participants is.
      const bySide = member.participant.side !== side && (last || change === "connected");
      const frame = member.shape === "group" || bySide ? frameOf(member.shape) : undefined;
      if (frame) member.send(stamp, frame);
    }
  }

  #tellEnd(sessionId: string, reason: string, closeReason: string, stamp: number): void {
    const frame = sessionFrame("system.session_ended", sessionId, { reason, timestamp: isoTime(stamp) }, stamp);
    for (const member of this.#members.get(sessionId)) member.end(stamp, frame, closeReason);
  }

  #entered(entrance: Entering, notice: NoticeOf<"sessionJoined">, joined: JoinedNotice, toldUpTo: number): void {
    const { dispatcher, background, openers } = this.#parts;
    const { socket, sessionId, shape, credentialId, agentId, refusals } = entrance;
    const { participant, stamp } = notice;

    const member = new Member(
      socket,
      sessionId,
      shape,
      stamp,
      toldUpTo,
      participant,
      credentialId,
      joined,
      dispatcher,
      (upTo) => this.confirmations.confirm(sessionId, participant, upTo),
    );
    this.#members.add(sessionId, member, socket);
    socket.onGone(() => this.#leave(sessionId, socket.id));
    const { revoked, suspended } = refusals;
    openers.identify(socket, { credentialId, agentId, userId: participant.userId, revoked, suspended });
    if (entrance.unsure) void background.track(openers.recheck([socket]));
    const closing = closingMeanwhile(entrance, participant);
    if (closing) {
      socket.close(closing);
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
      frame: (inbound) => this.#frames.take(member, inbound),
      bad: (message) => this.#frames.refuse(member, "invalid_args", message),
    });
  }

  /** What the session's notices after a stamp would have said. */
  async #reread(sessionId: string, after: number): Promise<Reread | undefined> {
    const { dispatcher } = this.#parts;
    const state = await dispatcher.runSystem(recheckSession, { sessionId, after, atOnce: rereadAtOnce });
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

  /** Corrects what sockets were told of who is there, and closes those that are no longer in the session. */
  #putRight(sessionId: string, state: SessionState): void {
    const { background } = this.#parts;
    const { ended, sockets, paused, upTo } = state;
    if (ended) {
      this.#tellEnd(sessionId, ended.reason, ended.closeReason, ended.stamp);
      return;
    }
    const open = new Set(sockets.map(({ socketId }) => socketId));
    for (const member of this.#members.get(sessionId)) {
      const { socket, participant, shape, peers, stamp } = member;
      if (paused.includes(participant.participantId)) {
        socket.close(pausedClosing);
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
      for (const { change, participant: other } of peers.newsOf(state, participant)) {
        peers.told(change, other);
        const told = shape === "group" || other.side !== participant.side ? peerNews(change, other, shape) : undefined;
        if (told) background.ensure("telling who is there", () => this.#frames.reply(member, told));
      }
    }
  }

  #hasOthers({ sessionId, participant }: Member): boolean {
    const { participantId } = participant;
    return this.#members.get(sessionId).some((other) => other.participant.participantId !== participantId);
  }

  #leave(sessionId: string, socketId: string): void {
    this.#parts.background.ensure("leaving a session", async () => {
      await this.confirmations.write();
      const { tellAt } = await this.#parts.dispatcher.runSystem(leaveSession, { sessionId, socketId });
      if (tellAt !== null) this.#absences.wakeAt(tellAt);
    });
  }
}
