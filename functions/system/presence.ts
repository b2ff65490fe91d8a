/**
 * Who is connected: the server's processes with their leases, and agents with their control channel (`/ws/agent`). An
 * agent without a row is offline. Not callable from outside: the sockets' adapter runs these.
 */
import { sql } from "kysely";
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import type { MutationContext } from "../../runtime/context.js";
import { currencies, type OnlineStatus, onlineStatuses, pricingModels } from "../../schema/listings.js";
import { printAmount } from "../../schema/money.js";
import { statusWhileConnected } from "../model/agents/agent-presence.js";
import { forgetting, requireRegistered } from "../model/server-processes.js";
import { noteAbsence } from "../model/session/session-absences.js";
import { sessionToken } from "../model/session/session-token.js";
import { type Lapse, lapseOf, lapses } from "../model/standing.js";

/** How long a process counts as alive without renewing its lease. */
const leaseMs = 30_000;
/** How many sockets of each kind one transaction forgets: each takes several statements, and a process may have had thousands. */
export const forgottenAtOnce = 100;

/** Whoever opened a socket, as functions/model/standing.ts has it. */
const opener = z.object({ credentialId: z.string(), agentId: z.string().nullable(), userId: z.string().nullable() });
const lapse = z.enum(lapses);

/** Tells two secrets apart without telling what they are. */
function secretCheckOf(ctx: MutationContext): string {
  return ctx.derive("check of the secret").slice(0, 16);
}

/**
 * Makes room for a process that starts: no socket of before is open any more. Where it has the database for itself that
 * goes for all of them, else for those of processes whose lease has run out.
 */
export const startProcess = mutation({
  summary: "Registers a server process and forgets the sockets of dead ones",
  auth: "system",
  args: { processId: z.string(), alone: z.boolean() },
  returns: z.object({ sameSecret: z.boolean() }),
  handler: async (ctx, { processId, alone }) => {
    const others = await ctx.db.selectFrom("serverProcesses").selectAll().execute();
    const dead = others.filter(({ leaseUntil }) => alone || leaseUntil <= ctx.now);
    // What is left of one is forgotten with the lease's renewals.
    const atOnce = alone ? Number.MAX_SAFE_INTEGER : forgottenAtOnce;
    for (const other of dead) await forgetProcess(ctx, other.processId, atOnce);
    if (alone) {
      await ctx.db.deleteFrom("agentSockets").execute();
      await ctx.db.deleteFrom("sessionSockets").execute();
    }
    const secretCheck = secretCheckOf(ctx);
    const stranger = others.find(
      (other) => !dead.includes(other) && (other.secretCheck ?? secretCheck) !== secretCheck,
    );
    if (stranger) return { sameSecret: false };
    await ctx.db
      .insertInto("serverProcesses")
      .values({ processId, leaseUntil: ctx.now + leaseMs, secretCheck })
      .execute();
    return { sameSecret: true };
  },
});

/**
 * Renews a process's lease, and sweeps those that ran out. `alive: false` says that another process has meanwhile taken
 * this one for dead, after a pause of the machine: its sockets are forgotten and have to come again.
 */
