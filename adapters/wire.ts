/**
 * Values and envelopes as Convex writes them (convex-wire.md sections 2 and 3). Arguments always arrive as
 * `convex_encoded_json`; a reply goes out in the format that was asked for.
 */
import { parsedBytes } from "../runtime/byte-budget.js";
import type { Outcome } from "../runtime/call/call.js";
import { JsonText } from "../runtime/call/define.js";
import { CallError, type ErrorCode, errorCodes } from "../runtime/errors.js";
import { parsedArgumentBytes, sizes } from "../runtime/limits.js";
import { everyFieldName, nestingOf } from "./json-text.js";

export type Format = "json" | "convex_encoded_json";

const formatNames = new Map<unknown, Format>([
  ["json", "json"],
  ["convex_clean_json", "json"],
  ["convex_encoded_json", "convex_encoded_json"],
  ["convex_json", "convex_encoded_json"],
]);

export function parseFormat(name: unknown): Format | undefined {
  return formatNames.get(name ?? "json");
}

/** A tagged value that is malformed, or a tag that is unknown. */
export class WireError extends Error {}

/**
 * Turns `{"$integer": …}`, `{"$float": …}` and `{"$bytes": …}` into bigint, number and ArrayBuffer. `text` is the JSON
 * that `value` was parsed from: where it holds no such key there is nothing to turn, and nothing is copied.
 */
export function decodeArgs(value: unknown, text: string): unknown {
  return text.includes('"$') || text.includes("\\u0024") ? decode(value, 0) : value;
}

/**
 * A function's one argument object, which Convex's clients send in an array. The error for what cannot be decoded is
 * returned, to be answered as a refusal of the function: only then does a Convex client keep the reason.
 */
export function readArgs(given: unknown, text: string): unknown {
  const args = Array.isArray(given) && given.length <= 1 ? (given[0] ?? {}) : (given ?? {});
  try {
    return decodeArgs(args, text);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    const issues = [{ path: "", message: error.message }];
    return new CallError("invalid_args", `Invalid arguments: ${error.message}`, { issues });
  }
}

/** The same for arguments that are still text. */
export function readArgsText(text: string): unknown {
  if (parsedBytes(text) > parsedArgumentBytes) return tooManyValues();
  // Deeper values would exhaust the stack of whatever walks them next, which would be a fault.
  if (nestingOf(text) > sizes.nesting + 1) {
    const issues = [{ path: "", message: `Nested too deeply (max ${sizes.nesting} levels)` }];
    return new CallError("invalid_args", `Invalid arguments: ${issues[0]?.message}`, { issues });
  }
  try {
    return readArgs(JSON.parse(text), text);
  } catch {
    return new CallError("invalid_args", "Invalid arguments: they are no JSON", {
      issues: [{ path: "", message: "they are no JSON" }],
    });
  }
}

/** Arguments that are within their limit as text, and would take too much once they are parsed. */
export function tooManyValues(): CallError {
  return new CallError("too_large", "The arguments hold too many values", { limitBytes: parsedArgumentBytes });
}

function decode(value: unknown, depth: number): unknown {
  if (typeof value !== "object" || value === null) return value;
  // The runtime refuses deeper values. Here they only must not exhaust the stack.
  if (depth > sizes.nesting + 2) return value;
  if (Array.isArray(value)) return value.map((item) => decode(item, depth + 1));
  const entries = Object.entries(value);
  const [first] = entries;
  if (entries.length === 1 && first !== undefined && first[0].startsWith("$")) return decodeTagged(first[0], first[1]);
  // Every key becomes an own property, even `__proto__`, so that the runtime can refuse it.
  return Object.fromEntries(entries.map(([key, item]) => [key, decode(item, depth + 1)]));
}

function decodeTagged(tag: string, content: unknown): unknown {
  if (tag !== "$integer" && tag !== "$float" && tag !== "$bytes") {
    throw new WireError(`Field names starting with $ are reserved, and '${tag.slice(0, 40)}' is no type`);
  }
  if (
    typeof content !== "string" ||
    !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(content)
  ) {
    throw new WireError(`${tag} must be base64 with padding`);
  }
  const bytes = Buffer.from(content, "base64");
  if (tag === "$bytes") return new Uint8Array(bytes).buffer;
  if (bytes.length !== 8) throw new WireError(`${tag} must hold 8 bytes`);
  if (tag === "$integer") return bytes.readBigInt64LE();
  const float = bytes.readDoubleLE();
  if (Number.isFinite(float) && !Object.is(float, -0)) {
    throw new WireError("$float may only hold NaN, an infinity or -0; write other numbers as they are");
  }
  return float;
}

