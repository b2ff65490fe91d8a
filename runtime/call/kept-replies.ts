/**
 * Answers a query with a kept reply (live/reply-cache.ts) instead of running it. Such a reply counts against its
 * caller's rates and gets its line in the log, like a call.
 */
import type { Logger } from "pino";
import { callRatesOf } from "../counted-as.js";
import type { KeptReply, ReplyCache } from "../live/reply-cache.js";
import type { Begun, Watches } from "../live/watches.js";
import { expiryOf } from "../tokens.js";
import type { Admission } from "./admission.js";
import { type Call, type Outcome, Rejected } from "./call.js";
import { namesOf, secretIn } from "./caller.js";
import type { Registry } from "./registry.js";

export interface KeptRepliesParts {
  cache: ReplyCache;
  watches: Watches;
  admission: Admission;
  registry: Registry;
  log: Logger;
}

/** Finds, counts and keeps replies for the RPC adapter. */
export class KeptReplies {
  readonly #parts: KeptRepliesParts;

  constructor(parts: KeptRepliesParts) {
    this.#parts = parts;
  }

  /** The kept reply to the same query by the same caller, if there is one. */
  find(question: string): KeptReply | undefined {
    return this.#parts.cache.find(question);
  }

  /** Counts and logs a call that gets a kept reply. Returns the outcome if the call is rejected instead. */
  async recall(
    reply: KeptReply,
    { address, requestId }: Pick<Call, "address" | "requestId">,
  ): Promise<Outcome | undefined> {
    const { admission, log } = this.#parts;
    try {
      await admission.countRecalled(reply.countedAs, address);
    } catch (error) {
      if (error instanceof Rejected) return { status: "rejected", error: error.error };
      throw error;
    }
    if (log.isLevelEnabled("info")) log.info({ requestId, ...reply.about, outcome: "success", kept: true });
    return undefined;
  }

  /** Must be called before a query runs whose reply may be kept. */
  begin(question: string): Keeping {
    const { cache, watches } = this.#parts;
    const { generation } = cache;
    const seen = watches.begin();
    return {
      seen,
      keep: (body, { path, authorization }) => {
        const { caller } = seen;
        const about = { path: this.#parts.registry.canonicalPath(path), ...namesOf(caller) };
        const secret = secretIn({ authorization });
        const expiresAt = secret === undefined ? undefined : expiryOf(secret);
        const countedAs = caller === undefined || caller.kind === "anonymous" ? null : callRatesOf(caller, "");
        cache.keep(question, { body: Buffer.from(body), expiresAt, countedAs, about }, seen, generation);
      },
    };
  }
}

/** A running query whose reply may be kept. */
export interface Keeping {
  /** The query fills it. It must be ended in any case. */
  seen: Begun;
  /** Keeps the reply to a query that succeeded. */
  keep(body: string, call: Pick<Call, "path" | "authorization">): void;
}
