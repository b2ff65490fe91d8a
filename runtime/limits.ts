/** Every limit of the server in one place: sizes, counts, budgets of bytes (byte-budget.ts) and rates (rate-limits.ts). */
import { type ByteBounds, ByteBudget, Reserve } from "./byte-budget.js";
import type { Clock } from "./clock.js";

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
  /** New sockets on `/ws/group`, per token and session (clawrent.md section 4.7, code 4030). */
  groupOpenings: { points: 30, seconds: 60 },
  /** Frames, per WebSocket. One that sends more is read more slowly; nothing is lost. */
  frames: { points: 1_200, seconds: 60 },
} as const;

export type Rate = keyof typeof rates;

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
