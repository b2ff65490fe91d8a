/** Subscriptions to live queries. Whoever asks the same as the same caller shares one query (shared-query.ts). */

import { laneOf } from "../../runtime/counted-as.js";
import { hashSecret } from "../../runtime/ids.js";
import type { Answer } from "./answers.js";
import { type Question, type Room, SharedQuery, type SharedQueryParts, type Subscriber } from "./shared-query.js";

export interface Subscription {
  /**
   * Has `take` called with an answer that was right at some time since this was called: at once where it is known, else
   * as soon as it is read, so that a thousand who wait for one answer cost no more than their calls. With `anew`, the
   * answer is read after this call even where nothing is known to have changed. `fail` is called instead with a fault.
   * The answer is undefined where nobody is subscribed to the query any more when its turn comes.
   */
  ask(anew: boolean, take: (answer: Answer | undefined) => void, fail: (error: unknown) => void, room?: Room): void;
  end(): void;
}

/** The answer as a promise. It is undefined also where `has` says that there is no room for one. */
export function answerOf(subscription: Subscription, has = () => true): Promise<Answer | undefined> {
  return new Promise((resolve, reject) =>
    subscription.ask(false, resolve, reject, { has, none: () => resolve(undefined) }),
  );
}

export class Subscriptions {
  readonly #parts: SharedQueryParts;
  readonly #queries = new Map<string, SharedQuery>();

  constructor(parts: SharedQueryParts) {
    this.#parts = parts;
  }

  /** How many queries somebody is subscribed to. */
  get queries(): number {
    return this.#queries.size;
  }

  /** Nothing is run until the subscriber asks for the first answer. */
  subscribe(question: Question, subscriber: Subscriber): Subscription {
    const { caller, path, args } = question;
    // A revocation in this process is known here. One in another process is known only to the database, so each run
    // looks there.
    const secret = this.#parts.sharedDatabase ? question.secret : undefined;
    const key = JSON.stringify([caller ?? null, secret ?? null, path, args.length > 256 ? hashSecret(args) : args]);
    const query = this.#queries.get(key) ?? new SharedQuery(this.#parts, { ...question, secret });
    this.#queries.set(key, query);
    query.add(subscriber, laneOf(caller, question.address));
    let isNew = true;
    return {
      ask: (anew, take, fail, room) => {
        const wasNew = isNew;
        isNew = false;
        query.ask(anew || (wasNew && query.mayBeBehind), take, fail, room);
      },
      end: () => {
        query.remove(subscriber);
        if (query.subscribers > 0 || this.#queries.get(key) !== query) return;
        this.#queries.delete(key);
        query.end();
      },
    };
  }
}
