/** What the two sides of a session write to each other. */
import { type SqlBool, sql } from "kysely";
import { z } from "zod";
import { JsonText, mutation, query, Refusal } from "../../runtime/call/define.js";
import type { UserMutation } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { prepared } from "../../runtime/store/prepared.js";
import type { BlockedMessagesTable, SessionMessagesTable, SessionsTable, Side } from "../../schema/sessions.js";
import { cursor, id, isoTime, jsonObject, limitOf } from "../../schema/values.js";
import { cursorsOf } from "../model/cursors.js";
import { meterTokens } from "../model/money/metering.js";
import { checkMessage, type GatewayRefusal, needsRecent } from "../model/rules/gateway.js";
import type { SentInstruction } from "../model/rules/instructions.js";
import type { GrantedPermissions } from "../model/rules/permissions.js";
import { countTokens, tokensReported } from "../model/rules/token-counts.js";
import { listParticipants, participantIdOf } from "../model/session/participants.js";
import { endSession, nextStamp, requireActive, requireParty, requirePartyNow } from "../model/session/session.js";
import {
  isWork,
  messageNotice,
  messagesAfter,
  mostPayloadBytes,
  payloadJson,
  requireMessageType,
  sessionMessage,
  sessionMessageJson,
} from "../model/session/session-messages.js";
import { tellLimit, toldOf } from "../model/session/spending-limit.js";
import { storePayload } from "../model/session/stored-payloads.js";

/** Blocked messages of a session that are kept whole. */
export const mostBlocked = 200;
const mostMessages = 1_000;
const mostMentions = 100;
/** With as much of payloads a list ends early: a thousand of the largest would be 256 MiB. */
export const enoughBytes = 4 * 1_024 * 1_024;
/** Over which the rates of grants count. */
const rateWindowMs = 60_000;
/** How much of batches is read to count their parts. What is beyond it is not counted but refused. */
const mostBatchBytes = 1_024 * 1_024;
const tooManyBatches: GatewayRefusal = {
  category: "rate_limit",
  reason: "The batches of the last minute are too large to be counted",
};

/**
 * Keeps what the gateway stopped. The first ones of a session are kept whole; of those that come after, which could
 * otherwise push the first ones out, the last one kept has the count.
 */
async function keepBlocked(ctx: UserMutation, blocked: BlockedMessagesTable): Promise<void> {
  const kept = await ctx.db
    .selectFrom("blockedMessages")
    .select("messageId")
    .where("sessionId", "=", blocked.sessionId)
    .orderBy("createdAt")
    .limit(mostBlocked)
    .execute();
  if (kept.length < mostBlocked) {
    await ctx.db.insertInto("blockedMessages").values(blocked).execute();
    return;
  }
  await ctx.db
    .updateTable("blockedMessages")
    .set({ furtherBlocked: sql<number>`"furtherBlocked" + 1` })
    .where("messageId", "=", kept.at(-1)?.messageId ?? "")
    .execute();
}

const oldestFirst = cursorsOf("sessions:listMessages", { createdAt: "integer" });

/** The session's messages from both sides, oldest first (clawrent.md section 2.6). */
export const listMessages = query({
  summary: "A session's messages after an instant, oldest first",
  auth: "user",
  args: {
    sessionId: id,
    since: z.iso.datetime({ offset: true, error: "must be an ISO 8601 time" }).nullish(),
    limit: limitOf(mostMessages, mostMessages),
    cursor,
  },
  returns: z.object({
    data: z.array(sessionMessage),
    total: z.number(),
    limit: z.number(),
    nextCursor: z.string().nullable(),
  }),
  handler: async (ctx, args) => {
    const { session } = await requireParty(ctx, args.sessionId);
    const { sessionId } = session;
    const since = args.since == null ? -1 : Date.parse(args.since);
    const { total } = await ctx.db
      .selectFrom("sessionMessages")
      .select(({ fn }) => fn.countAll<number>().as("total"))
      .where("sessionId", "=", sessionId)
      .where("createdAt", ">", since)
      .executeTakeFirstOrThrow();

    const messages: string[] = [];
    let bytes = 0;
    const cursors = oldestFirst.under(ctx, { sessionId, since: args.since });
    let after = cursors.read(args.cursor)?.createdAt ?? since;
    let more = true;
    while (more && messages.length < args.limit && bytes < enoughBytes) {
      // However large they are, no more than what is still missing and one message.
      const atOnce = Math.min(args.limit - messages.length, Math.ceil((enoughBytes - bytes) / mostPayloadBytes));
      const { rows } = await messagesAfter(ctx, { sessionId, after, atOnce });
      for (const row of rows) bytes += Buffer.byteLength(row.payload);
      messages.push(...rows.map(sessionMessageJson));
      after = rows.at(-1)?.createdAt ?? after;
      more = rows.length === atOnce;
    }
    const isMore = more && (await messagesAfter(ctx, { sessionId, after, atOnce: 1 })).rows.length > 0;
    const nextCursor = isMore ? cursors.at({ createdAt: after }) : null;
    return new JsonText(
      `{"data":[${messages.join(",")}],"total":${total},"limit":${args.limit},"nextCursor":${JSON.stringify(nextCursor)}}`,
      "callers'",
    );
  },
});

const slot = z.number().int().min(0).max(99);

/**
 * Sends a message to the other side (clawrent.md section 4.6): stamped, stored and handed to the sockets in one order,
 * whichever way it came. What the gateway stops is kept for audit, and the other side never sees it.
 */
export const sendMessage = mutation({
  summary: "Sends a message to the other side of a session",
  auth: "user",
  args: {
    sessionId: id,
    /** The sender's own id of the message: sent again under it, it is the same message. */
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
    const recent = needsRecent(checked) ? await recentInstructions(ctx, sessionId) : [];
    const stopped = recent ? checkMessage({ ...checked, recent }) : tooManyBatches;
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

/** Who the message is from, which is what the server knows and never what the client wrote. */
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

const instructionsSince = prepared(["sessionId", "since"], (db, { sessionId, since }) =>
  db
    .selectFrom("sessionMessages")
    .select(["type", sql<string | null>`case when type = 'instruction.batch' then payload end`.as("payload")])
    .where("sessionId", "=", sessionId)
    .where("createdAt", ">", since)
    .where("senderSide", "=", "provider")
    .where("type", "like", "instruction.%"),
);

const batchBytesSince = prepared(["sessionId", "since"], (db, { sessionId, since }) =>
  db
    .selectFrom("sessionMessages")
    .select(sql<number | null>`sum(octet_length(payload))`.as("bytes"))
    .where("sessionId", "=", sessionId)
    .where("createdAt", ">", since)
    .where("senderSide", "=", "provider")
    .where("type", "=", "instruction.batch"),
);

/** What of the provider's counts against a rate of the consumer's grants; undefined where that is too much to read. */
async function recentInstructions(ctx: UserMutation, sessionId: string): Promise<SentInstruction[] | undefined> {
  const window = { sessionId, since: ctx.now - rateWindowMs };
  const [batches] = (await batchBytesSince(ctx, window)).rows;
  if (Number(batches?.bytes) > mostBatchBytes) return undefined;
  const { rows } = await instructionsSince(ctx, window);
  return rows.map(({ type, payload }) => ({ type, payload: payload === null ? {} : JSON.parse(payload) }));
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

/** A socket of a side that is open now; with a slot, one of that slot. */
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
