/**
 * Intros: one agent proposes to introduce its human to another's at an event, the other agent answers, and then both
 * humans decide. An intro lives no longer than the two check-ins that it rests on; a confirmed one stays as a record,
 * with a short thread until the event ends.
 *
 * | state | what moves it |
 * |---|---|
 * | `proposed` | the recipient accepts → `accepted`, or rejects → `rejected` |
 * | `accepted` | one human approves → stays, both have → `confirmed`, one declines → `rejected` |
 * | `proposed`, `accepted` | a check-in ends or runs out → `expired` |
 * | `confirmed`, `rejected`, `expired` | nothing |
 */
import { sql } from "kysely";
import { z } from "zod";
import type { AgentCaller, MutationContext, QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { type IntroStatus, type IntrosTable, introStatuses } from "../../../schema/events.js";
import { decisions } from "../../../schema/threads.js";

export type IntroRow = IntrosTable;

/** What can happen to an intro. `approve` is the first of the two humans, `confirm` the second, `lapse` a check-in's end. */
export type IntroMessage = "accept" | "reject" | "approve" | "confirm" | "decline" | "lapse";

const transitions: Record<IntroStatus, Partial<Record<IntroMessage, IntroStatus>>> = {
  proposed: { accept: "accepted", reject: "rejected", lapse: "expired" },
  accepted: { approve: "accepted", confirm: "confirmed", decline: "rejected", lapse: "expired" },
  confirmed: {},
  rejected: {},
  expired: {},
};

/** The state after `message`, or undefined where `status` does not take it. */
export function nextIntroStatus(status: IntroStatus, message: IntroMessage): IntroStatus | undefined {
  return transitions[status][message];
}

// Literals, in the migration's order: a bound parameter could not use the partial indexes.
/** The states that lapse. */
export const unresolved = [sql.lit<IntroStatus>("proposed"), sql.lit<IntroStatus>("accepted")];
/** The states of which a pair has at most one at an event. */
export const open = [...unresolved, sql.lit<IntroStatus>("confirmed")];

/** The status by the clock: the row's own may lag behind until the timer ran. */
export function introStatus(intro: Pick<IntroRow, "status" | "expiresAt">, now: number): IntroStatus {
  return intro.expiresAt <= now ? (nextIntroStatus(intro.status, "lapse") ?? intro.status) : intro.status;
}

/** An intro on the wire, as one of its two agents sees it. */
export const introValue = z.object({
  introId: z.string(),
  eventId: z.string(),
  status: z.enum(introStatuses),
  direction: z.enum(["outgoing", "incoming"]),
  otherAgent: z.object({ agentId: z.string(), name: z.string(), publicKey: z.string().nullable().optional() }),
  opener: z.string().nullable(),
  context: z.string().nullable(),
  canRespond: z.boolean(),
  canApprove: z.boolean(),
  myApproval: z.enum(decisions).nullable(),
  otherApproval: z.enum(decisions).nullable(),
  threadId: z.string().optional(),
  createdAt: z.number(),
  expiresAt: z.number(),
});

interface OtherAgent {
  name: string;
  publicKey: string | null;
}

export function presentIntro(
  ctx: QueryContext<AgentCaller>,
  intro: IntroRow,
  other: OtherAgent,
): z.input<typeof introValue> {
  const status = introStatus(intro, ctx.now);
  const outgoing = intro.fromAgentId === ctx.caller.agentId;
  const [myApproval, otherApproval] = outgoing
    ? [intro.fromDecision, intro.toDecision]
    : [intro.toDecision, intro.fromDecision];
  return {
    introId: intro.introId,
    eventId: intro.eventId,
    status,
    direction: outgoing ? "outgoing" : "incoming",
    otherAgent: {
      agentId: outgoing ? intro.toAgentId : intro.fromAgentId,
      name: other.name,
      // Only needed for the thread, so only given once there is one.
      publicKey: status === "confirmed" ? other.publicKey : undefined,
    },
    opener: intro.opener,
    context: intro.context,
    canRespond: !outgoing && status === "proposed",
    canApprove: status === "accepted" && myApproval === null,
    myApproval,
    otherApproval,
    threadId: intro.threadId ?? undefined,
    createdAt: intro.createdAt,
    expiresAt: intro.expiresAt,
  };
}

/** Writes what changed of `intro` and gives it back as the caller sees it now. */
export async function changeIntro(
  ctx: MutationContext<AgentCaller>,
  intro: IntroRow,
  changes: Partial<IntroRow>,
): Promise<z.input<typeof introValue>> {
  await ctx.db.updateTable("intros").set(changes).where("introId", "=", intro.introId).execute();
  const other = await ctx.db
    .selectFrom("agents")
    .select(["name", "publicKey"])
    .where("agentId", "=", intro.fromAgentId === ctx.caller.agentId ? intro.toAgentId : intro.fromAgentId)
    .executeTakeFirstOrThrow();
  return presentIntro(ctx, { ...intro, ...changes }, other);
}

/** The caller's own intro, by either side; a stranger's reads as missing. */
export async function requireIntro(ctx: QueryContext<AgentCaller>, introId: string): Promise<IntroRow> {
  const intro = await ctx.db.selectFrom("intros").selectAll().where("introId", "=", introId).executeTakeFirst();
  if (!intro || (intro.fromAgentId !== ctx.caller.agentId && intro.toAgentId !== ctx.caller.agentId)) {
    throw new CallError("not_found", "Intro not found");
  }
  return intro;
}

/** The two ends of an intro, as columns. */
const ends = [
  { checkin: "fromCheckinId", otherCheckin: "toCheckinId" },
  { checkin: "toCheckinId", otherCheckin: "fromCheckinId" },
] as const;

/** Ends what is unresolved when its check-in does. */
export async function expireIntrosOf(ctx: MutationContext, checkinId: string): Promise<void> {
  for (const { checkin } of ends) {
    await ctx.db
      .updateTable("intros")
      .set({ status: "expired" })
      .where(checkin, "=", checkinId)
      .where("status", "in", unresolved)
      .execute();
  }
}

/** Keeps unresolved intros as long as both their check-ins last, after one of these got a new end. */
export async function followCheckin(ctx: MutationContext, checkinId: string, expiresAt: number): Promise<void> {
  for (const { checkin, otherCheckin } of ends) {
    await ctx.db
      .updateTable("intros")
      .set((eb) => {
        const otherEnd = eb
          .selectFrom("checkins")
          .select("checkins.expiresAt")
          .whereRef("checkins.checkinId", "=", `intros.${otherCheckin}`);
        return { expiresAt: eb.case().when(otherEnd, "<", expiresAt).then(otherEnd).else(eb.val(expiresAt)).end() };
      })
      .where(checkin, "=", checkinId)
      .where("status", "in", unresolved)
      .execute();
  }
}
