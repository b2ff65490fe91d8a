/**
 * The frames of Convex's sync protocol (convex-wire.md sections 5 to 7): what a client may send, and what it is sent.
 * Values are always `convex_encoded_json`. A frame that is not exactly right stops the client for good, so all are made here.
 */
import { z } from "zod";
import type { Outcome } from "../../runtime/dispatch.js";
import { CallError } from "../../runtime/errors.js";
import { encodeValue, isReadable } from "../wire.js";

const counter = z.int().min(0).max(0xffff_ffff);
const path = z.string().min(1).max(1_024);
/** Set only by the admin tools of the hosted product. */
const componentPath = z.string().nullish();

const timestamp = z
  .string()
  .regex(/^[A-Za-z0-9+/]{11}=$/)
  .transform((text) => Buffer.from(text, "base64").readBigUInt64LE());

const call = { requestId: counter, udfPath: path, args: z.unknown(), componentPath };

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
        z.object({ type: z.literal("Add"), queryId: counter, udfPath: path, args: z.unknown(), componentPath }),
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
]);

export type Inbound = z.output<typeof inbound>;
type Of<Type extends Inbound["type"]> = Extract<Inbound, { type: Type }>;
export type ModifyQuerySet = Of<"ModifyQuerySet">;
export type AddQuery = Extract<ModifyQuerySet["modifications"][number], { type: "Add" }>;
export type Authenticate = Of<"Authenticate">;
export type CallFrame = Of<"Mutation"> | Of<"Action">;

/** The frame; undefined where it is none of the protocol. */
export function parseInbound(fields: unknown): Inbound | undefined {
  const parsed = inbound.safeParse(fields);
  return parsed.success ? parsed.data : undefined;
}

export type Frame = Buffer<ArrayBuffer>;

export interface Version {
  querySet: number;
  identity: number;
  ts: bigint;
}

export const ping = Buffer.from('{"type":"Ping"}');

/** A change, in pieces that are not put together before the whole frame is. */
export type Change = readonly Frame[];

export function transition(from: Version, to: Version, changes: readonly Change[]): Frame {
  const start = `{"type":"Transition","startVersion":${version(from)},"endVersion":${version(to)},"modifications":[`;
  const parts = [Buffer.from(start)];
  for (const [index, change] of changes.entries()) {
    if (index > 0) parts.push(comma);
    parts.push(...change);
  }
  parts.push(end);
  return Buffer.concat(parts);
}
const comma = Buffer.from(",");
const end = Buffer.from("]}");

/** One query's new answer; `result` is `queryResult`'s. */
export function changed(queryId: number, result: Frame): Change {
  return [Buffer.from(`{"queryId":${queryId},`), result];
}

export function removed(queryId: number): Change {
  return [Buffer.from(`{"type":"QueryRemoved","queryId":${queryId}}`)];
}

/** What a query answered (a `readable` outcome), as the part of a change that is the same for everybody who asks it. */
export function queryResult(outcome: Outcome, requestId: string): Frame {
  const result =
    outcome.status === "success"
      ? `"type":"QueryUpdated","value":${encodeValue(outcome.value, "convex_encoded_json")}`
      : `"type":"QueryFailed","errorMessage":${failure(outcome, requestId)}`;
  return Buffer.from(`${result},"logLines":[],"journal":null}`);
}

/** `ts` is the mutation's own instant. */
export function mutationSucceeded(requestId: number, outcome: SuccessfulOutcome, ts: bigint): Frame {
  const answer = readable(outcome);
  // It was done, whatever its value is.
  const value = answer.status === "success" ? encodeValue(answer.value, "convex_encoded_json") : "null";
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

/** The only way to refuse a token; the socket closes behind it (section 10). */
export function authError(message: string, baseVersion: number, authUpdateAttempted: boolean): Frame {
  return Buffer.from(JSON.stringify({ type: "AuthError", error: message, baseVersion, authUpdateAttempted }));
}

export type SuccessfulOutcome = Extract<Outcome, { status: "success" }>;
export type FailedOutcome = Exclude<Outcome, SuccessfulOutcome>;

/** The message as JSON, and for all but a fault its data: with them the client throws a ConvexError, which has a code. */
function failure(outcome: FailedOutcome, requestId: string): string {
  if (outcome.status === "fault") return JSON.stringify(`[Request ID: ${requestId}] Server Error`);
  const { code, message, data } = outcome.error;
  return `${JSON.stringify(message)},"errorData":${encodeValue({ code, ...data }, "convex_encoded_json")}`;
}

/** The outcome as Convex's clients can read it: the same one, or the refusal to send it. */
export function readable(outcome: Outcome): Outcome {
  if (outcome.status !== "success" || isReadable(outcome.value)) return outcome;
  const error = new CallError(
    "failed_precondition",
    "The value has field names that Convex's clients cannot read. Read it over REST, or with format json.",
  );
  return { status: "refused", error };
}

function version({ querySet, identity, ts }: Version): string {
  return `{"querySet":${querySet},"identity":${identity},"ts":"${encodeTimestamp(ts)}"}`;
}

function encodeTimestamp(ts: bigint): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(ts);
  return bytes.toString("base64");
}
