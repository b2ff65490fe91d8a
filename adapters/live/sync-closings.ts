/** How the server ends a live client's socket, and so what the client does next (convex-wire.md section 10). */
import { CallError } from "../../runtime/errors.js";
import type { Closing } from "../sockets/close-codes.js";

/** The client comes back in about a second, with the whole opening sequence. */
export const comeAgain = (why: string): Closing => ({
  code: 1013,
  reason: `InternalServerError: ${why}`.slice(0, 123),
});

/** It comes back when there is less to do. */
export const overloadedClosing: Closing = { code: 1013, reason: "TooManyConcurrentRequests" };

/**
 * It comes back at once, and its next mutation shows that it has the results of all before it
 * (runtime/call/idempotency.ts). An open socket never shows that: what the network took may still be lost on the way
 * into the client.
 */
export const showsWhatItHas: Closing = { code: 1001, reason: "ComeAgain" };

/** It was told why in a frame. */
export const refusedClosing: Closing = { code: 1000, reason: "AuthError" };

/** After an error that is no verdict on the client's credential. */
export function closingAfter(error: unknown): Closing {
  return error instanceof CallError && error.code === "rate_limited" ? overloadedClosing : comeAgain("try again");
}
