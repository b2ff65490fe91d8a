/**
 * Sockets that join a session over `/ws/session` and `/ws/group`, and leave it (clawrent.md sections 4.3 and 4.4). What
 * they tell the session is stamped in the transaction, so that everything in the session has one order.
 */
import { systemMutation } from "../../runtime/call/define.js";
import type { MutationContext } from "../../runtime/context.js";
import { sizes } from "../../runtime/limits.js";
import type { SenderNotice } from "../../runtime/notices.js";
import type { SessionsTable, Side } from "../../schema/sessions.js";
import { requireRegistered } from "../model/server-processes.js";
import { findParticipant } from "../model/session/participants.js";
import { activateSession, catchUp, findSession, stampSession } from "../model/session/session.js";
import { forgetAbsence, noteAbsence } from "../model/session/session-absences.js";
import { senderNotice, socketsOfSession } from "../model/session/session-sockets.js";
import { credentialNamedBy, sideOfToken } from "../model/session/session-token.js";
import { lapseOf, type Opener, standingOfUser } from "../model/standing.js";

/** Why a socket does not come in. */
export type JoinRefusal =
  | "unknown"
  | "notActive"
  | "noSuchSlot"
  | "slotFull"
  | "notParticipant"
  | "paused"
  | "revoked"
  | "suspended";

/** Null where the socket is in: a `sessionJoined` notice has said so, in order with the session's other notices. */
type Joined = Promise<JoinRefusal | null>;

/** The socket that wants to come in. */
interface Newcomer {
  sessionId: string;
  socketId: string;
  processId: string;
}

/**
 * Joins a socket of one side by the session token (section 4.3), as long as the credential that obtained the token
 * stands. The provider's token opens the provider's side whatever role the client names, because a client without a
 * user id calls itself consumer. The consumer's token never opens the other side.
 */
export const joinSession = systemMutation(
  "joins.bySessionToken",
  async (
    ctx,
    {
      sessionId,
      socketId,
      processId,
      token,
      role,
      slotIndex,
    }: Newcomer & { token: string; role: Side; slotIndex: number | null },
  ): Joined => {
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
  { oneAtATime: ({ sessionId }) => sessionId },
);

/** Joins a socket of one participant by its agent's token or its user's credential (section 4.4). */
export const joinGroup = systemMutation(
  "joins.byCredential",
  async (ctx, { sessionId, socketId, processId, credentialId, agentId, userId }: Newcomer & Opener): Joined => {
    const opener = { credentialId, agentId, userId };
    // Checked first, so that nobody learns from an ended credential which sessions there are.
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
  { oneAtATime: ({ sessionId }) => sessionId },
);

/**
 * Whether the side may come in now. A provider that connects to a pending session approves it by doing so, unless the
 * guardrail stopped it: hosts that decide for themselves are documented to approve, but only connect. Its credential
 * and its user are checked before, because a refusal that is returned here keeps what was written.
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
  /** The address of its user. */
  email: string;
  socketId: string;
  processId: string;
  channel: "session" | "group";
  /** Null for the provider. */
  slotIndex: number | null;
}

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
  // The provider has one socket, whichever channel it used; on the group channel everybody has one. The newest wins.
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
    others.set(`${other.participantId} ${other.slotIndex}`, senderNotice(other, other.slotIndex));
  }
  await forgetAbsence(ctx, { sessionId, participantId, slotIndex: slotIndex ?? 0 });
  const place = await stampSession(ctx, session, 1 + others.size);
  ctx.notify({
    kind: "sessionJoined",
    ...place,
    upTo: place.stamp + others.size,
    socketId,
    participant: senderNotice(participant, slotIndex ?? 0),
    joined: {
      email,
      // A consumer reads its history over REST: some clients take the first frame that they get for the answer (rule
      // 12).
      confirmedAt: side === "provider" || channel === "group" ? participant.confirmedAt : null,
      present: [...others.values()].map((other, index) => ({ participant: other, stamp: place.stamp + 1 + index })),
    },
  });
  return null;
}

/** Notes that a socket is gone. Returns when the others will be told; null if it was replaced, or another is open. */
export const leaveSession = systemMutation(
  "joins.leave",
  async (ctx, { socketId }: { sessionId: string; socketId: string }) => {
    const gone = await ctx.db
      .deleteFrom("sessionSockets")
      .where("socketId", "=", socketId)
      .returning(["sessionId", "participantId", "slotIndex"])
      .executeTakeFirst();
    return { tellAt: gone ? await noteAbsence(ctx, gone) : null };
  },
  { oneAtATime: ({ sessionId }) => sessionId },
);