/** A value as JSON text in the given format. */
export function encodeValue(value: unknown, format: Format): string {
  if (value instanceof JsonText) return value.text;
  if (value === undefined) return "null";
  return JSON.stringify(isPlain(value) ? value : encode(value, format));
}

/**
 * Whether Convex's clients can read the value. They throw on a field name that they do not take, and in a live update
 * that stops the whole client (convex-wire.md section 2). JSON that the database wrote has no such name.
 */
export function isReadable(value: unknown): boolean {
  if (value instanceof JsonText) return value.names === "ours" || everyFieldName(value.text, isReadableAsWritten);
  if (typeof value === "bigint") return BigInt.asIntN(64, value) === value;
  if (typeof value !== "object" || value === null || value instanceof ArrayBuffer) return true;
  if (Array.isArray(value)) return value.every(isReadable);
  return Object.entries(value).every(([key, item]) => isReadableName(key) && isReadable(item));
}

function isReadableName(name: string): boolean {
  return name.length <= sizes.keyCharacters && /^(?!\$)[\x20-\x7e]*$/.test(name);
}

/** The same for a name as it is written in JSON, where some characters are escaped. */
function isReadableAsWritten(name: string): boolean {
  return isReadableName(name.includes("\\") ? (JSON.parse(`"${name}"`) as string) : name);
}

/** Whether JSON.stringify alone gives the right text. */
function isPlain(value: unknown): boolean {
  if (typeof value === "number") return Number.isFinite(value) && !Object.is(value, -0);
  if (typeof value !== "object" || value === null) return typeof value !== "bigint";
  if (value instanceof ArrayBuffer) return false;
  if (Array.isArray(value)) return value.every(isPlain);
  for (const key in value) if (!isPlain((value as Record<string, unknown>)[key])) return false;
  return true;
}

function encode(value: unknown, format: Format): unknown {
  const tagged = format === "convex_encoded_json";
  if (typeof value === "bigint") {
    if (!tagged) return value.toString();
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(value);
    return { $integer: bytes.toString("base64") };
  }
  if (typeof value === "number") {
    if (Number.isFinite(value) && !Object.is(value, -0)) return value;
    if (!tagged) return Object.is(value, -0) ? 0 : String(value);
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleLE(value);
    return { $float: bytes.toString("base64") };
  }
  if (value instanceof ArrayBuffer) {
    const base64 = Buffer.from(value).toString("base64");
    return tagged ? { $bytes: base64 } : base64;
  }
  if (Array.isArray(value)) return value.map((item) => encode(item, format));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => [key, encode(item, format)]),
  );
}

/** What `error` says for a status (clawrent.md section 3). */
const labels: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  402: "Payment Required",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  410: "Gone",
  413: "Payload Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Entity",
  426: "Upgrade Required",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

export function labelOf(status: number): string {
  return labels[status] ?? "Error";
}

export interface Reply {
  status: number;
  body: string;
  retryAfterMs?: number;
  /** The methods that a path takes, where it was called with another. */
  allow?: string;
}

/** An outcome as status and envelope (claw-to-claw.md section 1). */
export function renderOutcome(outcome: Outcome, format: Format, requestId: string): Reply {
  switch (outcome.status) {
    case "success":
      return { status: 200, body: `{"status":"success","value":${encodeValue(outcome.value, format)}}` };
    case "refused": {
      const { error } = outcome;
      const data = encodeValue({ code: error.code, ...error.data }, format);
      return {
        status: 200,
        body: `{"status":"error","errorMessage":${JSON.stringify(error.message)},"errorData":${data}}`,
      };
    }
    case "rejected":
      return renderRejection(outcome.error);
    case "fault":
      return faultReply(requestId);
  }
}

/** The reply for a fault of ours. The log says what it was. */
export function faultReply(requestId: string): Reply {
  return rejectionReply(500, "InternalServerError", undefined, `[Request ID: ${requestId}] Server Error`);
}

/**
 * The reply for what the gateway refuses: the envelope, the `code` and `message` that Convex's clients print, and the
 * `error` that stands beside the message in every reply under `/api/` that is no success (clawrent.md section 3).
 */
export function renderRejection(error: CallError, convexCode?: string): Reply {
  const { status, convex } = errorCodes[error.code];
  return rejectionReply(status, convexCode ?? convex, error.code, error.message, error.data);
}

export function rejectionReply(
  status: number,
  convexCode: string,
  code: ErrorCode | undefined,
  message: string,
  data: Record<string, unknown> = {},
): Reply {
  const { retryAfterMs } = data;
  return {
    status,
    body: JSON.stringify({
      status: "error",
      errorMessage: message,
      ...(code && { errorData: { code, ...data } }),
      code: convexCode,
      error: labelOf(status),
      message,
    }),
    ...(typeof retryAfterMs === "number" ? { retryAfterMs } : {}),
  };
}
