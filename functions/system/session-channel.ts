/**
 * A session as its sockets live it: who comes in by `/ws/session` and `/ws/group`, what they missed, who is there, who
 * left, and what nobody keeps (clawrent.md sections 4.3, 4.4 and 4.6). Not callable from outside: the sockets' adapter
 * runs these. Everything that they tell is stamped here, in the transaction, so that it has its place in the one order
 * of the session.
 */
import { type Expression, sql } from "kysely";
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import type { MutationContext } from "../../runtime/context.js";
import { sizes } from "../../runtime/limits.js";
import type { MessageNotice, SenderNotice } from "../../runtime/notices.js";
import { prepared } from "../../runtime/store/prepared.js";
import {
  type SessionAbsencesTable,
  type SessionParticipantsTable,
  type SessionsTable,
  sides,
} from "../../schema/sessions.js";
import { isoTime } from "../../schema/values.js";
import { requireRegistered } from "../model/server-processes.js";
import { findParticipant, listParticipants } from "../model/session/participants.js";
import { activateSession, catchUp, closeReasonOf, findSession, stampSession } from "../model/session/session.js";
import { forgetAbsence, noteAbsence, offlineAfterMs } from "../model/session/session-absences.js";
import { messageNotice, messagesAfter } from "../model/session/session-messages.js";
import { credentialNamedBy, sideOfToken } from "../model/session/session-token.js";
import { lapseOf, type Opener, standingOfUser } from "../model/standing.js";

/** Why a socket does not come in. */
export const joinRefusals = [
  "unknown",
  "notActive",
  "noSuchSlot",
  "slotFull",
  "notParticipant",
  "paused",
  "revoked",
  "suspended",
] as const;
export type JoinRefusal = (typeof joinRefusals)[number];

/** Null where the socket is in: a `sessionJoined` notice has said so, at its place among the session's notices. */
const refusal = z.enum(joinRefusals).nullable();

const sender = z.object({
  participantId: z.string(),
  side: z.enum(sides),
  userId: z.string(),
  agentId: z.string().nullable(),
  slotIndex: z.number().nullable(),
});

/** The socket that wants to come in. */
const newcomer = { sessionId: z.string(), socketId: z.string(), processId: z.string() };

/**
 * A socket of one side, by the session token (section 4.3), for as long as the credential stands that obtained the token.
 * The provider's token is the provider's whatever role it
 * names, because a client without a user id calls itself consumer; the consumer's token never opens the other side.
 */
export const joinSession = mutation({
  summary: "Lets a socket into one side of a session",
  auth: "system",
  args: { ...newcomer, token: z.string(), role: z.enum(sides), slotIndex: z.number().nullable() },
  returns: refusal,
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, { sessionId, socketId, processId, token, role, slotIndex }) => {
    const side = sideOfToken(ctx, sessionId, token);
    const session = await findSession(ctx, sessionId);
    if (!session || !side || (side === "consumer" && role === "provider")) return "unknown";
    const userId = side === "provider" ? session.providerUserId : session.consumerUserId;
    const credentialId = credentialNamedBy(token);
    const admitted = await admit(ctx, session, side, { credentialId, agentId: null, userId });
    if ("refusal" in admitted) return admitted.refusal;
    const isConsumer = side === "consumer";
    if (isConsumer && !(slotIndex !== null && slotIndex >= 0 && slotIndex < session.maxSlots)) return "noSuchSlot";

    const participantId = isConsumer ? session.consumerUserId : session.providerAgentId;
    return enter(ctx, session, participantId, {
      ...admitted,
      socketId,
      processId,
      channel: "session",
      slotIndex: isConsumer ? (slotIndex ?? 0) : null,
    });
  },
});

