/**
 * Live queries as subscribers see them: whoever asks the same as the same caller shares one run and its finished bytes.
 * A query runs again when somebody looks after a commit touched what it read, and not before; and it runs, the first time
 * as well, in the turn of its caller (runtime/turns.ts).
 */
import { CredentialLapsed } from "../../runtime/auth.js";
import type { Clock } from "../../runtime/clock.js";
import type { Caller } from "../../runtime/context.js";
import type { Call, Outcome, Runtime } from "../../runtime/dispatch.js";
import { CallError } from "../../runtime/errors.js";
import { nextRequestId } from "../../runtime/ids.js";
import { countedAs } from "../../runtime/limits.js";
import type { Begun } from "../../runtime/live.js";
import type { Turn, Turns } from "../../runtime/turns.js";
import { type WholeFrame, wholeFrame } from "../sockets/socket.js";
import { encodeValue, readArgs } from "../wire.js";
import { changed, type Frame, queryResult, readable, transition, type Version } from "./frames.js";

/** How long a run waits that the database, or a rate, does not let happen now. */
const retryMs = 1_000;

export interface Question {
  path: string;
  /** The arguments as they came, not decoded. */
  args: unknown;
  /** Undefined for one without a credential. */
  caller: Caller | undefined;
  /** What that caller came with. */
  secret: string | undefined;
  /** Of the first who asks; rates of callers without a credential are counted by it. */
  address: string;
}

/** What a query answered. The same answer again is the same object. */
export class Answer {
  /** For the sync protocol: all of the change but the query's number. */
  readonly result: Frame;
  /** The value as JSON, where the sync protocol has no words for it. */
  readonly #unreadable: string | undefined;
  #last: { queryId: number; from: Version; to: Version; frame: WholeFrame } | undefined;

  constructor(
    readonly outcome: Outcome,
    readonly requestId: string,
    /** The instant before it was read. */
    readonly readAt: bigint,
  ) {
    const told = readable(outcome);
    this.result = queryResult(told, requestId);
    if (told !== outcome && outcome.status === "success") this.#unreadable = encodeValue(outcome.value, "json");
  }

  /** The Transition that brings this answer alone: one for all sockets that stand at the same place. */
  transition(queryId: number, from: Version, to: Version): WholeFrame {
    const last = this.#last;
    if (last && last.queryId === queryId && isSame(last.from, from) && isSame(last.to, to)) return last.frame;
    const frame = wholeFrame(transition(from, to, [changed(queryId, this.result)]));
    this.#last = { queryId, from, to, frame };
    return frame;
  }

  /** There is no answer, because the caller's credential is not what it was. Whoever asked has to look at it. */
  get isLapsed(): boolean {
    return this.outcome.status === "rejected" && this.outcome.error instanceof CredentialLapsed;
  }

