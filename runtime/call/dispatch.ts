/**
 * The main flow: one call from path to outcome. Find the function, check its kind, authenticate, limit, parse, run in
 * one transaction, check the value. Every surface makes its calls here.
 */
import type { Logger } from "pino";
import { callerKey } from "../byte-budget.js";
import type { Caller, Origin } from "../context.js";
import { addressKey, type Counted } from "../counted-as.js";
import { CallError } from "../errors.js";
import type { Seen } from "../live/watches.js";
import type { Tokens } from "../tokens.js";
import { type Admission, originOf } from "./admission.js";
import { parseArgs } from "./arguments.js";
import { type Call, type Outcome, Postponed, Rejected } from "./call.js";
import { CredentialLapsed, callerFor, namesOf } from "./caller.js";
import type { SystemFunction } from "./define.js";
import { IdempotencyKey } from "./idempotency.js";
import type { Registry } from "./registry.js";
import type { Reading, Running, Transactions } from "./transact.js";

export interface DispatchParts {
  registry: Registry;
  admission: Admission;
  transactions: Transactions;
  tokens: Tokens;
  log: Logger;
}

/** Runs calls, and the server's own functions. */
export class Dispatcher {
  readonly #parts: DispatchParts;

  constructor(parts: DispatchParts) {
    this.#parts = parts;
  }

  /** Runs one call. Never throws. Fills `seen` with what a query reads, so that the query can be watched. */
  async dispatch(call: Call, seen?: Seen): Promise<Outcome> {
    const { registry, admission } = this.#parts;
    const started = performance.now();
    let caller: Caller | undefined;
    let counted: readonly Counted[] = [];
    let outcome: Outcome;
    try {
      const definition = registry.callable(call.path, call.kind);
      // Await only what is a promise: the call of a known caller then stays in the same turn of the event loop and
      // joins the group that commits next.
      const who = admission.callerOf(call, definition);
      caller = callerFor(definition.auth, who instanceof Promise ? await who : who);
      if (seen) seen.caller = caller;
      const limited = admission.countCall(call, definition, caller);
      if (limited) await limited;
      const args = timed(seen, () => parseArgs(definition, call.args));
      const further = admission.countArguments(call, definition, caller, args);
      if (further) counted = await further;
      outcome = await this.#run(call, { definition, path: call.path, caller, args }, seen);
    } catch (error) {
      outcome = this.#failed(error, call);
    }
    if (counted.length > 0) await admission.giveBack(counted, outcome);
    this.#log(call, caller, outcome, started);
    return outcome;
  }

  async #run(call: Call, runnable: Running, seen: Seen | undefined): Promise<Outcome> {
    const { transactions, registry, tokens } = this.#parts;
    const { definition, caller, args } = runnable;
    if (definition.kind === "query") {
      const { address, caller: known, secret } = call;
      const credential = known && secret !== undefined ? { caller: known, secret } : undefined;
      const reading: Reading = { address, seen, credential, refusal: call.refusal, finish: call.finish };
      return { status: "success", value: await transactions.read(runnable, reading) };
    }
    const holder = () => callerKey(caller) ?? tokens.derive(`keeps results: ${addressKey(call.address)}`);
    const key = IdempotencyKey.ofCall(call, registry.canonicalPath(call.path), caller, args, holder);
    return transactions.write(runnable, originOf(call), { key, isFirst: call.resent?.isFirst });
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
      const value = await this.#runAsSystem({ definition, path, caller: { kind: "system" }, args });
      ended("success");
      return value as Returns;
    } catch (error) {
      if (error instanceof CallError) ended("refused", error.code);
      else ended("fault");
      throw error;
    }
  }

  async #runAsSystem(running: Running): Promise<unknown> {
    const { transactions } = this.#parts;
    if (running.definition.kind === "query") return transactions.read(running);
    const answer = await transactions.write(running, nowhere);
    if (answer.status !== "success") throw answer.error;
    return answer.value;
  }

  #failed(error: unknown, call: Call): Outcome {
    if (error instanceof Rejected) return { status: "rejected", error: error.error };
    if (error instanceof CallError) {
      // That the database cannot work now is not the function's answer: the adapter says 503.
      const isRejection = error.code === "unavailable" || error instanceof CredentialLapsed;
      return isRejection ? { status: "rejected", error } : { status: "refused", error };
    }
    this.#parts.log.error({ requestId: call.requestId, err: error }, "fault");
    return { status: "fault" };
  }

  #log(call: Call, caller: Caller | undefined, outcome: Outcome, started: number): void {
    const { log, registry } = this.#parts;
    if (!log.isLevelEnabled("info")) return;
    if (outcome.status === "rejected" && outcome.error instanceof Postponed) return;
    log.info({
      requestId: call.requestId,
      // An unknown path is any text of the caller's, perhaps a secret in the wrong place.
      path: registry.find(call.path) ? registry.canonicalPath(call.path) : "(unknown)",
      ...namesOf(caller),
      outcome: outcome.status,
      code: outcome.status === "refused" || outcome.status === "rejected" ? outcome.error.code : undefined,
      ms: msSince(started),
    });
  }
}

/** The origin of the server's own calls. */
const nowhere: Origin = { address: "", addressKey: "", userAgent: null };

/** Counts the time of `work` as the query's, even if `work` throws. */
function timed<T>(seen: Seen | undefined, work: () => T): T {
  if (!seen) return work();
  const began = performance.now();
  try {
    return work();
  } finally {
    seen.tookMs += performance.now() - began;
  }
}

function msSince(started: number): number {
  return Math.round((performance.now() - started) * 100) / 100;
}