/** A socket of one participant, by its agent's token or its user's credential (section 4.4). */
export const joinGroup = mutation({
  summary: "Lets a participant's socket into a session",
  auth: "system",
  args: {
    ...newcomer,
    credentialId: z.string(),
    /** The agent whose credential it is; null for a user's. */
    agentId: z.string().nullable(),
    /** The user, or the agent's owner. */
    userId: z.string().nullable(),
  },
  returns: refusal,
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, { sessionId, socketId, processId, credentialId, agentId, userId }) => {
    const opener = { credentialId, agentId, userId };
    // First, so that a credential that has ended does not learn which sessions there are.
    const lapse = await lapseOf(ctx, opener);
    if (lapse) return lapse === "moved" ? "revoked" : lapse;
    const session = await findSession(ctx, sessionId);
    if (!session) return "unknown";
    const participant = await findParticipant(ctx, sessionId, agentId ?? userId ?? "");
    if (!participant) return "notParticipant";
    const admitted = await admit(ctx, session, participant.side, opener);
    if ("refusal" in admitted) return admitted.refusal;

    return enter(ctx, session, participant.participantId, {
      ...admitted,
      socketId,
      processId,
      channel: "group",
      slotIndex: participant.side === "consumer" ? 0 : null,
    });
  },
});

/**
 * Whether the side may come in now. A provider that comes to a pending session approves it by that, unless the guardrail
 * stopped it: a host that decides for itself is documented to approve, but only connects. What it came with is looked at
 * before, since that may have ended, or its user be suspended, and a refusal here keeps what was written.
 */
async function admit(
  ctx: MutationContext,
  session: SessionsTable,
  side: "provider" | "consumer",
  opener: Opener,
): Promise<{ refusal: JoinRefusal } | { email: string }> {
  const userId = side === "provider" ? session.providerUserId : session.consumerUserId;
  const { email, lapse: lapseOfUser } = await standingOfUser(ctx, userId);
  const lapse = lapseOfUser ?? (await lapseOf(ctx, opener));
  if (lapse) return { refusal: lapse === "moved" ? "revoked" : lapse };
  await catchUp(ctx, session);
  if (side === "provider" && session.status === "pending_approval" && session.needsManualReview === 0) {
    await activateSession(ctx, session);
  }
  return session.status === "active" ? { email } : { refusal: "notActive" };
}

/** What a new socket's row says beyond its session and participant. */
interface Entry {
  /** Of its user. */
  email: string;
  socketId: string;
  processId: string;
  channel: "session" | "group";
  /** Null for the provider. */
  slotIndex: number | null;
}

const socketsOfSession = prepared(["sessionId"], (db, { sessionId }) =>
  db
    .selectFrom("sessionSockets")
    .innerJoin("sessionParticipants", (join) =>
      join
        .onRef("sessionParticipants.sessionId", "=", "sessionSockets.sessionId")
        .onRef("sessionParticipants.participantId", "=", "sessionSockets.participantId"),
    )
    .select([
      "sessionSockets.socketId",
      "sessionSockets.channel",
      "sessionSockets.side",
      "sessionSockets.slotIndex",
      "sessionSockets.participantId",
      "sessionParticipants.userId",
      "sessionParticipants.agentId",
    ])
    .where("sessionSockets.sessionId", "=", sessionId)
    .orderBy("sessionSockets.connectedAt"),
);

