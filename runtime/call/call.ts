/** A call as an adapter has decoded it, and how one ends. */
import type { Caller } from "../context.js";
import { CallError } from "../errors.js";
import type { Kind } from "./define.js";

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
  /** The server itself runs the call again, for whoever made it before: it counts against nobody's rate. */
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

/** A mutation of a live client, by its session and its number there. */
export interface Resent {
  sessionId: string;
  requestId: number;
  /**
   * Whether it is the first on its socket. On each new socket a client first sends again what it has no answer of, in
   * order (convex-wire.md section 9): so it has those of all before.
   */
  isFirst: boolean;
}

/** A refusal is the function's answer; a rejection means that nothing was run; a fault is ours. */
export type Outcome = Answer | { status: "rejected"; error: CallError } | { status: "fault" };

/** What the function itself answered. */
export type Answer =
  /**
   * `ts`: of a mutation that may be sent again, the instant of its commit (runtime/timestamps.ts). `isReplayed`: an
   * earlier call did it, perhaps in another process.
   */
  { status: "success"; value: unknown; ts?: bigint; isReplayed?: true } | { status: "refused"; error: CallError };

/** A query that was not run because there is no room for its answer. It is asked again, and nobody has to hear of it. */
export class Postponed extends CallError {
  constructor() {
    super("unavailable", "There is no room for the answer now. Try again.", { retryAfterMs: 1_000 });
  }
}

/** Thrown on the way to a function: the call is rejected. A `CallError` by itself is the function's own refusal. */
export class Rejected {
  constructor(readonly error: CallError) {}

  /** What a step before the function threw: its refusal is a rejection, anything else is what it was. */
  static from(error: unknown): unknown {
    return error instanceof CallError ? new Rejected(error) : error;
  }
}
