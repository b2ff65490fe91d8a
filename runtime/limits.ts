/** Every limit of the server in one place, the budgets of bytes (byte-budget.ts), and the rate limiter that keeps the limits that are per time. */
import { RateLimiterMemory, RateLimiterPostgres, RateLimiterRes } from "rate-limiter-flexible";
import { type ByteBounds, ByteBudget, Reserve } from "./byte-budget.js";
import type { Clock } from "./clock.js";
import type { Caller } from "./context.js";
import { CallError } from "./errors.js";
import type { NoticeOf } from "./notices.js";

/** The most that one request may hold. */
export const sizes = {
  /** A request body. */
  bodyBytes: 1024 * 1024,
  /** A request's first line and headers. */
  headBytes: 16 * 1024,
  /** What a body that is not whole counts as beside its bytes, however few those are: its connection and request take as much. */
  halfBodyBytes: 40 * 1024,
  /** Objects and arrays inside one another in the arguments. */
  nesting: 64,
  /** A field name. */
  keyCharacters: 1024,
  /** An `Idempotency-Key`. */
  idempotencyKeyCharacters: 255,
  /** Calls in one `/api/query_batch`. */
  batchedQueries: 64,
  /** One frame of a WebSocket, and the arguments of one call in it. */
  frameBytes: 1024 * 1024,
  /** The largest frame that is read in order to say that it is too large. */
  refusedFrameBytes: 4 * 1024 * 1024,
  /**
   * The same of a live client's, whose calls are answered one by one: a client that was only closed on would send the same
   * frame again, for ever.
   */
  liveFrameBytes: 16 * 1024 * 1024,
  /** The pieces that a frame may come in, as the client cut it and as the network does. */
  frameFragments: 1_024,
  frameChunks: 16 * 1_024,
  /** What is written to a WebSocket and not yet taken by the network; a reader that is slower is closed. */
  unreadBytes: 4 * 1024 * 1024,
  /** Frames of one WebSocket that are worked on at once. Further ones wait, in the end on the sender's side. */
  framesAtOnce: 32,
  /** Bytes of one WebSocket's frames that wait or are worked on before nothing more is read from it. */
  heldBytes: 1024 * 1024,
  /** Open WebSockets of the process, and of one address. */
  sockets: 20_000,
  socketsPerAddress: 1_000,
  /**
   * Refused WebSockets that wait for their close code (adapters/sockets/holds.ts), of the process and of one address: not
   * counted among the open ones. What is read of one, for its goodbye; and the refusals that are remembered.
   */
  heldSockets: 2_000,
  heldSocketsPerAddress: 50,
  heldSocketBytes: 4 * 1024,
  rememberedRefusals: 10_000,
  /**
   * Open TCP connections of the process, WebSockets among them; of one address, where no proxy stands in between; and
   * requests of one address that are not over, streams of events among them.
   */
  connections: 24_000,
  /** Those that the system has taken and the process not yet: where it takes fewer, others' come a second later in a burst. */
  connectionsWaiting: 4_096,
  connectionsPerAddress: 2_000,
  requestsPerAddress: 1_500,
  /** Queries that one live client is subscribed to. */
  queriesPerSocket: 1_000,
  /** Open `/ws/agent/consumer` sockets of one agent. */
  consumerSocketsPerAgent: 8,
  /** Open `/ws/session` sockets of one consumer slot (clawrent.md section 4.3). */
  socketsPerSlot: 8,
  /** Passwords that wait to be hashed, in all and of one address. */
  hashesWaiting: 128,
  hashesWaitingPerAddress: 32,
} as const;

/** How long a connection may take: with the head of a request, with all of it, and without one; and how often that is checked. */
export const connectionTimes = { headMs: 15_000, requestMs: 30_000, idleMs: 65_000, checkEveryMs: 5_000 } as const;

/**
 * How long a refused WebSocket waits for its close code: not at all the first time, then twice as long with each time that
 * it comes again, and how soon that has to be to count.
 */
export const holdTimes = { firstMs: 1_000, mostMs: 30_000, soonMs: 60_000 } as const;

const KiB = 1024;
const MiB = 1024 * KiB;