async function enter(
  ctx: MutationContext,
  session: SessionsTable,
  participantId: string,
  { email, socketId, processId, channel, slotIndex }: Entry,
): Promise<JoinRefusal | null> {
  const { sessionId } = session;
  const participant = await findParticipant(ctx, sessionId, participantId);
  if (!participant) return "notParticipant";
  if (participant.pausedAt !== null) return "paused";
  await requireRegistered(ctx, processId);

  const { side } = participant;
  const { rows: open } = await socketsOfSession(ctx, { sessionId });
  const mine = open.filter((socket) => socket.participantId === participantId);
  const inSlot = mine.filter((socket) => socket.channel === "session" && socket.slotIndex === (slotIndex ?? 0));
  if (side === "consumer" && channel === "session" && inSlot.length >= sizes.socketsPerSlot) return "slotFull";
  // The provider has one socket, whichever way it came; on the group channel everybody has one. The newest wins.
  const replaced = side === "provider" ? mine : channel === "group" ? mine.filter((it) => it.channel === "group") : [];
  for (const older of replaced) {
    await ctx.db.deleteFrom("sessionSockets").where("socketId", "=", older.socketId).execute();
    ctx.notify({ kind: "socketReplaced", socketId: older.socketId });
  }
  await ctx.db
    .insertInto("sessionSockets")
    .values({
      socketId,
      sessionId,
      participantId,
      side,
      slotIndex: slotIndex ?? 0,
      channel,
      processId,
      connectedAt: ctx.now,
    })
    .execute();

  const others = new Map<string, SenderNotice>();
  for (const other of open) {
    if (other.participantId === participantId || (channel === "session" && other.side === side)) continue;
    others.set(`${other.participantId} ${other.slotIndex}`, asSender(other, other.slotIndex));
  }
  await forgetAbsence(ctx, { sessionId, participantId, slotIndex: slotIndex ?? 0 });
  const place = await stampSession(ctx, session, 1 + others.size);
  ctx.notify({
    kind: "sessionJoined",
    ...place,
    upTo: place.stamp + others.size,
    socketId,
    participant: asSender(participant, slotIndex ?? 0),
    joined: {
      email,
      // A consumer reads its history over REST: what it is sent first, some clients take for the answer (rule 12).
      confirmedAt: side === "provider" || channel === "group" ? participant.confirmedAt : null,
      present: [...others.values()].map((other, index) => ({ participant: other, stamp: place.stamp + 1 + index })),
    },
  });
  return null;
}

function asSender(
  {
    participantId,
    side,
    userId,
    agentId,
  }: Pick<SessionParticipantsTable, "participantId" | "side" | "userId" | "agentId">,
  slotIndex: number,
): SenderNotice {
  return { participantId, side, userId, agentId, slotIndex: side === "consumer" ? slotIndex : null };
}

/** A socket is gone. Says when somebody is to be told so: never where it was replaced, or another of the same is open. */
export const leave = mutation({
  summary: "A socket of a session is gone",
  auth: "system",
  args: { sessionId: z.string(), socketId: z.string() },
  returns: z.object({ tellAt: z.number().nullable() }),
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, { socketId }) => {
    const gone = await ctx.db
      .deleteFrom("sessionSockets")
      .where("socketId", "=", socketId)
      .returning(["sessionId", "participantId", "slotIndex"])
      .executeTakeFirst();
    return { tellAt: gone ? await noteAbsence(ctx, gone) : null };
  },
});

/** How many absences one transaction tells of: each may lose to the messages of its session. */
const absencesAtOnce = 20;

/**
 * Tells sessions who is away, where that is due and still so: `disconnected` after a while that a reconnect does not
 * take, `offline` after a longer one. Rows and not timers know of it, so it does not end with the process that saw the
 * socket go.
 */
export const announceAbsences = mutation({
  summary: "Tells sessions who is away",
  auth: "system",
  args: {},
  returns: z.object({ more: z.boolean(), nextDeadlineAt: z.number().nullable() }),
  handler: async (ctx) => {
    const due = await ctx.db
      .selectFrom("sessionAbsences")
      .selectAll()
      .where("dueAt", "<=", ctx.now)
      .orderBy("dueAt")
      .limit(absencesAtOnce)
      .execute();
    for (const absence of due) {
      await forgetAbsence(ctx, absence);
      const { sessionId, participantId, slotIndex, next, dueAt } = absence;
      if (!(await announceAway(ctx, absence)) || next === "offline") continue;
      const later = { sessionId, participantId, slotIndex, next: "offline" as const, dueAt: dueAt + offlineAfterMs };
      await ctx.db.insertInto("sessionAbsences").values(later).execute();
    }
    const next = await ctx.db
      .selectFrom("sessionAbsences")
      .select("dueAt")
      .orderBy("dueAt")
      .limit(1)
      .executeTakeFirst();
    return { more: due.length === absencesAtOnce, nextDeadlineAt: next?.dueAt ?? null };
  },
});

