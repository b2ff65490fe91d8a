/**
 * One socket of a live client: the per-socket algorithm of convex-wire.md section 7. What a client asks for is taken in
 * the order in which it comes; it is answered with as few Transitions as it can, each from where the last one ended.
 */
import { callerKey, type Holding, parsedBytes } from "../../runtime/byte-budget.js";
import { missingFunction } from "../../runtime/call/registry.js";
import type { Runtime } from "../../runtime/call/runtime.js";
import type { Clock } from "../../runtime/clock.js";
import type { Caller } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { heldBytes, parsedArgumentBytes, sizes, subscriptionBytes } from "../../runtime/limits.js";
import { newCall } from "../new-call.js";
import type { Closing } from "../sockets/close-codes.js";
import { heartbeatAck, type RawFrameHandler, type Socket, type WholeFrame, wholeFrame } from "../sockets/socket.js";
import { readArgsText, tooManyValues } from "../wire.js";
import type { Credentials } from "./credentials.js";
import type { Answer, LiveQuerySet, Subscription } from "./subscriptions.js";
import {
  type AddQuery,
  type Authenticate,
  authError,
  type CallFrame,
  type Change,
  callFailed,
  changed,
  type FailedOutcome,
  type Frame,
  fatalError,
  type Inbound,
  type ModifyQuerySet,
  mutationSucceeded,
  parseInbound,
  ping,
  queryFailure,
  removed,
  transition,
} from "./sync-frames.js";

/** A client hears something at least as often: after a minute of silence it takes the server for dead. */
export const pingMs = 15_000;
/** How long the first Transition waits for the first queries: it replaces all that the client still shows. */
export const firstQueriesMs = 1_000;
/** Frames that the network has not taken yet. What changes meanwhile goes into the one after them. */
const mostUnsent = 2;
/** How long a client waits with what the database does not let happen now. */
const retryMs = 1_000;
/** How long a client may leave unread what it was sent. */
export const mostUnreadMs = 120_000;
/** Replies and refusals that wait to be sent. With more than these, no further frame is taken. */
const mostWaiting = 1_000;
/** What a piece of a change takes beside its bytes. */
const pieceBytes = 64;
/** How many results are kept for one socket before its client is asked to come again. */
export const mostDone = 2_000;
/** How far ahead of this machine's clock a client's word may put the timestamps. */
const farthestAhead = 24n * 3_600_000n * 1_000_000n;

/** The client comes back in about a second, with the whole opening sequence. */
const again = (why: string): Closing => ({ code: 1013, reason: `InternalServerError: ${why}`.slice(0, 123) });
/** It comes back when there is less to do. */
const overloaded: Closing = { code: 1013, reason: "TooManyConcurrentRequests" };
/**
 * It comes back at once, and its next mutation shows that it has the results of all before (runtime/call/idempotency.ts). On an
 * open socket nothing does: what the network took may still be lost on the way into the client.
 */
const showsWhatItHas: Closing = { code: 1001, reason: "ComeAgain" };
/** It was told why before. */
const refused: Closing = { code: 1000, reason: "AuthError" };

export interface SyncSocketParts {
  runtime: Runtime;
  clock: Clock;
  queries: LiveQuerySet;
  credentials: Credentials;
}

/** As whom the socket asks. */
interface Identity {
  /** Undefined: as nobody. */
  secret: string | undefined;
  caller: Caller | undefined;
}

/** A query of this socket. */
interface Watched {
  queryId: number;
  query: AddQuery;
  subscription: Subscription;
  /** What its arguments are counted as. */
  bytes: number;
  /** What the answer that the client has is known again by. */
  sent: Buffer | undefined;
  /** To be read once more, whatever is known of it. */
  anew: boolean;
}

