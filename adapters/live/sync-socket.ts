/**
 * One socket of a live client: the per-socket algorithm of convex-wire.md section 7. What a client asks for is taken
 * here, in the order in which it comes, and as whom it asks. It is answered with as few Transitions as possible, each
 * from where the last one ended: sync-state.ts knows what is due, and sync-speaker.ts says it.
 */
import { missingFunction } from "../../runtime/call/registry.js";
import { CallError } from "../../runtime/errors.js";
import { type Held, sizes } from "../../runtime/limits.js";
import type { Closing } from "../sockets/close-codes.js";
import { heartbeatAck } from "../sockets/frames.js";
import type { RawFrameHandler } from "../sockets/inbound-frame.js";
import type { Socket } from "../sockets/socket.js";
import { type Credentials, isUnavailable, isVerdict } from "./credentials.js";
import type { WatchedQuery } from "./query-set.js";
import type { Subscriptions } from "./subscriptions.js";
import { SyncBytes } from "./sync-bytes.js";
import { closingAfter, comeAgain, overloadedClosing, refusedClosing } from "./sync-closings.js";
import {
  type Authenticate,
  authError,
  type CallFrame,
  callFailed,
  type Frame,
  fatalError,
  type Inbound,
  type ModifyQuerySet,
  parseInbound,
} from "./sync-frames.js";
import { type MutationSocket, SyncMutations, type SyncMutationsParts } from "./sync-mutations.js";
import { type SpeakingSocket, SyncSpeaker, type SyncSpeakerParts } from "./sync-speaker.js";
import { anonymousIdentity, type Identity, SyncState } from "./sync-state.js";

/** How long the first Transition waits for the first queries: it replaces all that the client still shows. */
export const firstQueriesMs = 1_000;
/** How long a client waits for what the database does not let happen now. */
const retryMs = 1_000;
/** How far ahead of this machine's clock a client's word may put the timestamps. */
const farthestAhead = 24n * 3_600_000n * 1_000_000n;

export interface SyncSocketParts extends SyncMutationsParts, SyncSpeakerParts {
  held: Held;
  subscriptions: Subscriptions;
  credentials: Credentials;
}

export class SyncSocket implements RawFrameHandler, MutationSocket, SpeakingSocket {
  readonly state: SyncState;
  readonly #parts: SyncSocketParts;
  readonly #mutations: SyncMutations;
  readonly #speaker: SyncSpeaker;
  /** Frames are taken one after the other. */
  #frames: Promise<void> = Promise.resolve();
  /** This side ended it: nothing more is begun. */
  #isEnded = false;
  #unwatchCredential: () => void = () => {};

  constructor(
    parts: SyncSocketParts,
    readonly socket: Socket,
  ) {
    this.#parts = parts;
    this.state = new SyncState(new SyncBytes(parts.held, socket.address, () => this.end(overloadedClosing)));
    this.#mutations = new SyncMutations(parts, this);
    this.#speaker = new SyncSpeaker(parts, this);
    socket.onGone(() => this.#leave());
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Resolves once the frame is dealt with, for a mutation once it is answered: so a client that sends many waits. */
  async raw(data: Buffer): Promise<void> {
    const turn = this.#frames.then(() => this.#takeNext(data));
    this.#frames = turn.then(
      () => {},
      () => {},
    );
    if (await turn) await this.#mutations.done;
  }

  /** Takes a frame once there is room for what it brings about. Returns whether it is a mutation. */
  async #takeNext(data: Buffer): Promise<boolean> {
    await this.roomForReplies();
    if (this.#isEnded) return false;
    const frame = parseInbound(data);
    if (typeof frame === "string") {
      this.end(comeAgain(frame));
      return false;
    }
    await this.#take(frame);
    return frame.type === "Mutation";
  }

  roomForReplies(): Promise<void> {
    return this.#speaker.roomForReplies();
  }

  /** The client would send the same frame on its next socket, and on every one after that. It ends for good instead. */
  tooLarge(): void {
    this.socket.send(fatalError(`A frame is too large (max ${sizes.liveFrameBytes} bytes)`));
  }

  async bad(): Promise<void> {
    this.end(comeAgain("a frame is no JSON object with a type"));
  }

  async #take(frame: Inbound): Promise<void> {
    const { state } = this;
    if (frame.type === "system.heartbeat") return this.#reply(heartbeatAck);
    if (frame.type === "Connect") {
      if (state.clientSessionId !== undefined) return this.end(comeAgain("Connect came twice"));
      state.clientSessionId = frame.sessionId;
      if (typeof frame.maxObservedTimestamp === "bigint") this.#raise(frame.maxObservedTimestamp);
      return;
    }
    // A client that begins with another frame does not know where it stands. It does when it comes back.
    if (state.clientSessionId === undefined) return this.end(comeAgain("the first frame must be Connect"));
    switch (frame.type) {
      case "ModifyQuerySet":
        return this.#modify(frame);
      case "Authenticate":
        return this.#authenticate(frame);
      case "Mutation":
        return this.#mutations.add(frame, state.clientSessionId);
      case "Action":
        return this.refuseCall(frame, missingFunction(frame.udfPath));
    }
  }

