/**
 * What one HTTP request makes the server hold: its body and what that is parsed to until the request is over, and its
 * reply until the network has taken it. Whoever leaves too many replies unread is refused before more is done for them.
 */
import type { ServerResponse } from "node:http";
import type { HttpBindings } from "@hono/node-server";
import { callerKey, type Holding, parsedBytes } from "../runtime/byte-budget.js";
import type { Call } from "../runtime/call/call.js";
import { JsonText } from "../runtime/call/define.js";
import type { Caller } from "../runtime/context.js";
import { addressKey } from "../runtime/counted-as.js";
import { CallError } from "../runtime/errors.js";
import type { LargeRequests } from "../runtime/large-requests.js";
import { type Held, parsedArgumentBytes, sizes } from "../runtime/limits.js";
import { addressOf } from "./caller-address.js";
import type { OpenByAddress } from "./open-by-address.js";
import type { WaitingReplies } from "./waiting-replies.js";
import { encodeValue, type Format, renderRejection, tooManyValues } from "./wire.js";

/** How long a reader may go without taking anything of a reply. */
const mostUnreadMs = 120_000;
/** An answer that is larger is counted before the next query runs, and not only once it is written. */
const largeBytes = 64 * 1024;
/** A body up to this size takes little once it is parsed, compared with what its connection takes anyway. */
const smallBytes = 1024;
/** Whatever watches over the process has to get an answer. */
const alwaysAnswered: ReadonlySet<string> = new Set(["/livez", "/readyz", "/api/health"]);

export interface ExchangeParts {
  held: Held;
  /** The requests of each address that are not over; undefined where nobody counts them. */
  open: OpenByAddress | undefined;
  largeRequests: LargeRequests;
  waitingReplies: WaitingReplies;
  trustProxy: boolean;
}

export class Exchange {
  /** The caller's network address. */
  readonly address: string;
  readonly #outgoing: ServerResponse;
  readonly #held: Held;
  readonly #largeRequests: LargeRequests;
  readonly #addressKey: string;
  readonly #isOneTooMany: boolean = false;
  #reply: Holding | undefined;

  constructor(
    { incoming, outgoing }: HttpBindings,
    { held, open, largeRequests, waitingReplies, trustProxy }: ExchangeParts,
  ) {
    this.#outgoing = outgoing as ServerResponse;
    this.#held = held;
    this.#largeRequests = largeRequests;
    this.address = addressOf(incoming, trustProxy);
    this.#addressKey = addressKey(this.address);
    if (this.#outgoing.socket === null) waitingReplies.closeWith(incoming.socket, this.#outgoing);
    if (open) {
      this.#isOneTooMany = open.isFull(this.#addressKey, sizes.requestsPerAddress);
      this.whenOver(open.add(this.#addressKey));
    }
    const { end } = this.#outgoing;
    // Every reply ends here, whatever made it.
    this.#outgoing.end = ((...given: Parameters<typeof end>) => {
      const ended = Reflect.apply(end, this.#outgoing, given) as ServerResponse;
      this.wrote();
      return ended;
    }) as typeof end;
  }

  /** Why nothing is done for the request: its address has too many requests open, or leaves too many replies unread. */
  get refusal(): CallError | undefined {
    const { url = "" } = this.#outgoing.req;
    if (alwaysAnswered.has(url)) return undefined;
    return this.#isOneTooMany ? tooManyOpen() : this.#refusalOf(undefined);
  }

  #refusalOf(caller: Caller | undefined): CallError | undefined {
    return this.#held.answers.refusal({ address: this.#addressKey, caller: callerKey(caller) });
  }

  /** Has a query's value written and counted before the next query runs. */
  encoding(format: Format): Pick<Call, "refusal" | "finish"> {
    return {
      refusal: (caller) => this.#refusalOf(caller),
      finish: (value, caller) => {
        const text = encodeValue(value, format);
        if (text.length > largeBytes) this.holdReply(caller).add(text.length);
        return new JsonText(text);
      },
    };
  }

  /** Counts what the network has not taken yet. */
  wrote(): void {
    const unread = this.#outgoing.writableLength;
    if (unread > 0 || this.#reply) this.holdReply(undefined).set(unread);
  }

  /** What is counted for the reply, on behalf of the caller that is named first. */
  holdReply(caller: Caller | undefined): Holding {
    const outgoing = this.#outgoing;
    if (!this.#reply) {
      const reply = this.#held.answers.hold({ address: this.#addressKey, caller: callerKey(caller) }, () =>
        outgoing.destroy(),
      );
      this.#reply = reply;
      this.whenOver(() => reply.end());
      outgoing.setTimeout(mostUnreadMs, () => outgoing.destroy());
    }
    return this.#reply;
  }

  /** Counts what arrives of a body. `giveUp` ends the reading where it takes too long and others need the room. */
  holdBody(giveUp?: () => void): Holding {
    const body = this.#hold("requests", giveUp);
    this.whenOver(() => body.end());
    return body;
  }

  /**
   * Resolves when a whole body may be parsed, or with the refusal where there is no room to keep it until then;
   * undefined: at once.
   */
  turn(bytes: number): Promise<CallError | undefined> | undefined {
    const turn = this.#largeRequests.turn(this.#addressKey, bytes);
    if (!turn) return undefined;
    const waiting = this.#hold("requests");
    const refusal = waiting.take(bytes) ? undefined : waiting.budget.tooMuch(bytes);
    return (refusal ? Promise.resolve() : turn).then(() => {
      waiting.end();
      return refusal;
    });
  }

  /** Counts what a whole body is parsed to, until the request is over. Returns the refusal where that is too much. */
  holdArguments(text: string): CallError | undefined {
    if (text.length <= smallBytes) return undefined;
    const bytes = parsedBytes(text);
    if (bytes > parsedArgumentBytes) return tooManyValues();
    const parsed = this.#hold("requests");
    if (!parsed.take(text.length + bytes)) {
      parsed.end();
      return parsed.budget.tooMuch(text.length + bytes);
    }
    this.whenOver(() => parsed.end());
    return undefined;
  }

  /** Calls back once the reply was taken or the connection has ended: at once where it has already. */
  whenOver(callback: () => void): void {
    if (this.#outgoing.closed) callback();
    else this.#outgoing.once("close", callback);
  }

  #hold(kind: keyof Held, giveUp?: () => void): Holding {
    return this.#held[kind].hold({ address: this.#addressKey, caller: undefined }, giveUp);
  }
}

function tooManyOpen(): CallError {
  return new CallError("rate_limited", `Too many requests at once (max ${sizes.requestsPerAddress})`, {
    retryAfterMs: 1_000,
  });
}

/** The refusal as a response, to a request that is not taken any further. */
export function refusalResponse(error: CallError): Response {
  const { status, body, retryAfterMs } = renderRejection(error);
  const headers: Record<string, string> = { "Content-Type": "application/json" };
  if (retryAfterMs !== undefined) headers["Retry-After"] = String(Math.ceil(retryAfterMs / 1_000));
  return new Response(body, { status, headers });
}
