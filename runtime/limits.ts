/** Every limit of the server in one place, and the rate limiter that keeps the ones that are per time. */
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import { CallError } from "./errors.js";

/** The most that one request may hold. */
export const sizes = {
  /** A request body. */
  bodyBytes: 1024 * 1024,
  /** Objects and arrays inside one another in the arguments. */
  nesting: 64,
  /** A field name. */
  keyCharacters: 1024,
  /** An `Idempotency-Key`. */
  idempotencyKeyCharacters: 255,
  /** Calls in one `/api/query_batch`. */
  batchedQueries: 64,
  /** One frame of a WebSocket. */
  frameBytes: 1024 * 1024,
  /** What is written to a WebSocket and not yet taken by the network; a reader that is slower is closed. */
  unreadBytes: 4 * 1024 * 1024,
  /** Frames of one WebSocket that are worked on at once. Further ones wait, in the end on the sender's side. */
  framesAtOnce: 32,
  /** Bytes of one WebSocket's frames that wait or are worked on before nothing more is read from it. */
  heldBytes: 1024 * 1024,
  /** Open WebSockets of the process, and of one address. */
  sockets: 20_000,
  socketsPerAddress: 1_000,
  /** Queries that one live client is subscribed to. */
  queriesPerSocket: 1_000,
  /** Open `/ws/agent/consumer` sockets of one agent. */
  consumerSocketsPerAgent: 8,
  /** Open `/ws/session` sockets of one consumer slot (clawrent.md section 4.3). */
  socketsPerSlot: 8,
} as const;

/** `points` calls in `seconds`, by what they are counted. */
export const rates = {
  /** Per agent; without a credential, per address. */
  calls: { points: 1_200, seconds: 60 },
  /** Credentials that were not valid, per address. */
  failedCredentials: { points: 60, seconds: 60 },
  /** `agents:register`, per address. */
  registrations: { points: 60, seconds: 3_600 },
  /** `users:signIn` and `users:register`, per address and per e-mail. */
  signIns: { points: 20, seconds: 60 },
  signInsPerEmail: { points: 10, seconds: 60 },
  /** `users:sendVerification`, per address. */
  verifications: { points: 30, seconds: 3_600 },
  /** `billing:topUp`, per user (clawrent.md section 2.7). */
  topUps: { points: 10, seconds: 60 },
  /** New WebSockets, per address. */
  socketOpenings: { points: 1_200, seconds: 60 },
  /** New sockets on `/ws/group`, per token and session (clawrent.md section 4.7, 4030). */
  groupOpenings: { points: 30, seconds: 60 },
  /** Frames, per WebSocket. One that sends more is read more slowly; nothing is lost. */
  frames: { points: 1_200, seconds: 60 },
} as const;

export type Rate = keyof typeof rates;

/** Counts calls. Each process has its own counts. */
export class RateLimits {
  readonly #limiters: Record<Rate, RateLimiterMemory> | undefined;

  constructor(readonly on: boolean) {
    if (!on) return;
    const limiters = Object.entries(rates).map(([rate, { points, seconds }]) => [
      rate,
      new RateLimiterMemory({ keyPrefix: rate, points, duration: seconds }),
    ]);
    this.#limiters = Object.fromEntries(limiters) as Record<Rate, RateLimiterMemory>;
  }

  /** Counts one call. Throws `rate_limited` with `retryAfterMs` where `who` has used its points up. */
  async take(rate: Rate, who: string): Promise<void> {
    if (!this.#limiters) return;
    try {
      await this.#limiters[rate].consume(who);
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal;
      const retryAfterMs = Math.max(refusal.msBeforeNext, 1);
      throw new CallError("rate_limited", `Too many requests. Try again in ${Math.ceil(retryAfterMs / 1_000)} s.`, {
        retryAfterMs,
      });
    }
  }
}

/** What an address is counted under: itself, or for IPv6 its /64, since one host has all of that. */
export function addressKey(address: string): string {
  const plain = address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
  if (!plain.includes(":")) return plain;
  const [head = "", tail] = plain.split("::");
  const groups = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const behind = tail === "" ? 0 : tail.split(":").length;
    while (groups.length + behind < 8) groups.push("0");
  }
  return `${groups.slice(0, 4).join(":")}::/64`;
}
