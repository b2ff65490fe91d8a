/** What a live query answered, in the bytes in which it is sent: written once, and shared by all who hear it. */
import { createHash } from "node:crypto";
import { CredentialLapsed } from "../../runtime/call/caller.js";
import type { CallError } from "../../runtime/errors.js";
import type { WholeFrame } from "../sockets/whole-frame.js";
import { encodeValue, isReadable } from "../wire.js";
import {
  changedQuery,
  type FailedOutcome,
  type Frame,
  queryFailure,
  queryValue,
  transitionFrame,
  unreadableValue,
  type Version,
  valueJson,
} from "./sync-frames.js";

/**
 * Up to this length an answer is recognised by its bytes, beyond it by their hash, so that a long answer need not be
 * kept.
 */
const longestMark = 4_096;

/** A value as it is sent. */
export interface WrittenValue {
  /** For the sync protocol: all of the change but the query's number. */
  result: Frame;
  /** The value as JSON, where that is not part of `result`. */
  json: string | undefined;
}

export function writeValue(value: unknown): WrittenValue {
  if (!isReadable(value)) {
    const failed: FailedOutcome = { status: "refused", error: unreadableValue() };
    return { result: queryFailure(failed, ""), json: encodeValue(value, "json") };
  }
  const result = queryValue(value);
  return { result, json: result.includes('{"$') ? encodeValue(value, "json") : undefined };
}

export class Answer {
  readonly result: Frame;
  /** Two answers with the same mark are the same. */
  readonly mark: Buffer;
  readonly #json: string | undefined;
  #last: { queryId: number; from: Version; to: Version; frame: WholeFrame } | undefined;

  constructor(
    written: WrittenValue,
    /** Undefined where the query has a value. */
    readonly failure: FailedOutcome | undefined,
    readonly requestId: string,
    /** The instant before it was read. */
    readonly readAt: bigint,
  ) {
    this.result = written.result;
    this.#json = written.json;
    const isShort = written.json === undefined && written.result.length <= longestMark;
    this.mark = isShort
      ? written.result
      : createHash("sha256")
          .update(written.result)
          .update(written.json ?? "")
          .digest();
  }

  /** The answer of a query that has no value. */
  static ofFailure(failure: FailedOutcome, requestId: string, readAt: bigint): Answer {
    return new Answer({ result: queryFailure(failure, requestId), json: undefined }, failure, requestId, readAt);
  }

  /** The value as JSON. */
  get json(): string {
    return this.#json ?? valueJson(this.result);
  }

  get bytes(): number {
    return this.result.length + (this.#json?.length ?? 0);
  }

  /** The Transition that brings this answer alone. Sockets that are at the same version share its bytes. */
  transition(queryId: number, from: Version, to: Version): WholeFrame {
    const last = this.#last;
    if (last && last.queryId === queryId && isSame(last.from, from) && isSame(last.to, to)) return last.frame;
    const frame = transitionFrame(from, to, [changedQuery(queryId, this.result)]);
    this.#last = { queryId, from, to, frame };
    return frame;
  }

  /** Whether there is no answer because the caller's credential is not what it was. Whoever asked has to look at it. */
  get isLapsed(): boolean {
    return this.failure?.status === "rejected" && this.failure.error instanceof CredentialLapsed;
  }

  /** Why the query could not run now; undefined where this is its answer. */
  get reasonToWait(): CallError | undefined {
    if (this.failure?.status !== "rejected") return undefined;
    const { error } = this.failure;
    return error.code === "unavailable" || error.code === "rate_limited" ? error : undefined;
  }
}

function isSame(one: Version, other: Version): boolean {
  return one.ts === other.ts && one.querySet === other.querySet && one.identity === other.identity;
}