/** About what parsed arguments of one call may take: JSON of many small values takes twenty times its text. */
export const parsedArgumentBytes = 16 * MiB;

/**
 * The most bytes that are held at once for one socket or request, one address, one caller and all together. With the
 * reserve and the kept replies all together is 224 MiB, and it stays there whatever is held at the same time.
 */
export const heldBytes = {
  /** Arguments of live queries as text, and what a subscription takes beside them. */
  subscriptions: { socket: 4 * MiB, address: 24 * MiB, caller: 16 * MiB, process: 48 * MiB },
  /** Requests and frames, whole or not yet, and what their arguments were parsed to, until they are dealt with. */
  requests: { socket: 2 * MiB + parsedArgumentBytes, address: 24 * MiB, caller: 24 * MiB, process: 56 * MiB },
  /** Answers that were made and that the network has not taken yet. One is always sent whole; this is what waits behind it. */
  answers: { socket: 4 * MiB, address: 24 * MiB, caller: 24 * MiB, process: 48 * MiB },
  /** Last answers of live queries, to be given to the next who asks. What does not fit is read again for them. */
  lastAnswers: { socket: 1 * MiB, address: 8 * MiB, caller: 4 * MiB, process: 16 * MiB },
} as const satisfies Record<string, ByteBounds>;

/** Beyond these, for whoever holds next to nothing yet (byte-budget.ts). */
export const reserveBytes = 24 * MiB;

/** Replies to queries that are kept to be given again (reply-cache.ts), in all and of one. */
export const keptReplyBytes = { process: 32 * MiB, reply: MiB } as const;

/** The most that is kept of the results of one caller's writes, to be given again where they are retried. */
export const keptResults = { bytes: 16 * MiB, results: 100_000 } as const;

/** The most that is stored of the payloads of messages: in one session, and of one account in its sessions of 30 days. */
export const storedPayloadBytes = { session: 64 * MiB, account: 1024 * MiB } as const;

/** What a subscription takes beside its arguments. */
export const subscriptionBytes = KiB;

export type Held = { readonly [Kind in keyof typeof heldBytes]: ByteBudget };

/** The budgets of a process. `byAddress`: as rates, bounds per address can be turned off; the others hold always. */
export function openBudgets(clock: Clock, byAddress: boolean): Held {
  const reserve = new Reserve(reserveBytes);
  const open = (kind: keyof typeof heldBytes, what: string) =>
    new ByteBudget(what, heldBytes[kind], clock, byAddress, reserve);
  return {
    subscriptions: open("subscriptions", "arguments of live queries"),
    requests: open("requests", "requests that are not dealt with yet"),
    answers: open("answers", "answers that were not read yet"),
    lastAnswers: open("lastAnswers", "last answers of live queries"),
  };
}

/**
 * How fast a session produces tokens at most, by clawrent.md section 6.2: what a provider's message reports beyond that
 * since the one before is cut. The burst is what the first may report at once, and any other after a pause.
 */
export const tokenRate = { perMs: 2, burst: 20_000 } as const;

/** `points` calls in `seconds`, by what they are counted. */
export const rates = {
  /** Per agent; without a credential, per address. */
  calls: { points: 1_200, seconds: 60 },
  /**
   * Per user: their own calls and those of all their agents together. A hundred agents, the most that a user can have, stay
   * below it if each asks for two calls a second; ten at their own full rate use it up.
   */
  userCalls: { points: 12_000, seconds: 60 },
  /** Credentials that were not valid, per address. */
  failedCredentials: { points: 60, seconds: 60 },
  /** `agents:register`, per address. */
  registrations: { points: 60, seconds: 3_600 },
  /** What costs the hash of a password, per address. */
  signIns: { points: 20, seconds: 60 },
  /**
   * Wrong passwords, per account and address together, so that nobody's guesses keep the owner out who signs in from
   * elsewhere. 2,160 guesses a day from one address.
   */
  wrongPasswords: { points: 15, seconds: 600 },
  /** `users:sendVerification`, per address. */
  verifications: { points: 30, seconds: 3_600 },
  /** `billing:topUp`, per user (clawrent.md section 2.7). */
  topUps: { points: 10, seconds: 60 },
  /** `billing:redeem`, right or wrong, per address and per user. */
  redemptions: { points: 60, seconds: 3_600 },
  redemptionsPerUser: { points: 20, seconds: 3_600 },
  /** New WebSockets, per address. */
  socketOpenings: { points: 1_200, seconds: 60 },
  /** New sockets on `/ws/group`, per token and session (clawrent.md section 4.7, 4030). */
  groupOpenings: { points: 30, seconds: 60 },
  /** Frames, per WebSocket. One that sends more is read more slowly; nothing is lost. */
  frames: { points: 1_200, seconds: 60 },
} as const;

