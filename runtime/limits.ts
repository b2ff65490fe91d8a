/**
 * Every limit of the server: sizes, counts, budgets of bytes (byte-budget.ts) and rates (rate-limits.ts). Other files
 * enforce them. docs/limits.md is made from this file.
 */
import { type ByteBounds, ByteBudget, Reserve } from "./byte-budget.js";
import type { Clock } from "./clock.js";

/** The most that one request, socket, address or process may hold. */
export const sizes = {
  /** A request body. */
  bodyBytes: 1024 * 1024,
  /** A request's first line and headers. */
  headBytes: 16 * 1024,
  /**
   * What an incomplete body counts as in addition to its bytes, however few: its connection and request take as much.
   */
  halfBodyBytes: 40 * 1024,
  /** Levels of objects and arrays in the arguments. */
  nesting: 64,
  /** Length of a field name. */
  keyCharacters: 1024,
  /** An `Idempotency-Key`. */
  idempotencyKeyCharacters: 255,
  /** Queries in one `/api/query_batch`. */
  batchedQueries: 64,
  /** One frame of a WebSocket, and the arguments of one call in a frame. */
  frameBytes: 1024 * 1024,
  /** The largest frame that is read just to say that it is too large. */
  refusedFrameBytes: 4 * 1024 * 1024,
  /**
   * The same for a live client, whose calls are answered one by one: if the server only closed the socket, the client
   * would send the same frame again for ever.
   */
  liveFrameBytes: 16 * 1024 * 1024,
  /** The pieces in which a frame may come: as the client cut it, and as the network did. */
  frameFragments: 1_024,
  frameChunks: 16 * 1_024,
  /** Bytes written to a WebSocket that the network has not taken yet. The socket of a slower reader is closed. */
  unreadBytes: 4 * 1024 * 1024,
  /** Frames of one WebSocket that are handled at once. Further frames wait, in the end on the sender's side. */
  framesAtOnce: 32,
  /**
   * Bytes of one WebSocket's frames that wait or are handled. At this bound the server stops reading from the socket.
   */
  heldBytes: 1024 * 1024,
  /** Open WebSockets of the process, and of one address. */
  sockets: 20_000,
  socketsPerAddress: 1_000,
  /**
   * Refused WebSockets that wait for their close code (adapters/sockets/holds.ts), of the process and of one address;
   * they do not count as open. Then the bytes that are read of one until it says goodbye, and the number of refusals
   * that are remembered.
   */
  heldSockets: 2_000,
  heldSocketsPerAddress: 50,
  heldSocketBytes: 4 * 1024,
  rememberedRefusals: 10_000,
  /** Open TCP connections of the process, including WebSockets. */
  connections: 24_000,
  /**
   * Connections that the system has taken and the process has not accepted yet. With a smaller number, a burst makes
   * other people's connections come a second later.
   */
  connectionsWaiting: 4_096,
  /**
   * Open TCP connections of one address, if there is no proxy in between; and unfinished requests of one address,
   * including event streams.
   */
  connectionsPerAddress: 2_000,
  requestsPerAddress: 1_500,
  /** Queries that one live client may subscribe to. */
  queriesPerSocket: 1_000,
  /** Open `/ws/agent/consumer` sockets of one agent. */
  consumerSocketsPerAgent: 8,
  /** Open `/ws/session` sockets of one consumer slot (clawrent.md section 4.3). */
  socketsPerSlot: 8,
  /** Passwords that wait to be hashed: in all, and of one address. */
  hashesWaiting: 128,
  hashesWaitingPerAddress: 32,
} as const;

/**
 * How long a connection may take for the headers of a request, for all of it, and between two requests; and how often
 * that is checked.
 */
export const connectionTimes = { headMs: 15_000, requestMs: 30_000, idleMs: 65_000, checkEveryMs: 5_000 } as const;

/**
 * How long a refused WebSocket waits for its close code. The first time it does not wait. The second time it waits
 * `firstMs`, and each further time twice as long, up to `mostMs`, if it comes back within `soonMs`.
 */
export const holdTimes = { firstMs: 1_000, mostMs: 30_000, soonMs: 60_000 } as const;

const KiB = 1024;
const MiB = 1024 * KiB;

