/**
 * The main flow: one call from path to outcome. Find, check the kind, authenticate, limit, parse, run in one
 * transaction, check the value. Every surface makes its calls here.
 */
import type { Logger } from "pino";
import { invalidArgs, refuseUnstorable } from "./arguments.js";
import { Authenticator } from "./auth.js";
import type { Clock } from "./clock.js";
import type { Caller, MutationContext, QueryContext } from "./context.js";
import { type FunctionDefinition, JsonText, type Kind } from "./define.js";
import { CallError } from "./errors.js";
import { IdempotencyKey, type KeptOutcome } from "./idempotency.js";
import { newId, newSecret, newUuid } from "./ids.js";
import { addressKey, type RateLimits } from "./limits.js";
import type { Registry } from "./registry.js";
import type { Store } from "./store.js";

/** One call, as an adapter has decoded it. */
export interface Call {
  path: string;
  /** The kind that the surface asks for; undefined where it takes both. */
  kind: Kind | undefined;
  args: unknown;
  /** The `Authorization` header as it came. */
  authorization: string | undefined;
  idempotencyKey: string | undefined;
  /** The caller's network address. */
  address: string;
  /** 16 hex digits; in the log line, and all that a caller sees of a fault. */
  requestId: string;
}

/** A refusal is the function's answer; a rejection means that nothing was run; a fault is ours. */
export type Outcome =
  | { status: "success"; value: unknown }
  | { status: "refused"; error: CallError }
  | { status: "rejected"; error: CallError }
  | { status: "fault" };

export interface RuntimeParts {
  registry: Registry;
  store: Store;
  clock: Clock;
  log: Logger;
  limits: RateLimits;
  publicUrl: string;
  /** Called after a commit that set a deadline (Unix ms). */
  wakeAt(at: number): void;
}

/** Thrown inside this file to tell a rejection from a function's own refusal. */
class Rejected {
  constructor(readonly error: CallError) {}
}

export class Runtime {
  readonly #parts: RuntimeParts;
  readonly #authenticator: Authenticator;

  constructor(parts: RuntimeParts) {
    this.#parts = parts;
    this.#authenticator = new Authenticator(parts.store, parts.clock);
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

  /** Runs one call. Never throws. */
  async dispatch(call: Call): Promise<Outcome> {
    const started = performance.now();
    let outcome: Outcome;
    let caller: Caller | undefined;
    const definition = this.#parts.registry.find(call.path);
    try {
      const callable = requireCallable(definition, call);
      // Only a wait that is needed: a known caller's call stays in its turn and joins the group commit.
      const who = this.#callerOf(call, callable);
      caller = who instanceof Promise ? await who : who;
      const limited = this.#limit(call, callable, caller);
      if (limited) await limited;
      const args = parseArgs(callable, call.args);
      outcome =
        callable.kind === "query"
          ? { status: "success", value: await this.#runQuery(callable, caller, args, call) }
          : await this.#runMutation(callable, caller, args, call);
    } catch (error) {
      outcome = this.#failed(error, call);
    }
    this.#log(call, definition, caller, outcome, started);
    return outcome;
  }

  /** Runs one of the server's own functions (`auth: "system"`). Throws if it fails. */
  async runSystem(definition: FunctionDefinition): Promise<unknown> {
    const outcome = await this.#mutate("a system function", definition, { kind: "system" }, {}, undefined);
    if (outcome.status !== "success") throw outcome.error;
    return outcome.value;
  }

  #callerOf(call: Call, definition: FunctionDefinition): Caller | Promise<Caller> {
    if (call.authorization === undefined && definition.auth === "agent") {
      throw new Rejected(
        new CallError("unauthenticated", "Missing Authorization header. Use: Authorization: Bearer <apiKey>"),
      );
    }
    let caller: Caller | Promise<Caller>;
    try {
      caller = this.#authenticator.caller(call.authorization);
    } catch (error) {
      return this.#refuseCredential(error, call);
    }
    return caller instanceof Promise ? caller.catch((error: unknown) => this.#refuseCredential(error, call)) : caller;
  }

  /** A wrong credential counts against its address, so that guessing ends in `rate_limited`. */
  async #refuseCredential(error: unknown, call: Call): Promise<never> {
    if (!(error instanceof CallError)) throw error;
    if (error.code === "unauthenticated") await this.#take("failedCredentials", addressKey(call.address));
    throw new Rejected(error);
  }

  #limit(call: Call, definition: FunctionDefinition, caller: Caller): Promise<void> | undefined {
    if (!this.#parts.limits.on) return undefined;
    const calls = this.#take("calls", caller.kind === "agent" ? caller.agentId : addressKey(call.address));
    const { rate } = definition;
    return rate === undefined ? calls : calls.then(() => this.#take(rate, addressKey(call.address)));
  }

  async #take(rate: Parameters<RateLimits["take"]>[0], who: string): Promise<void> {
    try {
      await this.#parts.limits.take(rate, who);
    } catch (error) {
      throw error instanceof CallError ? new Rejected(error) : error;
    }
  }

  async #runQuery(definition: FunctionDefinition, caller: Caller, args: object, call: Call): Promise<unknown> {
    const { store, clock, log, publicUrl } = this.#parts;
    return store.read(async (db) => {
      const ctx: QueryContext = { db, caller, now: clock.now(), log, publicUrl };
      return checkValue(definition, await definition.handler(ctx as never, args as never), call.path);
    });
  }