export const renewLease = mutation({
  summary: "Renews a process's lease and forgets the sockets of dead processes",
  auth: "system",
  args: { processId: z.string() },
  returns: z.object({
    alive: z.boolean(),
    /** When the next of the other leases runs out, unless it is renewed; now, where there is more to forget. */
    nextEndAt: z.number().nullable(),
    forgotten: z.number(),
  }),
  handler: async (ctx, { processId }) => {
    const leaseUntil = ctx.now + leaseMs;
    const before = await ctx.db
      .selectFrom("serverProcesses")
      .select("leaseUntil")
      .where("processId", "=", processId)
      .executeTakeFirst();
    if (before) {
      await ctx.db.updateTable("serverProcesses").set({ leaseUntil }).where("processId", "=", processId).execute();
    } else {
      const secretCheck = secretCheckOf(ctx);
      await ctx.db.insertInto("serverProcesses").values({ processId, leaseUntil, secretCheck }).execute();
    }
    const others = await ctx.db
      .selectFrom("serverProcesses")
      .select(["processId", "leaseUntil"])
      .where("processId", "<>", processId)
      .orderBy("leaseUntil")
      .execute();
    // Whoever is late itself, because the database was away, has no say in who is dead.
    const isLate = before !== undefined && before.leaseUntil <= ctx.now;
    const dead = isLate ? [] : others.filter((other) => other.leaseUntil <= ctx.now);
    let forgotten = 0;
    for (const other of dead) if (await forgetProcess(ctx, other.processId, forgottenAtOnce)) forgotten += 1;
    const more = forgotten < dead.length;
    if (forgotten > 0) ctx.notify({ kind: "processForgotten" });
    const next = others.find((other) => other.leaseUntil > ctx.now);
    const nextEndAt = more ? ctx.now : (next?.leaseUntil ?? null);
    const alive = before !== undefined && before.leaseUntil !== forgetting;
    return { alive, nextEndAt, forgotten: dead.length };
  },
});

/** Forgets a process that ends, and every socket that it held. */
export const endProcess = mutation({
  summary: "Forgets a server process that ends",
  auth: "system",
  args: { processId: z.string() },
  returns: z.object({ more: z.boolean() }),
  handler: async (ctx, { processId }) => ({ more: !(await forgetProcess(ctx, processId, forgottenAtOnce)) }),
});

/** Forgets up to `limit` of a process's sockets of each kind, and with the last of them the process. Whether it was all. */
async function forgetProcess(ctx: MutationContext, processId: string, limit: number): Promise<boolean> {
  const agentSockets = ctx.db
    .selectFrom("agentSockets")
    .select("agentId")
    .where("processId", "=", processId)
    .orderBy("agentId")
    .limit(limit);
  const agents = await ctx.db
    .deleteFrom("agentSockets")
    .where("processId", "=", processId)
    .where("agentId", "in", agentSockets)
    .returning("agentId")
    .execute();
  for (const { agentId } of agents) notifyStatus(ctx, agentId, "offline");
  const sessionSockets = ctx.db
    .selectFrom("sessionSockets")
    .select("socketId")
    .where("processId", "=", processId)
    .orderBy("socketId")
    .limit(limit);
  const gone = await ctx.db
    .deleteFrom("sessionSockets")
    .where("processId", "=", processId)
    .where("socketId", "in", sessionSockets)
    .returning(["sessionId", "participantId", "slotIndex"])
    .execute();
  for (const absent of gone) await noteAbsence(ctx, absent);
  if (agents.length === limit || gone.length === limit) {
    await ctx.db
      .updateTable("serverProcesses")
      .set({ leaseUntil: forgetting })
      .where("processId", "=", processId)
      .execute();
    return false;
  }
  await ctx.db.deleteFrom("serverProcesses").where("processId", "=", processId).execute();
  return true;
}

/**
 * An agent's control channel opens, and an older one of its is replaced. From this commit on the agent is connected, so
 * what follows the greeting cannot find it missing (clawrent.md section 0, rule 4). One that was activated before is
 * online at once, because not every client activates again, and one that was set busy is busy.
 */
