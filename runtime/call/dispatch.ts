/**
 * The main flow: one call from path to outcome. Find, check the kind, authenticate, limit, parse, run in one
 * transaction, check the value. Every surface makes its calls here.
 */
import type { Logger } from "pino";
import { callerKey } from "../byte-budget.js";
import type { Clock } from "../clock.js";
import type { Caller, MutationContext, Origin, Preparation, QueryContext, Settings } from "../context.js";
import { CallError } from "../errors.js";
import { newCode, newDigits, newId, newSecret, newUuid } from "../ids.js";
import { addressKey, type Counted, callRatesOf, type Held, laneOf, type RateLimits } from "../limits.js";
import type { Bus } from "../live/bus.js";
import { WriteSet } from "../live/read-and-write-sets.js";
import type { KeptReply, ReplyCache } from "../live/reply-cache.js";
import type { LiveQueries, Seen } from "../live/watches.js";
import type { Notice, NoticeBoard } from "../notices.js";
import type { Passwords } from "../passwords.js";
import { inTurn } from "../queue.js";
import { OutcomeUnknown, type Store } from "../store/store.js";
import type { Timestamps } from "../timestamps.js";
import { expiryOf, type Tokens } from "../tokens.js";
import { invalidArgs, refuseUnstorableArgs } from "./arguments.js";
import { type Authenticator, type Credential, CredentialLapsed, callerFor } from "./caller.js";
import { type FunctionDefinition, JsonText, type Kind, Refusal, type Runnable, type SystemFunction } from "./define.js";
import { IdempotencyKey, type KeptOutcome, type Resent } from "./idempotency.js";
import { KeptResults } from "./kept-results.js";
import { missingFunction, type Registry } from "./registry.js";

/** One call, as an adapter has decoded it. */
export interface Call {
  path: string;
  /** The kind that the surface asks for; undefined where it takes both. */
  kind: Kind | undefined;
  args: unknown;
  /** The `Authorization` header as it came. */
  authorization: string | undefined;
  /** The `x-api-key` header as it came; read where there is no other credential. */
  apiKey?: string | undefined;
  /** The caller, where the surface knows it from when the socket was opened; no header is read then. */
  caller?: Caller;
  /**
   * What that caller came with. A query then looks in its own snapshot whether it still stands for the caller, so that it
   * reads nothing from after a revocation, whichever process made that. `CredentialLapsed` where it does not.
   */
  secret?: string;
  /** A credential that is not valid counts as none, instead of being refused. */
  credentialOptional?: boolean;
  idempotencyKey: string | undefined;
  /** Of a mutation that a client may send again after a lost connection. */
  resent?: Resent;
  /** The server asks again by itself, for who asked before: it counts against nobody's rate. */
  isRerun?: boolean;
  /** Asked right before a query runs, once the caller is known: why it may not run now. */
  refusal?(caller: Caller): CallError | undefined;
  /**
   * Makes of a query's value what is sent, before the next query runs: so a large answer is never held as objects while
   * others are read, and is counted before the next is begun. The outcome's value is what it returns.
   */
  finish?(value: unknown, caller: Caller): unknown;
  /** The caller's network address. */
  address: string;
  /** The `User-Agent` header as it came. */
  userAgent?: string | undefined;
  /** 16 hex digits; in the log line, and all that a caller sees of a fault. */
  requestId: string;
}

/** A refusal is the function's answer; a rejection means that nothing was run; a fault is ours. */
export type Outcome =
  /**
   * `ts`: of a mutation that may be sent again, the instant of its commit (runtime/timestamps.ts). `isReplayed`: an
   * earlier call did it, perhaps in another process.
   */
  | { status: "success"; value: unknown; ts?: bigint; isReplayed?: true }
  | { status: "refused"; error: CallError }
  | { status: "rejected"; error: CallError }
  | { status: "fault" };

export interface RuntimeParts {
  registry: Registry;
  store: Store;
  clock: Clock;
  log: Logger;
  limits: RateLimits;
  held: Held;
  authenticator: Authenticator;
  passwords: Passwords;
  tokens: Tokens;
  notices: NoticeBoard;
  live: LiveQueries;
  /** To the other processes on the same database, where there can be any. */
  bus: Bus | undefined;
  timestamps: Timestamps;
  /** Undefined where other processes may write to the same database. */
  replies: ReplyCache | undefined;
  settings: Settings;
  publicUrl: string;
  /** Called after a commit that set a deadline (Unix ms). */
  wakeAt(at: number): void;
}

