/** A message: what it may hold, and how it looks on the wire. */
import { z } from "zod";
import { CallError } from "../../../runtime/errors.js";
import { type MessagesTable, messageTypes } from "../../../schema/threads.js";

/** A message as every function shows it. */
export const messageValue = z.object({
  messageId: z.string(),
  threadId: z.string(),
  fromAgentId: z.string(),
  type: z.enum(messageTypes),
  encryptedPayload: z.string().optional(),
  payload: z.record(z.string(), z.unknown()).optional(),
  referencesMessageId: z.string().optional(),
  createdAt: z.number(),
});

export function toMessage(row: MessagesTable): z.input<typeof messageValue> {
  return {
    ...row,
    encryptedPayload: row.encryptedPayload ?? undefined,
    payload: row.payload === null ? undefined : (JSON.parse(row.payload) as Record<string, unknown>),
    referencesMessageId: row.referencesMessageId ?? undefined,
  };
}

/** The most bytes of UTF-8, from the user's document ("Practical Limits"). */
const encryptedBytes = 12_288;
const payloadBytes = 4_096;
const fieldBytes = { action: 256, proposedTime: 128, proposedLocation: 512, notes: 2_048 } as const;

/** The least number of bytes: a 24-byte nonce and a 16-byte tag around an empty message. */
const shortestBoxBytes = 40;
const base64 = /^[A-Za-z0-9+/]+={0,2}$/;

interface Payloads {
  encryptedPayload: string | null;
  payload: string | null;
}

/** The two payload arguments as they are stored. Refuses unless exactly one is given, within its limits. */
export function requirePayload(
  encryptedPayload: string | null | undefined,
  payload: Record<string, unknown> | null | undefined,
): Payloads {
  if ((encryptedPayload == null) === (payload == null)) {
    throw new CallError("invalid_args", "Message must have either payload or encryptedPayload");
  }
  if (encryptedPayload != null) {
    requireBytes("encryptedPayload", encryptedPayload, encryptedBytes);
    if (!isBox(encryptedPayload)) {
      throw new CallError(
        "invalid_args",
        `encryptedPayload must be base64 of nonce and box, at least ${shortestBoxBytes} bytes`,
      );
    }
    return { encryptedPayload, payload: null };
  }
  for (const [field, most] of Object.entries(fieldBytes)) {
    const value = payload?.[field];
    if (value === undefined || value === null) continue;
    if (typeof value !== "string") throw new CallError("invalid_args", `payload.${field} must be a string`);
    requireBytes(`payload.${field}`, value, most);
  }
  const json = JSON.stringify(payload);
  requireBytes("payload", json, payloadBytes);
  return { encryptedPayload: null, payload: json };
}

function requireBytes(name: string, value: string, most: number): void {
  if (Buffer.byteLength(value) > most) throw new CallError("too_large", `${name} is too large (max ${most} bytes)`);
}

/** Whether it may have been made by PyNaCl's `Box.encrypt` or tweetnacl. The relay cannot know more. */
function isBox(value: string): boolean {
  if (value.length % 4 !== 0 || !base64.test(value)) return false;
  const padding = value.endsWith("==") ? 2 : value.endsWith("=") ? 1 : 0;
  return (value.length / 4) * 3 - padding >= shortestBoxBytes;
}
