/**
 * The frames of Convex's sync protocol (convex-wire.md sections 5 to 7): what a client may send, and what it is sent.
 * Values are always `convex_encoded_json`. A frame that is not exactly right stops the client for good, so all frames
 * are made here.
 */
import { z } from "zod";
import { parsedBytes } from "../../runtime/byte-budget.js";
import type { Outcome } from "../../runtime/call/call.js";
import { CallError } from "../../runtime/errors.js";
import { parsedArgumentBytes, sizes } from "../../runtime/limits.js";
import { type WholeFrame, wholeFrame } from "../sockets/whole-frame.js";
import { encodeValue, isReadable } from "../wire.js";
import { cutArgs } from "./frame-text.js";

const counter = z.int().min(0).max(0xffff_ffff);
const path = z.string().min(1).max(1_024);
/** Set only by the admin tools of the hosted product. */
const componentPath = z.string().nullish();

const timestamp = z
  .string()
  .regex(/^[A-Za-z0-9+/]{11}=$/)
  .transform((text) => Buffer.from(text, "base64").readBigUInt64LE());

/** The arguments as text. In the parsed frame stands the index of that text. */
const args = z.custom<string>().optional();

const call = { requestId: counter, udfPath: path, args, componentPath };

const inbound = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("Connect"),
    sessionId: z.string().min(1).max(64),
    maxObservedTimestamp: timestamp.nullish(),
  }),
  z.object({
    type: z.literal("ModifyQuerySet"),
    baseVersion: counter,
    newVersion: counter,
    modifications: z.array(
      z.discriminatedUnion("type", [
        z.object({ type: z.literal("Add"), queryId: counter, udfPath: path, args, componentPath }),
        z.object({ type: z.literal("Remove"), queryId: counter }),
      ]),
    ),
  }),
  z.object({
    type: z.literal("Authenticate"),
    baseVersion: counter,
    tokenType: z.enum(["User", "Admin", "None"]),
    value: z.string().nullish(),
  }),
  z.object({ type: z.literal("Mutation"), ...call }),
  z.object({ type: z.literal("Action"), ...call }),
  z.object({ type: z.literal("Event") }),
  // Every socket of this server answers it.
  z.object({ type: z.literal("system.heartbeat") }),
]);

export type Inbound = z.output<typeof inbound>;
type Of<Type extends Inbound["type"]> = Extract<Inbound, { type: Type }>;
export type ModifyQuerySet = Of<"ModifyQuerySet">;
export type AddQuery = Extract<ModifyQuerySet["modifications"][number], { type: "Add" }>;
export type Authenticate = Of<"Authenticate">;
export type CallFrame = Of<"Mutation"> | Of<"Action">;

/** The frame, with its arguments left as text; or why it is no frame of the protocol. */
export function parseInbound(data: Buffer): Inbound | string {
  const cut = cutArgs(data.toString("utf8"));
  if (parsedBytes(cut.text) > parsedArgumentBytes) return "a frame has too many values beside its arguments";
  let fields: unknown;
  try {
    fields = JSON.parse(cut.text);
  } catch {
    return "a frame is no JSON";
  }
  const parsed = inbound.safeParse(fields);
  if (!parsed.success) return "a frame is not of the protocol";
  const frame = parsed.data;
  if (frame.type === "Mutation" || frame.type === "Action") frame.args = textOf(frame.args, cut.args);
  else if (frame.type === "ModifyQuerySet") {
    for (const change of frame.modifications) if (change.type === "Add") change.args = textOf(change.args, cut.args);
  }
  return frame;
}

function textOf(index: unknown, texts: readonly string[]): string {
  const text = typeof index === "number" ? texts[index] : undefined;
  if (text === undefined) return "null";
  // A slice would keep the whole frame in memory. A text that will be refused is gone in a moment.
  return parsedBytes(text) > parsedArgumentBytes ? text : Buffer.from(text).toString();
}

export type Frame = Buffer<ArrayBuffer>;

export interface Version {
  querySet: number;
  identity: number;
  ts: bigint;
}

export const pingFrame = wholeFrame(Buffer.from('{"type":"Ping"}'));

/** A change, in pieces that are put together only when the whole frame is. */
export type Change = readonly Frame[];

