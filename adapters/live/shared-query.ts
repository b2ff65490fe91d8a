/**
 * One live query, shared by all who ask the same as the same caller: they share its runs and the bytes of its answer.
 * It runs again when somebody asks after a commit touched what it read, and not before. Each run, the first as well,
 * waits for the turn of its caller (runtime/turns.ts).
 */
import { callerKey, type Holding } from "../../runtime/byte-budget.js";
import { type Outcome, Postponed } from "../../runtime/call/call.js";
import type { Dispatcher } from "../../runtime/call/dispatch.js";
import type { Registry } from "../../runtime/call/registry.js";
import type { Clock } from "../../runtime/clock.js";
import type { Caller } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import type { Held } from "../../runtime/limits.js";
import type { Begun, Seen, Watch, Watches } from "../../runtime/live/watches.js";
import type { Timestamps } from "../../runtime/timestamps.js";
import type { Turn, Turns } from "../../runtime/turns.js";
import { type Asker, newCall } from "../new-call.js";
import { readArgsText } from "../wire.js";
import { Answer, type WrittenValue, writeValue } from "./answers.js";

/** How long a run waits when the database or a rate does not let it happen now, and does not say how long. */
const retryMs = 1_000;
/** The least time between a run and the next one, where only the clock asks for it. */
const leastRefreshMs = 250;

export interface SharedQueryParts {
  dispatcher: Pick<Dispatcher, "dispatch">;
  registry: Pick<Registry, "find">;
  watches: Watches;
  held: Held;
  timestamps: Timestamps;
  clock: Clock;
  turns: Turns;
  /** Whether other processes write to the same database. This process hears of their commits a moment later. */
  sharedDatabase: boolean;
}

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

/** Who is subscribed to a query, and what it hears of it. */
export interface Subscriber {
  /** The answer may have changed. Returns whether it would ask for the new one now: then `ready` tells it when to. */
  touched(): boolean;
  /** There is an answer to ask for. It is given here where nothing has touched it since. */
  ready(answer: Answer | undefined): void;
  /** An answer has to wait until the database, or a rate, lets it be read. */
  delayed(reason: CallError): void;
}

/** Where an answer goes to. */
export interface Room {
  /** Whether there is any: without, the query is not run for this one. */
  has(): boolean;
  /** There was none. Whoever asked asks again once there is. */
  none(): void;
}

/** Somebody who waits for an answer. */
interface Waiting {
  /** How many runs had begun when it asked. */
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
  /** Whether, when it began, the subscribers had not been told that something had touched the answer before. */
  isUntold: boolean;
}

export class SharedQuery {
  /** Each with whom its runs are counted against: without a credential the subscribers of one query may be several. */
  readonly #subscribers = new Map<Subscriber, string>();
  readonly #parts: SharedQueryParts;
  readonly #question: Question;
  readonly #asker: Asker;
  /** The mark of the last answer. */
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
  /** Whether its first run has counted against a rate. */
  #isCounted = false;
  #runs = 0;
  /** What the last run took; undefined before the first. */
  #tookMs: number | undefined;
  /** The place of a run that waits for its turn. */
  #turn: Turn | undefined;
  #giveUp: () => void = () => {};
  #waiting: Waiting[] = [];

  constructor(parts: SharedQueryParts, question: Question) {
    this.#parts = parts;
    this.#question = question;
    const { caller, secret, address } = question;
    this.#lastHeld = parts.held.lastAnswers.hold({ address, caller: callerKey(caller) });
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

  /** See `Subscription.ask`. */
  ask(anew: boolean, take: Waiting["take"], fail: Waiting["fail"], room?: Room): void {
    if (this.#last && this.#isFresh && !anew) hand(this.#last, { take, room });
    else {
      this.#waiting.push({ runs: this.#runs, anew, take, fail, room });
      this.#runIfWanted();
    }
  }

  #runIfWanted(): void {
    if (this.#isRunning || this.#waiting.length === 0) return;
    this.#isRunning = true;
    this.#run().then(
      (answer) => this.#ran((waiting) => hand(answer, waiting)),
      (error: unknown) => this.#ran((waiting) => waiting.fail(error)),
    );
  }

  /** Tells all who waited for the run, and runs again for the rest. */
  #ran(tell: (waiting: Waiting) => void): void {
    this.#isRunning = false;
    const all = this.#waiting;
    this.#waiting = [];
    for (const waiting of all) {
      // A run that began before somebody asked may lack a commit of in between. If it does, it is not fresh.
      const isFor = waiting.runs < this.#runs || (this.#isFresh && !waiting.anew) || this.#subscribers.size === 0;
      try {
        if (isFor) tell(waiting);
        else this.#waiting.push(waiting);
      } catch (error) {
        waiting.fail(error);
      }
    }
    this.#runIfWanted();
  }