export const connectAgent = mutation({
  summary: "An agent's control channel opens",
  auth: "system",
  args: { opener, agentId: z.string(), socketId: z.string(), processId: z.string() },
  returns: z.union([z.object({ lapse }), z.object({ name: z.string(), onlineStatus: z.enum(onlineStatuses) })]),
  oneAtATime: ({ agentId }) => `socket of agent ${agentId}`,
  handler: async (ctx, { opener, agentId, socketId, processId }) => {
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
});

/** An agent's control channel is gone. One that was replaced before takes nothing with it. */
export const disconnectAgent = mutation({
  summary: "An agent's control channel is gone",
  auth: "system",
  args: { agentId: z.string(), socketId: z.string() },
  returns: z.null(),
  oneAtATime: ({ agentId }) => `socket of agent ${agentId}`,
  handler: async (ctx, { agentId, socketId }) => {
    const { numDeletedRows } = await ctx.db
      .deleteFrom("agentSockets")
      .where("agentId", "=", agentId)
      .where("socketId", "=", socketId)
      .executeTakeFirstOrThrow();
    if (numDeletedRows > 0n) notifyStatus(ctx, agentId, "offline");
    return null;
  },
});

function notifyStatus(ctx: MutationContext, agentId: string, onlineStatus: OnlineStatus): void {
  ctx.notify({ kind: "agentStatusChanged", agentId, onlineStatus, at: ctx.now });
}

/** Most sessions that one look announces. */
const mostAnnounced = 1_000;

const guardrailDecision = z.object({ verdict: z.string(), categories: z.array(z.string()), reason: z.string() });

const announcement = z.object({
  /** The frames, in the order in which they go out. */
  frames: z.array(z.enum(["session.new", "session.approved"])),
  sessionId: z.string(),
  status: z.enum(["pending_approval", "active"]),
  sessionToken: z.string(),
  consumerUserId: z.string(),
  consumerAgentId: z.string().optional(),
  taskDescription: z.string(),
  pricingSnapshot: z.object({ model: z.enum(pricingModels), amount: z.string(), currency: z.enum(currencies) }),
  orderId: z.string().optional(),
  guardrailDecision: guardrailDecision.optional(),
});
export type Announcement = z.infer<typeof announcement>;

/**
 * What an agent is still to be told of its sessions (clawrent.md section 4.2). A pending one is new; one that it knows as
 * pending is approved; one that it does not know is approved and then new, the order in which every client attaches.
 * `again` is for a channel that has just opened: behind it may be a client that knows nothing, so it hears of every
 * pending session, and gets both frames for what was approved meanwhile.
 */
export const listAnnouncements = query({
  summary: "What an agent is still to be told of its sessions",
  auth: "system",
  args: { agentId: z.string(), credentialId: z.string(), again: z.boolean() },
  returns: z.array(announcement),
  handler: async (ctx, { agentId, credentialId, again }) => {
    const sessions = await ctx.db
      .selectFrom("sessions")
      .selectAll()
      .where("providerAgentId", "=", agentId)
      .where("status", "in", ["pending_approval", "active"])
      .where(({ eb, or, ref }) =>
        or([
          eb("announced", "is", null),
          sql<boolean>`${ref("announced")} <> ${ref("status")}`,
          ...(again ? [eb("status", "=", "pending_approval")] : []),
        ]),
      )
      .orderBy("createdAt")
      .limit(mostAnnounced)
      .execute();
    return sessions.flatMap((session): Announcement[] => {
      const { sessionId, status, announced, expiresAt } = session;
      if (status === "pending_approval" && expiresAt !== null && expiresAt <= ctx.now) return [];
      return [
        {
          frames:
            status === "pending_approval"
              ? ["session.new"]
              : announced === null || again
                ? ["session.approved", "session.new"]
                : ["session.approved"],
          sessionId,
          status: status as Announcement["status"],
          sessionToken: sessionToken(ctx, sessionId, "provider", credentialId),
          consumerUserId: session.consumerUserId,
          // Clients drop a whole frame for one `null`: what is not known is absent (rule 6).
          consumerAgentId: session.consumerAgentId ?? undefined,
          taskDescription: session.taskDescription,
          pricingSnapshot: {
            model: session.pricingModel,
            amount: printAmount(session.priceMinor),
            currency: session.currency,
          },
          orderId: session.orderId ?? undefined,
          guardrailDecision:
            session.guardrailDecision === null
              ? undefined
              : (JSON.parse(session.guardrailDecision) as Announcement["guardrailDecision"]),
        },
      ];
    });
  },
});

/** Remembers what has reached an open channel. What an older frame said does not undo what a newer one did. */
export const markAnnounced = mutation({
  summary: "Remembers which announcements arrived",
  auth: "system",
  args: { announced: z.array(z.object({ sessionId: z.string(), status: z.enum(["pending_approval", "active"]) })) },
  returns: z.null(),
  handler: async (ctx, { announced }) => {
    for (const { sessionId, status } of announced) {
      await ctx.db
        .updateTable("sessions")
        .set({ announced: status })
        .where("sessionId", "=", sessionId)
        .$if(status === "pending_approval", (update) => update.where("announced", "is", null))
        .execute();
    }
    return null;
  },
});

/** Whether credentials still open their sockets: why not, one by one. */
export const findLapses = query({
  summary: "Why credentials open no socket any more",
  auth: "system",
  args: { openers: z.array(opener) },
  returns: z.array(lapse.nullable()),
  handler: async (ctx, { openers }) => {
    const found: (Lapse | null)[] = [];
    for (const opener of openers) found.push((await lapseOf(ctx, opener)) ?? null);
    return found;
  },
});

/** How an agent stands, for a control channel whose notices may have been lost. */
export const reviewAgent = query({
  summary: "How an agent's control channel stands",
  auth: "system",
  args: { agentId: z.string() },
  returns: z.object({
    /** The socket that is the agent's now; null for none. */
    socketId: z.string().nullable(),
    onlineStatus: z.enum(onlineStatuses),
    /** Active sessions in which it may be, and is not. */
    absentFrom: z.array(z.string()),
  }),
  handler: async (ctx, { agentId }) => {
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
      .limit(mostAnnounced)
      .execute();
    return {
      socketId: socket?.socketId ?? null,
      onlineStatus: socket?.onlineStatus ?? "offline",
      absentFrom: absent.map(({ sessionId }) => sessionId),
    };
  },
});

/** What a consumer-side agent's control channel would have told of sessions since an instant. */
export const reviewConsumer = query({
  summary: "Which sessions of a consumer's agent began or ended",
  auth: "system",
  args: { agentId: z.string(), since: z.number() },
  returns: z.array(z.object({ sessionId: z.string(), endedAt: z.number().nullable(), reason: z.string() })),
  handler: async (ctx, { agentId, since }) => {
    const sessions = await ctx.db
      .selectFrom("sessions")
      .select(["sessionId", "endedAt", "endReason"])
      .where("consumerAgentId", "=", agentId)
      .where("startedAt", "is not", null)
      .where(({ or, eb }) => or([eb("startedAt", ">=", since), eb("endedAt", ">=", since)]))
      .orderBy("createdAt")
      .limit(mostAnnounced)
      .execute();
    return sessions.map(({ sessionId, endedAt, endReason }) => ({
      sessionId,
      endedAt,
      reason: endReason ?? "completed",
    }));
  },
});

/** What a consumer-side agent is told of a session that became active (clawrent.md section 4.5). */
export const consumerAnnouncement = query({
  summary: "What a consumer-side agent is told of a session",
  auth: "system",
  args: { sessionId: z.string() },
  returns: z
    .object({
      sessionId: z.string(),
      status: z.string(),
      taskDescription: z.string(),
      sessionType: z.literal("task"),
      peerAgentIds: z.array(z.string()),
      peerParticipantTypes: z.array(z.string()),
    })
    .nullable(),
  handler: async (ctx, { sessionId }) => {
    const session = await ctx.db
      .selectFrom("sessions")
      .select(["status", "taskDescription", "providerAgentId"])
      .where("sessionId", "=", sessionId)
      .executeTakeFirst();
    if (!session) return null;
    const { status, taskDescription, providerAgentId } = session;
    return {
      sessionId,
      status,
      taskDescription,
      sessionType: "task" as const,
      peerAgentIds: [providerAgentId],
      peerParticipantTypes: ["agent"],
    };
  },
});
