/** What a call is, and how one ends. Adapters decode a call and render its outcome; dispatch.ts runs it. */
import type { Caller } from "../context.js";
import { CallError } from "../errors.js";
import type { Kind } from "./define.js";

/** One call, as an adapter has decoded it. */
export interface Call {
  path: string;
  /** The kind of function that the surface asks for; undefined if it takes both. */
  kind: Kind | undefined;
  args: unknown;
  /** The `Authorization` header, unchanged. */
  authorization: string | undefined;
  /** The `x-api-key` header, unchanged; used only without an `Authorization` header. */
  apiKey?: string | undefined;
  /** The caller, if the surface already knows it from the opening of a socket. No header is read then. */
  caller?: Caller;
  /**
   * The secret that `caller` presented. A query then checks in its own snapshot that the secret still stands for the
   * caller, so it never reads data from after a revocation, whichever process revoked. If it does not, the call ends
   * with `CredentialLapsed`.
   */
  secret?: string;
  /** Treats an invalid credential as none, instead of refusing the call. */
  credentialOptional?: boolean;
  idempotencyKey: string | undefined;
  /** Set for a mutation that a client may send again after it lost its connection. */
  resent?: Resent;
  /** The server runs the call again for whoever made it first, so no rate counts it. */
  isRerun?: boolean;
  /** Called right before a query runs, with the caller. Returns why the query may not run now. */
  refusal?(caller: Caller): CallError | undefined;
  /**
   * Turns a query's value into what is sent, and returns it as the outcome's value. Runs before the next query, so a
   * large answer is not held as objects while others are read, and its size is counted before the next query begins.
   */
  finish?(value: unknown, caller: Caller): unknown;
  /** The caller's network address. */
  address: string;
  /** The `User-Agent` header, unchanged. */
  userAgent?: string | undefined;
  /** 16 hex digits. It is in the log line, and it is all that a caller learns of a fault. */
  requestId: string;
}

/** Identifies a mutation of a live client: the client's session, and the mutation's number in it. */
export interface Resent {
  clientSessionId: string;
  requestId: number;
  /**
   * Whether it is the first mutation on its socket. On each new socket a client first sends again, in order, the
   * mutations that it has no answer to (convex-wire.md section 9). So it has the answers to all mutations before this
   * one.
   */
  isFirst: boolean;
}

/**
 * How a call ended. Refused: the function said no. Rejected: the function did not run. Fault: a bug or failure of ours.
 */
export type Outcome = Answer | { status: "rejected"; error: CallError } | { status: "fault" };

/** What the function answered. */
export type Answer =
  /**
   * `ts` is the instant of the commit, for a mutation that may be sent again (runtime/timestamps.ts). `isReplayed`: an
   * earlier call did the work, perhaps in another process.
   */
  { status: "success"; value: unknown; ts?: bigint; isReplayed?: true } | { status: "refused"; error: CallError };

/**
 * A query that did not run because there is no room for its answer. The server runs it again later; nobody needs to
 * hear of it.
 */
export class Postponed extends CallError {
  constructor() {
    super("unavailable", "There is no room for the answer now. Try again.", { retryAfterMs: 1_000 });
  }
}

/** Thrown before the function runs: the call is rejected. A plain `CallError` is a refusal by the function. */
export class Rejected {
  constructor(readonly error: CallError) {}

  /** Makes a rejection of a `CallError` that was thrown before the function ran; passes on any other error. */
  static from(error: unknown): unknown {
    return error instanceof CallError ? new Rejected(error) : error;
  }
}