  isLike(other: Answer | undefined): boolean {
    if (this === other) return true;
    return other !== undefined && this.#unreadable === other.#unreadable && this.result.equals(other.result);
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
  ask(anew: boolean, take: (answer: Answer | undefined) => void, fail: (error: unknown) => void): void;
  end(): void;
}

/** The answer as a promise. */
export function answerOf(subscription: Subscription): Promise<Answer | undefined> {
  return new Promise((resolve, reject) => subscription.ask(false, resolve, reject));
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
    const key = JSON.stringify([caller ?? null, secret ?? null, path, args]);
    const query = this.#queries.get(key) ?? new LiveQuery(this.#parts, { ...question, secret });
    this.#queries.set(key, query);
    query.add(subscriber, countedAs(caller, question.address));
    let isNew = true;
    return {
      ask: (anew, take, fail) => {
        const wasNew = isNew;
        isNew = false;
        query.ask(anew || (wasNew && query.mayBeBehind), take, fail);
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
}

/** A run that has had its turn. */
interface Ran {
  answer: Answer;
  seen: Begun;
  /** Nothing was known to have touched the last answer when it began. */
  wasFresh: boolean;
}

class LiveQuery {
  /** Each with whom its runs are counted against: without a credential the subscribers of one query may be several. */
  readonly #subscribers = new Map<Subscriber, string>();
  readonly #parts: LiveQueryParts;
  readonly #call: Omit<Call, "requestId">;
  readonly #refusal: CallError | undefined;
  /** The last answer, and whether nothing has touched it since. */
  #last: Answer | undefined;
  #isFresh = false;
  #usedClock = false;
  #isRunning = false;
  #runs = 0;
  /** What the last run took; undefined before the first. */
  #tookMs: number | undefined;
  /** The place of a run that waits for its turn. */
  #turn: Turn | undefined;
  #giveUp: () => void = () => {};
  #askers: Asker[] = [];
  #unwatch: () => void = () => {};

  constructor(parts: LiveQueryParts, { path, args, caller, secret, address }: Question) {
    this.#parts = parts;
    const decoded = readArgs(args, JSON.stringify(args) ?? "");
    if (decoded instanceof CallError) this.#refusal = decoded;
    this.#call = {
      path,
      kind: "query",
      args: decoded,
      authorization: undefined,
      ...(caller ? { caller } : {}),
      ...(secret === undefined ? {} : { secret }),
      idempotencyKey: undefined,
      address,
    };
  }

  get subscribers(): number {
    return this.#subscribers.size;
  }

  add(subscriber: Subscriber, countedAs: string): void {
    this.#subscribers.set(subscriber, countedAs);
    this.#turn?.join(countedAs);
  }

  remove(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber);
  }

  /** Whether an answer that nothing is known to have touched may still be older than what a new subscriber has seen. */
  get mayBeBehind(): boolean {
    return this.#usedClock || this.#parts.sharedDatabase;
  }

  ask(anew: boolean, take: Asker["take"], fail: Asker["fail"]): void {
    if (this.#last && this.#isFresh && !anew) take(this.#last);
    else {
      this.#askers.push({ runs: this.#runs, anew, take, fail });
      this.#goOn();
    }
  }

  #goOn(): void {
    if (this.#isRunning || this.#askers.length === 0) return;
    this.#isRunning = true;
    this.#run().then(
      (answer) => this.#ran((asker) => asker.take(answer)),
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
    this.#turn?.withdraw();
    this.#giveUp();
  }

  /** Watches nothing any more. */
  #forget(): void {
    this.#isFresh = false;
    this.#unwatch();
    this.#unwatch = () => {};
  }

  async #run(): Promise<Answer | undefined> {
    const { clock } = this.#parts;
    for (;;) {
      const ran = await this.#inTurn();
      if (!ran) return undefined;
      const { answer, seen, wasFresh } = ran;
      if (answer.isLapsed) {
        seen.end();
        // Nothing watches for the others any more. They will want to know as well.
        if (wasFresh) this.#tell();
        return answer;
      }
      const reason = reasonToWait(answer.outcome);
      if (!reason) {
        const hasChanged = this.#keep(answer, seen);
        // By the clock, or by a commit that was not heard of yet: the others will want to know as well.
        if (hasChanged && wasFresh) this.#tell();
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
    const wasFresh = this.#isFresh;
    this.#forget();
    const seen = runtime.live.begin();
    const requestId = nextRequestId();
    const readAt = runtime.timestamps.next();
    try {
      const outcome: Outcome = this.#refusal
        ? { status: "refused", error: this.#refusal }
        : await runtime.dispatch({ ...this.#call, requestId, isRerun: this.#last !== undefined }, seen);
      const answer = seen.timed(() => new Answer(outcome, requestId, readAt));
      this.#tookMs = seen.tookMs;
      return { answer, seen, wasFresh };
    } catch (error) {
      seen.end();
      throw error;
    }
  }

  /** Watches what was read. Whether it is another answer than before. */
  #keep(answer: Answer, seen: Begun): boolean {
    const hasChanged = !answer.isLike(this.#last);
    if (hasChanged) this.#last = answer;
    this.#usedClock = seen.usedClock;
    if (this.#subscribers.size > 0) {
      this.#isFresh = true;
      const { runtime, clock } = this.#parts;
      const unwatch = runtime.live.watch(seen, () => this.#touched());
      const refreshMs = runtime.registry.find(this.#call.path)?.refreshMs;
      const cancel = refreshMs === undefined ? undefined : clock.after(refreshMs, () => this.#touched());
      this.#unwatch = () => {
        unwatch();
        cancel?.();
      };
    }
    seen.end();
    return hasChanged;
  }

  #touched(): void {
    if (!this.#isFresh) return;
    this.#isFresh = false;
    this.#tell();
  }

  /**
   * Runs again where somebody would ask. A thousand who would are told once there is an answer: until the first of them
   * has it, nothing is done for the others but to note that they want it.
   */
  #tell(): void {
    let isWanted = false;
    for (const subscriber of this.#subscribers.keys()) if (subscriber.touched()) isWanted = true;
    // What a commit tells, such as who lost a right, comes right behind what it touched.
    if (isWanted) void soon.then(() => this.ask(false, this.#ready, this.#ready));
  }

  readonly #ready = (): void => {
    for (const subscriber of this.#subscribers.keys()) subscriber.ready(this.#isFresh ? this.#last : undefined);
  };
}

const soon = Promise.resolve();

/** Why a query could not run now; undefined where it has its answer. */
function reasonToWait(outcome: Outcome): CallError | undefined {
  if (outcome.status !== "rejected") return undefined;
  const { code } = outcome.error;
  return code === "unavailable" || code === "rate_limited" ? outcome.error : undefined;
}