async function announceAway(ctx: MutationContext, absence: SessionAbsencesTable): Promise<boolean> {
  const { sessionId, participantId, slotIndex, next: change } = absence;
  const session = await findSession(ctx, sessionId);
  const participant = await findParticipant(ctx, sessionId, participantId);
  if (session?.status !== "active" || !participant) return false;
  const { rows: open } = await socketsOfSession(ctx, { sessionId });
  const inSlot = open.filter((it) => it.side === participant.side && it.slotIndex === slotIndex);
  if (inSlot.some((it) => it.participantId === participantId)) return false;

  ctx.notify({
    kind: "sessionPeer",
    ...(await stampSession(ctx, session)),
    change,
    participant: asSender(participant, slotIndex),
    last: inSlot.length === 0,
  });
  return true;
}

/** Somebody is typing: told, and not kept (section 4.3). It takes a stamp, because the clients' cursors see it too. */
export const typing = mutation({
  summary: "Tells a session that somebody is typing",
  auth: "system",
  args: { sessionId: z.string(), sender },
  returns: z.null(),
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, args) => {
    const session = await findSession(ctx, args.sessionId);
    if (session?.status !== "active") return null;
    const { rows: open } = await socketsOfSession(ctx, { sessionId: args.sessionId });
    // Where nobody hears it, it takes no stamp.
    if (open.every((socket) => socket.participantId === args.sender.participantId)) return null;
    ctx.notify({ kind: "sessionTyping", ...(await stampSession(ctx, session)), sender: args.sender });
    return null;
  },
});

/** Answers one socket: a refusal of what it sent, at its place among all that the socket gets (section 0, rule 8). */
export const reply = mutation({
  summary: "Answers one socket of a session",
  auth: "system",
  args: {
    sessionId: z.string(),
    socketId: z.string(),
    type: z.string(),
    payload: z.record(z.string(), z.unknown()),
    /** Whether the payload says when. */
    timed: z.boolean(),
  },
  returns: z.null(),
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, { sessionId, socketId, type, payload, timed }) => {
    const session = await findSession(ctx, sessionId);
    if (session?.status !== "active") return null;
    const place = await stampSession(ctx, session);
    const told = timed ? { ...payload, timestamp: isoTime(place.stamp) } : payload;
    ctx.notify({ kind: "sessionReply", ...place, socketId, type, payload: told });
    return null;
  },
});

/** Stands for the slot of whoever has none and gets what is for any: the provider. */
const everySlot = -1;

function isForSlot(slotIndex: Expression<number>) {
  return sql<boolean>`("targetSlot" is null or "targetSlot" = ${slotIndex} or cast(${slotIndex} as integer) = ${sql.lit(everySlot)})`;
}

const messageAt = prepared(["sessionId", "stamp"], (db, { sessionId, stamp }) =>
  db.selectFrom("sessionMessages").selectAll().where("sessionId", "=", sessionId).where("createdAt", "=", stamp),
);

/** A message that was too long for a notice. */
export const readMessage = query({
  summary: "A message of a session, by its stamp",
  auth: "system",
  args: { sessionId: z.string(), stamp: z.number() },
  returns: z.custom<MessageNotice | null>(),
  handler: async (ctx, args) => {
    const { rows } = await messageAt(ctx, args);
    return rows[0] ? messageNotice(rows[0]) : null;
  },
});

/** What a session has come to, for sockets whose notices of it may have been lost. */
export interface Review {
  messages: MessageNotice[];
  /** Nothing is missing up to this stamp. */
  upTo: number;
  more: boolean;
  /** With what its sockets close, where it is over. */
  ended: { reason: string; closeReason: string; stamp: number } | null;
  sockets: { socketId: string; channel: "session" | "group"; participant: SenderNotice }[];
  /** Those who are to be told to be something later. */
  absences: Pick<SessionAbsencesTable, "participantId" | "slotIndex" | "next">[];
  paused: string[];
}

