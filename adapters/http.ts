/**
 * What every HTTP surface shares: the request's body within its limit, CORS, and the answers for paths and faults that
 * no surface claims.
 */
import { isUtf8 } from "node:buffer";
import { promisify } from "node:util";
import { brotliDecompress, gunzip } from "node:zlib";
import type { HttpBindings } from "@hono/node-server";
import { type Context, Hono } from "hono";
import type { Logger } from "pino";
import type { Holding } from "../runtime/byte-budget.js";
import { CallError } from "../runtime/errors.js";
import { nextRequestId } from "../runtime/ids.js";
import { sizes } from "../runtime/limits.js";
import type { Exchange } from "./exchange.js";
import { faultReply, type Reply, rejectionReply } from "./wire.js";

interface HttpEnvironment {
  Bindings: HttpBindings & { exchange: Exchange };
}
export type HttpApp = Hono<HttpEnvironment>;
export type HttpContext = Context<HttpEnvironment>;

export function createHttpApp(log: Logger): HttpApp {
  const app = new Hono<HttpEnvironment>({
    // Convex's client appends its paths to the base address, so a base that ends in a slash yields `//api/…`.
    getPath: (request, options) => {
      const { incoming } = (options as { env: HttpBindings }).env;
      // Only a proxy's request names the whole address. For any other request, building the address would waste time.
      const url = incoming.url?.startsWith("/") ? incoming.url : new URL(request.url).pathname;
      const query = url.indexOf("?");
      const path = query < 0 ? url : url.slice(0, query);
      return path.startsWith("//") ? path.replace(/^\/+/, "/") : path;
    },
  });
  app.onError((error, c) => {
    // Nobody reads the answer, and it was not our fault.
    if (error instanceof BodyAborted)
      return sendReply(c, rejectionReply(400, "BadJsonBody", "invalid_args", error.message));
    const requestId = nextRequestId();
    log.error({ requestId, err: error }, "fault");
    return sendReply(c, faultReply(requestId));
  });
  return app;
}

/** The reply as JSON, with the headers that let a browser on another site read it. */
export function sendReply(
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
export function answerPreflight(c: HttpContext): Response {
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

const inflaters: Record<string, (bytes: Buffer) => Promise<Buffer>> = {
  gzip: (bytes) => promisify(gunzip)(bytes, { maxOutputLength: sizes.bodyBytes }),
  br: (bytes) => promisify(brotliDecompress)(bytes, { maxOutputLength: sizes.bodyBytes }),
};

/**
 * The body as text: UTF-8, plain or compressed with gzip or Brotli, and without the mark that some editors put in
 * front. The error where it is something else, or too large before or after it is inflated.
 */
export async function readBody(c: HttpContext): Promise<string | CallError> {
  const { headers } = c.env.incoming;
  const encoding = headers["content-encoding"]?.trim().toLowerCase() || "identity";
  const charset = /;\s*charset\s*=\s*"?([^\s;"]+)/i.exec(headers["content-type"] ?? "")?.[1] ?? "utf-8";
  const inflate = inflaters[encoding === "x-gzip" ? "gzip" : encoding];
  if (!inflate && encoding !== "identity") {
    drain(c);
    return unsupported(
      `A body in Content-Encoding: ${shown(encoding)} is not read here. Send it plain, or as gzip or br`,
    );
  }
  if (!/^(utf-?8|us-ascii)$/i.test(charset)) {
    drain(c);
    return unsupported(`A body in the charset ${shown(charset)} is not read here. Send it as UTF-8`);
  }
  const bytes = await receiveBody(c);
  if (bytes instanceof CallError) return bytes;
  const plain = inflate && bytes.length > 0 ? await inflated(c, bytes, encoding, inflate) : bytes;
  if (plain instanceof CallError) return plain;
  const turn = c.env.exchange.turn(plain.length);
  const refused = turn && (await turn);
  if (refused) return refused;
  if (!isUtf8(plain)) {
    const startsAsUtf16 = plain.length >= 2 && ["fffe", "feff"].includes(plain.toString("hex", 0, 2));
    return startsAsUtf16
      ? unsupported("The body is UTF-16, which is not read here. Send it as UTF-8")
      : new CallError("invalid_args", "The body is not valid UTF-8");
  }
  const text = plain.toString("utf8").replace(/^\ufeff/, "");
  return c.env.exchange.holdArguments(text) ?? text;
}

