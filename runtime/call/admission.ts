/**
 * Decides whether a call is let in: finds out who calls and counts the call against its rates. A call that is refused
 * here is rejected, because its function has not run. Credentials themselves are looked up in caller.ts.
 */
import type { Logger } from "pino";
import type { Caller, Origin } from "../context.js";
import { addressKey, type Counted, callRatesOf } from "../counted-as.js";
import { CallError } from "../errors.js";
import type { Rate } from "../limits.js";
import type { RateLimits } from "../rate-limits.js";
import { type Answer, type Call, type Outcome, Rejected } from "./call.js";
import type { Authenticator } from "./caller.js";
import type { FunctionDefinition } from "./define.js";

/** The gate that every call passes before its function runs. */
export class Admission {
  readonly #authenticator: Authenticator;
  readonly #limits: RateLimits;
  readonly #log: Logger;

  constructor(authenticator: Authenticator, limits: RateLimits, log: Logger) {
    this.#authenticator = authenticator;
    this.#limits = limits;
    this.#log = log;
  }

  /** The caller that a credential stands for, for a surface that gets credentials outside the headers. */
  authenticate(secret: string, address: string): Promise<Caller> {
    return this.#counted(address, () => this.#authenticator.bySecret(secret));
  }

  /** The caller of a request that stays open; anonymous if it brings no credential. */
  authenticateHeaders(
    { authorization, apiKey }: Pick<Call, "authorization" | "apiKey">,
    address: string,
  ): Promise<Caller> {
    return this.#counted(address, () => this.#authenticator.caller(authorization, apiKey));
  }

  async #counted(address: string, look: () => Caller | Promise<Caller>): Promise<Caller> {
    try {
      return await look();
    } catch (error) {
      if (error instanceof CallError && error.code === "unauthenticated") {
        await this.#limits.take("failedCredentials", addressKey(address));
      }
      throw error;
    }
  }

  /** Who makes the call. A promise only if the database has to be asked. */
  callerOf(call: Call, definition: FunctionDefinition): Caller | Promise<Caller> {
    if (call.caller) return call.caller;
    const { authorization, apiKey } = call;
    if (authorization === undefined && apiKey === undefined && definition.auth !== "none") {
      throw new Rejected(
        new CallError("unauthenticated", "Missing Authorization header. Use: Authorization: Bearer <apiKey>"),
      );
    }
    let caller: Caller | Promise<Caller>;
    try {
      caller = this.#authenticator.caller(authorization, apiKey);
    } catch (error) {
      return this.#refuseCredential(error, call);
    }
    return caller instanceof Promise ? caller.catch((error: unknown) => this.#refuseCredential(error, call)) : caller;
  }

  /** Counts a wrong credential against its address, so that guessing ends in `rate_limited`. */
  async #refuseCredential(error: unknown, call: Call): Promise<Caller> {
    if (!(error instanceof CallError)) throw error;
    if (error.code === "unauthenticated") await this.#take("failedCredentials", addressKey(call.address));
    // A public read may go on without its expired credential.
    if (call.credentialOptional && error.code !== "unavailable") return { kind: "anonymous" };
    throw new Rejected(error);
  }

  /** Counts the call against the rates of all calls and its function's own rate; undefined if none applies. */
  countCall(call: Call, { rate }: FunctionDefinition, caller: Caller): Promise<void> | undefined {
    if (!this.#limits.on || call.isRerun) return undefined;
    const calls = callRatesOf(caller, call.address);
    return this.#takeInOrder(rate === undefined ? calls : [...calls, { rate, who: addressKey(call.address) }]);
  }

  /** Counts a kept reply that is sent again without running a call. */
  async countRecalled(counted: readonly Counted[] | null, address: string): Promise<void> {
    if (this.#limits.on) await this.#takeInOrder(counted ?? callRatesOf(undefined, address));
  }

  /** Counts the call against the rates that its arguments name; undefined if there are none. */
  countArguments(
    call: Call,
    definition: FunctionDefinition,
    caller: Caller,
    args: object,
  ): Promise<readonly Counted[]> | undefined {
    if (!definition.limit || !this.#limits.on || call.isRerun) return undefined;
    return this.#takeAll(definition.limit(args as never, caller as never, originOf(call)));
  }

  /**
   * Takes the call off the rates that count failures only, unless it failed: they counted it before its end was known.
   */
  async giveBack(counted: readonly Counted[], outcome: Outcome | Answer): Promise<void> {
    // A caller who is told to come back later has not learned whether anything was wrong.
    if (outcome.status === "refused" && outcome.error.code !== "rate_limited") return;
    for (const { rate, who, failuresOnly } of counted) {
      if (!failuresOnly) continue;
      await this.#limits.giveBack(rate, who).catch((err: unknown) => {
        this.#log.warn({ err, rate }, "a count was not given back");
      });
    }
  }

  async #takeInOrder(counted: readonly Counted[]): Promise<void> {
    for (const { rate, who } of counted) await this.#take(rate, who);
  }

  async #takeAll(counted: readonly Counted[]): Promise<readonly Counted[]> {
    await Promise.all(counted.map(({ rate, who }) => this.#take(rate, who)));
    return counted;
  }

  async #take(rate: Rate, who: string): Promise<void> {
    try {
      await this.#limits.take(rate, who);
    } catch (error) {
      throw Rejected.from(error);
    }
  }
}

/** Where a call comes from. */
export function originOf({ address, userAgent }: Pick<Call, "address" | "userAgent">): Origin {
  return { address, addressKey: addressKey(address), userAgent: userAgent ?? null };
}