export type Rate = keyof typeof rates;

/** What a rate counts, under a name. */
export interface Counted {
  rate: Rate;
  who: string;
  /** Whether what does not fail is taken off the count again. It has to be one of the rates that are counted exactly. */
  failuresOnly?: true;
}

/**
 * The database's time for the live queries of one user with all of their agents, or of one agent that nobody owns.
 * Without a credential it is the address's. Beyond it their answers come later; what others get and how soon does not
 * hang on it (runtime/turns.ts).
 */
export const liveBudget = { msPerSecond: 300, mostMs: 3_000 } as const;

/**
 * Bodies and frames that take turns, because to parse them takes long: about so long. An address that sent more of them
 * than its budget has the rest of them parsed later.
 */
export const largeRequests = { smallBytes: 64 * KiB, msPerMiB: 20, msPerSecond: 300, mostMs: 1_000 } as const;

/** Rare, and worth a row each where several processes count: what they guard is counted exactly. */
const exact: ReadonlySet<Rate> = new Set(["registrations", "signIns", "wrongPasswords", "verifications", "topUps"]);
/** Of a socket, which one process holds. */
const ofOneProcess: ReadonlySet<Rate> = new Set(["frames"]);

/** In how many parts a process tells the others what it has let through. */
const sharedParts = 16;

/** How several processes count together. */
export interface SharedCounting {
  /** Runs a statement on the database. */
  query(statement: { name?: string; text: string; values?: unknown[] }): Promise<unknown>;
  /** Tells the other processes of calls. */
  tell(notice: NoticeOf<"callsCounted">): void;
  /** A name that is the same in all processes, and tells nobody else whose it is: hashes of addresses can be guessed back. */
  pseudonym(who: string): string;
}

interface Limiter {
  consume(who: string): Promise<unknown>;
  /** Takes one off the count. */
  reward?(who: string): Promise<unknown>;
}

/**
 * Counts calls. Where several processes do, those of the rare and strict rates are rows in the database. Of the others
 * each process keeps its own count and tells the rest whenever a sixteenth of the rate has gone through it: that costs a
 * call nothing, and lets at most (processes - 1) / 16 of the rate more through than one process would, beside what is
 * counted in the moment that a notice takes.
 */
export class RateLimits {
  readonly #limiters: Record<Rate, Limiter> | undefined;
  /** The same rates for the wider networks of IPv6. */
  readonly #wideLimiters: Record<Rate, Limiter> | undefined;
  /** What other processes count as well, by rate. */
  readonly #together = new Map<string, RateLimiterMemory>();

