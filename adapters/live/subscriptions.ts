/**
 * Live queries as subscribers see them: whoever asks the same as the same caller shares one run and its finished bytes.
 * A query runs again when somebody looks after a commit touched what it read, and not before; and it runs, the first time
 * as well, in the turn of its caller (runtime/turns.ts).
 */
import { createHash } from "node:crypto";
import { callerKey, type Holding } from "../../runtime/byte-budget.js";
import { type Outcome, Postponed } from "../../runtime/call/call.js";
import { CredentialLapsed } from "../../runtime/call/caller.js";
import type { Runtime } from "../../runtime/call/runtime.js";
import type { Clock } from "../../runtime/clock.js";
import type { Caller } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { hashSecret } from "../../runtime/ids.js";
import { laneOf } from "../../runtime/limits.js";
import type { Begun, Seen, Watch } from "../../runtime/live/watches.js";
import type { Turn, Turns } from "../../runtime/turns.js";
import { newCall, type Asker as QueryAsker } from "../new-call.js";
import type { WholeFrame } from "../sockets/socket.js";
import { encodeValue, isReadable, readArgsText } from "../wire.js";
import {
  changed,
  type FailedOutcome,
  type Frame,
  queryFailure,
  queryValue,
  transition,
  unreadable,
  type Version,
  valueJson,
} from "./sync-frames.js";

/** How long a run waits that the database, or a rate, does not let happen now. */
const retryMs = 1_000;
/** How soon after a run the clock alone has it run again at the earliest. */
const leastRefreshMs = 250;
/** Up to here an answer is known again by itself, beyond it by its hash: what was sent need not be held to be compared. */
const longestMark = 4_096;

export interface Question {
  path: string;
  /** The arguments as they came, as text. */
  args: string;
  /** Undefined for one without a credential. */
  caller: Caller | undefined;
  /** What that caller came with. */
  secret: string | undefined;
  /** Of the first who asks; rates of callers without a credential are counted by it. */
  address: string;
}

/** A value as it is sent. */
interface Told {
  /** For the sync protocol: all of the change but the query's number. */
  result: Frame;
  /** The value as JSON, where that is not part of `result`. */
  json: string | undefined;
}

function tell(value: unknown): Told {
  if (!isReadable(value)) {
    const failed: FailedOutcome = { status: "refused", error: unreadable() };
    return { result: queryFailure(failed, ""), json: encodeValue(value, "json") };
  }
  const result = queryValue(value);
  return { result, json: result.includes('{"$') ? encodeValue(value, "json") : undefined };
}

/** What a query answered. */
export class Answer {
  readonly result: Frame;
  /** What it is known again by. */
  readonly mark: Buffer;
  readonly #json: string | undefined;
  #last: { queryId: number; from: Version; to: Version; frame: WholeFrame } | undefined;

  constructor(
    told: Told,
    /** Undefined where the query has a value. */
    readonly failure: FailedOutcome | undefined,
    readonly requestId: string,
    /** The instant before it was read. */
    readonly readAt: bigint,
  ) {
    this.result = told.result;
    this.#json = told.json;
    const isShort = told.json === undefined && told.result.length <= longestMark;
    this.mark = isShort
      ? told.result
      : createHash("sha256")
          .update(told.result)
          .update(told.json ?? "")
          .digest();
  }

  /** The value as JSON. */
  get json(): string {
    return this.#json ?? valueJson(this.result);
  }