export function transitionFrame(from: Version, to: Version, changes: readonly Change[]): WholeFrame {
  const start = `{"type":"Transition","startVersion":${version(from)},"endVersion":${version(to)},"modifications":[`;
  const parts = [Buffer.from(start)];
  for (const [index, change] of changes.entries()) {
    if (index > 0) parts.push(comma);
    parts.push(...change);
  }
  parts.push(end);
  return wholeFrame(...parts);
}
const comma = Buffer.from(",");
const end = Buffer.from("]}");

/** One query's new answer; `result` is `queryValue`'s or `queryFailure`'s. */
export function changedQuery(queryId: number, result: Frame): Change {
  return [Buffer.from(`{"queryId":${queryId},`), result];
}

export function removedQuery(queryId: number): Change {
  return [Buffer.from(`{"type":"QueryRemoved","queryId":${queryId}}`)];
}

const beforeValue = '"type":"QueryUpdated","value":';
const afterValue = ',"logLines":[],"journal":null}';

/** A query's value, as the part of a change that is the same for everybody who asks it. */
export function queryValue(value: unknown): Frame {
  return Buffer.from(`${beforeValue}${encodeValue(value, "convex_encoded_json")}${afterValue}`);
}

/** The value in what `queryValue` made of it, as JSON. */
export function valueJson(result: Frame): string {
  return result.toString("utf8", beforeValue.length, result.length - afterValue.length);
}

/** The same of a query that failed. */
export function queryFailure(outcome: FailedOutcome, requestId: string): Frame {
  return Buffer.from(`"type":"QueryFailed","errorMessage":${failure(outcome, requestId)}${afterValue}`);
}

/** Why Convex's clients cannot read a value. */
export function unreadableValue(): CallError {
  return new CallError(
    "failed_precondition",
    "The value has field names that Convex's clients cannot read. Read it over REST, or with format json.",
  );
}

/** Why a query or a call that names a component is refused. */
export function noComponents(): CallError {
  return new CallError("invalid_args", "There are no components here: leave componentPath out");
}

/** Why arguments that are too long as text are refused. */
export function argumentsTooLarge(): CallError {
  return new CallError("too_large", `The arguments are too large (max ${sizes.frameBytes} bytes)`);
}

/** `ts` is the mutation's own instant. */
export function mutationSucceeded(requestId: number, outcome: SuccessfulOutcome, ts: bigint): Frame {
  // The mutation was done, even where its value cannot be read.
  const value = isReadable(outcome.value) ? encodeValue(outcome.value, "convex_encoded_json") : "null";
  return Buffer.from(
    `{"type":"MutationResponse","requestId":${requestId},"success":true,"result":${value},"ts":"${encodeTimestamp(ts)}","logLines":[]}`,
  );
}

export function callFailed(
  kind: CallFrame["type"],
  requestId: number,
  outcome: FailedOutcome,
  errorRequestId: string,
): Frame {
  return Buffer.from(
    `{"type":"${kind}Response","requestId":${requestId},"success":false,"result":${failure(outcome, errorRequestId)},"logLines":[]}`,
  );
}

/** The only way to refuse a token. The socket closes after it (section 10). */
export function authError(message: string, baseVersion: number, authUpdateAttempted: boolean): Frame {
  return Buffer.from(JSON.stringify({ type: "AuthError", error: message, baseVersion, authUpdateAttempted }));
}

/** After this the client ends for good and shows the message (section 8). */
export function fatalError(message: string): Frame {
  return Buffer.from(JSON.stringify({ type: "FatalError", error: message }));
}

export type SuccessfulOutcome = Extract<Outcome, { status: "success" }>;
export type FailedOutcome = Exclude<Outcome, SuccessfulOutcome>;

/**
 * The message as JSON, and for all but a fault its data: with them the client throws a ConvexError, which has a code.
 */
function failure(outcome: FailedOutcome, requestId: string): string {
  if (outcome.status === "fault") return JSON.stringify(`[Request ID: ${requestId}] Server Error`);
  const { code, message, data } = outcome.error;
  return `${JSON.stringify(message)},"errorData":${encodeValue({ code, ...data }, "convex_encoded_json")}`;
}

function version({ querySet, identity, ts }: Version): string {
  return `{"querySet":${querySet},"identity":${identity},"ts":"${encodeTimestamp(ts)}"}`;
}

function encodeTimestamp(ts: bigint): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(ts);
  return bytes.toString("base64");
}
