/** Agents' control channels (`/ws/agent`): one row for each that is open. An agent without a row is offline. */
import { systemMutation, systemQuery } from "../../runtime/call/define.js";
import type { OnlineStatus } from "../../schema/listings.js";
import { notifyStatus, statusWhileConnected } from "../model/agents/agent-presence.js";
import { requireRegistered } from "../model/server-processes.js";
import { type Lapse, lapseOf, type Opener } from "../model/standing.js";

/** The most sessions that one query finds. */
const mostAbsences = 1_000;

interface AgentSocket {
  agentId: string;
  socketId: string;
}

type Opened = Promise<{ lapse: Lapse } | { name: string; onlineStatus: OnlineStatus }>;

/**
 * An agent's control channel opens, and replaces an older one. From this commit on the agent is connected, so what
 * follows the greeting cannot find it missing (clawrent.md section 0, rule 4). An agent that was activated before is
 * online at once, because not every client activates again, and one that was set busy is busy.
 */
export const openAgentSocket = systemMutation(
  "agentSockets.open",
  async (
    ctx,
    { opener, agentId, socketId, processId }: AgentSocket & { opener: Opener; processId: string },
  ): Opened => {
    const lapse = await lapseOf(ctx, opener);
    if (lapse) return { lapse };
    await requireRegistered(ctx, processId);

    const { name, ...profile } = await ctx.db
      .selectFrom("agents")
      .leftJoin("providerProfiles", "providerProfiles.agentId", "agents.agentId")
      .select(["agents.name", "providerProfiles.status", "providerProfiles.activatedAt", "providerProfiles.busySetBy"])
      .where("agents.agentId", "=", agentId)
      .executeTakeFirstOrThrow();
    const onlineStatus = statusWhileConnected(profile);

    const older = await ctx.db
      .deleteFrom("agentSockets")
      .where("agentId", "=", agentId)
      .returning("socketId")
      .executeTakeFirst();
    await ctx.db
      .insertInto("agentSockets")
      .values({ agentId, socketId, processId, onlineStatus, connectedAt: ctx.now })
      .execute();
    if (older) ctx.notify({ kind: "socketReplaced", socketId: older.socketId });
    notifyStatus(ctx, agentId, onlineStatus);
    return { name, onlineStatus };
  },
  { oneAtATime: ({ agentId }) => `socket of agent ${agentId}` },
);

/** An agent's control channel is gone. If it was replaced before, nothing changes. */
export const closeAgentSocket = systemMutation(
  "agentSockets.close",
  async (ctx, { agentId, socketId }: AgentSocket) => {
    const { numDeletedRows } = await ctx.db
      .deleteFrom("agentSockets")
      .where("agentId", "=", agentId)
      .where("socketId", "=", socketId)
      .executeTakeFirstOrThrow();
    if (numDeletedRows > 0n) notifyStatus(ctx, agentId, "offline");
  },
  { oneAtATime: ({ agentId }) => `socket of agent ${agentId}` },
);

interface AgentState {
  /** The socket that is the agent's now; null for none. */
  socketId: string | null;
  onlineStatus: OnlineStatus;
  /** Active sessions that it may be in but is not. */
  absentFrom: string[];
}

/** Reads an agent's present state, for a control channel whose notices may have been lost. */
export const recheckAgent = systemQuery(
  "agentSockets.recheck",
  async (ctx, { agentId }: { agentId: string }): Promise<AgentState> => {
    const socket = await ctx.db
      .selectFrom("agentSockets")
      .select(["socketId", "onlineStatus"])
      .where("agentId", "=", agentId)
      .executeTakeFirst();
    const absent = await ctx.db
      .selectFrom("sessions")
      .innerJoin("sessionParticipants", (join) =>
        join
          .onRef("sessionParticipants.sessionId", "=", "sessions.sessionId")
          .onRef("sessionParticipants.participantId", "=", "sessions.providerAgentId"),
      )
      .leftJoin("sessionSockets", (join) =>
        join
          .onRef("sessionSockets.sessionId", "=", "sessions.sessionId")
          .onRef("sessionSockets.participantId", "=", "sessions.providerAgentId"),
      )
      .select("sessions.sessionId")
      .where("sessions.providerAgentId", "=", agentId)
      .where("sessions.status", "=", "active")
      .where("sessionParticipants.pausedAt", "is", null)
      .where("sessionSockets.socketId", "is", null)
      .limit(mostAbsences)
      .execute();
    return {
      socketId: socket?.socketId ?? null,
      onlineStatus: socket?.onlineStatus ?? "offline",
      absentFrom: absent.map(({ sessionId }) => sessionId),
    };
  },
);