/**
 * About how much memory the parsed arguments of one call may take: JSON of many small values takes twenty times the
 * size of its text.
 */
export const parsedArgumentBytes = 16 * MiB;

/**
 * The most bytes that are held at once for one socket or request, one address, one caller and the whole process. With
 * the reserve and the kept replies the total is 224 MiB, whatever is held at the same time.
 */
export const heldBytes = {
  /** Arguments of live queries as text, and what a subscription takes besides. */
  subscriptions: { socket: 4 * MiB, address: 24 * MiB, caller: 16 * MiB, process: 48 * MiB },
  /** Requests and frames, complete or not, and their parsed arguments, until they are handled. */
  requests: { socket: 2 * MiB + parsedArgumentBytes, address: 24 * MiB, caller: 24 * MiB, process: 56 * MiB },
  /** Answers that the network has not taken yet. One is always sent whole; this bounds what waits behind it. */
  answers: { socket: 4 * MiB, address: 24 * MiB, caller: 24 * MiB, process: 48 * MiB },
  /** Last answers of live queries, kept for the next subscriber. An answer that does not fit is read again for them. */
  lastAnswers: { socket: 1 * MiB, address: 8 * MiB, caller: 4 * MiB, process: 16 * MiB },
} as const satisfies Record<string, ByteBounds>;

/** Beyond these parts, for callers who hold next to nothing yet (byte-budget.ts). */
export const reserveBytes = 24 * MiB;

/** Replies to queries that are kept to be sent again (reply-cache.ts): in all, and the largest one. */
export const keptReplyBytes = { process: 32 * MiB, reply: MiB } as const;

/** The most that is kept of the results of one caller's writes, so that retries get them again. */
export const keptResults = { bytes: 16 * MiB, results: 100_000 } as const;

/**
 * The most that is stored of messages' payloads: in one session, and for one account in its sessions of the last 30
 * days.
 */
export const storedPayloadBytes = { session: 64 * MiB, account: 1024 * MiB } as const;

/** What a subscription takes besides its arguments. */
export const subscriptionBytes = KiB;

export type Held = { readonly [Kind in keyof typeof heldBytes]: ByteBudget };

/**
 * Opens the budgets of a process. Without `byAddress` the bounds per address are off, as rates can be; the others
 * always hold.
 */
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
 * How fast a session can produce tokens (clawrent.md section 6.2). What a provider's message reports beyond this rate
 * since the message before is cut. The burst is what the first message may report at once, or any message after a
 * pause.
 */
export const tokenRate = { perMs: 2, burst: 20_000 } as const;

/** `points` calls in `seconds`, and what they are counted by. */
export const rates = {
  /** Per agent; without a credential, per address. */
  calls: { points: 1_200, seconds: 60 },
  /**
   * Per user: their own calls and those of all their agents. A user can have a hundred agents at most; they stay below
   * this if each makes two calls a second, and ten agents at their own full rate use it up.
   */
  userCalls: { points: 12_000, seconds: 60 },
  /** Credentials that were not valid, per address. */
  failedCredentials: { points: 60, seconds: 60 },
  /** `agents:register`, per address. */
  registrations: { points: 60, seconds: 3_600 },
  /** Calls that hash a password, per address. */
  signIns: { points: 20, seconds: 60 },
  /**
   * Wrong passwords, per account and address together: so nobody's guesses keep out the owner, who signs in from
   * elsewhere. That is 2,160 guesses a day from one address.
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
  /** Frames, per WebSocket. A socket that sends more is read more slowly; nothing is lost. */
  frames: { points: 1_200, seconds: 60 },
} as const;

export type Rate = keyof typeof rates;

/**
 * Database time for the live queries of one user with all their agents, of one agent without an owner, or without a
 * credential of one address. Beyond it their answers come later; the answers of others are not delayed
 * (runtime/turns.ts).
 */
export const liveBudget = { msPerSecond: 300, mostMs: 3_000 } as const;

/**
 * Bodies and frames over `smallBytes` are parsed in turns, because parsing takes long: about `msPerMiB`. If an address
 * sent more than its budget, the rest is parsed later.
 */
export const largeRequests = { smallBytes: 64 * KiB, msPerMiB: 20, msPerSecond: 300, mostMs: 1_000 } as const;
