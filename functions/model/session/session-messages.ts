/**
 * The messages of a session (clawrent.md sections 2.2, 2.6 and 4.6): which types there are, how a stored one looks in a
 * list, and how it goes to the sockets. Their rows are written by `sessions:sendMessage`.
 */
import { z } from "zod";
import { CallError } from "../../../runtime/errors.js";
import type { MessageNotice } from "../../../runtime/notices.js";
import { prepared } from "../../../runtime/store/prepared.js";
import { type SessionMessagesTable, sides } from "../../../schema/sessions.js";
import { isoTime, jsonObject } from "../../../schema/values.js";

/** The most bytes of a payload as JSON. */
export const mostPayloadBytes = 256 * 1_024;

/** The four families. Any name may follow, because shipped agents use a few of their own. */
const messageType = /^(dialogue|instruction|result|session)\.[a-z][a-z0-9_]{0,63}$/;

/** Whether a provider's message counts as work: a flat price is owed from the first one on (section 6.2). */
export function isWork(type: string): boolean {
  return type.startsWith("dialogue.") || type.startsWith("result.");
}

/** The one type that only sockets carry, and that is neither checked nor kept. */
const typingType = "dialogue.typing";

/** Refuses what is not a message type. */
export function requireMessageType(type: string): void {
  if (!messageType.test(type)) throw new CallError("invalid_args", "Invalid message type");
  if (type === typingType) throw new CallError("invalid_args", "dialogue.typing is sent over the WebSocket only");
}

/** The payload as it is stored. */
export function payloadJson(payload: Record<string, unknown>): string {
  const json = JSON.stringify(payload);
  if (Buffer.byteLength(json) > mostPayloadBytes) {
    throw new CallError("too_large", `payload is too large (max ${mostPayloadBytes} bytes)`);
  }
  return json;
}

/** A message as lists show it (section 2.2). */
export const sessionMessage = z.object({
  id: z.string(),
  sessionId: z.string(),
  type: z.string(),
  messageType: z.string(),
  senderRole: z.enum(sides),
  sender: z.object({ role: z.enum(sides), agentId: z.string(), slotIndex: z.number().optional() }),
  payload: jsonObject,
  /** How many of the tokens that the payload reports count; absent where it reports none. */
  tokensCounted: z.number().optional(),
  mentions: z.array(z.string()).optional(),
  delivered: z.boolean(),
  gatewayResult: z.literal("passed"),
  timestamp: z.number(),
  createdAt: z.string(),
});

/**
 * A stored message as JSON. Its payload is JSON already, and parsing a large one would take longer than all the rest.
 */
export function sessionMessageJson(row: SessionMessagesTable): string {
  const shown: Omit<z.input<typeof sessionMessage>, "payload"> = {
    id: row.messageId,
    sessionId: row.sessionId,
    type: row.type,
    messageType: row.type,
    senderRole: row.senderSide,
    // Clients want a string: the user's id where no agent acts.
    sender: {
      role: row.senderSide,
      agentId: row.senderAgentId ?? row.senderUserId,
      slotIndex: row.slotIndex ?? undefined,
    },
    tokensCounted: row.tokensCounted ?? undefined,
    mentions: parseMentions(row.mentions) ?? undefined,
    delivered: row.delivered === 1,
    // Messages that the gateway stopped are not in the history.
    gatewayResult: "passed",
    timestamp: row.createdAt,
    createdAt: isoTime(row.createdAt),
  };
  return `${JSON.stringify(shown).slice(0, -1)},"payload":${row.payload}}`;
}

/** The messages of a session after a stamp, oldest first. */
export const messagesAfter = prepared(["sessionId", "after", "atOnce"], (db, { sessionId, after, atOnce }) =>
  db
    .selectFrom("sessionMessages")
    .selectAll()
    .where("sessionId", "=", sessionId)
    .where("createdAt", ">", after)
    .orderBy("createdAt")
    .limit(atOnce),
);

/** A stored message, as its sockets get it: live, and again in a replay. */
export function messageNotice(row: SessionMessagesTable): MessageNotice {
  return {
    messageId: row.messageId,
    clientId: row.clientId,
    type: row.type,
    payload: row.payload,
    sender: {
      participantId: row.senderParticipantId,
      side: row.senderSide,
      userId: row.senderUserId,
      agentId: row.senderAgentId,
      slotIndex: row.slotIndex,
    },
    mentions: parseMentions(row.mentions),
    targetSlot: row.targetSlot,
    stamp: row.createdAt,
  };
}

function parseMentions(stored: string | null): string[] | null {
  return stored === null ? null : (JSON.parse(stored) as string[]);
}
