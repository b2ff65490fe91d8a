/**
 * One socket of a live client: the per-socket algorithm of convex-wire.md section 7. What a client asks for is taken in
 * the order in which it comes; it is answered with as few Transitions as it can, each from where the last one ended.
 */
import type { Clock } from "../../runtime/clock.js";
import type { Caller } from "../../runtime/context.js";
import type { Runtime } from "../../runtime/dispatch.js";
import { CallError } from "../../runtime/errors.js";
import { nextRequestId } from "../../runtime/ids.js";
import { sizes } from "../../runtime/limits.js";
import type { Closing } from "../sockets/close-codes.js";
import { type FrameHandler, type InboundFrame, type Socket, type WholeFrame, wholeFrame } from "../sockets/socket.js";
import { readArgs } from "../wire.js";
import type { Credentials } from "./credentials.js";
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
  type Inbound,
  type ModifyQuerySet,
  mutationSucceeded,
  parseInbound,
  ping,
  queryResult,
  removed,
  transition,
} from "./frames.js";
import type { Answer, LiveQuerySet, Subscription } from "./live-queries.js";

/** A client hears something at least as often: after a minute of silence it takes the server for dead. */
export const pingMs = 15_000;
/** How long the first Transition waits for the first queries: it replaces all that the client still shows. */
export const firstQueriesMs = 1_000;
/** Frames that the network has not taken yet. What changes meanwhile goes into the one after them. */
const mostUnsent = 2;
/** How long a client waits with what the database does not let happen now. */
const retryMs = 1_000;
/** How far ahead of this machine's clock a client's word may put the timestamps. */
const farthestAhead = 24n * 3_600_000n * 1_000_000n;

/** The client comes back in about a second, with the whole opening sequence. */
const again = (why: string): Closing => ({ code: 1013, reason: `InternalServerError: ${why}`.slice(0, 123) });
/** It comes back when there is less to do. */
const overloaded: Closing = { code: 1013, reason: "TooManyConcurrentRequests" };
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
  /** The result that the client has. */
  sent: Frame | undefined;
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
  /** Of what is due, in its order; undefined where it was removed before its turn. */
  answers: (Answer | undefined)[];
}

export class SyncSocket implements FrameHandler {
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
  #unsent = 0;
  #lastSentAt: number;
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
  /** This side ended it: nothing more is begun. */
  #isEnded = false;
  #cancelPing: () => void = () => {};

