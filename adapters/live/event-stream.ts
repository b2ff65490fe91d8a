/**
 * `GET /api/subscribe`: a query as Server-Sent Events, for whoever has only curl. First the value as it is, then each new
 * one. A reader that is slow gets the newest value when it is ready for one, and not those in between.
 */
import type { ServerResponse } from "node:http";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { callerKey, type Holding } from "../../runtime/byte-budget.js";
import { missingFunction } from "../../runtime/call/registry.js";
import type { Runtime } from "../../runtime/call/runtime.js";
import type { Clock } from "../../runtime/clock.js";
import type { Caller } from "../../runtime/context.js";
import { CallError, type ErrorCode } from "../../runtime/errors.js";
import { addressKey, type RateLimits, sizes, subscriptionBytes } from "../../runtime/limits.js";
import type { Exchange } from "../exchange.js";
import { corsHeaders, type HttpApp, type HttpContext, send } from "../http.js";
import { credentialsOf } from "../new-call.js";
import { OpenByAddress } from "../open-by-address.js";
import { drained } from "../reply-parts.js";
import { encodeValue, type Reply, rejection, renderRejection } from "../wire.js";
import type { Credentials } from "./credentials.js";
import { type Answer, answerOf, type LiveQuerySet, type Subscription } from "./subscriptions.js";

/** A comment is sent after this much silence, so that nothing in between takes the stream for dead. */
export const heartbeatMs = 15_000;
/** How long a reader may leave what was written unread. */
const mostUnreadMs = 60_000;
/** What a client waits before it comes again. */
const retryMs = 1_000;

const streamHeaders = {
  "Content-Type": "text/event-stream; charset=utf-8",
  "Cache-Control": "no-store, no-transform",
  // nginx would hold events back.
  "X-Accel-Buffering": "no",
} as const;

/** With one of these as the first answer there will be no other: the request is refused as a whole. */
const final: ReadonlySet<ErrorCode> = new Set(["invalid_args", "unauthenticated", "forbidden"]);

export interface SubscribeParts {
  runtime: Runtime;
  clock: Clock;
  limits: RateLimits;
  queries: LiveQuerySet;
  credentials: Credentials;
}

/** The open streams. */
export interface Streams {
  /** Ends them, so that their clients come back to whoever serves next. */
  stop(): void;
}

export function addSubscribeRoute(app: HttpApp, parts: SubscribeParts): Streams {
  const { runtime, limits } = parts;
  const streams = new Set<EventStream>();
  const openByAddress = new OpenByAddress();
  /** Streams that are open or about to be. */
  let places = 0;
  let stopping = false;

  const open = async (c: HttpContext): Promise<Response> => {
    const request = readRequest(c, runtime);
    if ("status" in request) return send(c, request);
    const address = c.env.exchange.address;
    const counted = addressKey(address);
    const credential = credentialsOf(c.env.incoming.headers);
    if (stopping) return send(c, renderRejection(unavailable()));
    if (
      places >= sizes.sockets ||
      (limits.on && openByAddress.isFull(counted, sizes.socketsPerAddress, sizes.sockets))
    ) {
      return send(c, renderRejection(new CallError("rate_limited", "Too many open streams", { retryAfterMs: 3_000 })));
    }
    const ended = openByAddress.add(counted);
    places += 1;
    c.env.exchange.whenOver(() => {
      ended();
      places -= 1;
    });
    try {
      if (limits.on) await limits.take("socketOpenings", counted);
      const caller = await runtime.authenticateHeaders(credential, address);
      // Whoever hung up meanwhile is told nothing, and nobody would tell us of their end again.
      if (c.env.outgoing.closed) return RESPONSE_ALREADY_SENT;
      if (c.env.incoming.method === "HEAD") {
        return new Response(null, { headers: { ...streamHeaders, ...corsHeaders(c) } });
      }
      const authenticate = () => runtime.authenticateHeaders(credential, address);
      const args = runtime.held.subscriptions.hold({ address: counted, caller: callerKey(caller) });
      if (!args.take(Buffer.byteLength(request.args) + subscriptionBytes)) {
        args.end();
        return send(c, renderRejection(args.budget.tooMuch()));
      }
      c.env.exchange.whenOver(() => args.end());
      const stream = new EventStream(
        parts,
        c.env.outgoing,
        c.env.exchange,
        request,
        address,
        secretOf(credential),
        authenticate,
      );
      streams.add(stream);
      c.env.exchange.whenOver(() => {
        stream.end();
        streams.delete(stream);
      });
      const refused = await stream.start(caller, corsHeaders(c));
      return refused ? send(c, refused) : RESPONSE_ALREADY_SENT;
    } catch (error) {
      if (error instanceof CallError) return send(c, renderRejection(error));
      throw error;
    }
  };

  app.get("/api/subscribe", open);
  app.post("/api/subscribe", (c) =>
    send(c, { ...rejection(405, "MethodNotAllowed", "invalid_args", "Use GET"), allow: "GET" }),
  );
  return {
    stop: () => {
      stopping = true;
      for (const stream of streams) stream.end();
    },
  };
}

interface Request {
  path: string;
  /** As text, known to be JSON. */
  args: string;
}