  get bytes(): number {
    return this.result.length + (this.#json?.length ?? 0);
  }

  /** The Transition that brings this answer alone: one for all sockets that stand at the same place. */
  transition(queryId: number, from: Version, to: Version): WholeFrame {
    const last = this.#last;
    if (last && last.queryId === queryId && isSame(last.from, from) && isSame(last.to, to)) return last.frame;
    const frame = transition(from, to, [changed(queryId, this.result)]);
    this.#last = { queryId, from, to, frame };
    return frame;
  }

  /** There is no answer, because the caller's credential is not what it was. Whoever asked has to look at it. */
  get isLapsed(): boolean {
    return this.failure?.status === "rejected" && this.failure.error instanceof CredentialLapsed;
  }
}

function isSame(one: Version, other: Version): boolean {
  return one.ts === other.ts && one.querySet === other.querySet && one.identity === other.identity;
}

export interface LiveQueryParts {
  runtime: Runtime;
  clock: Clock;
  turns: Turns;
  /** Whether other processes write to the same database, of which this one hears a moment later. */
  sharedDatabase: boolean;
}

/** Who is subscribed to a query, and what it hears of it. */
export interface Subscriber {
  /** The answer may have become another one. Returns whether it would ask for it now: then `ready` tells when to. */
  touched(): boolean;
  /** There is an answer to be asked for: this one, where nothing has touched it since. */
  ready(answer: Answer | undefined): void;
  /** An answer has to wait until the database, or a rate, lets it be read. */
  delayed(reason: CallError): void;
}

/** A subscriber's hold of a query. */
export interface Subscription {
  /**
   * Has `take` called with an answer that was right at some time since this was called: at once where it is known, else
   * right when it is read, so that a thousand who wait for one answer cost no more than their calls. With `anew`, one
   * that was read since then, also where nothing is known to have changed. `fail` is called in its place with a fault.
   * Undefined where nobody is subscribed to the query any more by the time at which its turn would have come.
   */
  ask(anew: boolean, take: (answer: Answer | undefined) => void, fail: (error: unknown) => void, room?: Room): void;
  end(): void;
}

/** Where an answer goes to. */
export interface Room {
  /** Whether there is any: without, the query is not run for this one. */
  has(): boolean;
  /** There was none. Whoever asked asks again once there is. */
  none(): void;
}

/** The answer as a promise. Undefined where `has` says that there is no room for one, too. */
export function answerOf(subscription: Subscription, has = () => true): Promise<Answer | undefined> {
  return new Promise((resolve, reject) =>
    subscription.ask(false, resolve, reject, { has, none: () => resolve(undefined) }),
  );
}

export class LiveQuerySet {
  readonly #parts: LiveQueryParts;
  readonly #queries = new Map<string, LiveQuery>();

  constructor(parts: LiveQueryParts) {
    this.#parts = parts;
  }

  /** Queries that somebody is subscribed to. */
  get size(): number {
    return this.#queries.size;
  }

  /** The first answer is asked for by the subscriber. */
  subscribe(question: Question, subscriber: Subscriber): Subscription {
    const { caller, path, args } = question;
    // Who is revoked here is known here. Of a revocation elsewhere only the database knows, so each run looks there.
    const secret = this.#parts.sharedDatabase ? question.secret : undefined;
    const key = JSON.stringify([caller ?? null, secret ?? null, path, args.length > 256 ? hashSecret(args) : args]);
    const query = this.#queries.get(key) ?? new LiveQuery(this.#parts, { ...question, secret });
    this.#queries.set(key, query);
    query.add(subscriber, laneOf(caller, question.address));
    let isNew = true;
    return {
      ask: (anew, take, fail, room) => {
        const wasNew = isNew;
        isNew = false;
        query.ask(anew || (wasNew && query.mayBeBehind), take, fail, room);
      },
      end: () => {
        query.remove(subscriber);
        if (query.subscribers > 0 || this.#queries.get(key) !== query) return;
        this.#queries.delete(key);
        query.end();
      },
    };
  }
}

/** Somebody who waits for an answer. */
interface Asker {
  /** How many runs had begun by then. */
  runs: number;
  anew: boolean;
  take(answer: Answer | undefined): void;
  fail(error: unknown): void;
  room: Room | undefined;
}

/** Why a query is not run now: nobody who asks has room for the answer. */
const nobodyHasRoom = new Postponed();

/** A run that has had its turn. */
interface Ran {
  /** Undefined where nobody who asked had room for one. */
  answer: Answer | undefined;
  seen: Begun;
  /** When it began, the subscribers had not been told that something has touched the answer before. */
  isUntold: boolean;
}

class LiveQuery {
  /** Each with whom its runs are counted against: without a credential the subscribers of one query may be several. */
  readonly #subscribers = new Map<Subscriber, string>();
  readonly #parts: LiveQueryParts;
  readonly #question: Question;
  readonly #asker: QueryAsker;
  /** What the last answer is known again by. */
  #mark: Buffer | undefined;
  /** Of what the last answer read, until the next run begins. */
  #watch: Watch | undefined;
  /** Something has touched the last answer, and the subscribers were told. */
  #isDue = false;
  #cancelRefresh: (() => void) | undefined;
  /** The last answer itself, where there is room for it. */
  #last: Answer | undefined;
  readonly #lastHeld: Holding;
  #usedClock = false;
  #isRunning = false;
  /** Whether its first run counts against a rate already. */
  #isCounted = false;
  #runs = 0;
  /** What the last run took; undefined before the first. */
  #tookMs: number | undefined;
  /** The place of a run that waits for its turn. */
  #turn: Turn | undefined;
  #giveUp: () => void = () => {};
  #askers: Asker[] = [];

