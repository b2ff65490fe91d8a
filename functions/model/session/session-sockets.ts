/** The sockets of a session, as rows: each process writes those that it holds (functions/system/joins.ts). */
import type { SenderNotice } from "../../../runtime/notices.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { SessionParticipantsTable } from "../../../schema/sessions.js";

/** The sockets that are open in a session, the oldest first, each with its participant. */
export const socketsOfSession = prepared(["sessionId"], (db, { sessionId }) =>
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

/** A participant, as notices name it: with a slot on the consumer's side. */
export function senderNotice(
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
