/** Sending to the other side of a session. */
import { type SqlBool, sql } from "kysely";
import { z } from "zod";
import { mutation, Refusal } from "../../runtime/call/define.js";
import type { UserMutation } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { prepared } from "../../runtime/store/prepared.js";
import type { SessionMessagesTable, SessionsTable, Side } from "../../schema/sessions.js";
import { id, isoTime, jsonObject } from "../../schema/values.js";
import { meterTokens } from "../model/money/metering.js";
import type { GrantedPermissions } from "../model/rules/permissions.js";
import { countTokens, tokensReported } from "../model/rules/token-counts.js";
import { listParticipants, participantIdOf } from "../model/session/participants.js";
import { endSession, nextStamp, requireActive, requirePartyNow } from "../model/session/session.js";
import { keepBlocked, stoppedByGateway } from "../model/session/session-gateway.js";
import { isWork, messageNotice, payloadJson, requireMessageType } from "../model/session/session-messages.js";
import { tellLimit, toldOf } from "../model/session/spending-limit.js";
import { storePayload } from "../model/session/stored-payloads.js";

const mostMentions = 100;
const slot = z.number().int().min(0).max(99);

/**
 * Sends a message to the other side (clawrent.md section 4.6): it is stamped, stored and handed to the sockets in one
 * order, whichever way it came. A message that the gateway stops is kept for audit, and the other side never sees it.
 */
export const sendMessage = mutation({
  summary: "Sends a message to the other side of a session",
  auth: "user",
  args: {
    sessionId: id,
    /** The sender's own id of the message: a second message with the same id is the same message. */
    id: id.nullish(),
    type: z.string(),
    payload: jsonObject,
    /** The one consumer slot that it is for. */
    targetSlot: slot.nullish(),
    /** Participants that it is addressed to; everybody else gets it too. */
    mentions: z.array(id).max(mostMentions).nullish(),
    /** The consumer slot that it comes from. */
    slotIndex: slot.nullish(),
  },
  // Payloads are the clients' own (clawrent.md section 0, rule 15).
  jsonArgs: ["payload"],
  returns: z.object({
    messageId: z.string(),
    delivered: z.boolean(),
    gatewayResult: z.literal("passed"),
    createdAt: z.string(),
  }),
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, args) => {
    requireMessageType(args.type);
    const payload = payloadJson(args.payload);
    const { session, side } = await requirePartyNow(ctx, args.sessionId);
    const { sessionId } = session;
    const clientId = args.id ?? null;
    const earlier = clientId === null ? undefined : await findByClientId(ctx, sessionId, side, clientId);
    if (earlier) return sent(earlier);
    requireActive(session);
    const sender = await requireSender(ctx, session, side, args);

    await storePayload(ctx, session, side, payload);

    const checked = {
      type: args.type,
      payload: args.payload,
      senderSide: side,
      grants: JSON.parse(session.grantedPermissions) as GrantedPermissions,
    };
    const stopped = await stoppedByGateway(ctx, sessionId, checked);
    if (stopped) {
      const { category, reason } = stopped;
      const messageId = ctx.newUuid();
      const { senderSide, senderParticipantId } = sender;
      const attempt = { messageId, sessionId, type: args.type, senderSide, senderParticipantId, payload };
      await keepBlocked(ctx, { ...attempt, category, reason, furtherBlocked: 0, createdAt: ctx.now });
      const told = { messageId, delivered: false, gatewayResult: "blocked", category, reason };
      return new Refusal(new CallError("forbidden", `Message blocked by the security gateway: ${reason}`, told));
    }

    const targetSlot = args.targetSlot ?? null;
    const { rows: sockets } = await openSocketOf(ctx, {
      sessionId,
      side: side === "provider" ? "consumer" : "provider",
      slotIndex: side === "provider" ? targetSlot : null,
    });
    const place = { sessionId, after: session.lastStampAt, stamp: nextStamp(session, ctx.now) };
    const message: SessionMessagesTable = {
      sessionId,
      createdAt: place.stamp,
      messageId: ctx.newUuid(),
      clientId,
      type: args.type,
      ...sender,
      targetSlot,
      mentions: args.mentions ? JSON.stringify(args.mentions) : null,
      payload,
      tokensReported: null,
      tokensCounted: null,
      delivered: sockets.length > 0 ? 1 : 0,
    };
    const reported = side === "provider" ? tokensReported(args.payload) : 0;
    const counted = countTokens(session, reported, ctx.now);
    if (reported > 0) Object.assign(message, { tokensReported: reported, tokensCounted: counted });
    ctx.commitWaitsFor(insertMessage(ctx, { ...message }));
    if (side === "provider" && isWork(args.type) && session.meterStoppedAt === null) {
      session.servedAt ??= message.createdAt;
    }
    session.lastStampAt = message.createdAt;
    session.totalMessages += 1;
    if (args.type.startsWith("instruction.")) session.totalInstructions += 1;
    session.updatedAt = ctx.now;
    const told = session.toldLevel;
    if (counted > 0) Object.assign(session, toldOf(session, ctx.now));
    ctx.commitWaitsFor(countMessage(ctx, counts(session)));
    ctx.notify({ kind: "sessionMessage", message: messageNotice(message), ...place });
    if (session.toldLevel > told) tellLimit(ctx, session);

    const ending = counted > 0 ? await meterTokens(ctx, session) : undefined;
    if (ending) await endSession(ctx, session, { as: "completed", reason: ending });
    return sent(message);
  },
});

