/**
 * One socket in a session: first what it missed, then what happens, in the order of the stamps, and how far its client
 * is known to have read (clawrent.md section 4.6).
 */
import { listBacklog } from "../../../functions/system/replay.js";
import type { Dispatcher } from "../../../runtime/call/dispatch.js";
import type { CredentialId, UserCaller } from "../../../runtime/context.js";
import type { JoinedNotice, MessageNotice, SenderNotice } from "../../../runtime/notices.js";
import { closingOf, closings } from "../close-codes.js";
import { messageFrame, type Shape } from "../frames.js";
import type { Socket } from "../socket.js";
import { Peers } from "./peers.js";

/** How many messages of a backlog are read at a time. */
const backlogAtOnce = 50;
/** Most frames that wait behind a backlog. */
const mostHeld = 1_000;

export class Member {
  /** What its client was last told of each of the others. */
  readonly peers = new Peers();
  /** As whom its messages are sent. */
  readonly caller: UserCaller;
  /** Whether it gets a replay, and its pongs count. */
  readonly #replays: boolean;
  /** Whether there may be something that it has to read first. */
  readonly #isBehind: boolean;
  /** The newest message that it has, or is not to get. */
  #cursor: number;
  /**
   * The newest stamp up to which there are messages to read: that of its coming, then those noticed while it still
   * reads.
   */
  #noticed: number;
  /** What waits behind the backlog; undefined once the member is live. */
  #held: { stamp: number; write: () => void }[] | undefined = [];
  /** The stamp in the one ping that waits for its pong. */
  #pinged: number | undefined;

  constructor(
    readonly socket: Socket,
    readonly sessionId: string,
    readonly shape: Shape,
    /** The stamp of its coming. */
    readonly stamp: number,
    toldUpTo: number,
    readonly participant: SenderNotice,
    credentialId: CredentialId,
    joined: JoinedNotice,
    readonly dispatcher: Dispatcher,
    readonly confirm: (upTo: number) => void,
  ) {
    this.#replays = joined.confirmedAt !== null;
    this.#cursor = joined.confirmedAt ?? stamp;
    this.#noticed = Math.max(stamp, toldUpTo);
    this.#isBehind = this.#replays || toldUpTo > stamp;
    for (const present of joined.present) {
      this.peers.told("connected", present.participant);
    }
    const { userId, agentId } = participant;
    this.caller = { kind: "user", userId, credentialId, email: joined.email, isAdmin: false, agentId };
    socket.onPong((payload) => this.#ponged(Number(payload)));
  }

  isFor({ sender, targetSlot }: MessageNotice): boolean {
    const { participantId, slotIndex } = this.participant;
    if (sender.participantId === participantId) return false;
    return targetSlot === null || slotIndex === null || slotIndex === targetSlot;
  }

  /** A new message. While the backlog is being read, the message will be found in it. */
  sendMessage(stamp: number, frame: Buffer): void {
    if (this.#held) this.#noticed = stamp;
    else if (stamp > this.#cursor) {
      this.socket.send(frame);
      this.#sent(stamp);
    }
  }

  /** Any other frame. */
  send(stamp: number, frame: Buffer): void {
    this.#inOrder(stamp, () => this.socket.send(frame));
  }

  /** The last frame, and the end of the socket. */
  end(stamp: number, frame: Buffer, reason: string): void {
    this.#inOrder(stamp, () => {
      this.socket.send(frame);
      this.socket.close({ code: 4004, reason });
    });
  }

  /** Sends what it missed, and then what came up meanwhile, until there is nothing left in between. */
  async start(): Promise<void> {
    try {
      if (this.#isBehind) await this.#catchUp();
      else this.#goLive();
    } catch (error) {
      this.socket.close(closingOf(error, closings.later));
    }
  }

  async #catchUp(): Promise<void> {
    const { sessionId, participant } = this;
    let noticed: number;
    let found: number;
    do {
      noticed = this.#noticed;
      const after = this.#cursor;
      const messages = await this.dispatcher.runSystem(listBacklog, {
        sessionId,
        participant,
        after,
        // A newer message may have come from another process, ahead of frames that still wait for their turn.
        upTo: noticed,
        atOnce: backlogAtOnce,
      });
      for (const message of messages) {
        if (this.socket.gone) return;
        this.#releaseUntil(message.stamp);
        // A long backlog goes at the reader's pace, and is in memory one part at a time.
        const taken = this.socket.sendAndDrain(messageFrame(sessionId, message, this.shape));
        this.#sent(message.stamp);
        await taken;
      }
      found = messages.length;
    } while (!this.socket.gone && (found === backlogAtOnce || noticed !== this.#noticed));
    // In the same turn as the check for something new: a message that was noticed in between would be lost.
    this.#goLive();
  }

  #goLive(): void {
    for (const { write } of this.#held ?? []) write();
    this.#held = undefined;
  }

  #inOrder(stamp: number, write: () => void): void {
    if (!this.#held) write();
    else if (this.#held.length < mostHeld) this.#held.push({ stamp, write });
    else this.socket.close(closings.tooSlow);
  }

  #releaseUntil(stamp: number): void {
    while (this.#held?.[0] && this.#held[0].stamp < stamp) this.#held.shift()?.write();
  }

  #sent(stamp: number): void {
    this.#cursor = stamp;
    if (this.#replays && this.#pinged === undefined) this.#ping();
  }

  #ping(): void {
    this.#pinged = this.#cursor;
    this.socket.ping(String(this.#pinged));
  }

  #ponged(stamp: number): void {
    if (stamp !== this.#pinged) return;
    this.#pinged = undefined;
    this.confirm(stamp);
    if (this.#cursor > stamp) this.#ping();
  }
}