  constructor(
    readonly on: boolean,
    shared?: SharedCounting,
  ) {
    if (!on) return;
    const limitersOf = (factor: number) =>
      Object.fromEntries(Object.keys(rates).map((rate) => [rate, this.#limiter(rate as Rate, factor, shared)]));
    this.#limiters = limitersOf(1) as Record<Rate, Limiter>;
    this.#wideLimiters = limitersOf(wideFactor) as Record<Rate, Limiter>;
  }

  /** Another process let calls through. */
  counted({ rate, who, points }: NoticeOf<"callsCounted">): void {
    void this.#together.get(rate)?.penalty(who, points);
  }

  #limiter(rate: Rate, factor: number, shared: SharedCounting | undefined): Limiter {
    const { seconds: duration } = rates[rate];
    const points = rates[rate].points * factor;
    const name = factor === 1 ? rate : `${rate} of a network`;
    const memory = new RateLimiterMemory({ keyPrefix: name, points, duration });
    if (!shared || ofOneProcess.has(rate)) return memory;
    if (exact.has(rate)) {
      const rows = new RateLimiterPostgres({
        storeClient: shared,
        storeType: "client",
        tableName: "rateCounts",
        tableCreated: true,
        // One of them clears the table for all.
        clearExpiredByTimeout: name === "signIns",
        keyPrefix: name,
        points,
        duration,
        // While the database is away nothing can be called anyway.
        insuranceLimiter: memory,
      });
      // The table holds no addresses and no names.
      return {
        consume: (who) => rows.consume(shared.pseudonym(who)),
        reward: (who) => rows.reward(shared.pseudonym(who)),
      };
    }
    this.#together.set(name, memory);
    const own = new RateLimiterMemory({ points, duration });
    const part = Math.max(1, Math.floor(points / sharedParts));
    return {
      consume: async (caller) => {
        // The windows of all processes end at the same instant, or a caller who knows when each of them does would
        // have the rate of each.
        const windowMs = duration * 1_000;
        const now = Date.now();
        const window = Math.floor(now / windowMs);
        // A caller may choose the name, as long as it likes, and addresses are not the others' business.
        const who = shared.pseudonym(`${window} ${caller}`);
        const { consumedPoints } = await own.penalty(who);
        if (consumedPoints % part === 0 && consumedPoints <= points) {
          shared.tell({ kind: "callsCounted", rate: name, who, points: part });
        }
        return memory.consume(who).catch((refusal: unknown) => {
          throw refusal instanceof RateLimiterRes ? new RateLimiterRes(0, (window + 1) * windowMs - now) : refusal;
        });
      },
    };
  }

  /** Takes back what was counted for a call that did not fail after all. */
  async giveBack(rate: Rate, who: string): Promise<void> {
    await this.#limiters?.[rate].reward?.(who);
    const wide = wideAddressKey(who);
    if (wide !== undefined) await this.#wideLimiters?.[rate].reward?.(wide);
  }

  /** Counts one call. Throws `rate_limited` with `retryAfterMs` where `who` has used its points up. */
  async take(rate: Rate, who: string): Promise<void> {
    if (!this.#limiters) return;
    try {
      await this.#limiters[rate].consume(who);
      const wide = wideAddressKey(who);
      if (wide !== undefined) await this.#wideLimiters?.[rate].consume(wide);
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal;
      const retryAfterMs = Math.max(refusal.msBeforeNext, 1);
      throw new CallError("rate_limited", `Too many requests. Try again in ${Math.ceil(retryAfterMs / 1_000)} s.`, {
        retryAfterMs,
      });
    }
  }
}

/** Whom something is counted against: the agent or user, or for anybody else the address. */
export function countedAs(caller: Caller | undefined, address: string): string {
  if (caller?.kind === "agent") return caller.agentId;
  if (caller?.kind === "user") return caller.agentId ?? caller.userId;
  return addressKey(address);
}

/** Whose turn work is: a user's with all of their agents, an agent's that nobody owns, or for anybody else the address's. */
export function laneOf(caller: Caller | undefined, address: string): string {
  return userOf(caller) ?? countedAs(caller, address);
}

/** The rates of all calls that a call counts against, the caller's own first: what that refuses is not taken of the next. */
export function callRatesOf(caller: Caller | undefined, address: string): { rate: Rate; who: string }[] {
  const own = { rate: "calls" as const, who: countedAs(caller, address) };
  const userId = userOf(caller);
  return userId === null ? [own] : [own, { rate: "userCalls", who: userId }];
}

/** The user who calls, or whose agent does. */
function userOf(caller: Caller | undefined): string | null {
  if (caller?.kind === "user") return caller.userId;
  return caller?.kind === "agent" ? caller.ownerId : null;
}

/** What a /48 of IPv6 may do beside what each of its networks may: the allocation of one site holds 65,536 of those. */
export const wideFactor = 16;

/** The /48 that an address of IPv6 (as `addressKey` writes it) is counted under as well; undefined for any other. */
export function wideAddressKey(key: string): string | undefined {
  return key.endsWith("::/64") ? `${key.split(":").slice(0, 3).join(":")}::/48` : undefined;
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
