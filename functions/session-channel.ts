/**
 * A session as its sockets live it: who comes in by `/ws/session` and `/ws/group`, what they missed, who is there, who
 * left, and what nobody keeps (clawrent.md sections 4.3, 4.4 and 4.6). Not callable from outside: the sockets' adapter
 * runs these. Everything that they tell is stamped here, in the transaction, so that it has its place in the one order
 * of the session.
 */
import { type Expression, sql } from "kysely";
import { z } from "zod";
import type { MutationContext } from "../runtime/context.js";
import { mutation, query } from "../runtime/define.js";
import { sizes } from "../runtime/limits.js";
import type { MessageNotice, SenderNotice } from "../runtime/notices.js";
import { prepared } from "../runtime/prepared.js";
import { type SessionParticipantsTable, type SessionsTable, sides } from "../schema/sessions.js";
import { isoTime } from "../schema/values.js";
import { findParticipant } from "./model/participants.js";
import { activateSession, catchUp, findSession, stampSession } from "./model/session.js";
import { messageNotice } from "./model/session-messages.js";
import { sideOfToken } from "./model/session-token.js";
import { lapseOfAgent, standingOfUser } from "./model/standing.js";

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
 * A socket of one side, by the session token (section 4.3). The provider's token is the provider's whatever role it
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
    const admitted = await admit(ctx, session, side);
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

/** A socket of one participant, by its agent's token or its own JWT (section 4.4). */
export const joinGroup = mutation({
  summary: "Lets a participant's socket into a session",
  auth: "system",
  args: {
    ...newcomer,
    /** The agent, and the hash of the token that it came with; or else the user. */
    agentId: z.string().nullable(),
    secretHash: z.string(),
    userId: z.string().nullable(),
  },
  returns: refusal,
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, { sessionId, socketId, processId, agentId, secretHash, userId }) => {
    const lapse = agentId === null ? undefined : await lapseOfAgent(ctx, agentId, secretHash);
    if (lapse) return lapse;
    const session = await findSession(ctx, sessionId);
    if (!session) return "unknown";
    const participant = await findParticipant(ctx, sessionId, agentId ?? userId ?? "");
    if (!participant) return "notParticipant";
    const admitted = await admit(ctx, session, participant.side);
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
 * stopped it: a host that decides for itself is documented to approve, but only connects. Its user's standing is asked
 * before, because a session token outlives a suspension, and a refusal here keeps what was written.
 */
async function admit(
  ctx: MutationContext,
  session: SessionsTable,
  side: "provider" | "consumer",
): Promise<{ refusal: JoinRefusal } | { email: string }> {
  const userId = side === "provider" ? session.providerUserId : session.consumerUserId;
  const { email, lapse } = await standingOfUser(ctx, userId);
  if (lapse) return { refusal: lapse };
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
  const first = await stampSession(ctx, session, 1 + others.size);
  const self = asSender(participant, slotIndex ?? 0);
  ctx.notify({
    kind: "sessionJoined",
    sessionId,
    socketId,
    joined: {
      participant: self,
      email,
      stamp: first,
      // A consumer reads its history over REST: what it is sent first, some clients take for the answer (rule 12).
      confirmedAt: side === "provider" || channel === "group" ? participant.confirmedAt : null,
      present: [...others.values()].map((other, index) => ({ participant: other, stamp: first + 1 + index })),
    },
  });
  ctx.notify({ kind: "sessionPeer", sessionId, change: "connected", participant: self, last: false, stamp: first });
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

/** A socket is gone. Says who went with it: nobody where it was replaced, or where another of the same is open. */
export const leave = mutation({
  summary: "A socket of a session is gone",
  auth: "system",
  args: { sessionId: z.string(), socketId: z.string() },
  returns: z.object({ departed: z.object({ participantId: z.string(), slotIndex: z.number() }).nullable() }),
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, { sessionId, socketId }) => {
    const gone = await ctx.db
      .deleteFrom("sessionSockets")
      .where("socketId", "=", socketId)
      .returning(["participantId", "slotIndex"])
      .executeTakeFirst();
    if (!gone) return { departed: null };
    const { rows: open } = await socketsOfSession(ctx, { sessionId });
    const stays = open.some((it) => it.participantId === gone.participantId && it.slotIndex === gone.slotIndex);
    return { departed: stays ? null : gone };
  },
});

/**
 * Tells the others that somebody is away, if that is still so: `disconnected` after a while that a reconnect does not
 * take, `offline` after a longer one. Says whether they are.
 */
export const announceAway = mutation({
  summary: "Tells a session that somebody is away",
  auth: "system",
  args: {
    sessionId: z.string(),
    participantId: z.string(),
    slotIndex: z.number(),
    change: z.enum(["disconnected", "offline"]),
  },
  returns: z.object({ away: z.boolean() }),
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, { sessionId, participantId, slotIndex, change }) => {
    const session = await findSession(ctx, sessionId);
    const participant = await findParticipant(ctx, sessionId, participantId);
    if (session?.status !== "active" || !participant) return { away: false };
    const { rows: open } = await socketsOfSession(ctx, { sessionId });
    const inSlot = open.filter((it) => it.side === participant.side && it.slotIndex === slotIndex);
    if (inSlot.some((it) => it.participantId === participantId)) return { away: false };

    ctx.notify({
      kind: "sessionPeer",
      sessionId,
      change,
      participant: asSender(participant, slotIndex),
      last: inSlot.length === 0,
      stamp: await stampSession(ctx, session),
    });
    return { away: true };
  },
});

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
    const stamp = await stampSession(ctx, session);
    ctx.notify({ kind: "sessionTyping", sessionId: session.sessionId, sender: args.sender, stamp });
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
    type: z.enum(["system.error", "system.blocked"]),
    payload: z.record(z.string(), z.unknown()),
  },
  returns: z.null(),
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, { sessionId, socketId, type, payload }) => {
    const session = await findSession(ctx, sessionId);
    if (session?.status !== "active") return null;
    const stamp = await stampSession(ctx, session);
    const timed = type === "system.blocked" ? { ...payload, timestamp: isoTime(stamp) } : payload;
    ctx.notify({ kind: "sessionReply", sessionId, socketId, type, payload: timed, stamp });
    return null;
  },
});

