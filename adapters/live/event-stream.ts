/**
 * One query as Server-Sent Events: first the value as it is, then each new one. A reader that is slow gets the newest
 * value when it is ready for one, and not those in between.
 */
import type { ServerResponse } from "node:http";
import type { Holding } from "../../runtime/byte-budget.js";
import type { Clock } from "../../runtime/clock.js";
import type { Caller } from "../../runtime/context.js";
import { CallError, type ErrorCode } from "../../runtime/errors.js";
import type { Held } from "../../runtime/limits.js";
import type { Timestamps } from "../../runtime/timestamps.js";
import type { Exchange } from "../exchange.js";
import { drained } from "../reply-parts.js";
import { encodeValue, type Reply, renderRejection } from "../wire.js";
import type { Answer } from "./answers.js";
import type { Credentials } from "./credentials.js";
import { KeepAlive } from "./keep-alive.js";
import { answerOf, type Subscription, type Subscriptions } from "./subscriptions.js";

/** A comment is sent after this much silence, so that nothing in between takes the stream for dead. */
export const heartbeatMs = 15_000;
/** How long a reader may leave unread what was written. */
const mostUnreadMs = 60_000;
/** How long a client waits before it comes again. */
const retryMs = 1_000;

export const streamHeaders = {
  "Content-Type": "text/event-stream; charset=utf-8",
  "Cache-Control": "no-store, no-transform",
  // nginx would hold events back.
  "X-Accel-Buffering": "no",
} as const;

/** With one of these as the first answer there will be no other: the request is refused as a whole. */
const final: ReadonlySet<ErrorCode> = new Set(["invalid_args", "unauthenticated", "forbidden"]);

export interface EventStreamParts {
  clock: Clock;
  held: Held;
  timestamps: Timestamps;
  subscriptions: Subscriptions;
  credentials: Credentials;
}

/** What is asked for. */
export interface StreamRequest {
  path: string;
  /** As text, known to be JSON. */
  args: string;
}

/** Who asks. */
export interface StreamAsker {
  address: string;
  /** Undefined: as nobody. */
  secret: string | undefined;
  /** Looks up again who that is. */
  authenticate(): Promise<Caller>;
}

export class EventStream {
  #subscription: Subscription | undefined;
  #caller: Caller | undefined;
  #unwatchCredential: () => void = () => {};
  #onDelay: (reason: CallError) => void = () => {};
  #isDoubted = false;
  #isDirty = false;
  #isLooping = false;
  #isOpen = false;
  /** The mark of the answer that was sent last. */
  #sent: Buffer | undefined;
  #unread: Holding | undefined;
  #keepAlive: KeepAlive | undefined;
  #cancelImpatience: () => void = () => {};
  #ended = false;

  constructor(
    readonly parts: EventStreamParts,
    readonly response: ServerResponse,
    readonly exchange: Exchange,
    readonly request: StreamRequest,
    readonly asker: StreamAsker,
  ) {}