/** A Transition that is being prepared. */
interface Round {
  owes: boolean;
  identity: Identity;
  received: { querySet: number; identity: number };
  /** The instant at which it was begun, where the client waits for one. */
  now: bigint;
  ready: Change[];
  due: Watched[];
  /** Of what is due, in its order; undefined where it was removed before its turn, or there is no room for its answer. */
  answers: (Answer | undefined)[];
  /** What the answers and changes are counted as until they are part of a frame. */
  bytes: number;
}

export class SyncSocket implements RawFrameHandler {
  readonly #parts: SyncSocketParts;
  readonly #socket: Socket;

  /** Undefined until the client has said Connect. */
  #sessionId: string | undefined;
  #identity: Identity = { secret: undefined, caller: undefined };
  #unwatchCredential: () => void = () => {};
  /** Whether the credential has to be looked at before anything more is said. */
  #isDoubted = false;
  readonly #received = { querySet: 0, identity: 0 };
  /** Whether queries were asked for, or waited for long enough. */
  #hasBegun = false;

  readonly #watched = new Map<number, Watched>();
  /** Those that a commit may have changed, or that are new. */
  readonly #touched = new Set<Watched>();
  /** Changes that need no run: queries that were removed, and those that were too many. */
  #ready: Change[] = [];
  /** Replies to mutations and actions. */
  #replies: Frame[] = [];

  #sent = { querySet: 0, identity: 0, ts: 0n };
  /** The lengths of the frames that the network has not taken yet. */
  readonly #unsent: number[] = [];
  #lastSentAt: number;
  #lastTakenAt: number;
  /** What is held for it: the arguments of its queries, and answers until the network has taken them. */
  #arguments: Holding;
  #answers: Holding;
  /** Whether queries wait until there is room for their answers. */
  #lacksRoom = false;
  #cancelWaitForRoom: () => void = () => {};
  /** Frames that wait until what is there to be said has been sent. */
  #onSent: (() => void)[] = [];
  /** Whether the client waits for a Transition, even one without changes. */
  #owes = false;
  #isDirty = false;
  /** Whether it will look in a moment for what there is to do. */
  #isAwake = false;
  /** What it waits for before it does anything more. */
  #awaited = 0;

  /** Frames are taken one after the other, and so are mutations. */
  #frames: Promise<void> = Promise.resolve();
  #mutations: Promise<void> = Promise.resolve();
  #isMutating = false;
  /** The number of the first one on this socket. */
  #firstMutation: number | undefined;
  /** How many were done: their results are kept until the client comes again. */
  #done = 0;
  /** This side ended it: nothing more is begun. */
  #isEnded = false;
  #cancelPing: () => void = () => {};

  constructor(parts: SyncSocketParts, socket: Socket) {
    this.#parts = parts;
    this.#socket = socket;
    this.#lastSentAt = parts.clock.now();
    this.#lastTakenAt = this.#lastSentAt;
    this.#arguments = this.#holdArguments();
    this.#answers = this.#holdAnswers();
    this.#pingLater(pingMs);
    socket.onGone(() => this.#leave());
  }

  #holdArguments(): Holding {
    return this.#parts.runtime.held.subscriptions.hold(this.#holder);
  }