/** A query that was not run because there is no room for its answer. It is asked again, and nobody has to hear of it. */
export class Postponed extends CallError {
  constructor() {
    super("unavailable", "There is no room for the answer now. Try again.", { retryAfterMs: 1_000 });
  }
}

/** Thrown inside this file to tell a rejection from a function's own refusal. */
class Rejected {
  constructor(readonly error: CallError) {}
}

export class Runtime {
  readonly #parts: RuntimeParts;
  readonly #keptResults = new KeptResults();

  constructor(parts: RuntimeParts) {
    this.#parts = parts;
  }

  get registry(): Registry {
    return this.#parts.registry;
  }

  /** Base of every link that is handed out, without a trailing slash. */
  get publicUrl(): string {
    return this.#parts.publicUrl;
  }

  /** Unix milliseconds, by the server's clock. */
  now(): number {
    return this.#parts.clock.now();
  }

  get live(): LiveQueries {
    return this.#parts.live;
  }

  /** What is held on behalf of callers. */
  get held(): Held {
    return this.#parts.held;
  }

  get timestamps(): Timestamps {
    return this.#parts.timestamps;
  }

  /** Runs one call. Never throws. `seen` is filled with what a query reads, so that it can be watched. */
  async dispatch(call: Call, seen?: Seen): Promise<Outcome> {
    const started = performance.now();
    let outcome: Outcome;
    let caller: Caller | undefined;
    let counted: readonly Counted[] | undefined;
    const definition = this.#parts.registry.find(call.path);
    try {
      const callable = requireCallable(definition, call);
      // Only a wait that is needed: a known caller's call stays in its turn and joins the group commit.
      const who = call.caller ?? this.#callerOf(call, callable);
      caller = callerFor(callable.auth, who instanceof Promise ? await who : who);
      if (seen) seen.caller = caller;
      const limited = this.#limit(call, callable, caller);
      if (limited) await limited;
      const args = timed(seen, () => parseArgs(callable, call.args));
      const further = call.isRerun ? undefined : this.#limitFurther(callable, args, caller, call);
      if (further) counted = await this.#takeAll(further);
      outcome =
        callable.kind === "query"
          ? {
              status: "success",
              value: await this.#runQuery(callable, caller, args, call, seen, credentialOf(call)),
            }
          : await this.#runMutation(callable, caller, args, call);
    } catch (error) {
      outcome = this.#failed(error, call);
    }
    if (counted) await this.#giveBack(counted, outcome);
    this.#log(call, definition, caller, outcome, started);
    return outcome;
  }

  /** Counts and logs a call that is answered with a reply that was kept. The outcome where it may not be. */
  async recall(
    kept: KeptReply,
    { address, requestId }: Pick<Call, "address" | "requestId">,
  ): Promise<Outcome | undefined> {
    const { limits, log } = this.#parts;
    if (limits.on) {
      try {
        await this.#takeInOrder(kept.countedAs ?? callRatesOf(undefined, address));
      } catch (error) {
        if (error instanceof Rejected) return { status: "rejected", error: error.error };
        throw error;
      }
    }
    if (log.isLevelEnabled("info")) log.info({ requestId, ...kept.about, outcome: "success", kept: true });
    return undefined;
  }

