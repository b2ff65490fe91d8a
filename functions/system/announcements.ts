/**
 * Announcements of sessions on agents' control channels: the provider's (clawrent.md section 4.2), the consumer's
 * (4.5).
 */
import { sql } from "kysely";
import { systemMutation, systemQuery } from "../../runtime/call/define.js";
import type { Currency, PricingModel } from "../../schema/listings.js";
import { printAmount } from "../../schema/money.js";
import { sessionToken } from "../model/session/session-token.js";

/** The most sessions that one query announces. */
const mostAnnounced = 1_000;

export interface Announcement {
  /** The frames, in the order in which they go out. */
  frames: ("session.new" | "session.approved")[];
  sessionId: string;
  status: "pending_approval" | "active";
  sessionToken: string;
  consumerUserId: string;
  consumerAgentId: string | undefined;
  taskDescription: string;
  pricingSnapshot: { model: PricingModel; amount: string; currency: Currency };
  orderId: string | undefined;
  guardrailDecision: { verdict: string; categories: string[]; reason: string } | undefined;
}

/**
 * What an agent has yet to be told of its sessions (clawrent.md section 4.2). A pending session is announced as new. An
 * active one is announced as approved; if the agent never heard of it, as approved and then as new, the order in which
 * every client attaches. `again` is for a channel that has just opened: its client may know nothing, so it hears of
 * every pending session, and gets both frames for sessions that were approved meanwhile.
 */
export const listAnnouncements = systemQuery(
  "announcements.list",
  async (ctx, { agentId, credentialId, again }: { agentId: string; credentialId: string; again: boolean }) => {
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
          // Clients drop a whole frame because of one `null`, so unknown fields are absent (rule 6).
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
);

/** Remembers which announcements have reached an open channel. An older one does not undo a newer one. */
export const markAnnounced = systemMutation(
  "announcements.mark",
  async (ctx, { announced }: { announced: readonly Pick<Announcement, "sessionId" | "status">[] }) => {
    for (const { sessionId, status } of announced) {
      await ctx.db
        .updateTable("sessions")
        .set({ announced: status })
        .where("sessionId", "=", sessionId)
        .$if(status === "pending_approval", (update) => update.where("announced", "is", null))
        .execute();
    }
  },
);

/**
 * Sessions of a consumer-side agent that began or ended since an instant, for a channel that may have missed notices.
 */
export const recheckConsumer = systemQuery(
  "announcements.recheckConsumer",
  async (ctx, { agentId, since }: { agentId: string; since: number }) => {
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
);

/** What a consumer-side agent is sent when a session becomes active (clawrent.md section 4.5). */
export const findConsumerAnnouncement = systemQuery(
  "announcements.ofConsumer",
  async (ctx, { sessionId }: { sessionId: string }) => {
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
);
