/**
 * The codes with which a call can fail. A refusal is a `CallError`: the function understood the call and said no. A
 * rejection is a `CallError` that was thrown before a handler ran; the outcome's `status` says which of the two it was
 * (dispatch.ts). Anything else that is thrown is a fault. Codes are for programs and do not change; messages are for
 * people.
 */

/** Every code, with its HTTP status and its name in Convex's style. */
export const errorCodes = {
  invalid_args: { status: 400, convex: "InvalidArguments", meaning: "an argument is wrong; `issues` says which" },
  failed_precondition: {
    status: 400,
    convex: "FailedPrecondition",
    meaning: "well formed, but a rule of the marketplace forbids it as things stand",
  },
  unauthenticated: { status: 401, convex: "Unauthenticated", meaning: "no credential, or one that is not valid" },
  insufficient_funds: { status: 402, convex: "InsufficientFunds", meaning: "the wallet is too low" },
  forbidden: { status: 403, convex: "Forbidden", meaning: "known, and not allowed" },
  not_found: { status: 404, convex: "NotFound", meaning: "missing, or not this caller's to see" },
  conflict: { status: 409, convex: "Conflict", meaning: "not in this state; `status` often says which state it is in" },
  expired: { status: 410, convex: "Expired", meaning: "its time has passed" },
  too_large: { status: 413, convex: "TooLarge", meaning: "over a stated limit" },
  unsupported_media_type: {
    status: 415,
    convex: "UnsupportedMediaType",
    meaning: "the body's type, charset or encoding is not one that is read here",
  },
  rate_limited: { status: 429, convex: "RateLimited", meaning: "too fast; `retryAfterMs` says how long to wait" },
  unavailable: { status: 503, convex: "Unavailable", meaning: "try again later; `retryAfterMs` says when" },
  internal: { status: 500, convex: "InternalServerError", meaning: "our fault; the request id is in the log" },
} as const;

export type ErrorCode = keyof typeof errorCodes;

/** Details for programs, in addition to the code. Plain JSON. */
export type ErrorData = Record<string, unknown>;

/** A refusal or rejection: `code` gives the reason to programs, `message` to people. */
export class CallError extends Error {
  readonly code: ErrorCode;
  readonly data: ErrorData;

  constructor(code: ErrorCode, message: string, data: ErrorData = {}) {
    // Nobody reads the stack of a refusal, and collecting one costs more than the rest of it.
    const depth = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(message);
    Error.stackTraceLimit = depth;
    this.name = "CallError";
    this.code = code;
    this.data = data;
  }
}