  constructor(parts: LiveQueryParts, question: Question) {
    this.#parts = parts;
    this.#question = question;
    const { caller, secret, address } = question;
    this.#lastHeld = parts.runtime.held.lastAnswers.hold({ address, caller: callerKey(caller) });
    this.#asker = { address, ...(caller ? { caller } : {}), ...(secret === undefined ? {} : { secret }) };
  }

  get subscribers(): number {
    return this.#subscribers.size;
  }

  add(subscriber: Subscriber, lane: string): void {
    this.#subscribers.set(subscriber, lane);
    this.#turn?.join(lane);
  }

  remove(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber);
  }

  /** Whether nothing has touched the last answer. */
  get #isFresh(): boolean {
    return this.#watch !== undefined && !this.#watch.isTouched && !this.#isDue;
  }

  /** Whether an answer that nothing is known to have touched may still be older than what a new subscriber has seen. */
  get mayBeBehind(): boolean {
    return this.#usedClock || this.#parts.sharedDatabase;
  }

  ask(anew: boolean, take: Asker["take"], fail: Asker["fail"], room?: Room): void {
    if (this.#last && this.#isFresh && !anew) hand(this.#last, { take, room });
    else {
      this.#askers.push({ runs: this.#runs, anew, take, fail, room });
      this.#goOn();
    }
  }

  #goOn(): void {
    if (this.#isRunning || this.#askers.length === 0) return;
    this.#isRunning = true;
    this.#run().then(
      (answer) => this.#ran((asker) => hand(answer, asker)),
      (error: unknown) => this.#ran((asker) => asker.fail(error)),
    );
  }