  /** Answers with the value as it is, or resolves with the refusal where there is none to come. */
  async start(caller: Caller, headers: Record<string, string>): Promise<Reply | undefined> {
    const delayed = new Promise<CallError>((resolve) => {
      this.#onDelay = resolve;
    });
    this.#subscribe(caller);
    this.#unread = this.exchange.holdReply(caller);
    // Nobody is left without a word because the database is away; an open stream waits until it is back.
    const first = await Promise.race([this.#firstAnswer(), delayed]);
    if (this.#ended || !first) return undefined;
    const error = first instanceof CallError ? first : errorOf(first);
    if (error && (error === first || final.has(error.code))) {
      this.#leave();
      return renderRejection(error);
    }
    this.response.writeHead(200, { ...streamHeaders, ...headers });
    this.response.on("drain", () => {
      this.#cancelImpatience();
      this.exchange.wrote();
    });
    this.response.on("close", () => this.#cancelImpatience());
    this.response.write(`retry: ${retryMs}\n\n`);
    this.#isOpen = true;
    this.#keepAlive = new KeepAlive(this.parts.clock, heartbeatMs, () => {
      if (!this.response.writableNeedDrain) this.#write(": still here\n\n");
    });
    this.#isDirty = true;
    this.#wake();
    return undefined;
  }

  async #firstAnswer(): Promise<Answer | undefined> {
    let first = await this.#answer();
    while (first?.isLapsed && !this.#ended) {
      const now = await this.asker.authenticate();
      if (this.#ended) return undefined;
      this.#subscribe(now);
      first = await this.#answer();
    }
    return first;
  }

  /** Ends the stream; its client comes again. */
  end(): void {
    if (this.#ended) return;
    this.#leave();
    if (this.#isOpen) this.response.end();
    else if (!this.response.headersSent) this.response.writeHead(503, { "Retry-After": "1" }).end();
  }

  /** The answer, once there is room for it; undefined where there is nobody left to have it. */
  async #answer(): Promise<Answer | undefined> {
    const hasRoom = () => this.#unread?.hasRoom ?? true;
    while (!this.#ended && this.#subscription) {
      const answer = await answerOf(this.#subscription, hasRoom);
      if (answer || hasRoom()) return answer;
      await new Promise<void>((resolve) => this.parts.held.answers.whenFreed(resolve));
    }
    return undefined;
  }

  #leave(): void {
    this.#ended = true;
    this.#keepAlive?.end();
    this.#unwatchCredential();
    this.#subscription?.end();
  }

  #subscribe(caller: Caller): void {
    const before = this.#subscription;
    this.#caller = caller;
    this.#unwatchCredential();
    const { secret, address } = this.asker;
    if (secret !== undefined) {
      this.#unwatchCredential = this.parts.credentials.watch(secret, caller, () => {
        this.#isDoubted = true;
        this.#wake();
      });
    }
    this.#subscription = this.parts.subscriptions.subscribe(
      { ...this.request, caller: caller.kind === "anonymous" ? undefined : caller, secret, address },
      {
        touched: () => {
          this.#isDirty = true;
          this.#wake();
          return false;
        },
        ready: () => {},
        delayed: (reason) => this.#onDelay(reason),
      },
    );
    before?.end();
  }

  #wake(): void {
    if (this.#isLooping || !this.#isOpen || this.#ended) return;
    this.#isLooping = true;
    void this.#loop().catch(() => this.end());
  }

  async #loop(): Promise<void> {
    // The notices of a commit, such as who lost a right, follow directly after what it touched.
    await Promise.resolve();
    while ((this.#isDirty || this.#isDoubted) && !this.#ended) {
      if (this.#isDoubted) await this.#verify();
      else if (this.response.writableNeedDrain) await drained(this.response);
      else {
        this.#isDirty = false;
        const subscription = this.#subscription;
        const answer = await this.#answer();
        if (this.#ended) break;
        if (answer?.isLapsed) this.#isDoubted = true;
        // Whoever reads it may have lost the right to.
        if (!answer || this.#isDoubted || subscription !== this.#subscription) this.#isDirty = true;
        else if (!this.#sent?.equals(answer.mark)) {
          this.#sent = answer.mark;
          this.#write(eventOf(answer, this.parts.timestamps.next()));
        }
      }
    }
    this.#isLooping = false;
  }

  /** Looks at the credential again. */
  async #verify(): Promise<void> {
    const { credentials, clock } = this.parts;
    const { address, authenticate } = this.asker;
    this.#isDoubted = false;
    const standing = await credentials.standing(this.#caller, address, authenticate);
    if (this.#ended) return;
    if (standing.status === "changed") {
      this.#subscribe(standing.caller);
      this.#isDirty = true;
    } else if (standing.status === "unknown") {
      // The reader may still be who it was. Nothing is said until that is known, and the stream waits.
      await new Promise<void>((resolve) => clock.after(retryMs, resolve));
      this.#isDoubted = true;
    } else if (standing.status === "refused") {
      const { error } = standing;
      const told = error instanceof CallError ? error : serverStops();
      this.#write(errorEvent(told.message, { code: told.code, ...told.data }));
      this.end();
    }
  }

  #write(text: string): void {
    this.#keepAlive?.sent();
    if (!this.response.write(text)) this.#expectDrain();
    this.exchange.wrote();
  }

  /** Cuts the stream unless its reader takes what was written, whether there is more for it or not. */
  #expectDrain(): void {
    this.#cancelImpatience();
    this.#cancelImpatience = this.parts.clock.after(mostUnreadMs, () => this.response.destroy());
  }
}

/** The refusal of a stream that cannot go on here. */
export function serverStops(): CallError {
  return new CallError("unavailable", "The server is stopping. Try again.", { retryAfterMs: retryMs });
}

function eventOf(answer: Answer, id: bigint): string {
  const { failure, requestId } = answer;
  if (!failure) return `id: ${id}\ndata: ${oneLine(answer.json)}\n\n`;
  if (failure.status === "fault")
    return `id: ${id}\n${errorEvent(`[Request ID: ${requestId}] Server Error`, { code: "internal" })}`;
  const { code, message, data } = failure.error;
  return `id: ${id}\n${errorEvent(message, { code, ...data })}`;
}

function errorEvent(message: string, data: Record<string, unknown>): string {
  return `event: error\ndata: ${encodeValue({ ...data, message }, "json")}\n\n`;
}

/** A line break in JSON is only ever space between its parts, and in an event it would end the line. */
function oneLine(json: string): string {
  return /[\r\n]/.test(json) ? json.replace(/[\r\n]+/g, " ") : json;
}

function errorOf({ failure }: Answer): CallError | undefined {
  return failure && failure.status !== "fault" ? failure.error : undefined;
}