/** Stands for the slot of whoever has none and gets what is for any: the provider. */
const everySlot = -1;

function isForSlot(slotIndex: Expression<number>) {
  return sql<boolean>`("targetSlot" is null or "targetSlot" = ${slotIndex} or cast(${slotIndex} as integer) = ${sql.lit(everySlot)})`;
}

/** Messages that are for a participant: everybody's but its own, and of those to one slot only its slot's. */
const messagesFor = prepared(
  ["sessionId", "participantId", "after", "slotIndex", "atOnce"],
  (db, { sessionId, participantId, after, slotIndex, atOnce }) =>
    db
      .selectFrom("sessionMessages")
      .selectAll()
      .where("sessionId", "=", sessionId)
      .where("createdAt", ">", after)
      .where("senderParticipantId", "<>", participantId)
      .where(isForSlot(slotIndex))
      .orderBy("createdAt")
      .limit(atOnce),
);

/** The next messages for a participant after a stamp, oldest first (section 4.6, replay). */
export const listBacklog = query({
  summary: "What a participant of a session has not had yet",
  auth: "system",
  args: { sessionId: z.string(), participant: sender, after: z.number(), atOnce: z.number() },
  returns: z.custom<MessageNotice[]>(),
  handler: async (ctx, { sessionId, participant, after, atOnce }) => {
    const { participantId, slotIndex } = participant;
    const { rows } = await messagesFor(ctx, {
      sessionId,
      participantId,
      after,
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
