/**
 * What a session's sockets have missed, and how far its participants are known to have read (clawrent.md section 4.6).
 */
import { type Expression, sql } from "kysely";
import { systemMutation, systemQuery } from "../../runtime/call/define.js";
import type { MessageNotice, SenderNotice } from "../../runtime/notices.js";
import { prepared } from "../../runtime/store/prepared.js";
import type { SessionAbsencesTable } from "../../schema/sessions.js";
import { findParticipant, listParticipants } from "../model/session/participants.js";
import { closeReasonOf, findSession } from "../model/session/session.js";
import { messageNotice, messagesAfter } from "../model/session/session-messages.js";
import { senderNotice, socketsOfSession } from "../model/session/session-sockets.js";

/** Stands for the slot of the provider, who has none and gets the messages to any slot. */
const everySlot = -1;

function isForSlot(slotIndex: Expression<number>) {
  return sql<boolean>`("targetSlot" is null or "targetSlot" = ${slotIndex} or cast(${slotIndex} as integer) = ${sql.lit(everySlot)})`;
}

const messageAt = prepared(["sessionId", "stamp"], (db, { sessionId, stamp }) =>
  db.selectFrom("sessionMessages").selectAll().where("sessionId", "=", sessionId).where("createdAt", "=", stamp),
);

/** A message that was too long for a notice. */
export const readMessage = systemQuery(
  "replay.readMessage",
  async (ctx, args: { sessionId: string; stamp: number }): Promise<MessageNotice | null> => {
    const { rows } = await messageAt(ctx, args);
    return rows[0] ? messageNotice(rows[0]) : null;
  },
);

/** The present state of a session, for sockets whose notices of it may have been lost. */
export interface SessionState {
  messages: MessageNotice[];
  /** Nothing is missing up to this stamp. */
  upTo: number;
  more: boolean;
  /** If it is over: the reason with which its sockets close. */
  ended: { reason: string; closeReason: string; stamp: number } | null;
  sockets: { socketId: string; channel: "session" | "group"; participant: SenderNotice }[];
  /** Participants who are away, with what the others will hear of them next. */
  absences: Pick<SessionAbsencesTable, "participantId" | "slotIndex" | "next">[];
  paused: string[];
}

/** Reads what the notices after a stamp would have said, a part at a time, each in one snapshot. */
export const recheckSession = systemQuery(
  "replay.recheckSession",
  async (
    ctx,
    { sessionId, after, atOnce }: { sessionId: string; after: number; atOnce: number },
  ): Promise<SessionState | null> => {
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
        participant: senderNotice(socket, socket.slotIndex),
      })),
      absences,
      paused: participants.flatMap(({ participantId, pausedAt }) => (pausedAt === null ? [] : [participantId])),
    };
  },
);

/** Messages that are for a participant: not its own, and none to another slot than its own. */
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

interface Backlog {
  sessionId: string;
  participant: SenderNotice;
  after: number;
  upTo: number;
  atOnce: number;
}

/** The next messages for a participant after a stamp and up to another, oldest first (section 4.6, replay). */
export const listBacklog = systemQuery(
  "replay.listBacklog",
  async (ctx, { sessionId, participant, after, upTo, atOnce }: Backlog): Promise<MessageNotice[]> => {
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
);

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

interface Confirmation {
  sessionId: string;
  participant: SenderNotice;
  upTo: number;
}

/** Remembers how far participants are known to have read, so that they do not get it again. */
export const confirmDelivered = systemMutation(
  "replay.confirmDelivered",
  async (ctx, { confirmations }: { confirmations: readonly Confirmation[] }) => {
    for (const { sessionId, participant, upTo } of confirmations) {
      const { participantId, slotIndex } = participant;
      const before = await findParticipant(ctx, sessionId, participantId);
      if (!before || before.confirmedAt >= upTo) continue;
      const { confirmedAt: after } = before;
      await writeDelivered(ctx, { sessionId, participantId, after, upTo, slotIndex: slotIndex ?? everySlot });
      await writeConfirmed(ctx, { sessionId, participantId, upTo });
    }
  },
);