  /** What a reply to this call is kept with. */
  keepable(path: string, { caller }: Seen, authorization: string | undefined): Omit<KeptReply, "body"> {
    return {
      expiresAt: authorization === undefined ? undefined : expiryOf(authorization.replace(/^Bearer +/i, "")),
      countedAs: caller === undefined || caller.kind === "anonymous" ? null : callRatesOf(caller, ""),
      about: { path: this.#parts.registry.canonicalPath(path), ...namesOf(caller) },
    };
  }

  get replies(): ReplyCache | undefined {
    return this.#parts.replies;
  }

  /** Runs one of the server's own functions (functions/system). Throws its refusal or fault. */
  async runSystem<Args extends object, Returns>(
    definition: SystemFunction<Args, Returns>,
    args: Args = {} as Args,
  ): Promise<Returns> {
    const started = performance.now();
    const path = `system:${definition.name}`;
    const ended = (outcome: Outcome["status"], code?: string) =>
      this.#parts.log.debug({ path, outcome, code, ms: msSince(started) });
    try {
      const value = await this.#runAsSystem(definition, args, path);
      ended("success");
      return value;
    } catch (error) {
      if (error instanceof CallError) ended("refused", error.code);
      else ended("fault");
      throw error;
    }
  }

  async #runAsSystem<Args extends object, Returns>(
    definition: SystemFunction<Args, Returns>,
    args: Args,
    path: string,
  ): Promise<Returns> {
    const caller: Caller = { kind: "system" };
    if (definition.kind === "query") return (await this.#runQuery(definition, caller, args, { path })) as Returns;
    const run = () => this.#mutate(path, definition, caller, args, { from: nowhere, prepared: undefined });
    const outcome = await this.#queued(definition, args, caller, run);
    if (outcome.status !== "success") throw outcome.error;
    return outcome.value as Returns;
  }

  /** The caller that a credential stands for, for a surface that reads it elsewhere than in the headers. */
  authenticate(secret: string, address: string): Promise<Caller> {
    return this.#counted(address, (authenticator) => authenticator.bySecret(secret));
  }

  /** The caller of a request that stays open; anonymous where it brings no credential. */
  authenticateHeaders(
    { authorization, apiKey }: Pick<Call, "authorization" | "apiKey">,
    address: string,
  ): Promise<Caller> {
    return this.#counted(address, (authenticator) => authenticator.caller(authorization, apiKey));
  }

  async #counted(address: string, look: (authenticator: Authenticator) => Caller | Promise<Caller>): Promise<Caller> {
    try {
      return await look(this.#parts.authenticator);
    } catch (error) {
      if (error instanceof CallError && error.code === "unauthenticated") {
        await this.#parts.limits.take("failedCredentials", addressKey(address));
      }
      throw error;
    }
  }

  #callerOf(call: Call, definition: FunctionDefinition): Caller | Promise<Caller> {
    if (call.authorization === undefined && call.apiKey === undefined && definition.auth !== "none") {
      throw new Rejected(
        new CallError("unauthenticated", "Missing Authorization header. Use: Authorization: Bearer <apiKey>"),
      );
    }
    let caller: Caller | Promise<Caller>;
    try {
      caller = this.#parts.authenticator.caller(call.authorization, call.apiKey);
    } catch (error) {
      return this.#refuseCredential(error, call);
    }
    return caller instanceof Promise ? caller.catch((error: unknown) => this.#refuseCredential(error, call)) : caller;
  }

  /** A wrong credential counts against its address, so that guessing ends in `rate_limited`. */
  async #refuseCredential(error: unknown, call: Call): Promise<Caller> {
    if (!(error instanceof CallError)) throw error;
    if (error.code === "unauthenticated") await this.#take("failedCredentials", addressKey(call.address));
    // A public read with a credential that has run out is still a public read.
    if (call.credentialOptional && error.code !== "unavailable") return { kind: "anonymous" };
    throw new Rejected(error);
  }

  #limit(call: Call, definition: FunctionDefinition, caller: Caller): Promise<void> | undefined {
    if (!this.#parts.limits.on || call.isRerun) return undefined;
    const calls = callRatesOf(caller, call.address);
    const { rate } = definition;
    return this.#takeInOrder(rate === undefined ? calls : [...calls, { rate, who: addressKey(call.address) }]);
  }