function sent({
  messageId,
  delivered,
  createdAt,
}: Pick<SessionMessagesTable, "messageId" | "delivered" | "createdAt">) {
  return { messageId, delivered: delivered === 1, gatewayResult: "passed" as const, createdAt: isoTime(createdAt) };
}

type Sender = Pick<
  SessionMessagesTable,
  "senderSide" | "senderParticipantId" | "senderUserId" | "senderAgentId" | "slotIndex"
>;

/** Who the message is from, by what the server knows and never by what the client wrote. */
async function requireSender(
  ctx: UserMutation,
  session: SessionsTable,
  side: Side,
  args: { slotIndex?: number | null; targetSlot?: number | null; mentions?: string[] | null },
): Promise<Sender> {
  const participants = await listParticipants(ctx, session.sessionId);
  const participantId = participantIdOf(session, side, ctx.caller);
  const sender = participants.find((participant) => participant.participantId === participantId);
  if (!sender) throw new Error(`Session ${session.sessionId} has no participant ${participantId}`);
  if (sender.pausedAt !== null) {
    throw new CallError("failed_precondition", "You are paused in this session. What is sent to you waits.");
  }
  for (const field of ["slotIndex", "targetSlot"] as const) {
    if ((args[field] ?? 0) >= session.maxSlots) {
      throw new CallError("invalid_args", `${field} must be below ${session.maxSlots}`, { maxSlots: session.maxSlots });
    }
  }
  const stranger = args.mentions?.find((mention) => !participants.some((known) => known.participantId === mention));
  if (stranger !== undefined) {
    throw new CallError("invalid_args", "A mention names no participant of this session", { mention: stranger });
  }
  return {
    senderSide: side,
    senderParticipantId: participantId,
    senderUserId: sender.userId,
    senderAgentId: sender.agentId,
    slotIndex: side === "consumer" ? (args.slotIndex ?? 0) : null,
  };
}

const messageByClientId = prepared(["sessionId", "side", "clientId"], (db, { sessionId, side, clientId }) =>
  db
    .selectFrom("sessionMessages")
    .select(["messageId", "delivered", "createdAt"])
    .where("sessionId", "=", sessionId)
    .where("senderSide", "=", side)
    .where("clientId", "=", clientId),
);

async function findByClientId(ctx: UserMutation, sessionId: string, side: Side, clientId: string) {
  const { rows } = await messageByClientId(ctx, { sessionId, side, clientId });
  return rows[0];
}

/** An open socket of a side, and of a slot if one is given. */
const openSocketOf = prepared(["sessionId", "side", "slotIndex"], (db, { sessionId, side, slotIndex }) =>
  db
    .selectFrom("sessionSockets")
    .select("socketId")
    .where("sessionId", "=", sessionId)
    .where("side", "=", side)
    .where(({ or, eb }) =>
      or([
        sql<SqlBool>`cast(${slotIndex} as integer) is null`,
        eb("slotIndex", "=", sql<number>`cast(${slotIndex} as integer)`),
      ]),
    )
    .limit(1),
);

const insertMessage = prepared(
  [
    "sessionId",
    "createdAt",
    "messageId",
    "clientId",
    "type",
    "senderSide",
    "senderParticipantId",
    "senderUserId",
    "senderAgentId",
    "slotIndex",
    "targetSlot",
    "mentions",
    "payload",
    "tokensReported",
    "tokensCounted",
    "delivered",
  ],
  (db, values) => db.insertInto("sessionMessages").values(values),
);

const countedColumns = [
  "lastStampAt",
  "totalMessages",
  "totalInstructions",
  "totalTokensProvider",
  "providerPayloadBytes",
  "consumerPayloadBytes",
  "totalTokensReported",
  "tokensUntil",
  "servedAt",
  "toldLevel",
  "levelAt",
  "updatedAt",
] as const satisfies readonly (keyof SessionsTable)[];

/** What a message changes in its session's row. */
function counts(session: SessionsTable) {
  const { sessionId } = session;
  const columns = countedColumns.map((column) => [column, session[column]]);
  return { sessionId, ...(Object.fromEntries(columns) as Pick<SessionsTable, (typeof countedColumns)[number]>) };
}

const countMessage = prepared(["sessionId", ...countedColumns], (db, { sessionId, ...counted }) =>
  db.updateTable("sessions").set(counted).where("sessionId", "=", sessionId),
);
