/** Tells the sessions who is away (clawrent.md section 4.3). */
import { systemMutation } from "../../runtime/call/define.js";
import type { MutationContext } from "../../runtime/context.js";
import type { SessionAbsencesTable } from "../../schema/sessions.js";
import { findParticipant } from "../model/session/participants.js";
import { findSession, stampSession } from "../model/session/session.js";
import { forgetAbsence, offlineAfterMs } from "../model/session/session-absences.js";
import { senderNotice, socketsOfSession } from "../model/session/session-sockets.js";

/** How many absences one transaction announces: each may conflict with the messages of its session. */
const absencesAtOnce = 20;

/**
 * Tells sessions who is away, where that is due and still true: `disconnected` after longer than a reconnect takes,
 * `offline` after a longer while. It is kept in rows and not in timers, so it survives the process that saw the socket
 * go.
 */
export const announceAbsences = systemMutation("absences.announce", async (ctx) => {
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
  const next = await ctx.db.selectFrom("sessionAbsences").select("dueAt").orderBy("dueAt").limit(1).executeTakeFirst();
  return { more: due.length === absencesAtOnce, nextDeadlineAt: next?.dueAt ?? null };
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
    participant: senderNotice(participant, slotIndex),
    last: inSlot.length === 0,
  });
  return true;
}
