/**
 * Who has left a session and may come back. Each absence is a row that says when the others are to be told (clawrent.md
 * section 4.3): if the process dies, another one tells them.
 */
import type { MutationContext } from "../../../runtime/context.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { SessionAbsencesTable } from "../../../schema/sessions.js";

/**
 * After how long the others hear that somebody without a socket is disconnected, and how much later that they are
 * offline.
 */
const disconnectedAfterMs = 5_000;
export const offlineAfterMs = 55_000;

type Absent = Pick<SessionAbsencesTable, "sessionId" | "participantId" | "slotIndex">;

const socketOf = prepared(["sessionId", "participantId", "slotIndex"], (db, { sessionId, participantId, slotIndex }) =>
  db
    .selectFrom("sessionSockets")
    .select("socketId")
    .where("sessionId", "=", sessionId)
    .where("participantId", "=", participantId)
    .where("slotIndex", "=", slotIndex)
    .limit(1),
);

/** Notes that somebody's socket is gone. Returns when the others will be told; null if another of theirs is open. */
export async function noteAbsence(ctx: MutationContext, absent: Absent): Promise<number | null> {
  const { sessionId, participantId, slotIndex } = absent;
  const { rows: stays } = await socketOf(ctx, { sessionId, participantId, slotIndex });
  if (stays.length > 0) return null;
  await forgetAbsence(ctx, absent);
  const dueAt = ctx.now + disconnectedAfterMs;
  await ctx.db
    .insertInto("sessionAbsences")
    .values({ sessionId, participantId, slotIndex, next: "disconnected", dueAt })
    .execute();
  return dueAt;
}

export async function forgetAbsence(ctx: MutationContext, absent: Absent): Promise<void> {
  const { sessionId, participantId, slotIndex } = absent;
  await ctx.db
    .deleteFrom("sessionAbsences")
    .where("sessionId", "=", sessionId)
    .where("participantId", "=", participantId)
    .where("slotIndex", "=", slotIndex)
    .execute();
}