  async #takeInOrder(counted: readonly Counted[]): Promise<void> {
    for (const { rate, who } of counted) await this.#take(rate, who);
  }

  #limitFurther(definition: FunctionDefinition, args: object, caller: Caller, call: Call): Counted[] | undefined {
    if (!definition.limit || !this.#parts.limits.on) return undefined;
    return definition.limit(args as never, caller as never, originOf(call));
  }

  async #takeAll(counted: readonly Counted[]): Promise<readonly Counted[]> {
    await Promise.all(counted.map(({ rate, who }) => this.#take(rate, who)));
    return counted;
  }

  /** What counts failures only has counted this call before it was known how it would end. */
  async #giveBack(counted: readonly Counted[], outcome: Outcome): Promise<void> {
    // Whoever is told to come back has not been told that anything is wrong.
    if (outcome.status === "refused" && outcome.error.code !== "rate_limited") return;
    for (const { rate, who, failuresOnly } of counted) {
      if (!failuresOnly) continue;
      await this.#parts.limits.giveBack(rate, who).catch((err: unknown) => {
        this.#parts.log.warn({ err, rate }, "a count was not given back");
      });
    }
  }

  async #take(rate: Parameters<RateLimits["take"]>[0], who: string): Promise<void> {
    try {
      await this.#parts.limits.take(rate, who);
    } catch (error) {
      throw error instanceof CallError ? new Rejected(error) : error;
    }
  }

  async #runQuery(
    definition: Runnable,
    caller: Caller,
    args: object,
    call: Pick<Call, "path" | "refusal" | "finish"> & Partial<Pick<Call, "address">>,
    seen?: Seen,
    credential?: Credential,
  ): Promise<unknown> {
    // A change of credentials wakes nobody's query; who is concerned hears of it as a notice.
    let isObserved = credential === undefined;
    const { store } = this.#parts;
    const { aside } = definition;
    // Nothing wakes who watches what is read aside, so its answer is never one to keep.
    if (aside && seen) seen.usedClock = true;
    const who = laneOf(caller, call.address ?? "");
    const read: Store["read"] = (work, observe) => (aside ? store.readAside(work) : store.read(work, observe, who));
    return read(
      async (db) => {
        const refused = call.refusal?.(caller);
        if (refused) throw new Rejected(refused);
        const began = performance.now();
        if (credential) {
          await this.#parts.authenticator.requireStanding(db, credential);
          isObserved = true;
        }
        const surroundings = this.#surroundings();
        const changesAt = (at: number) => {
          if (seen && at > surroundings.now) seen.changesAt = Math.min(at, seen.changesAt ?? at);
        };
        const ctx: QueryContext = { ...surroundings, db, caller, changesAt };
        if (seen) {
          Object.defineProperty(ctx, "now", {
            get: () => {
              seen.usedClock = true;
              return surroundings.now;
            },
          });
        }
        try {
          const answered = await definition.handler(ctx as never, args as never, undefined as never);
          const value = checkValue(definition, answered, call.path);
          return call.finish ? call.finish(value, caller) : value;
        } finally {
          if (seen) seen.tookMs += performance.now() - began;
        }
      },
      seen && ((query) => (isObserved ? seen.reads.add(query) : undefined)),
    );
  }

  #preparation(from: Origin): Preparation {
    const { store, passwords, tokens, clock } = this.#parts;
    return {
      now: clock.now(),
      from,
      derive: (purpose) => tokens.derive(purpose),
      read: (work) => store.read(work),
      newUuid: () => newUuid(clock.now()),
      hashPassword: (password) => passwords.hash(password, from.addressKey),
      verifyPassword: (password, stored) => passwords.verify(password, stored, from.addressKey),
      signToken: (userId, signInId) => tokens.sign(userId, signInId),
    };
  }

  /** What every context has, at this instant. */
  #surroundings() {
    const { clock, log, publicUrl, settings, tokens } = this.#parts;
    return { now: clock.now(), log, publicUrl, settings, derive: (purpose: string) => tokens.derive(purpose) };
  }

  async #runMutation(definition: FunctionDefinition, caller: Caller, args: object, call: Call): Promise<Outcome> {
    const key = this.#keyOf(call, caller, args);
    const from = originOf(call);
    // Before its turn, so that what takes long keeps nobody from theirs.
    const prepared =
      definition.prepare && (await definition.prepare(this.#preparation(from), args as never, caller as never));
    return this.#queued(definition, args, caller, () =>
      this.#mutate(call.path, definition, caller, args, { key, from, prepared, isFirst: call.resent?.isFirst }),
    );
  }

  #keyOf(call: Call, caller: Caller, args: object): IdempotencyKey | undefined {
    const request = () => `${this.#parts.registry.canonicalPath(call.path)}\n${encodeRequest(args)}`;
    if (call.resent) return IdempotencyKey.ofResent(call.resent, caller, request(), this.#holderOf(call, caller));
    if (call.idempotencyKey === undefined) return undefined;
    return idempotencyKey(call, caller, request(), this.#holderOf(call, caller));
  }

  /** On whose behalf a result is kept. The table holds no addresses. */
  #holderOf({ address }: Call, caller: Caller): string {
    return callerKey(caller) ?? this.#parts.tokens.derive(`keeps results: ${addressKey(address)}`);
  }

  /** One database writes one call after the other anyway; where it does not, calls that would collide take turns. */
  #queued<T>(definition: Runnable, args: object, caller: Caller, run: () => Promise<T>): Promise<T> {
    if (!definition.oneAtATime || !this.#parts.store.dialect.sharedByProcesses) return run();
    const keys = definition.oneAtATime(args as never, caller as never);
    return inTurn(typeof keys === "string" ? [keys] : keys, run);
  }

  async #mutate(
    path: string,
    definition: Runnable,
    caller: Caller,
    args: object,
    how: { key?: IdempotencyKey | undefined; from: Origin; prepared: unknown; isFirst?: boolean | undefined },
  ): Promise<Extract<Outcome, { status: "success" | "refused" }>> {
    const { key, from, prepared, isFirst = false } = how;
    const { store, notices, live, bus, timestamps } = this.#parts;
    const effects: (() => void)[] = [];
    const told: Notice[] = [];
    // Looking at what is written is worth it only where somebody may have to hear of it.
    const writes = bus?.isHeard || live.isWatched ? new WriteSet() : undefined;
    const written = store.write(
      async (transaction) => {
        effects.length = 0;
        writes?.clear();
        const { db } = transaction;
        const surroundings = this.#surroundings();
        const { now } = surroundings;
        const ctx: MutationContext = {
          ...surroundings,
          db,
          caller,
          from,
          changesAt: () => {},
          newId: (prefix) => newId(prefix, now),
          newUuid: () => newUuid(now),
          newSecret,
          newDigits,
          newCode,
          defer: (write) => {
            // It may fail while nobody waits for it yet; the commit hears of it all the same.
            write.catch(() => {});
            transaction.deferred.push(write);
          },
          afterCommit: (effect) => effects.push(effect),
          notify: (notice: Notice) =>
            effects.push(() => {
              told.push(notice);
              notices.post(notice);
            }),
          wakeAt: (at) => effects.push(() => this.#parts.wakeAt(at)),
        };
        const run = async (given: MutationContext) => {
          const value = await definition.handler(given as never, args as never, prepared as never);
          return value instanceof Refusal
            ? { status: "refused" as const, error: value.error }
            : { status: "success" as const, value: checkValue(definition, value, path) };
        };
        if (!key) return run(ctx);

        const earlier = await key.find(db, now);
        if (earlier) return revive(earlier);
        if (isFirst && key.session) await this.#keptResults.dropSeen(db, key.session, key.holder);
        const full = await this.#keptResults.refusal(db, key.holder, now);
        // Returned, and not thrown: what was dropped makes room for the next.
        if (full) return { status: "refused" as const, error: full };
        const keep = async (outcome: KeptOutcome) => {
          const bytes = await key.keep(db, now, outcome);
          effects.push(() => this.#keptResults.add(key.holder, bytes));
        };
        try {
          const outcome = await transaction.nested((part) => run({ ...ctx, db: part }));
          const dated = outcome.status === "success" && key.isResent ? { ...outcome, ts: timestamps.next() } : outcome;
          if (key.keeps(dated.status)) await keep(toKeep(dated));
          return dated;
        } catch (error) {
          if (!(error instanceof CallError) || !key.keeps("refused")) throw error;
          effects.length = 0;
          await keep(toKeep({ status: "refused", error }));
          return { status: "refused" as const, error };
        }
      },
      writes && ((query) => writes.add(query)),
    );
    const kept = await written.catch((error: unknown) => {
      if (error instanceof OutcomeUnknown) bus?.lose();
      throw error;
    });
    live.committed(writes);
    for (const effect of effects) effect();
    bus?.tell(writes, told);
    return kept;
  }

  #failed(error: unknown, call: Call): Outcome {
    if (error instanceof Rejected) return { status: "rejected", error: error.error };
    if (error instanceof CallError) {
      // What the database cannot do now is no answer of the function: the gateway says 503.
      const isRejection = error.code === "unavailable" || error instanceof CredentialLapsed;
      return isRejection ? { status: "rejected", error } : { status: "refused", error };
    }
    this.#parts.log.error({ requestId: call.requestId, err: error }, "fault");
    return { status: "fault" };
  }

  #log(
    call: Call,
    definition: FunctionDefinition | undefined,
    caller: Caller | undefined,
    outcome: Outcome,
    started: number,
  ) {
    const { log } = this.#parts;
    if (!log.isLevelEnabled("info")) return;
    if (outcome.status === "rejected" && outcome.error instanceof Postponed) return;
    log.info({
      requestId: call.requestId,
      // An unknown path is the caller's text, and may be a secret in the wrong place.
      path: definition ? this.#parts.registry.canonicalPath(call.path) : "(unknown)",
      ...namesOf(caller),
      outcome: outcome.status,
      code: outcome.status === "refused" || outcome.status === "rejected" ? outcome.error.code : undefined,
      ms: msSince(started),
    });
  }
}

