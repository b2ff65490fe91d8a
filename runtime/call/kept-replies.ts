/**
 * Replies that are given again without running anything (live/reply-cache.ts). They count against their caller's rates
 * and have their line in the log, like calls.
 */
import type { Logger } from "pino";
import { callRatesOf } from "../counted-as.js";
import type { KeptReply, ReplyCache } from "../live/reply-cache.js";
import type { Begun, Watches } from "../live/watches.js";
import { expiryOf } from "../tokens.js";
import type { Admission } from "./admission.js";
import { type Call, type Outcome, Rejected } from "./call.js";
import { namesOf } from "./caller.js";
import type { Registry } from "./registry.js";

export interface KeptRepliesParts {
  cache: ReplyCache;
  watches: Watches;
  admission: Admission;
  registry: Registry;
  log: Logger;
}

export class KeptReplies {
  readonly #parts: KeptRepliesParts;

  constructor(parts: KeptRepliesParts) {
    this.#parts = parts;
  }

  /** A reply to a query that was asked in the same words, by the same caller. */
  find(question: string): KeptReply | undefined {
    return this.#parts.cache.find(question);
  }

  /** Counts and logs a call that is answered with a kept reply. The outcome where it may not be. */
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

  /** To be called before a query runs whose reply may be kept. */
  begin(question: string): Keeping {
    const { cache, watches } = this.#parts;
    const { generation } = cache;
    const seen = watches.begin();
    return {
      seen,
      keep: (body, { path, authorization }) => {
        const { caller } = seen;
        const about = { path: this.#parts.registry.canonicalPath(path), ...namesOf(caller) };
        const expiresAt = authorization === undefined ? undefined : expiryOf(authorization.replace(/^Bearer +/i, ""));
        const countedAs = caller === undefined || caller.kind === "anonymous" ? null : callRatesOf(caller, "");
        cache.keep(question, { body: Buffer.from(body), expiresAt, countedAs, about }, seen, generation);
      },
    };
  }
}

export interface Keeping {
  /** To be filled by the query; to be ended in any case. */
  seen: Begun;
  /** Keeps the reply to a query that succeeded. */
  keep(body: string, call: Pick<Call, "path" | "authorization">): void;
}