function readRequest(c: HttpContext, runtime: Runtime): Request | Reply {
  const query = new URL(c.req.url).searchParams;
  const path = query.get("path");
  if (!path) return rejection(400, "BadJsonBody", "invalid_args", "Say which query: ?path=agents:getStatus&args={}");
  const definition = runtime.registry.find(path);
  if (!definition) return renderRejection(missingFunction(path));
  if (definition.kind !== "query") {
    return rejection(400, "BadRequest", "invalid_args", "Only a query can be subscribed to");
  }
  try {
    const args = query.get("args") || "{}";
    JSON.parse(args);
    return { path, args };
  } catch {
    return rejection(400, "BadJsonBody", "invalid_args", "args must be URL-encoded JSON");
  }
}

/** The secret that `authenticateHeaders` went by. */
function secretOf({ authorization, apiKey }: ReturnType<typeof credentialsOf>) {
  return authorization === undefined ? apiKey : authorization.replace(/^Bearer +/i, "");
}

function unavailable(): CallError {
  return new CallError("unavailable", "The server is stopping. Try again.", { retryAfterMs: retryMs });
}

class EventStream {
  #subscription: Subscription | undefined;
  #caller: Caller | undefined;
  #unwatchCredential: () => void = () => {};
  #onDelay: (reason: CallError) => void = () => {};
  #isDoubted = false;
  #isDirty = false;
  #isLooping = false;
  #isOpen = false;
  /** What the last answer is known again by. */
  #sent: Buffer | undefined;
  #unread: Holding | undefined;
  #lastSentAt = 0;
  #cancelHeartbeat: () => void = () => {};
  #cancelImpatience: () => void = () => {};
  #ended = false;

  constructor(
    readonly parts: SubscribeParts,
    readonly response: ServerResponse,
    readonly exchange: Exchange,
    readonly request: Request,
    readonly address: string,
    readonly secret: string | undefined,
    readonly authenticate: () => Promise<Caller>,
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
    this.#heartbeatLater(heartbeatMs);
    this.#isDirty = true;
    this.#wake();
    return undefined;
  }

  async #firstAnswer(): Promise<Answer | undefined> {
    let first = await this.#answer();
    while (first?.isLapsed && !this.#ended) {
      const now = await this.authenticate();
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
      await new Promise<void>((resolve) => this.parts.runtime.held.answers.whenFreed(resolve));
    }
    return undefined;
  }

  #leave(): void {
    this.#ended = true;
    this.#cancelHeartbeat();
    this.#unwatchCredential();
    this.#subscription?.end();
  }

  #subscribe(caller: Caller): void {
    const before = this.#subscription;
    this.#caller = caller;
    this.#unwatchCredential();
    if (this.secret !== undefined) {
      this.#unwatchCredential = this.parts.credentials.watch(this.secret, caller, () => {
        this.#isDoubted = true;
        this.#wake();
      });
    }
    this.#subscription = this.parts.queries.subscribe(
      {
        ...this.request,
        caller: caller.kind === "anonymous" ? undefined : caller,
        secret: this.secret,
        address: this.address,
      },
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
    // What a commit tells comes right behind what it wakes.
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
        // It may be for eyes that have lost their right to it.
        if (!answer || this.#isDoubted || subscription !== this.#subscription) this.#isDirty = true;
        else if (!this.#sent?.equals(answer.mark)) {
          this.#sent = answer.mark;
          this.#write(eventOf(answer, this.parts.runtime.timestamps.next()));
        }
      }
    }
    this.#isLooping = false;
  }

  /** Looks at the credential again. */
  async #verify(): Promise<void> {
    this.#isDoubted = false;
    try {
      const caller = await this.parts.credentials.check(this.#caller, this.address, this.authenticate);
      if (this.#ended || JSON.stringify(caller) === JSON.stringify(this.#caller)) return;
      this.#subscribe(caller);
      this.#isDirty = true;
    } catch (error) {
      if (this.#ended) return;
      if (error instanceof CallError && error.code === "unavailable") {
        // Who reads may still be who it was. Nothing is said until that is known, and the stream waits.
        await new Promise<void>((resolve) => this.parts.clock.after(retryMs, resolve));
        this.#isDoubted = true;
        return;
      }
      const told = error instanceof CallError ? error : unavailable();
      this.#write(errorEvent(told.message, { code: told.code, ...told.data }));
      this.end();
    }
  }

  #write(text: string): void {
    this.#lastSentAt = this.parts.clock.now();
    if (!this.response.write(text)) this.#expectDrain();
    this.exchange.wrote();
  }

  /** Cuts the stream unless its reader takes what was written, whether there is more for it or not. */
  #expectDrain(): void {
    this.#cancelImpatience();
    this.#cancelImpatience = this.parts.clock.after(mostUnreadMs, () => this.response.destroy());
  }

  #heartbeatLater(afterMs: number): void {
    const { clock } = this.parts;
    this.#cancelHeartbeat = clock.after(afterMs, () => {
      const restMs = Math.min(this.#lastSentAt + heartbeatMs - clock.now(), heartbeatMs);
      if (restMs > 0) return this.#heartbeatLater(restMs);
      if (!this.response.writableNeedDrain) this.#write(": still here\n\n");
      this.#heartbeatLater(heartbeatMs);
    });
  }
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