  async #runMutation(definition: FunctionDefinition, caller: Caller, args: object, call: Call): Promise<Outcome> {
    const key =
      call.idempotencyKey === undefined
        ? undefined
        : idempotencyKey(call, caller, `${this.#parts.registry.canonicalPath(call.path)}\n${encodeRequest(args)}`);
    return this.#mutate(call.path, definition, caller, args, key);
  }

  async #mutate(
    path: string,
    definition: FunctionDefinition,
    caller: Caller,
    args: object,
    key: IdempotencyKey | undefined,
  ): Promise<Extract<Outcome, { status: "success" | "refused" }>> {
    const { store, clock, log, publicUrl } = this.#parts;
    const effects: (() => void)[] = [];
    const kept = await store.write(async (transaction) => {
      effects.length = 0;
      const { db } = transaction;
      const now = clock.now();
      const ctx: MutationContext = {
        db,
        caller,
        now,
        log,
        publicUrl,
        newId: (prefix) => newId(prefix, now),
        newUuid: () => newUuid(now),
        newSecret,
        defer: (write) => {
          // It may fail while nobody waits for it yet; the commit hears of it all the same.
          write.catch(() => {});
          transaction.deferred.push(write);
        },
        afterCommit: (effect) => effects.push(effect),
        wakeAt: (at) => effects.push(() => this.#parts.wakeAt(at)),
      };
      const run = async (given: MutationContext) =>
        checkValue(definition, await definition.handler(given as never, args as never), path);
      if (!key) return { status: "success" as const, value: await run(ctx) };

      const earlier = await key.find(db, now);
      if (earlier) return revive(earlier);
      try {
        const value = await transaction.nested((part) => run({ ...ctx, db: part }));
        const kept = value instanceof JsonText ? { json: value.text } : { value };
        await key.keep(db, now, { status: "success", ...kept });
        return { status: "success" as const, value };
      } catch (error) {
        if (!(error instanceof CallError)) throw error;
        effects.length = 0;
        const { code, message, data } = error;
        await key.keep(db, now, { status: "refused", code, message, data });
        return { status: "refused" as const, error };
      }
    });
    for (const effect of effects) effect();
    return kept;
  }

  #failed(error: unknown, call: Call): Outcome {
    if (error instanceof Rejected) return { status: "rejected", error: error.error };
    if (error instanceof CallError) {
      // What the database cannot do now is no answer of the function: the gateway says 503.
      return error.code === "unavailable" ? { status: "rejected", error } : { status: "refused", error };
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
    log.info({
      requestId: call.requestId,
      // An unknown path is the caller's text, and may be a secret in the wrong place.
      path: definition ? this.#parts.registry.canonicalPath(call.path) : "(unknown)",
      agentId: caller?.kind === "agent" ? caller.agentId : undefined,
      outcome: outcome.status,
      code: outcome.status === "refused" || outcome.status === "rejected" ? outcome.error.code : undefined,
      ms: Math.round((performance.now() - started) * 100) / 100,
    });
  }
}

function requireCallable(definition: FunctionDefinition | undefined, call: Call): FunctionDefinition {
  // The server's own functions do not exist for callers.
  if (!definition || definition.auth === "system") {
    throw new CallError("not_found", `Could not find public function for '${call.path}'`);
  }
  if (call.kind !== undefined && call.kind !== definition.kind) {
    const title = (kind: Kind) => (kind === "query" ? "Query" : "Mutation");
    throw new CallError(
      "not_found",
      `Trying to execute ${call.path} as ${title(call.kind)}, but it is defined as ${title(definition.kind)}.`,
    );
  }
  return definition;
}

function parseArgs(definition: FunctionDefinition, args: unknown): object {
  refuseUnstorable(args);
  const parsed = definition.args.safeParse(args);
  if (parsed.success) return parsed.data;
  throw invalidArgs(parsed.error.issues.map(({ path, message }) => ({ path: path.join("."), message })));
}

/** The declared part of a handler's value. What does not fit the declaration is our fault, not the caller's. */
function checkValue(definition: FunctionDefinition, value: unknown, path: string): unknown {
  if (value instanceof JsonText) return value;
  const checked = definition.returns.safeParse(value);
  if (checked.success) return checked.data;
  throw new Error(`The value of ${path} does not fit its declaration: ${checked.error.message}`);
}

function idempotencyKey(call: Call, caller: Caller, request: string): IdempotencyKey {
  try {
    return new IdempotencyKey(call.idempotencyKey ?? "", caller, call.address, request);
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

function revive(kept: KeptOutcome): Extract<Outcome, { status: "success" | "refused" }> {
  if (kept.status === "refused") {
    return { status: "refused", error: new CallError(kept.code, kept.message, kept.data) };
  }
  return { status: "success", value: "json" in kept ? new JsonText(kept.json) : kept.value };
}