/** A small body can inflate to the largest that is taken, so it is counted as that before it is inflated. */
async function inflated(
  c: HttpContext,
  bytes: Buffer,
  encoding: string,
  inflate: (bytes: Buffer) => Promise<Buffer>,
): Promise<Buffer | CallError> {
  const held = c.env.exchange.holdBody();
  if (!held.take(sizes.bodyBytes)) {
    held.end();
    return held.budget.tooMuch(sizes.bodyBytes);
  }
  try {
    return await inflate(bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") return tooLarge();
    return new CallError("invalid_args", `The body is not ${encoding}, as its Content-Encoding says`);
  } finally {
    held.end();
  }
}

function unsupported(message: string): CallError {
  return new CallError("unsupported_media_type", message);
}

/** What a header said, short enough for a message. */
function shown(word: string): string {
  return JSON.stringify(word.slice(0, 40));
}

function receiveBody(c: HttpContext): Promise<Buffer | CallError> {
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
      clearTimeout(slow);
      held?.end();
      incoming.removeAllListeners("data");
      incoming.removeAllListeners("end");
      drain(c);
      resolve(error);
    };
    /** Whether there is room for so many more bytes of a body that is not whole yet. */
    const hold = (bytes: number): boolean => {
      const more = held ? bytes : sizes.halfBodyBytes + bytes;
      held ??= exchange.holdBody(() => stop(new CallError("unavailable", "The body took too long to arrive")));
      if (held.take(more)) return true;
      stop(held.budget.tooMuch(more));
      return false;
    };
    // A caller that sends a head and no body counts as much as one that stops in the middle of it.
    const slow = setTimeout(() => held ?? hold(0), slowMs);
    incoming.on("data", (chunk: Buffer) => {
      if (body.length + chunk.length > sizes.bodyBytes) return stop(tooLarge());
      // A body that comes in one piece is whole in a moment.
      if (chunk.length === declared || hold(chunk.length)) body.add(chunk);
    });
    incoming.on("end", () => {
      clearTimeout(slow);
      held?.end();
      resolve(body.bytes);
    });
    const aborted = () => reject(new BodyAborted("The caller went away"));
    incoming.on("error", aborted);
    incoming.on("close", () => {
      clearTimeout(slow);
      if (!incoming.complete) aborted();
    });
  });
}

/** After so long a body that has not begun to arrive counts like one that is half there. */
const slowMs = 250;
/** Chunks that are no smaller are kept as they came. */
const pieceBytes = 4 * 1024;

/**
 * A body as it arrives. It is copied once, when it is whole. Small chunks, each of which takes more than its bytes, are
 * copied at once.
 */
class Body {
  readonly #pieces: Buffer[] = [];
  /** What small chunks are put into, and how much of it is taken. */
  #tail: Buffer = Buffer.alloc(0);
  #taken = 0;
  length = 0;

  get bytes(): Buffer {
    this.#endTail();
    const [first = Buffer.alloc(0)] = this.#pieces;
    return this.#pieces.length > 1 ? Buffer.concat(this.#pieces, this.length) : first;
  }

  add(chunk: Buffer): void {
    this.length += chunk.length;
    if (chunk.length >= pieceBytes || this.length === chunk.length) {
      this.#endTail();
      this.#pieces.push(chunk);
      return;
    }
    if (this.#taken + chunk.length > this.#tail.length) {
      this.#endTail();
      this.#tail = Buffer.allocUnsafeSlow(pieceBytes);
    }
    this.#taken += chunk.copy(this.#tail, this.#taken);
  }

  #endTail(): void {
    if (this.#taken > 0) this.#pieces.push(this.#tail.subarray(0, this.#taken));
    this.#tail = Buffer.alloc(0);
    this.#taken = 0;
  }
}

function tooLarge(): CallError {
  return new CallError("too_large", `The body is too large (max ${sizes.bodyBytes} bytes)`);
}

/** The caller hung up before its body was whole: there is nobody to answer. */
class BodyAborted extends Error {}

/** Reads the rest of a refused body and drops it, so that the reply is read before the connection ends. */
function drain(c: HttpContext): void {
  c.env.incoming.resume();
  c.env.outgoing.setHeader("Connection", "close");
}
