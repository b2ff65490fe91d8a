/**
 * Who takes part in a session (clawrent.md section 4.4): the provider's agent, the consumer, and the consumer's agent
 * where one was named. Each is a row that is made with the session.
 */
import type { MutationContext, QueryContext, UserCaller } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { SessionParticipantsTable, SessionsTable, Side } from "../../../schema/sessions.js";

/** Writes the participants of a new session. */
export async function addParticipants(ctx: MutationContext, session: SessionsTable): Promise<void> {
  const { sessionId, providerAgentId, providerUserId, consumerUserId, consumerAgentId } = session;
  const fresh = { sessionId, pausedAt: null, confirmedAt: 0 };
  const agentOf = (side: Side, userId: string, agentId: string) => ({
    ...fresh,
    participantId: agentId,
    type: "agent" as const,
    side,
    userId,
    agentId,
  });
  const rows: SessionParticipantsTable[] = [
    agentOf("provider", providerUserId, providerAgentId),
    {
      ...fresh,
      participantId: consumerUserId,
      type: "user",
      side: "consumer",
      userId: consumerUserId,
      agentId: null,
    },
  ];
  if (consumerAgentId !== null) rows.push(agentOf("consumer", consumerUserId, consumerAgentId));
  await ctx.db.insertInto("sessionParticipants").values(rows).execute();
}

/**
 * The participant that the caller is: on the provider's side always the agent, on the other side the consumer's agent
 * if that calls, and otherwise the consumer.
 */
export function participantIdOf(
  session: Pick<SessionsTable, "providerAgentId" | "consumerAgentId" | "consumerUserId">,
  side: Side,
  caller: UserCaller,
): string {
  if (side === "provider") return session.providerAgentId;
  const { consumerAgentId, consumerUserId } = session;
  return consumerAgentId !== null && caller.agentId === consumerAgentId ? consumerAgentId : consumerUserId;
}

const participantsOfSession = prepared(["sessionId"], (db, { sessionId }) =>
  db.selectFrom("sessionParticipants").selectAll().where("sessionId", "=", sessionId),
);

/** All participants of a session. */
export async function listParticipants(ctx: QueryContext, sessionId: string): Promise<SessionParticipantsTable[]> {
  const { rows } = await participantsOfSession(ctx, { sessionId });
  return rows;
}

const participantById = prepared(["sessionId", "participantId"], (db, { sessionId, participantId }) =>
  db
    .selectFrom("sessionParticipants")
    .selectAll()
    .where("sessionId", "=", sessionId)
    .where("participantId", "=", participantId),
);

export async function findParticipant(
  ctx: QueryContext,
  sessionId: string,
  participantId: string,
): Promise<SessionParticipantsTable | undefined> {
  const { rows } = await participantById(ctx, { sessionId, participantId });
  return rows[0];
}

export async function requireParticipant(
  ctx: QueryContext,
  sessionId: string,
  participantId: string,
): Promise<SessionParticipantsTable> {
  const participant = await findParticipant(ctx, sessionId, participantId);
  if (!participant) throw new CallError("not_found", "Participant not found");
  return participant;
}
