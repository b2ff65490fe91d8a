/**
 * The codes with which the server closes a WebSocket (clawrent.md section 4.7). They decide what a client does next: a
 * final code ends it for good, every other code makes it come again. 1000 is never sent, because clients then forget
 * the session without a word (section 0, rule 11).
 */
import { CallError } from "../../runtime/errors.js";

export interface Closing {
  code: number;
  reason: string;
}

/** On every channel; the client comes again. */
export const closings = {
  restart: { code: 1012, reason: "Server restart" },
  again: { code: 1012, reason: "Come again" },
  fault: { code: 1011, reason: "Server error" },
  later: { code: 1013, reason: "Try again later" },
  tooMany: { code: 1013, reason: "Too many sockets" },
  tooLarge: { code: 1009, reason: "Frame is too large" },
  tooSlow: { code: 1013, reason: "Frames are read too slowly" },
  origin: { code: 1008, reason: "Origin is not allowed" },
  silent: { code: 4008, reason: "Silent for too long" },
  replaced: { code: 4009, reason: "Replaced by a newer socket" },
} as const satisfies Record<string, Closing>;

/** Codes of refusals after which a client is not to come again with the same token. */
const finalCodes: ReadonlySet<number> = new Set([
  4000, 4001, 4002, 4003, 4004, 4011, 4012, 4013, 4014, 4015, 4016, 4021,
]);

export function isFinal({ code }: Closing): boolean {
  return finalCodes.has(code);
}

/** The same close for a suspended account, whose owner has to do something else than after a revocation. */
export function suspendedAs({ code }: Closing): Closing {
  return { code, reason: "Account is suspended" };
}

/**
 * How a socket closes whose credential was refused: with the channel's own code where it is wrong, and so that the
 * client comes again where the server could not tell.
 */
export function closingOf(error: unknown, refused: Closing): Closing {
  if (!(error instanceof CallError)) return closings.fault;
  if (error.code === "unauthenticated") return refused;
  if (error.code === "forbidden") return { ...refused, reason: error.message };
  return closings.later;
}
