/**
 * What every HTTP surface shares: the request's body within its limit, CORS, and the answers for paths and faults that no
 * surface claims.
 */
import { isUtf8 } from "node:buffer";
import type { HttpBindings } from "@hono/node-server";
import { type Context, Hono } from "hono";
import type { Logger } from "pino";
import type { Holding } from "../runtime/byte-budget.js";
import { CallError } from "../runtime/errors.js";
import { nextRequestId } from "../runtime/ids.js";
import { sizes } from "../runtime/limits.js";
import type { Exchange } from "./exchange.js";
import { type Reply, rejection } from "./wire.js";

export interface HttpEnvironment {
  Bindings: HttpBindings & { exchange: Exchange };
}
export type HttpApp = Hono<HttpEnvironment>;
export type HttpContext = Context<HttpEnvironment>;

export function createHttpApp(log: Logger): HttpApp {
  const app = new Hono<HttpEnvironment>({
    // Convex's client appends its paths to the base address, so a base that ends in a slash yields `//api/…`.
    getPath: (request, options) => {
      const { incoming } = (options as { env: HttpBindings }).env;
      // Only a proxy's request names the whole address; for any other, building the address is not worth its time.
      const url = incoming.url?.startsWith("/") ? incoming.url : new URL(request.url).pathname;
      const query = url.indexOf("?");
      const path = query < 0 ? url : url.slice(0, query);
      return path.startsWith("//") ? path.replace(/^\/+/, "/") : path;
    },
  });
  app.notFound((c) => send(c, rejection(404, "NotFound", "not_found", "There is nothing at this address")));
  app.onError((error, c) => {
    // Nobody reads this, and nothing is wrong with us.
    if (error instanceof BodyAborted) return send(c, rejection(400, "BadJsonBody", "invalid_args", error.message));
    const requestId = nextRequestId();
    log.error({ requestId, err: error }, "fault");
    return send(c, {
      status: 500,
      body: JSON.stringify({ status: "error", errorMessage: `[Request ID: ${requestId}] Server Error` }),
    });
  });
  return app;
}

/** The reply as JSON, with the headers that let a browser on another site read it. */
export function send(
  c: HttpContext,
  reply: Omit<Reply, "body"> & { body: string | Uint8Array<ArrayBuffer> },
): Response {
  const headers: Record<string, string> = { "Content-Type": "application/json", ...corsHeaders(c) };
  if (reply.retryAfterMs !== undefined) headers["Retry-After"] = String(Math.ceil(reply.retryAfterMs / 1_000));
  if (reply.allow !== undefined) headers.Allow = reply.allow;
  return new Response(reply.body, { status: reply.status, headers });
}

/** Any site may call: nothing here is granted by a cookie. */
export function corsHeaders(c: HttpContext): Record<string, string> {
  const { origin } = c.env.incoming.headers;
  if (origin === undefined) return {};
  return {
    "Access-Control-Allow-Origin": origin,
    "Access-Control-Expose-Headers": "Retry-After",
    Vary: "Origin",
  };
}

/** The answer to a browser's preflight (convex-wire.md section 3, CORS). */
export function preflight(c: HttpContext): Response {
  const asked = c.env.incoming.headers["access-control-request-headers"];
  return new Response(null, {
    status: 204,
    headers: {
      ...corsHeaders(c),
      "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
      "Access-Control-Allow-Headers": asked ?? "Content-Type, Authorization, X-Api-Key, Convex-Client, Idempotency-Key",
      "Access-Control-Max-Age": "86400",
    },
  });
}

/** The body as text; the error where it is too large or no UTF-8. */
export function readBody(c: HttpContext): Promise<string | CallError> {
  const { incoming, exchange } = c.env;
  const declared = Number(incoming.headers["content-length"] ?? Number.NaN);
  if (declared > sizes.bodyBytes) {
    drain(c);
    return Promise.resolve(tooLarge());
  }
  return new Promise((resolve, reject) => {
    const body = new Body();
    let held: Holding | undefined;
    const stop = (error: CallError) => {
      held?.end();
      incoming.removeAllListeners("data");
      incoming.removeAllListeners("end");
      drain(c);
      resolve(error);
    };
    incoming.on("data", (chunk: Buffer) => {
      if (body.length + chunk.length > sizes.bodyBytes) return stop(tooLarge());
      // One that comes in one piece is whole in a moment.
      if (chunk.length !== declared) {
        const more = held ? chunk.length : sizes.halfBodyBytes + chunk.length;
        held ??= exchange.holdBody(() => stop(new CallError("unavailable", "The body took too long to arrive")));
        if (!held.take(more)) return stop(held.budget.tooMuch(more));
      }
      body.add(chunk);
    });
    incoming.on("end", () => {
      held?.end();
      const { bytes } = body;
      if (!isUtf8(bytes)) return resolve(new CallError("invalid_args", "The body is not valid UTF-8"));
      const text = bytes.toString("utf8");
      resolve(exchange.holdArguments(text) ?? text);
    });
    const aborted = () => reject(new BodyAborted("The caller went away"));
    incoming.on("error", aborted);
    incoming.on("close", () => {
      if (!incoming.complete) aborted();
    });
  });
}

/** A body as it arrives, in one piece: of many small ones each would take more than its bytes. */
class Body {
  #bytes: Buffer = Buffer.alloc(0);
  length = 0;

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.length);
  }

  add(chunk: Buffer): void {
    const length = this.length + chunk.length;
    if (this.length === 0) this.#bytes = chunk;
    else {
      if (length > this.#bytes.length) {
        const larger = Buffer.allocUnsafeSlow(Math.min(Math.max(2 * this.#bytes.length, length), sizes.bodyBytes));
        this.#bytes.copy(larger, 0, 0, this.length);
        this.#bytes = larger;
      }
      chunk.copy(this.#bytes, this.length);
    }
    this.length = length;
  }
}

function tooLarge(): CallError {
  return new CallError("too_large", `The body is too large (max ${sizes.bodyBytes} bytes)`);
}

/** The caller hung up before its body was whole: there is nobody to answer. */
export class BodyAborted extends Error {}

/** Lets the rest of a refused body run into nothing, so that the reply is read before the connection ends. */
function drain(c: HttpContext): void {
  c.env.incoming.resume();
  c.env.outgoing.setHeader("Connection", "close");
}
