/** Intros as rows and on the wire. Their states are model/rules/intro-states.ts. */
import { z } from "zod";
import type { AgentCaller, MutationContext, QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { type IntrosTable, introStatuses } from "../../../schema/events.js";
import { decisions } from "../../../schema/threads.js";
import { introStatus, unresolvedIntros } from "../rules/intro-states.js";

type IntroRow = IntrosTable;

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
      // Needed only for the thread, so given only once there is one.
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
      .where("status", "in", unresolvedIntros)
      .execute();
  }
}

/** Gives unresolved intros the earlier end of their two check-ins, after one of these got a new end. */
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
      .where("status", "in", unresolvedIntros)
      .execute();
  }
}