function requireCallable(definition: FunctionDefinition | undefined, call: Call): FunctionDefinition {
  if (!definition) throw missingFunction(call.path);
  if (call.kind !== undefined && call.kind !== definition.kind) {
    const title = (kind: Kind) => (kind === "query" ? "Query" : "Mutation");
    throw new CallError(
      "not_found",
      `Trying to execute ${call.path} as ${title(call.kind)}, but it is defined as ${title(definition.kind)}.`,
    );
  }
  return definition;
}

/** The server's own functions come from nowhere. */
const nowhere: Origin = { address: "", addressKey: "", userAgent: null };

function originOf({ address, userAgent }: Call): Origin {
  return { address, addressKey: addressKey(address), userAgent: userAgent ?? null };
}

function credentialOf({ caller, secret }: Call): Credential | undefined {
  return caller && secret !== undefined ? { caller, secret } : undefined;
}

/** Counts work for a query also where it is refused by it. */
function timed<T>(seen: Seen | undefined, work: () => T): T {
  if (!seen) return work();
  const began = performance.now();
  try {
    return work();
  } finally {
    seen.tookMs += performance.now() - began;
  }
}

function parseArgs(definition: FunctionDefinition, args: unknown): object {
  refuseUnstorableArgs(args, definition.jsonArgs);
  const parsed = definition.args.safeParse(args);
  if (parsed.success) return parsed.data;
  throw invalidArgs(parsed.error.issues.map(({ path, message }) => ({ path: asWritten(path, args), message })));
}

