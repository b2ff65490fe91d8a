/** A reply that is sent in parts, at the pace of its reader, because it may be too large to be held as a whole. */
import { once } from "node:events";
import type { Writable } from "node:stream";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { corsHeaders, type HttpContext, sendReply } from "./http.js";

const partCharacters = 256 * 1024;

/** Resolves once the network has taken what was written, or the connection is gone. */
export async function drained(response: Writable): Promise<void> {
  const settled = new AbortController();
  const { signal } = settled;
  await Promise.race([once(response, "drain", { signal }), once(response, "close", { signal })]);
  settled.abort();
}

export class ReplyParts {
  readonly #c: HttpContext;
  #text = "";
  #isSending = false;

  constructor(c: HttpContext) {
    this.#c = c;
  }

  /** Whether its status has been sent. */
  get isSending(): boolean {
    return this.#isSending;
  }

  get isFull(): boolean {
    return this.#text.length >= partCharacters;
  }

  add(text: string): void {
    this.#text += text;
  }

  /** Sends what was added. Resolves once the network has taken it, and says whether the reader is still there. */
  async send(): Promise<boolean> {
    const { outgoing, exchange } = this.#c.env;
    if (!this.#isSending) {
      outgoing.writeHead(200, { "Content-Type": "application/json", ...corsHeaders(this.#c) });
      this.#isSending = true;
    }
    const text = this.#text;
    this.#text = "";
    if (outgoing.destroyed) return false;
    const isTaken = outgoing.write(text);
    exchange.wrote();
    if (!isTaken) await drained(outgoing);
    exchange.wrote();
    return !outgoing.destroyed;
  }

  end(): Response {
    if (!this.#isSending) return sendReply(this.#c, { status: 200, body: this.#text });
    this.#c.env.outgoing.end(this.#text);
    return RESPONSE_ALREADY_SENT;
  }
}