  constructor(parts: SyncSocketParts, socket: Socket) {
    this.#parts = parts;
    this.#socket = socket;
    this.#lastSentAt = parts.clock.now();
    this.#pingLater(pingMs);
    socket.onGone(() => this.#leave());
  }

  /** Resolves once the frame is dealt with, which for a mutation is its end: so a client that sends many waits. */
  async frame({ fields }: InboundFrame): Promise<void> {
    const turn = this.#frames.then(() => this.#take(parseInbound(fields)));
    this.#frames = turn.catch(() => {});
    await turn;
    if (fields.type === "Mutation") await this.#mutations;
  }

  async bad(): Promise<void> {
    this.#end(again("a frame is no JSON object with a type"));
  }

  async #take(frame: Inbound | undefined): Promise<void> {
    if (this.#isEnded) return;
    if (!frame) return this.#end(again("a frame is not of the protocol"));
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
        return this.#queueMutation(frame, this.#sessionId);
      case "Action":
        return this.#refuseCall(
          frame,
          new CallError("not_found", `Could not find public function for '${frame.udfPath}'`),
        );
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
    }
    this.#received.querySet = newVersion;
    this.#hasBegun = true;
    this.#owe();
  }

  #add(query: AddQuery): void {
    const { queryId } = query;
    let error: CallError | undefined;
    if (this.#watched.size >= sizes.queriesPerSocket) {
      error = new CallError("too_large", `Too many queries on one connection (max ${sizes.queriesPerSocket})`);
    } else if (query.componentPath) error = noComponents();
    if (error) {
      this.#ready.push(changed(queryId, queryResult({ status: "refused", error }, "")));
      return;
    }
    const watched: Watched = { queryId, query, subscription: none, sent: undefined, anew: false };
    this.#watched.set(queryId, watched);
    this.#subscribe(watched);
  }

  #remove(queryId: number): void {
    const watched = this.#watched.get(queryId);
    if (watched) {
      watched.subscription.end();
      this.#watched.delete(queryId);
      this.#touched.delete(watched);
    }
    this.#ready.push(removed(queryId));
  }

  /** Asks it as who the client is now. */
  #subscribe(watched: Watched): void {
    const { udfPath, args } = watched.query;
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
      this.#touched.has(watched);
    if (!answer || !isAll) {
      this.#awoken();
      return;
    }
    this.#touched.clear();
    this.#isDirty = false;
    if (watched.sent?.equals(answer.result)) return;
    watched.sent = answer.result;
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
      caller = await this.#parts.runtime.authenticate(identity.secret, this.#socket.address);
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
    // One that arrived whole is done also where the client has left; one that never began it will send again.
    if (this.#isEnded) return;
    const { runtime } = this.#parts;
    const { requestId, udfPath } = frame;
    if (frame.componentPath) return this.#refuseCall(frame, noComponents());
    const args = readArgs(frame.args, JSON.stringify(frame.args) ?? "");
    if (args instanceof CallError) return this.#refuseCall(frame, args);

    let caller: Caller | undefined;
    try {
      // As it is now: a credential that was revoked since the frame came changes nothing any more.
      if (identity.secret !== undefined) caller = await runtime.authenticate(identity.secret, this.#socket.address);
    } catch (error) {
      if (isUnavailable(error) && (await this.#hasWaited())) return this.#mutate(frame, identity, sessionId);
      const isCurrent = identity.secret === this.#identity.secret;
      return isCurrent || !isVerdict(error) ? this.#refuse(error, false) : this.#refuseCall(frame, error);
    }
    const errorRequestId = nextRequestId();
    this.#isMutating = true;
    const outcome = await runtime.dispatch({
      path: udfPath,
      kind: "mutation",
      args,
      authorization: undefined,
      ...(caller ? { caller } : {}),
      idempotencyKey: undefined,
      resent: { sessionId, requestId },
      address: this.#socket.address,
      requestId: errorRequestId,
    });
    this.#isMutating = false;
    if (outcome.status === "success") {
      const ts = outcome.ts ?? runtime.timestamps.next();
      runtime.timestamps.raise(ts);
      // Another process may have done it, whose word of it is still on its way.
      if (outcome.isReplayed) for (const watched of this.#watched.values()) this.#askAnew(watched);
      this.#replies.push(mutationSucceeded(requestId, outcome, ts));
      this.#owe();
    } else if (outcome.status === "rejected" && isUnavailable(outcome.error)) {
      // It may have been done or not. Asked again, here or by the client on its next socket, it is done once.
      if (await this.#hasWaited()) return this.#mutate(frame, identity, sessionId);
      this.#end(transient(outcome.error));
    } else this.#reply(callFailed("Mutation", requestId, outcome, errorRequestId));
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
    this.#replies.push(frame);
    this.#wake();
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
    return this.#unsent < mostUnsent && (this.#replies.length > 0 || (this.#isDirty && this.#hasBegun));
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
    for (const reply of this.#replies.splice(0)) this.#write(wholeFrame(reply));
    if (this.#isDirty && this.#hasBegun) this.#catchUp();
  }

  /** Prepares one Transition: from what was sent last to what was received by now. */
  #catchUp(): void {
    const due = [...this.#touched];
    const round: Round = {
      owes: this.#owes,
      identity: this.#identity,
      received: { ...this.#received },
      now: this.#owes ? this.#parts.runtime.timestamps.next() : 0n,
      ready: this.#ready,
      due,
      answers: [],
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
    for (const [index, watched] of due.entries()) {
      const { anew } = watched;
      watched.anew = false;
      watched.subscription.ask(
        anew,
        (answer) => {
          round.answers[index] = answer;
          missing -= 1;
          if (missing > 0) return;
          this.#awaited -= 1;
          this.#transition(round);
          this.#wake();
        },
        this.#fail,
      );
    }
  }

  #transition({ owes, identity, received, now, ready, due, answers }: Round): void {
    if (this.#socket.gone) return;
    if (this.#identity === identity && answers.some((answer) => answer?.isLapsed)) this.#isDoubted = true;
    if (this.#isDoubted || this.#identity !== identity) {
      // These answers may be for eyes that have lost their right to them. They are asked for again once that is known.
      for (const watched of due) if (this.#watched.get(watched.queryId) === watched) this.#touched.add(watched);
      this.#ready = [...ready, ...this.#ready];
      this.#owes ||= owes;
      this.#isDirty = true;
      return;
    }
    const from = this.#sent;
    const news: { queryId: number; answer: Answer }[] = [];
    let readAt = from.ts;
    for (const [index, watched] of due.entries()) {
      const { queryId, sent } = watched;
      const answer = answers[index];
      if (!answer || this.#watched.get(queryId) !== watched || sent?.equals(answer.result)) continue;
      watched.sent = answer.result;
      news.push({ queryId, answer });
      if (answer.readAt > readAt) readAt = answer.readAt;
    }
    const [first] = news;
    if (!first && ready.length === 0 && !owes) return;
    // Who waits for a Transition waits for one of now. Else it is dated by what it brings, so that others' is the same;
    // but not where something was touched while these queries had their turns: a mutation of the client's own would seem
    // to be shown, and is not yet.
    const ts = owes ? now : this.#touched.size > 0 ? from.ts : readAt;
    const to = { querySet: received.querySet, identity: received.identity, ts };
    this.#sent = to;
    if (first && news.length === 1 && ready.length === 0) {
      this.#write(first.answer.transition(first.queryId, from, to));
    } else {
      const changes = news.map(({ queryId, answer }) => changed(queryId, answer.result));
      this.#write(wholeFrame(transition(from, to, [...ready, ...changes])));
    }
  }

  #write(frame: WholeFrame): void {
    this.#unsent += 1;
    this.#lastSentAt = this.#parts.clock.now();
    this.#socket.sendWhole(frame, this.#written);
  }

  readonly #written = (): void => {
    this.#unsent -= 1;
    this.#wake();
  };

  #pingLater(afterMs: number): void {
    const { clock } = this.#parts;
    this.#cancelPing = clock.after(afterMs, () => {
      const restMs = Math.min(this.#lastSentAt + pingMs - clock.now(), pingMs);
      if (restMs > 0) return this.#pingLater(restMs);
      // Behind a frame that the network does not take, another one says nothing.
      if (this.#unsent === 0) this.#write(wholeFrame(ping));
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
  }
}

const soon = Promise.resolve();

/** The subscription of a query that was not asked yet. */
const none: Subscription = { ask: (_anew, _take, fail) => fail(new Error("Not subscribed")), end: () => {} };

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

function transient(error: unknown): Closing {
  if (error instanceof CallError && error.code === "rate_limited") return overloaded;
  return again("try again");
}