  #holdAnswers(): Holding {
    return this.#parts.runtime.held.answers.hold(this.#holder, () => this.#end(overloaded));
  }

  get #holder() {
    return { address: this.#socket.address, caller: callerKey(this.#identity.caller) };
  }

  /** Resolves once the frame is dealt with, which for a mutation is its end: so a client that sends many waits. */
  async raw(data: Buffer): Promise<void> {
    const turn = this.#frames.then(() => this.#takeNext(data));
    this.#frames = turn.then(
      () => {},
      () => {},
    );
    if (await turn) await this.#mutations;
  }

  /** Takes a frame once there is room for what it brings about. Whether it is a mutation. */
  async #takeNext(data: Buffer): Promise<boolean> {
    await this.#saidEnough();
    if (this.#isEnded) return false;
    const frame = parseInbound(data);
    if (typeof frame === "string") {
      this.#end(again(frame));
      return false;
    }
    await this.#take(frame);
    return frame.type === "Mutation";
  }

  /** Waits while many replies and refusals wait to be sent, or some for which there is no room. */
  async #saidEnough(): Promise<void> {
    const isTooMuch = () =>
      this.#replies.length + this.#ready.length > mostWaiting || (this.#replies.length > 0 && !this.#answers.hasRoom);
    while (isTooMuch() && !this.#socket.gone) await new Promise<void>((resolve) => this.#onSent.push(resolve));
  }

  /** The client would send the same frame on its next socket, for ever; behind this it ends instead. */
  tooLarge(): void {
    this.#socket.send(fatalError(`A frame is too large (max ${sizes.liveFrameBytes} bytes)`));
  }

  async bad(): Promise<void> {
    this.#end(again("a frame is no JSON object with a type"));
  }

  async #take(frame: Inbound): Promise<void> {
    if (frame.type === "system.heartbeat") return this.#reply(heartbeatAck);
    if (frame.type === "Connect") {
      if (this.#sessionId !== undefined) return this.#end(again("Connect came twice"));
      this.#sessionId = frame.sessionId;
      if (typeof frame.maxObservedTimestamp === "bigint") this.#raise(frame.maxObservedTimestamp);
      return;
    }
    // A client that begins with something else has lost its place; it finds it again when it comes back.
    if (this.#sessionId === undefined) return this.#end(again("the first frame must be Connect"));
    switch (frame.type) {
      case "ModifyQuerySet":
        return this.#modify(frame);
      case "Authenticate":
        return this.#authenticate(frame);
      case "Mutation":
        this.#firstMutation ??= frame.requestId;
        return this.#queueMutation(frame, this.#sessionId);
      case "Action":
        return this.#refuseCall(frame, missingFunction(frame.udfPath));
    }
  }

  /** What the client has seen elsewhere must not come again. An instant that no clock can have shown is not believed. */
  #raise(seen: bigint): void {
    const { runtime } = this.#parts;
    if (seen < BigInt(runtime.now()) * 1_000_000n + farthestAhead) runtime.timestamps.raise(seen);
  }

  #modify({ baseVersion, newVersion, modifications }: ModifyQuerySet): void {
    if (baseVersion !== this.#received.querySet || newVersion <= baseVersion) {
      this.#end(again("the query set's version does not follow"));
      return;
    }
    for (const modification of modifications) {
      if (modification.type === "Remove") this.#remove(modification.queryId);
      else if (this.#watched.has(modification.queryId)) {
        this.#end(again("a query was added twice"));
        return;
      } else this.#add(modification);
      if (this.#isEnded) return;
    }
    this.#received.querySet = newVersion;
    this.#hasBegun = true;
    this.#owe();
  }

  #add(query: AddQuery): void {
    const { queryId, args = "" } = query;
    const bytes = Buffer.byteLength(args) + subscriptionBytes;
    const error = this.#refusalOf(query, bytes);
    if (error) {
      const change = changed(queryId, queryFailure({ status: "refused", error }, ""));
      // A frame of a megabyte can bring twenty thousand of them.
      if (this.#answers.take(bytesOf([change]))) this.#ready.push(change);
      else this.#end(overloaded);
      return;
    }
    const watched: Watched = { queryId, query, subscription: none, bytes, sent: undefined, anew: false };
    this.#watched.set(queryId, watched);
    this.#subscribe(watched);
  }

  /** Why a query is not watched. It fails, and the others go on: a client whose socket closes would send the same again. */
  #refusalOf({ args = "", componentPath }: AddQuery, bytes: number): CallError | undefined {
    if (this.#watched.size >= sizes.queriesPerSocket) {
      return new CallError("too_large", `Too many queries on one connection (max ${sizes.queriesPerSocket})`);
    }
    if (componentPath) return noComponents();
    if (Buffer.byteLength(args) > sizes.frameBytes) return argumentsTooLarge();
    if (parsedBytes(args) > parsedArgumentBytes) return tooManyValues();
    if (this.#arguments.take(bytes)) return undefined;
    return new CallError(
      "too_large",
      `The arguments of all queries take too much (max ${heldBytes.subscriptions.socket} bytes on one connection, and less where many connections have queries)`,
    );
  }

  #remove(queryId: number): void {
    const watched = this.#watched.get(queryId);
    // Of one that was refused nothing is left but what the client was told.
    if (!watched) return;
    watched.subscription.end();
    this.#arguments.add(-watched.bytes);
    this.#watched.delete(queryId);
    this.#touched.delete(watched);
    const change = removed(queryId);
    this.#answers.add(bytesOf([change]));
    this.#ready.push(change);
  }

  /** Asks it as who the client is now. */
  #subscribe(watched: Watched): void {
    const { udfPath, args = "null" } = watched.query;
    const before = watched.subscription;
    const question = { path: udfPath, args, ...this.#identity, address: this.#socket.address };
    watched.subscription = this.#parts.queries.subscribe(question, {
      touched: () => this.#touch(watched),
      ready: (answer) => this.#hear(watched, answer),
      delayed: () => {},
    });
    before.end();
    this.#touched.add(watched);
  }

  /** A query has a new answer. Mostly that is all there is to say, and then nothing has to be gathered for it. */
  #hear(watched: Watched, answer: Answer | undefined): void {
    const isAll =
      this.#hasWork &&
      !this.#isDoubted &&
      !this.#isMutating &&
      !this.#owes &&
      !watched.anew &&
      this.#replies.length === 0 &&
      this.#ready.length === 0 &&
      this.#touched.size === 1 &&
      this.#touched.has(watched) &&
      this.#answers.hasRoom;
    if (!answer || !isAll) {
      this.#awoken();
      return;
    }
    this.#touched.clear();
    this.#isDirty = false;
    if (watched.sent?.equals(answer.mark)) return;
    watched.sent = answer.mark;
    const from = this.#sent;
    const { querySet, identity } = this.#received;
    this.#sent = { querySet, identity, ts: answer.readAt > from.ts ? answer.readAt : from.ts };
    this.#write(answer.transition(watched.queryId, from, this.#sent));
  }

  #touch(watched: Watched): boolean {
    this.#touched.add(watched);
    this.#isDirty = true;
    return this.#hasWork && !this.#isAwake;
  }

  async #authenticate(frame: Authenticate): Promise<void> {
    const { baseVersion, tokenType, value } = frame;
    if (baseVersion !== this.#received.identity) return this.#end(again("the identity's version does not follow"));
    let identity: Identity = { secret: undefined, caller: undefined };
    if (tokenType !== "None") {
      try {
        if (tokenType === "Admin") throw new CallError("unauthenticated", "There are no deployment keys here");
        const caller = await this.#parts.runtime.authenticate(value ?? "", this.#socket.address);
        identity = { secret: value ?? "", caller };
      } catch (error) {
        if (isUnavailable(error) && (await this.#hasWaited())) return this.#authenticate(frame);
        return this.#refuse(error, true);
      }
    }
    if (this.#socket.gone) return;
    this.#received.identity = baseVersion + 1;
    this.#become(identity);
    this.#owe();
  }

  #become(identity: Identity): void {
    this.#identity = identity;
    this.#isDoubted = false;
    const [args, answers] = [this.#arguments, this.#answers];
    this.#arguments = this.#holdArguments();
    this.#answers = this.#holdAnswers();
    this.#arguments.add(args.bytes);
    this.#answers.add(answers.bytes);
    args.end();
    answers.end();
    this.#watchCredential();
    for (const watched of this.#watched.values()) this.#subscribe(watched);
  }

  #watchCredential(): void {
    const { secret, caller } = this.#identity;
    this.#unwatchCredential();
    this.#unwatchCredential = () => {};
    if (secret === undefined || !caller) return;
    this.#unwatchCredential = this.#parts.credentials.watch(secret, caller, () => {
      this.#isDoubted = true;
      this.#wake();
    });
  }

  /** Looks at the credential again. Whether it still stands for anybody. */
  async #verify(): Promise<void> {
    const identity = this.#identity;
    this.#isDoubted = false;
    if (identity.secret === undefined) return;
    let caller: Caller;
    try {
      const { secret } = identity;
      const { address } = this.#socket;
      const { credentials, runtime } = this.#parts;
      caller = await credentials.check(identity.caller, address, () => runtime.authenticate(secret, address));
    } catch (error) {
      if (this.#identity !== identity) return;
      if (!isUnavailable(error)) return this.#refuse(error, false);
      this.#isDoubted = true;
      await this.#hasWaited();
      return;
    }
    if (this.#identity !== identity || this.#socket.gone) return;
    if (JSON.stringify(caller) === JSON.stringify(identity.caller)) return;
    this.#become({ ...identity, caller });
    this.#isDirty = true;
  }

  /**
   * Waits for a database that is away, and says whether the client is still there. One that was sent away would come in
   * vain until the database is back, and wait longer each time: for up to 24 s after everybody else is served again.
   */
  async #hasWaited(): Promise<boolean> {
    await new Promise<void>((resolve) => this.#parts.clock.after(retryMs, resolve));
    return !this.#isEnded && !this.#socket.gone;
  }

  /** The end of a socket whose credential is no good. What is no word on the credential is for the client to try again. */
  #refuse(error: unknown, isUpdate: boolean): void {
    if (this.#isEnded) return;
    if (isVerdict(error)) {
      this.#socket.send(authError(error.message, this.#received.identity, isUpdate));
      this.#end(refused);
    } else this.#end(transient(error));
  }

  #queueMutation(frame: CallFrame, sessionId: string): void {
    const identity = this.#identity;
    this.#mutations = this.#mutations
      .then(() => this.#mutate(frame, identity, sessionId))
      .catch((error: unknown) => {
        this.#socket.log.error({ socket: this.#socket.id, err: error }, "a mutation's frame failed");
        this.#end(again("a mutation could not be answered"));
      });
  }

  async #mutate(frame: CallFrame, identity: Identity, sessionId: string): Promise<void> {
    await this.#saidEnough();
    // One that arrived whole is done also where the client has left; one that never began it will send again.
    if (this.#isEnded) return;
    const { runtime } = this.#parts;
    const { requestId, udfPath } = frame;
    if (frame.componentPath) return this.#refuseCall(frame, noComponents());
    let caller: Caller | undefined;
    try {
      // As it is now: a credential that was revoked since the frame came changes nothing any more.
      if (identity.secret !== undefined) caller = await runtime.authenticate(identity.secret, this.#socket.address);
    } catch (error) {
      if (isUnavailable(error) && (await this.#hasWaited())) return this.#mutate(frame, identity, sessionId);
      const isCurrent = identity.secret === this.#identity.secret;
      return isCurrent || !isVerdict(error) ? this.#refuse(error, false) : this.#refuseCall(frame, error);
    }
    const text = frame.args ?? "null";
    if (Buffer.byteLength(text) > sizes.frameBytes) return this.#refuseCall(frame, argumentsTooLarge());
    const parsed = runtime.held.requests.hold(this.#holder);
    if (!parsed.take(Math.min(parsedBytes(text), parsedArgumentBytes))) {
      parsed.end();
      if (await this.#hasWaited()) return this.#mutate(frame, identity, sessionId);
      return;
    }
    const args = readArgsText(text);
    if (args instanceof CallError) {
      parsed.end();
      return this.#refuseCall(frame, args);
    }
    const call = newCall(
      { path: udfPath, kind: "mutation", args },
      { address: this.#socket.address, ...(caller ? { caller } : {}) },
      { resent: { sessionId, requestId, isFirst: requestId === this.#firstMutation } },
    );
    this.#isMutating = true;
    const outcome = await runtime.dispatch(call).finally(() => parsed.end());
    // What it touched may be much, and is shown before it resolves.
    await runtime.live.awake();
    this.#isMutating = false;
    if (outcome.status === "success") {
      const ts = outcome.ts ?? runtime.timestamps.next();
      runtime.timestamps.raise(ts);
      this.#done += 1;
      // Another process may have done it, whose word of it is still on its way.
      if (outcome.isReplayed) for (const watched of this.#watched.values()) this.#askAnew(watched);
      this.#queueReply(mutationSucceeded(requestId, outcome, ts));
      this.#owe();
    } else if (outcome.status === "rejected" && isUnavailable(outcome.error)) {
      // It may have been done or not. Asked again, here or by the client on its next socket, it is done once.
      if (await this.#hasWaited()) return this.#mutate(frame, identity, sessionId);
      this.#end(transient(outcome.error));
    } else this.#reply(callFailed("Mutation", requestId, outcome, call.requestId));
  }

  #askAnew(watched: Watched): void {
    watched.anew = true;
    this.#touched.add(watched);
  }

  #refuseCall(frame: CallFrame, error: CallError): void {
    const outcome: FailedOutcome = { status: "refused", error };
    this.#reply(callFailed(frame.type, frame.requestId, outcome, ""));
  }

  #reply(frame: Frame): void {
    this.#queueReply(frame);
    this.#wake();
  }

  #queueReply(frame: Frame): void {
    this.#answers.add(frame.length);
    this.#replies.push(frame);
  }

  /** The client waits for a Transition. */
  #owe(): void {
    if (!this.#hasBegun && !this.#owes) {
      this.#parts.clock.after(firstQueriesMs, () => {
        this.#hasBegun = true;
        this.#wake();
      });
    }
    this.#owes = true;
    this.#isDirty = true;
    this.#wake();
  }

  /** Does what there is to do, once what runs now is through: what a commit tells comes right behind what it wakes. */
  #wake(): void {
    if (this.#isAwake || !this.#hasWork) return;
    this.#isAwake = true;
    void soon.then(() => {
      this.#isAwake = false;
      this.#awoken();
    });
  }

  readonly #awoken = (): void => {
    try {
      if (this.#hasWork) this.#work();
    } catch (error) {
      this.#fail(error);
    }
  };

  get #hasWork(): boolean {
    if (this.#socket.gone || this.#awaited > 0) return false;
    if (this.#isDoubted) return true;
    if (this.#unsent.length >= mostUnsent) return false;
    return this.#replies.length > 0 || (this.#isDirty && this.#hasBegun && !this.#lacksRoom);
  }

  #work(): void {
    if (this.#isDoubted) this.#await(this.#verify());
    // What woke it may be this socket's own mutation, whose reply comes in a moment: then one Transition is enough.
    else if (this.#isMutating) this.#await(new Promise(setImmediate).then(() => this.#say()));
    else this.#say();
  }

  #await(work: Promise<void>): void {
    this.#awaited += 1;
    work.catch(this.#fail).finally(() => {
      this.#awaited -= 1;
      this.#wake();
    });
  }

  readonly #fail = (error: unknown): void => {
    this.#socket.log.error({ socket: this.#socket.id, err: error }, "a live client could not be answered");
    this.#end(again("the queries could not be answered"));
  };

  #say(): void {
    // A mutation's reply goes before a Transition whose queries run after it; only that one may reach its instant.
    for (const reply of this.#replies.splice(0)) {
      this.#answers.add(-reply.length);
      this.#write(wholeFrame(reply));
    }
    if (this.#isDirty && this.#hasBegun && !this.#lacksRoom) this.#catchUp();
    if (this.#onSent.length > 0) for (const goOn of this.#onSent.splice(0)) goOn();
  }

  /** Goes on with the queries once something was read, by this client or by another. */
  #waitForRoom(): void {
    if (this.#lacksRoom || this.#socket.gone) return;
    this.#lacksRoom = true;
    this.#cancelWaitForRoom = this.#parts.runtime.held.answers.whenFreed(() => {
      this.#lacksRoom = false;
      this.#wake();
    });
  }

  /** Prepares one Transition: from what was sent last to what was received by now. */
  #catchUp(): void {
    if (this.#touched.size > 0 && !this.#answers.hasRoom) {
      this.#waitForRoom();
      return;
    }
    const due = [...this.#touched];
    const round: Round = {
      owes: this.#owes,
      identity: this.#identity,
      received: { ...this.#received },
      now: this.#owes ? this.#parts.runtime.timestamps.next() : 0n,
      ready: this.#ready,
      due,
      answers: [],
      bytes: bytesOf(this.#ready),
    };
    this.#isDirty = false;
    this.#owes = false;
    this.#ready = [];
    this.#touched.clear();
    if (due.length === 0) this.#transition(round);
    else this.#gather(round);
  }

  /** Asks for all that is due, and goes on once the last answer is there. */
  #gather(round: Round): void {
    const { due } = round;
    this.#awaited += 1;
    let missing = due.length;
    const goOn = () => {
      missing -= 1;
      if (missing > 0) return;
      this.#awaited -= 1;
      this.#transition(round);
      this.#wake();
    };
    const has = () => this.#answers.hasRoom;
    for (const [index, watched] of due.entries()) {
      const { anew } = watched;
      watched.anew = false;
      const none = () => {
        watched.anew ||= anew;
        goOn();
      };
      const take = (answer: Answer | undefined) => {
        round.answers[index] = answer;
        if (answer && !watched.sent?.equals(answer.mark)) {
          round.bytes += answer.bytes;
          this.#answers.add(answer.bytes);
        }
        goOn();
      };
      watched.subscription.ask(anew, take, this.#fail, { has, none });
    }
  }

  #transition({ owes, identity, received, now, ready, due, answers, bytes }: Round): void {
    this.#answers.add(-bytes);
    if (this.#socket.gone) return;
    if (this.#identity === identity && answers.some((answer) => answer?.isLapsed)) this.#isDoubted = true;
    if (this.#isDoubted || this.#identity !== identity) {
      // These answers may be for eyes that have lost their right to them. They are asked for again once that is known.
      this.#postpone(due, owes);
      this.#answers.add(bytesOf(ready));
      this.#ready = [...ready, ...this.#ready];
      return;
    }
    const from = this.#sent;
    const news: { queryId: number; answer: Answer }[] = [];
    const postponed: Watched[] = [];
    let readAt = from.ts;
    for (const [index, watched] of due.entries()) {
      const { queryId, sent } = watched;
      const answer = answers[index];
      if (this.#watched.get(queryId) !== watched) continue;
      if (!answer) postponed.push(watched);
      else if (!sent?.equals(answer.mark)) {
        watched.sent = answer.mark;
        news.push({ queryId, answer });
        if (answer.readAt > readAt) readAt = answer.readAt;
      }
    }
    const isPart = postponed.length > 0;
    if (isPart) {
      this.#postpone(postponed, owes);
      this.#waitForRoom();
    }
    const [first] = news;
    if (!first && ready.length === 0 && (!owes || isPart)) return;
    // Who waits for a Transition waits for one of now. Else it is dated by what it brings, so that others' is the same;
    // but not where something was touched while these queries had their turns: a mutation of the client's own would seem
    // to be shown, and is not yet. Nor where there was no room for all answers: only the last part reaches what the
    // client waits for.
    const { querySet, identity: asWhom } = isPart ? from : received;
    const ts = isPart ? from.ts : owes ? now : this.#touched.size > 0 ? from.ts : readAt;
    const to = { querySet, identity: asWhom, ts };
    this.#sent = to;
    if (first && news.length === 1 && ready.length === 0) {
      this.#write(first.answer.transition(first.queryId, from, to));
    } else {
      const changes = news.map(({ queryId, answer }) => changed(queryId, answer.result));
      this.#write(transition(from, to, [...ready, ...changes]));
    }
  }

  /** Asks for them again, and for what the client waits for. */
  #postpone(due: Watched[], owes: boolean): void {
    for (const watched of due) if (this.#watched.get(watched.queryId) === watched) this.#touched.add(watched);
    this.#owes ||= owes;
    this.#isDirty = true;
  }

  #write(frame: WholeFrame): void {
    this.#unsent.push(frame.length);
    this.#answers.add(frame.length);
    this.#lastSentAt = this.#parts.clock.now();
    if (this.#unsent.length === 1) this.#lastTakenAt = this.#lastSentAt;
    this.#socket.sendWhole(frame, this.#written);
  }

  readonly #written = (): void => {
    this.#lastTakenAt = this.#parts.clock.now();
    this.#answers.add(-(this.#unsent.shift() ?? 0));
    if (this.#done >= mostDone && this.#isIdle) this.#end(showsWhatItHas);
    else this.#wake();
  };

  get #isIdle(): boolean {
    const isSaid = this.#unsent.length === 0 && this.#replies.length === 0 && !this.#isDirty && this.#awaited === 0;
    return isSaid && !this.#isMutating;
  }

  #pingLater(afterMs: number): void {
    const { clock } = this.#parts;
    this.#cancelPing = clock.after(afterMs, () => {
      const restMs = Math.min(this.#lastSentAt + pingMs - clock.now(), pingMs);
      if (restMs > 0) return this.#pingLater(restMs);
      // Behind a frame that the network does not take, another one says nothing.
      if (this.#unsent.length === 0) this.#write(ping);
      else if (clock.now() - this.#lastTakenAt >= mostUnreadMs) return this.#end(overloaded);
      this.#pingLater(pingMs);
    });
  }

  #end(closing: Closing): void {
    this.#isEnded = true;
    this.#socket.close(closing);
  }

  #leave(): void {
    this.#cancelPing();
    this.#unwatchCredential();
    for (const { subscription } of this.#watched.values()) subscription.end();
    this.#watched.clear();
    this.#touched.clear();
    this.#cancelWaitForRoom();
    this.#arguments.end();
    this.#answers.end();
    for (const goOn of this.#onSent.splice(0)) goOn();
  }
}

const soon = Promise.resolve();

/** The subscription of a query that was not asked yet. */
const none: Subscription = { ask: (_anew, _take, fail) => fail(new Error("Not subscribed")), end: () => {} };

/** What changes count as while they wait. */
function bytesOf(changes: readonly Change[]): number {
  let bytes = 0;
  for (const parts of changes) for (const part of parts) bytes += part.length + pieceBytes;
  return bytes;
}

/** Whether the credential itself was found wanting. */
function isVerdict(error: unknown): error is CallError {
  return error instanceof CallError && (error.code === "unauthenticated" || error.code === "forbidden");
}

function isUnavailable(error: unknown): boolean {
  return error instanceof CallError && error.code === "unavailable";
}

function noComponents(): CallError {
  return new CallError("invalid_args", "There are no components here: leave componentPath out");
}

function argumentsTooLarge(): CallError {
  return new CallError("too_large", `The arguments are too large (max ${sizes.frameBytes} bytes)`);
}

function transient(error: unknown): Closing {
  if (error instanceof CallError && error.code === "rate_limited") return overloaded;
  return again("try again");
}
