/** Subscribers of a live world, and the check that each of them was told of every change of their answer. */
import { expect } from "vitest";
import type { Call, Outcome } from "../../runtime/call/call.js";
import type { Caller } from "../../runtime/context.js";
import type { Seen } from "../../runtime/live/watches.js";
import type { TestServer } from "./harness.js";
import type { Question, Reached } from "./live-world.js";
import { eventually } from "./sockets.js";

/** A question with its last answer, and whether a commit has touched it since. */
class Subscription {
  value = "";
  isWoken = false;
  usedClock = false;
  /** When the answer said that it would change by itself. */
  changesAt: number | undefined;
  /** The caller: with the credential that they had when they subscribed. */
  #caller: Caller;
  #unwatch = () => {};

  constructor(
    readonly server: TestServer,
    readonly question: Question,
  ) {
    this.#caller = question.who.caller;
  }

  get name(): string {
    return `${this.question.path} ${JSON.stringify(this.question.args)}`;
  }

  /** Whether the person has a new credential by now, so that the old one is no longer used. */
  get isCutOff(): boolean {
    return this.question.who.caller !== this.#caller;
  }

  async read(): Promise<string> {
    return asText(await this.server.server.dispatcher.dispatch(this.#call));
  }

  async subscribe(): Promise<void> {
    this.end();
    this.#caller = this.question.who.caller;
    const { dispatcher, watches, replies } = this.server.server;
    const generation = replies?.generation ?? 0;
    const seen: Seen & { end(): void } = watches.begin();
    this.value = asText(await dispatcher.dispatch(this.#call, seen));
    this.usedClock = seen.usedClock;
    this.changesAt = seen.changesAt;
    this.isWoken = false;
    const watch = watches.watch(seen, () => {
      this.isWoken = true;
    });
    this.#unwatch = () => watch.end();
    const about = { countedAs: null, expiresAt: undefined, about: {} };
    // Kept as the reply to a query would be.
    replies?.keep(this.#key, { body: Buffer.from(this.value), ...about }, seen, generation);
    seen.end();
  }

  /** The kept reply, which a caller would get without a look at the database; undefined if there is none. */
  get kept(): string | undefined {
    const kept = this.server.server.replies?.find(this.#key);
    return kept && Buffer.from(kept.body).toString();
  }

  get #key(): string {
    const credential = "credentialId" in this.#caller ? this.#caller.credentialId : "none";
    return `live ${credential} ${this.name}`;
  }

  get #call(): Call {
    const { path, args } = this.question;
    return {
      path,
      kind: "query",
      args,
      caller: this.#caller,
      authorization: undefined,
      idempotencyKey: undefined,
      address: "127.0.0.1",
      requestId: "0",
    };
  }

  end(): void {
    this.#unwatch();
    this.#unwatch = () => {};
  }
}

/** Removes the age that grows every millisecond: subscribers get a newer one only with the next change. */
function withoutAges(answer: string): string {
  return answer.replaceAll(/"activeDurationMs":\d+/g, "");
}

export class Audience {
  readonly #subscriptions = new Map<string, Subscription>();
  /** How many subscribers were woken, and for how many of them the answer had changed. */
  woken = 0;
  changed = 0;
  #turn = 0;
  /** How often a subscriber was woken for an unchanged answer, by path. */
  readonly needless: Reached = new Map();

  constructor(
    readonly server: TestServer,
    /** How often each query's answer contained something. */
    readonly answered: Reached = new Map(),
  ) {}

  get size(): number {
    return this.#subscriptions.size;
  }

  /** Replaces the questions that are subscribed to. */
  async subscribeTo(questions: readonly Question[]): Promise<void> {
    const keyOf = ({ who, path, args }: Question) => `${who.id} ${path} ${JSON.stringify(args)}`;
    const asked = new Set(questions.map(keyOf));
    for (const [key, subscription] of this.#subscriptions) {
      if (asked.has(key)) continue;
      subscription.end();
      this.#subscriptions.delete(key);
    }
    const added: Subscription[] = [];
    for (const question of questions) {
      const key = keyOf(question);
      if (this.#subscriptions.has(key)) continue;
      const subscription = new Subscription(this.server, question);
      this.#subscriptions.set(key, subscription);
      added.push(subscription);
    }
    await Promise.all(added.map((subscription) => subscription.subscribe()));
  }

  /**
   * Fails if a subscriber was not told of a change. `when` says whether the timers that are due have run. With
   * `everyNth`, only one in so many of the subscribers who were not woken is checked, in turns: a change that one of
   * them missed shows at a later check.
   */
  async check(what: string, when: "as it stands" | "with all that was due done", everyNth = 1): Promise<void> {
    this.#turn += 1;
    const looking = [...this.#subscriptions.values()].filter(
      ({ isWoken }, index) => isWoken || (index + this.#turn) % everyNth === 0,
    );
    await Promise.all(looking.map((subscription) => this.#checkOne(subscription, what, when)));
  }

  async #checkOne(subscription: Subscription, what: string, when: string): Promise<void> {
    await this.#look(subscription, what, when);
    if (subscription.isCutOff) await subscription.subscribe();
  }

  async #look(subscription: Subscription, what: string, when: string): Promise<void> {
    const { path } = subscription.question;
    const before = subscription.value;
    if (isFull(before)) this.answered.set(path, (this.answered.get(path) ?? 0) + 1);
    if (!subscription.isWoken) {
      const fresh = await subscription.read();
      const { kept } = subscription;
      if (kept !== undefined) expect(kept, `the kept reply to ${subscription.name} after "${what}"`).toBe(fresh);
      if (withoutAges(fresh) === withoutAges(before)) return;
      const { changesAt, usedClock } = subscription;
      const isAnnounced = changesAt !== undefined && changesAt <= this.server.clock.now();
      const isAside = this.server.server.registry.find(path)?.refreshMs !== undefined;
      const mayGoOn = usedClock && (when === "as it stands" || isAnnounced || isAside);
      // The server may have committed something by itself during this read; then it wakes the subscriber soon.
      if (!mayGoOn) await this.#isWokenSoon(subscription, what, fresh);
      else if (when === "as it stands") return;
    }
    if (subscription.isWoken) this.woken += 1;
    const wasWoken = subscription.isWoken;
    await subscription.subscribe();
    if (subscription.value !== before) this.changed += 1;
    else if (wasWoken) this.needless.set(path, (this.needless.get(path) ?? 0) + 1);
  }

  async #isWokenSoon(subscription: Subscription, what: string, fresh: string): Promise<void> {
    await eventually(
      async () => subscription.isWoken,
      (isSo) => isSo,
      1_000,
    ).catch(() => {
      expect(subscription.value, `${subscription.name} was not woken after "${what}"`).toBe(fresh);
    });
  }

  leave(): void {
    for (const subscription of this.#subscriptions.values()) subscription.end();
    this.#subscriptions.clear();
  }
}

/** An outcome as text; different outcomes give different texts. */
function asText(outcome: Outcome): string {
  if (outcome.status === "success") {
    const { value } = outcome;
    return typeof value === "object" && value !== null && "text" in value ? String(value.text) : JSON.stringify(value);
  }
  return outcome.status === "fault" ? "fault" : `${outcome.status} ${outcome.error.code} ${outcome.error.message}`;
}

/** Whether an answer contains something. */
function isFull(text: string): boolean {
  return !/^(refused|rejected|fault)|^\[\]$|^\{("data"|"sessions"):\[\]/.test(text);
}