/** The field that an issue is about, as far as the caller wrote it: a text that is read as a list has no `status.0`. */
function asWritten(path: readonly PropertyKey[], args: unknown): string {
  const written: PropertyKey[] = [];
  let value = args;
  for (const key of path) {
    if (written.length > 0 && typeof value !== "object") break;
    written.push(key);
    value = (value as Record<PropertyKey, unknown> | null)?.[key];
  }
  return written.join(".");
}

/** The declared part of a handler's value. What does not fit the declaration is our fault, not the caller's. */
function checkValue({ returns }: Runnable, value: unknown, path: string): unknown {
  if (!returns || value instanceof JsonText) return value;
  const checked = returns.safeParse(value);
  if (checked.success) return checked.data;
  throw new Error(`The value of ${path} does not fit its declaration: ${checked.error.message}`);
}

function idempotencyKey(call: Call, caller: Caller, request: string, holder: string): IdempotencyKey {
  try {
    return IdempotencyKey.ofHeader(call.idempotencyKey ?? "", caller, call.address, request, holder);
  } catch (error) {
    throw error instanceof CallError ? new Rejected(error) : error;
  }
}

/** The arguments as text that differs where they do; what JSON has no word for is told apart as well. */
function encodeRequest(args: object): string {
  return JSON.stringify(args, (_key, value: unknown) => {
    if (typeof value === "bigint") return { integer: String(value) };
    if (value instanceof ArrayBuffer) return { bytes: Buffer.from(value).toString("base64") };
    return typeof value === "number" && !Number.isFinite(value) ? { float: String(value) } : value;
  });
}

function msSince(started: number): number {
  return Math.round((performance.now() - started) * 100) / 100;
}

/** Who called, in a log line. */
function namesOf(caller: Caller | undefined): { agentId?: string | undefined; userId?: string | undefined } {
  if (caller?.kind === "agent") return { agentId: caller.agentId };
  return caller?.kind === "user" ? { agentId: caller.agentId ?? undefined, userId: caller.userId } : {};
}

function toKeep(outcome: Extract<Outcome, { status: "success" | "refused" }>): KeptOutcome {
  if (outcome.status === "refused") {
    const { code, message, data } = outcome.error;
    return { status: "refused", code, message, data };
  }
  const { value, ts } = outcome;
  const dated = ts === undefined ? {} : { ts };
  return { status: "success", ...dated, ...(value instanceof JsonText ? { json: value.text } : { value }) };
}

function revive(kept: KeptOutcome): Extract<Outcome, { status: "success" | "refused" }> {
  if (kept.status === "refused") {
    return { status: "refused", error: new CallError(kept.code, kept.message, kept.data) };
  }
  const dated = kept.ts === undefined ? {} : { ts: kept.ts };
  return {
    status: "success",
    isReplayed: true,
    ...dated,
    value: "json" in kept ? new JsonText(kept.json) : kept.value,
  };
}