  /** Tells all who waited for the run, and runs again for the rest. */
  #ran(tell: (asker: Asker) => void): void {
    this.#isRunning = false;
    const askers = this.#askers;
    this.#askers = [];
    for (const asker of askers) {
      // A run that began before it was asked for may lack a commit of in between. If it does, it is not fresh.
      const isFor = asker.runs < this.#runs || (this.#isFresh && !asker.anew) || this.#subscribers.size === 0;
      try {
        if (isFor) tell(asker);
        else this.#askers.push(asker);
      } catch (error) {
        asker.fail(error);
      }
    }
    this.#goOn();
  }

  /** Nobody is subscribed any more. */
  end(): void {
    this.#forget();
    this.#last = undefined;
    this.#lastHeld.end();
    this.#turn?.withdraw();
    this.#giveUp();
  }

  /** Watches nothing any more. */
  #forget(): void {
    this.#watch?.end();
    this.#watch = undefined;
    this.#isDue = false;
    this.#cancelRefresh?.();
    this.#cancelRefresh = undefined;
  }

  async #run(): Promise<Answer | "no room" | undefined> {
    const { clock } = this.#parts;
    for (;;) {
      const ran = await this.#inTurn();
      if (!ran) return undefined;
      const { answer, seen, isUntold } = ran;
      if (!answer || answer.isLapsed) {
        seen.end();
        // Nothing watches for the others any more. They will want to know as well.
        if (isUntold) this.#tell();
        return answer ?? "no room";
      }
      const reason = reasonToWait(answer.failure);
      if (!reason) {
        const hasChanged = this.#keep(answer, seen);
        // By the clock, or by a commit that was not heard of yet: the others will want to know as well.
        if (hasChanged && isUntold) this.#tell();
        return this.#last ?? answer;
      }
      seen.end();
      for (const subscriber of this.#subscribers.keys()) subscriber.delayed(reason);
      const { retryAfterMs } = reason.data;
      const waitMs = typeof retryAfterMs === "number" ? retryAfterMs : retryMs;
      await new Promise<void>((resolve) => clock.after(waitMs, resolve));
      if (this.#subscribers.size === 0) return undefined;
    }
  }

  /** Runs it once its turn has come; undefined where nobody is subscribed any more. */
  #inTurn(): Promise<Ran | undefined> {
    return new Promise((resolve, reject) => {
      this.#giveUp = () => resolve(undefined);
      this.#turn = this.#parts.turns.add(new Set(this.#subscribers.values()), this.#tookMs, async () => {
        this.#giveUp = () => {};
        await this.#ask().then(resolve, reject);
        return this.#tookMs ?? 0;
      });
    });
  }

  async #ask(): Promise<Ran> {
    const { runtime } = this.#parts;
    // Who asks from here on may want another run.
    this.#runs += 1;
    const isUntold = this.#watch !== undefined && !this.#isDue;
    // Before it forgets: where nobody watches, commits do not say what they wrote, and so would touch this run.
    const seen = runtime.live.begin();
    this.#forget();
    const readAt = runtime.timestamps.next();
    try {
      const args = seen.timed(() => readArgsText(this.#question.args));
      const isRerun = this.#mark !== undefined || this.#isCounted;
      this.#isCounted = true;
      const call = newCall({ path: this.#question.path, kind: "query", args }, this.#asker, {
        isRerun,
        refusal: this.#refusal,
        finish: tell,
      });
      const outcome: Outcome =
        args instanceof CallError ? { status: "refused", error: args } : await runtime.dispatch(call, seen);
      const answer = seen.timed(() => answerFrom(outcome, call.requestId, readAt));
      this.#tookMs = seen.tookMs;
      return { answer, seen, isUntold };
    } catch (error) {
      seen.end();
      throw error;
    }
  }

  readonly #refusal = (): CallError | undefined =>
    this.#askers.some(({ room }) => room?.has() ?? true) ? undefined : nobodyHasRoom;

  /** Watches what was read. Whether it is another answer than before. */
  #keep(answer: Answer, seen: Begun): boolean {
    const hasChanged = !this.#mark?.equals(answer.mark);
    if (hasChanged || !this.#last) {
      this.#mark = answer.mark;
      this.#lastHeld.set(0);
      this.#last = this.#subscribers.size > 0 && this.#lastHeld.take(answer.bytes) ? answer : undefined;
    }
    this.#usedClock = seen.usedClock;
    if (this.#subscribers.size > 0) {
      const { runtime, clock } = this.#parts;
      this.#watch = runtime.live.watch(seen, () => this.#touched());
      const refreshAt = this.#refreshAt(seen);
      if (refreshAt !== undefined) {
        this.#cancelRefresh = clock.after(refreshAt - clock.now(), () => this.#touched());
      }
    }
    seen.end();
    return hasChanged;
  }

  /** When the answer changes by the clock; undefined where it does not. */
  #refreshAt({ changesAt }: Seen): number | undefined {
    const { runtime, clock } = this.#parts;
    // A timer can come a millisecond early, and the answer would be the old one. A list of which something changes all the
    // time is not run again all the time.
    if (changesAt !== undefined) return Math.max(changesAt + 1, clock.now() + leastRefreshMs);
    const refreshMs = runtime.registry.find(this.#question.path)?.refreshMs;
    return refreshMs === undefined ? undefined : clock.now() + refreshMs;
  }

  /** By a commit, or by the clock. */
  #touched(): void {
    if (this.#watch === undefined || this.#isDue) return;
    this.#isDue = true;
    this.#tell();
  }

  /**
   * Runs again where somebody would ask. A thousand who would are told once there is an answer: until the first of them
   * has it, nothing is done for the others but to note that they want it.
   */
  #tell(): void {
    let isWanted = false;
    for (const subscriber of this.#subscribers.keys()) if (subscriber.touched()) isWanted = true;
    if (!isWanted) return;
    // What a commit tells, such as who lost a right, comes right behind what it touched. An answer that is too large to
    // be held is asked for by each, at the pace of its reader.
    const tellAll = this.#last ? () => this.ask(false, this.#ready, this.#ready) : () => this.#ready(undefined);
    void soon.then(tellAll);
  }

  readonly #ready = (answer: unknown): void => {
    const fresh = this.#isFresh && answer instanceof Answer ? answer : undefined;
    for (const subscriber of this.#subscribers.keys()) subscriber.ready(fresh);
  };
}

const soon = Promise.resolve();

function hand(answer: Answer | "no room" | undefined, { take, room }: Pick<Asker, "take" | "room">): void {
  if (answer === "no room" || (answer && room && !room.has())) room?.none();
  else take(answer);
}

/** Undefined where the query was not run, because nobody had room for what it answers. */
function answerFrom(outcome: Outcome, requestId: string, readAt: bigint): Answer | undefined {
  if (outcome.status === "success") return new Answer(outcome.value as Told, undefined, requestId, readAt);
  if (outcome.status === "rejected" && outcome.error === nobodyHasRoom) return undefined;
  return new Answer({ result: queryFailure(outcome, requestId), json: undefined }, outcome, requestId, readAt);
}

/** Why a query could not run now; undefined where it has its answer. */
function reasonToWait(failure: FailedOutcome | undefined): CallError | undefined {
  if (failure?.status !== "rejected") return undefined;
  const { code } = failure.error;
  return code === "unavailable" || code === "rate_limited" ? failure.error : undefined;
}
