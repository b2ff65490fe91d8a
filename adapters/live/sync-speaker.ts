/**
 * What one live client is told: looks what the state says is to be done next, gathers the answers of the queries that
 * are due, and writes the frames. While one thing is waited for, nothing else is begun.
 */
import type { Clock } from "../../runtime/clock.js";
import type { Timestamps } from "../../runtime/timestamps.js";
import type { Closing } from "../sockets/close-codes.js";
import type { Socket } from "../sockets/socket.js";
import { type WholeFrame, wholeFrame } from "../sockets/whole-frame.js";
import type { Answer } from "./answers.js";
import { KeepAlive } from "./keep-alive.js";
import type { WatchedQuery } from "./query-set.js";
import { comeAgain, overloadedClosing, showsWhatItHas } from "./sync-closings.js";
import { pingFrame } from "./sync-frames.js";
import type { Round, SyncState } from "./sync-state.js";

/** A client hears something at least as often: after a minute of silence it takes the server for dead. */
export const pingMs = 15_000;
/** How long a client may leave unread what it was sent. */
const mostUnreadMs = 120_000;

export interface SyncSpeakerParts {
  clock: Clock;
  timestamps: Timestamps;
}

/** The socket that it speaks on. */
export interface SpeakingSocket {
  readonly socket: Socket;
  readonly state: SyncState;
  /** Looks at the credential again. */
  verify(): Promise<void>;
  end(closing: Closing): void;
}

export class SyncSpeaker {
  readonly #parts: SyncSpeakerParts;
  readonly #client: SpeakingSocket;
  readonly #socket: Socket;
  readonly #state: SyncState;
  readonly #keepAlive: KeepAlive;
  /** Whether it will look in a moment for what is to be done next. */
  #isAwake = false;
  /** How many things it waits for before it does anything more. */
  #awaited = 0;
  /** When the network last took a frame, or had none to take (Unix ms). */
  #lastTakenAt: number;
  /** Whoever waits until what there is to be said has been said. */
  readonly #onSaid: (() => void)[] = [];
  #cancelWaitForRoom: () => void = () => {};

  constructor(parts: SyncSpeakerParts, client: SpeakingSocket) {
    this.#parts = parts;
    this.#client = client;
    this.#socket = client.socket;
    this.#state = client.state;
    this.#lastTakenAt = parts.clock.now();
    this.#keepAlive = new KeepAlive(parts.clock, pingMs, () => this.#ping());
  }

  /** Resolves when replies can be added, or the client is gone. */
  async roomForReplies(): Promise<void> {
    while (this.#state.isFull && !this.#socket.gone) await new Promise<void>((resolve) => this.#onSaid.push(resolve));
  }

  /** Whether a query's answer would be asked for at once. */
  get wouldAsk(): boolean {
    return this.#hasWork && !this.#isAwake;
  }

  /** A query has a new answer. Mostly that is all there is to say, and then nothing has to be gathered for it. */
  hear(query: WatchedQuery, answer: Answer | undefined): void {
    if (!answer || !this.#hasWork || !this.#state.isAlone(query)) {
      this.#awoken();
      return;
    }
    const frame = this.#state.tellAlone(query, answer);
    if (frame) this.#write(frame);
  }

  /** Does what is to be done next, once what runs now is through: the notices of a commit follow what it touched. */
  wake(): void {
    if (this.#isAwake || !this.#hasWork) return;
    this.#isAwake = true;
    void Promise.resolve().then(() => {
      this.#isAwake = false;
      this.#awoken();
    });
  }

  #awoken(): void {
    try {
      if (this.#hasWork) this.#work();
    } catch (error) {
      this.#fail(error);
    }
  }

  get #hasWork(): boolean {
    return !this.#socket.gone && this.#awaited === 0 && this.#state.next !== "nothing";
  }

  #work(): void {
    const { next } = this.#state;
    if (next === "verify") this.#await(this.#client.verify());
    else if (next === "say in a moment") this.#await(new Promise(setImmediate).then(() => this.#say()));
    else this.#say();
  }

  #await(work: Promise<void>): void {
    this.#awaited += 1;
    work.catch(this.#fail).finally(() => {
      this.#awaited -= 1;
      this.wake();
    });
  }

  readonly #fail = (error: unknown): void => {
    this.#socket.log.error({ socket: this.#socket.id, err: error }, "a live client could not be answered");
    this.#client.end(comeAgain("the queries could not be answered"));
  };

  #say(): void {
    for (const reply of this.#state.takeReplies()) this.#write(wholeFrame(reply));
    if (this.#state.isBehind) this.#catchUp();
    for (const goOn of this.#onSaid.splice(0)) goOn();
  }

  #catchUp(): void {
    const round = this.#state.beginRound(() => this.#parts.timestamps.next());
    if (!round) this.#waitForRoom();
    else if (round.due.length === 0) this.#finish(round);
    else this.#gather(round);
  }

  /** Asks for all that is due, and goes on once the last answer is there. */
  #gather(round: Round): void {
    this.#awaited += 1;
    let missing = round.due.length;
    const goOn = () => {
      missing -= 1;
      if (missing > 0) return;
      this.#awaited -= 1;
      this.#finish(round);
      this.wake();
    };
    const has = () => this.#state.bytes.hasRoom;
    for (const [index, query] of round.due.entries()) {
      const { anew } = query;
      query.anew = false;
      const none = () => {
        query.anew ||= anew;
        goOn();
      };
      const take = (answer: Answer | undefined) => {
        this.#state.answered(round, index, answer);
        goOn();
      };
      query.subscription?.ask(anew, take, this.#fail, { has, none });
    }
  }

  #finish(round: Round): void {
    if (this.#socket.gone) return;
    const { frame, isPart } = this.#state.endRound(round);
    if (isPart) this.#waitForRoom();
    if (frame) this.#write(frame);
  }

  /** Goes on with the queries once something was read, by this client or by another. */
  #waitForRoom(): void {
    if (this.#state.lacksRoom || this.#socket.gone) return;
    this.#state.lacksRoom = true;
    this.#cancelWaitForRoom = this.#state.bytes.whenFreed(() => {
      this.#state.lacksRoom = false;
      this.wake();
    });
  }

  #write(frame: WholeFrame): void {
    this.#keepAlive.sent();
    if (this.#state.wrote(frame.length)) this.#lastTakenAt = this.#keepAlive.lastSentAt;
    this.#socket.sendWhole(frame, this.#taken);
  }

  readonly #taken = (): void => {
    this.#lastTakenAt = this.#parts.clock.now();
    this.#state.taken();
    if (this.#awaited === 0 && this.#state.mayComeAgain) this.#client.end(showsWhatItHas);
    else this.wake();
  };

  #ping(): void {
    // Behind a frame that the network does not take, another one says nothing.
    if (this.#state.isAllTaken) this.#write(pingFrame);
    else if (this.#parts.clock.now() - this.#lastTakenAt >= mostUnreadMs) this.#client.end(overloadedClosing);
  }

  /** The socket is gone. */
  leave(): void {
    this.#keepAlive.end();
    this.#cancelWaitForRoom();
    for (const goOn of this.#onSaid.splice(0)) goOn();
  }
}