  /** Nobody is subscribed any more. */
  end(): void {
    this.#unwatch();
    this.#last = undefined;
    this.#lastHeld.end();
    this.#turn?.withdraw();
    this.#giveUp();
  }

  #unwatch(): void {
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
        // Nothing watches for the other subscribers any more, so they are told to ask.
        if (isUntold) this.#tell();
        return answer ?? "no room";
      }
      const reason = answer.reasonToWait;
      if (!reason) {
        const hasChanged = this.#keep(answer, seen);
        // Changed by the clock, or by a commit that was not heard of yet: the other subscribers do not know.
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
        await this.#runNow().then(resolve, reject);
        return this.#tookMs ?? 0;
      });
    });
  }

  async #runNow(): Promise<Ran> {
    const { dispatcher, watches, timestamps } = this.#parts;
    const { path } = this.#question;
    // Whoever asks from here on may need another run.
    this.#runs += 1;
    const isUntold = this.#watch !== undefined && !this.#isDue;
    // Before the old watch ends: while nobody watches, commits do not say what they wrote, and so would touch this run.
    const seen = watches.begin();
    this.#unwatch();
    const readAt = timestamps.next();
    try {
      const args = seen.timed(() => readArgsText(this.#question.args));
      const isRerun = this.#mark !== undefined || this.#isCounted;
      this.#isCounted = true;
      const how = { isRerun, refusal: this.#refusal, finish: writeValue };
      const call = newCall({ path, kind: "query", args }, this.#asker, how);
      const outcome: Outcome =
        args instanceof CallError ? { status: "refused", error: args } : await dispatcher.dispatch(call, seen);
      const answer = seen.timed(() => answerFrom(outcome, call.requestId, readAt));
      this.#tookMs = seen.tookMs;
      return { answer, seen, isUntold };
    } catch (error) {
      seen.end();
      throw error;
    }
  }

  readonly #refusal = (): CallError | undefined =>
    this.#waiting.some(({ room }) => room?.has() ?? true) ? undefined : nobodyHasRoom;

  /** Keeps the answer and watches what it read. Returns whether it is another answer than before. */
  #keep(answer: Answer, seen: Begun): boolean {
    const hasChanged = !this.#mark?.equals(answer.mark);
    if (hasChanged || !this.#last) {
      this.#mark = answer.mark;
      this.#lastHeld.set(0);
      this.#last = this.#subscribers.size > 0 && this.#lastHeld.take(answer.bytes) ? answer : undefined;
    }
    this.#usedClock = seen.usedClock;
    if (this.#subscribers.size > 0) {
      const { watches, clock } = this.#parts;
      this.#watch = watches.watch(seen, () => this.#touched());
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
    const { registry, clock } = this.#parts;
    // A timer can fire a millisecond early, when the answer would still be the old one. A list in which something
    // changes all the time is not run again all the time.
    if (changesAt !== undefined) return Math.max(changesAt + 1, clock.now() + leastRefreshMs);
    const refreshMs = registry.find(this.#question.path)?.refreshMs;
    return refreshMs === undefined ? undefined : clock.now() + refreshMs;
  }

  /** By a commit, or by the clock. */
  #touched(): void {
    if (this.#watch === undefined || this.#isDue) return;
    this.#isDue = true;
    this.#tell();
  }

  /**
   * Tells the subscribers that the answer may have changed, and runs again where one of them would ask now. A thousand
   * subscribers who would are told together once there is an answer; until then each only notes that it wants it.
   */
  #tell(): void {
    let isWanted = false;
    for (const subscriber of this.#subscribers.keys()) if (subscriber.touched()) isWanted = true;
    if (!isWanted) return;
    // The notices of a commit, such as who lost a right, follow directly after what it touched. An answer that is too
    // large to be kept is asked for by each subscriber, at the pace of its reader.
    const tellAll = this.#last ? () => this.ask(false, this.#ready, this.#ready) : () => this.#ready(undefined);
    void Promise.resolve().then(tellAll);
  }

  readonly #ready = (answer: unknown): void => {
    const fresh = this.#isFresh && answer instanceof Answer ? answer : undefined;
    for (const subscriber of this.#subscribers.keys()) subscriber.ready(fresh);
  };
}

function hand(answer: Answer | "no room" | undefined, { take, room }: Pick<Waiting, "take" | "room">): void {
  if (answer === "no room" || (answer && room && !room.has())) room?.none();
  else take(answer);
}

/** Undefined where the query was not run, because nobody had room for its answer. */
function answerFrom(outcome: Outcome, requestId: string, readAt: bigint): Answer | undefined {
  if (outcome.status === "success") return new Answer(outcome.value as WrittenValue, undefined, requestId, readAt);
  if (outcome.status === "rejected" && outcome.error === nobodyHasRoom) return undefined;
  return Answer.ofFailure(outcome, requestId, readAt);
}