  /**
   * No later timestamp may be earlier than one that the client has seen elsewhere, unless no clock can have shown that.
   */
  #raise(seen: bigint): void {
    const { clock, timestamps } = this.#parts;
    if (seen < BigInt(clock.now()) * 1_000_000n + farthestAhead) timestamps.raise(seen);
  }

  #modify(frame: ModifyQuerySet): void {
    // A frame can have its turn after its client has left. Nobody would end what it subscribed to.
    if (this.socket.gone) return;
    const { added, removed, closing } = this.state.modify(frame);
    // New ones first: where one asks what a removed one asked, its answer is there already. A frame may remove what it
    // added, and to make room for it may end this very socket: nobody would end what is subscribed to then.
    for (const query of added) if (this.state.has(query)) this.#subscribe(query);
    for (const query of removed) query.subscription?.end();
    if (closing) this.end(closing);
    else this.wake();
  }

  /** Asks a query as who the client is now. */
  #subscribe(query: WatchedQuery): void {
    const { udfPath, args = "null" } = query.query;
    const before = query.subscription;
    const question = { path: udfPath, args, ...this.state.identity, address: this.socket.address };
    query.subscription = this.#parts.subscriptions.subscribe(question, {
      touched: () => {
        this.state.touch(query);
        return this.#speaker.wouldAsk;
      },
      ready: (answer) => this.#speaker.hear(query, answer),
      delayed: () => {},
    });
    before?.end();
  }

  async #authenticate(frame: Authenticate): Promise<void> {
    const { baseVersion, tokenType, value } = frame;
    const { received } = this.state;
    if (baseVersion !== received.identity) return this.end(comeAgain("the identity's version does not follow"));
    let identity = anonymousIdentity;
    if (tokenType !== "None") {
      try {
        if (tokenType === "Admin") throw new CallError("unauthenticated", "There are no deployment keys here");
        const secret = value ?? "";
        identity = { secret, caller: await this.#parts.admission.authenticate(secret, this.socket.address) };
      } catch (error) {
        if (isUnavailable(error) && (await this.hasWaited())) return this.#authenticate(frame);
        return this.#refuse(error, true);
      }
    }
    if (this.socket.gone) return;
    received.identity = baseVersion + 1;
    this.#become(identity);
    this.oweTransition();
  }

  #become(identity: Identity): void {
    const { secret, caller } = identity;
    this.state.become(identity);
    this.#unwatchCredential();
    this.#unwatchCredential = () => {};
    if (secret !== undefined && caller) {
      this.#unwatchCredential = this.#parts.credentials.watch(secret, caller, () => {
        this.state.isDoubted = true;
        this.wake();
      });
    }
    for (const query of this.state.queries) this.#subscribe(query);
  }

  /** Looks at the credential again. */
  async verify(): Promise<void> {
    const { state } = this;
    const { address } = this.socket;
    const { credentials, admission } = this.#parts;
    const { identity } = state;
    const { secret, caller } = identity;
    state.isDoubted = false;
    if (secret === undefined) return;
    const standing = await credentials.standing(caller, address, () => admission.authenticate(secret, address));
    if (state.identity !== identity) return;
    if (standing.status === "refused") this.#refuse(standing.error, false);
    else if (standing.status === "unknown") {
      state.isDoubted = true;
      await this.hasWaited();
    } else if (standing.status === "changed" && !this.socket.gone) {
      this.#become({ ...identity, caller: standing.caller });
    }
  }

  /**
   * Waits for a database that is away, and says whether the client is still there. It is not sent away meanwhile: it
   * would come back in vain, and wait longer each time, until it was served up to 24 s later than everybody else.
   */
  async hasWaited(): Promise<boolean> {
    await new Promise<void>((resolve) => this.#parts.clock.after(retryMs, resolve));
    return !this.#isEnded && !this.socket.gone;
  }

  refuseCredential(error: unknown): void {
    this.#refuse(error, false);
  }

  /** Ends a socket whose credential is no good. After an error that is no verdict on it, the client tries again. */
  #refuse(error: unknown, isUpdate: boolean): void {
    if (this.#isEnded) return;
    if (isVerdict(error)) {
      this.socket.send(authError(error.message, this.state.received.identity, isUpdate));
      this.end(refusedClosing);
    } else this.end(closingAfter(error));
  }

  refuseCall(frame: CallFrame, error: CallError): void {
    this.#reply(callFailed(frame.type, frame.requestId, { status: "refused", error }, ""));
  }

  #reply(frame: Frame): void {
    this.state.reply(frame);
    this.wake();
  }

  oweTransition(): void {
    if (this.state.owe()) {
      this.#parts.clock.after(firstQueriesMs, () => {
        this.state.begin();
        this.wake();
      });
    }
    this.wake();
  }

  wake(): void {
    this.#speaker.wake();
  }

  end(closing: Closing): void {
    this.#isEnded = true;
    this.socket.close(closing);
  }

  #leave(): void {
    this.#unwatchCredential();
    for (const query of this.state.queries) query.subscription?.end();
    this.state.end();
    this.#speaker.leave();
  }
}
