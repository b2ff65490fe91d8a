/** Setting a participant of a session aside for a while, and letting it back (clawrent.md section 8.3). */
import { z } from "zod";
import { mutation } from "../../runtime/call/define.js";
import type { UserMutation } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { type SessionParticipantsTable, sides } from "../../schema/sessions.js";
import { id, isoTimeOrNull } from "../../schema/values.js";
import { requireParticipant } from "../model/session/participants.js";
import { requireActive, requirePartyNow } from "../model/session/session.js";

const args = { sessionId: id, participantId: id };

const participantView = z.object({
  sessionId: z.string(),
  participantId: z.string(),
  participantType: z.enum(["agent", "user"]),
  side: z.enum(sides),
  userId: z.string(),
  agentId: z.string().nullable(),
  pausedAt: z.string().nullable(),
});

/** Closes the participant's sockets and keeps it out. Messages to it are stored; it cannot send. */
export const pauseParticipant = mutation({
  summary: "Sets a participant of your session aside",
  auth: "user",
  args,
  returns: participantView,
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, { sessionId, participantId }) => {
    const participant = await requirePausable(ctx, sessionId, participantId);
    if (participant.pausedAt !== null) return view(participant);
    await setPaused(ctx, participant, ctx.now);
    ctx.notify({ kind: "participantPaused", sessionId, participantId });
    return view(participant);
  },
});

/** Lets a paused participant back; it connects again and gets what it missed. */
export const resumeParticipant = mutation({
  summary: "Lets a paused participant back into your session",
  auth: "user",
  args,
  returns: participantView,
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, { sessionId, participantId }) => {
    const participant = await requirePausable(ctx, sessionId, participantId);
    if (participant.pausedAt === null) return view(participant);
    await setPaused(ctx, participant, null);
    ctx.notify({ kind: "participantResumed", sessionId, participantId, agentId: participant.agentId });
    return view(participant);
  },
});

/** Refuses everybody but the consumer of the active session, who decides about all its participants. */
async function requirePausable(ctx: UserMutation, sessionId: string, participantId: string) {
  const { session, side } = await requirePartyNow(ctx, sessionId);
  if (side !== "consumer") throw new CallError("forbidden", "Not authorized for this action");
  requireActive(session);
  return requireParticipant(ctx, sessionId, participantId);
}

/** Pauses the participant, or lets it back with null, and updates the row in hand. */
async function setPaused(ctx: UserMutation, participant: SessionParticipantsTable, pausedAt: number | null) {
  await ctx.db
    .updateTable("sessionParticipants")
    .set({ pausedAt })
    .where("sessionId", "=", participant.sessionId)
    .where("participantId", "=", participant.participantId)
    .execute();
  participant.pausedAt = pausedAt;
}

function view({ type, confirmedAt, pausedAt, ...same }: SessionParticipantsTable): z.input<typeof participantView> {
  return { ...same, participantType: type, pausedAt: isoTimeOrNull(pausedAt) };
}