/** Reads again what notices would have said after a stamp, in one snapshot and a part at a time. */
export const reviewSession = query({
  summary: "What has come of a session after a stamp",
  auth: "system",
  args: { sessionId: z.string(), after: z.number(), atOnce: z.number() },
  returns: z.custom<Review | null>(),
  handler: async (ctx, { sessionId, after, atOnce }): Promise<Review | null> => {
    const session = await findSession(ctx, sessionId);
    if (!session) return null;
    const { rows } = await messagesAfter(ctx, { sessionId, after, atOnce });
    const { rows: open } = await socketsOfSession(ctx, { sessionId });
    const absences = await ctx.db
      .selectFrom("sessionAbsences")
      .select(["participantId", "slotIndex", "next"])
      .where("sessionId", "=", sessionId)
      .execute();
    const participants = await listParticipants(ctx, sessionId);
    const more = rows.length === atOnce;
    const { lastStampAt, status, endReason } = session;
    const reason = endReason ?? "completed";
    return {
      messages: rows.map(messageNotice),
      upTo: more ? (rows.at(-1)?.createdAt ?? lastStampAt) : lastStampAt,
      more,
      ended: status === "active" ? null : { reason, closeReason: closeReasonOf(reason), stamp: lastStampAt },
      sockets: open.map((socket) => ({
        socketId: socket.socketId,
        channel: socket.channel,
        participant: asSender(socket, socket.slotIndex),
      })),
      absences,
      paused: participants.flatMap(({ participantId, pausedAt }) => (pausedAt === null ? [] : [participantId])),
    };
  },
});

/** Messages that are for a participant: everybody's but its own, and of those to one slot only its slot's. */
const messagesFor = prepared(
  ["sessionId", "participantId", "after", "upTo", "slotIndex", "atOnce"],
  (db, { sessionId, participantId, after, upTo, slotIndex, atOnce }) =>
    db
      .selectFrom("sessionMessages")
      .selectAll()
      .where("sessionId", "=", sessionId)
      .where("createdAt", ">", after)
      .where("createdAt", "<=", upTo)
      .where("senderParticipantId", "<>", participantId)
      .where(isForSlot(slotIndex))
      .orderBy("createdAt")
      .limit(atOnce),
);

/** The next messages for a participant after a stamp and up to another, oldest first (section 4.6, replay). */
export const listBacklog = query({
  summary: "What a participant of a session has not had yet",
  auth: "system",
  args: { sessionId: z.string(), participant: sender, after: z.number(), upTo: z.number(), atOnce: z.number() },
  returns: z.custom<MessageNotice[]>(),
  handler: async (ctx, { sessionId, participant, after, upTo, atOnce }) => {
    const { participantId, slotIndex } = participant;
    const { rows } = await messagesFor(ctx, {
      sessionId,
      participantId,
      after,
      upTo,
      slotIndex: slotIndex ?? everySlot,
      atOnce,
    });
    return rows.map(messageNotice);
  },
});

const writeConfirmed = prepared(["sessionId", "participantId", "upTo"], (db, { sessionId, participantId, upTo }) =>
  db
    .updateTable("sessionParticipants")
    .set({ confirmedAt: upTo })
    .where("sessionId", "=", sessionId)
    .where("participantId", "=", participantId)
    .where("confirmedAt", "<", upTo),
);

const writeDelivered = prepared(
  ["sessionId", "participantId", "after", "upTo", "slotIndex"],
  (db, { sessionId, participantId, after, upTo, slotIndex }) =>
    db
      .updateTable("sessionMessages")
      .set({ delivered: 1 })
      .where("sessionId", "=", sessionId)
      .where("createdAt", ">", after)
      .where("createdAt", "<=", upTo)
      .where("senderParticipantId", "<>", participantId)
      .where(isForSlot(slotIndex))
      .where("delivered", "=", 0),
);

/** Remembers how far participants are known to have read, so that they do not get it again. */
export const confirmDelivered = mutation({
  summary: "Remembers how far participants have read",
  auth: "system",
  args: { confirmations: z.array(z.object({ sessionId: z.string(), participant: sender, upTo: z.number() })) },
  returns: z.null(),
  handler: async (ctx, { confirmations }) => {
    for (const { sessionId, participant, upTo } of confirmations) {
      const { participantId, slotIndex } = participant;
      const before = await findParticipant(ctx, sessionId, participantId);
      if (!before || before.confirmedAt >= upTo) continue;
      const { confirmedAt: after } = before;
      await writeDelivered(ctx, { sessionId, participantId, after, upTo, slotIndex: slotIndex ?? everySlot });
      await writeConfirmed(ctx, { sessionId, participantId, upTo });
    }
    return null;
  },
});
