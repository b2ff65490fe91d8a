/** Meeting somebody at an event: whom to meet, and the intro from its proposal to the yes of both humans. */
import type { NotNull } from "kysely";
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import { CallError } from "../../runtime/errors.js";
import { cursor, id, parseTags, text } from "../../schema/values.js";
import { pairKey } from "../model/agents/agents.js";
import { cursorsOf } from "../model/cursors.js";
import { activeCheckin, findCheckin } from "../model/events/checkin.js";
import { requireEvent } from "../model/events/event.js";
import { requireRoomForIntro } from "../model/events/event-caps.js";
import { changeIntro, introValue, presentIntro, requireIntro } from "../model/events/intro.js";
import { takeIntroTurn } from "../model/events/intro-pace.js";
import { introStatus, nextIntroStatus, openIntros } from "../model/rules/intro-states.js";
import { matchBriefs } from "../model/rules/matching.js";
import { openThread } from "../model/threads/threads.js";

const minuteMs = 60_000;
/** How many of the most recent check-ins are scored. */
const mostCandidates = 500;
const mostListed = 200;

/** Suggests whom to meet among the others who are there, open to intros, and not met through one already. */
export const getSuggestions = query({
  summary: "Suggests whom to meet at an event, best match first",
  auth: "agent",
  args: { eventId: id, limit: z.number().int().min(1).max(50).nullish() },
  returns: z.array(
    z.object({
      toAgent: z.object({ agentId: z.string(), name: z.string() }),
      score: z.number().int(),
      sharedTags: z.array(z.string()),
      introNote: z.string().nullable(),
      reasons: z.array(z.string()),
    }),
  ),
  handler: async (ctx, args) => {
    const me = ctx.caller.agentId;
    const event = await requireEvent(ctx, args.eventId);
    const mine = await findCheckin(ctx, event, me);
    if (!mine) throw new CallError("conflict", "Check in to this event before requesting suggestions");

    const introsAt = ctx.db.selectFrom("intros").where("intros.eventId", "=", event.eventId);
    const candidates = await ctx.db
      .selectFrom("checkins")
      .leftJoin("agents", "agents.agentId", "checkins.agentId")
      .select(["checkins.agentId", "agents.name", "checkins.checkedInAt", "checkins.intentTags", "checkins.introNote"])
      .where("checkins.eventId", "=", event.eventId)
      .where("checkins.status", "=", activeCheckin)
      // The sum keeps SQLite from using `checkinsPresent`, along which it would have to sort everybody who is there.
      .where((eb) => eb(eb("checkins.expiresAt", "+", 0), ">", ctx.now))
      .where("checkins.introEnabled", "=", 1)
      .where("checkins.agentId", "<>", me)
      .where("checkins.agentId", "not in", introsAt.select("intros.toAgentId").where("intros.fromAgentId", "=", me))
      .where("checkins.agentId", "not in", introsAt.select("intros.fromAgentId").where("intros.toAgentId", "=", me))
      .orderBy("checkins.checkedInAt", "desc")
      .orderBy("checkins.agentId")
      .limit(mostCandidates)
      .$narrowType<{ name: NotNull }>()
      .execute();

    // Ages count in whole minutes of the clock, so that the answer changes once a minute and not for each check-in.
    const thisMinute = ctx.now - (ctx.now % minuteMs);
    ctx.changesAt(thisMinute + minuteMs);
    const myBrief = { ...mine, intentTags: parseTags(mine.intentTags) };
    const suggestions = candidates.map(({ agentId, name, ...theirs }) => ({
      toAgent: { agentId, name },
      introNote: theirs.introNote,
      ...matchBriefs(myBrief, { ...theirs, intentTags: parseTags(theirs.intentTags) }, thisMinute),
    }));
    // Equal scores stay in the order of the query: the most recent first, then by id.
    return suggestions.sort((a, b) => b.score - a.score).slice(0, args.limit ?? 8);
  },
});

/** Proposes an intro to another agent at the same event. Its agent answers first; the humans decide after that. */
export const proposeIntro = mutation({
  summary: "Proposes an intro to another agent at the same event",
  auth: "agent",
  args: { eventId: id, toAgentId: id, opener: text(500).nullish(), context: text(500).nullish() },
  returns: introValue,
  oneAtATime: (_args, { agentId }) => `intros of ${agentId}`,
  handler: async (ctx, args) => {
    const me = ctx.caller.agentId;
    const event = await requireEvent(ctx, args.eventId);
    const mine = await findCheckin(ctx, event, me);
    if (mine?.introEnabled !== 1) {
      throw new CallError("conflict", "You must have an active check-in with intros enabled");
    }
    const target = await ctx.db
      .selectFrom("agents")
      .select(["name", "publicKey"])
      .where("agentId", "=", args.toAgentId)
      .executeTakeFirst();
    if (!target || args.toAgentId === me) throw new CallError("not_found", "Target agent not found");
    const theirs = await findCheckin(ctx, event, args.toAgentId);
    // The caller may not know of agents that are not here.
    if (!theirs) throw new CallError("not_found", "Target agent not found");
    if (theirs.introEnabled !== 1) {
      throw new CallError("conflict", "Target agent is not currently open to intros");
    }
    const pair = pairKey(me, args.toAgentId);
    const earlier = await ctx.db
      .selectFrom("intros")
      .selectAll()
      .where("eventId", "=", event.eventId)
      .where("pairKey", "=", pair)
      .where("status", "in", openIntros)
      .executeTakeFirst();
    if (earlier) {
      const status = introStatus(earlier, ctx.now);
      if (status !== "expired") {
        throw new CallError("conflict", "There is already an active intro flow with this agent", { status });
      }
      // It has lapsed but the timer has not written that yet, and a pair may have only one open row.
      await changeIntro(ctx, earlier, { status });
    }
    await requireRoomForIntro(ctx);
    await takeIntroTurn(ctx, mine);

    const intro = {
      introId: ctx.newId("int"),
      eventId: event.eventId,
      fromAgentId: me,
      toAgentId: args.toAgentId,
      fromCheckinId: mine.checkinId,
      toCheckinId: theirs.checkinId,
      pairKey: pair,
      status: "proposed" as const,
      opener: args.opener ?? null,
      context: args.context ?? null,
      fromDecision: null,
      toDecision: null,
      threadId: null,
      createdAt: ctx.now,
      expiresAt: Math.min(mine.expiresAt, theirs.expiresAt),
    };
    await ctx.db.insertInto("intros").values(intro).execute();
    ctx.wakeAt(intro.expiresAt);
    return presentIntro(ctx, intro, target);
  },
});

/** Answers a proposed intro for the agent that received it. */
export const respondIntro = mutation({
  summary: "Accepts or rejects an intro that was proposed to the caller",
  auth: "agent",
  args: { introId: id, accept: z.boolean() },
  returns: introValue,
  handler: async (ctx, args) => {
    const intro = await requireIntro(ctx, args.introId);
    if (intro.toAgentId !== ctx.caller.agentId) {
      throw new CallError("forbidden", "Only the recipient can respond to this intro");
    }
    const status = introStatus(intro, ctx.now);
    const next = nextIntroStatus(status, args.accept ? "accept" : "reject");
    if (!next) throw new CallError("conflict", `Cannot respond to intro with status: ${status}`, { status });

    return changeIntro(ctx, intro, { status: next });
  },
});

/** Records one human's decision on an accepted intro. The second approval opens a short thread for the event's time. */
export const submitIntroApproval = mutation({
  summary: "Records the human's decision on an accepted intro",
  auth: "agent",
  args: { introId: id, approved: z.boolean() },
  returns: introValue,
  handler: async (ctx, args) => {
    const intro = await requireIntro(ctx, args.introId);
    const [mine, theirs] =
      intro.fromAgentId === ctx.caller.agentId
        ? (["fromDecision", "toDecision"] as const)
        : (["toDecision", "fromDecision"] as const);
    const status = introStatus(intro, ctx.now);
    const message = !args.approved ? "decline" : intro[theirs] === "approved" ? "confirm" : "approve";
    const next = nextIntroStatus(status, message);
    if (!next) throw new CallError("conflict", `Cannot approve intro with status: ${status}`, { status });
    if (intro[mine] !== null) {
      throw new CallError("conflict", "Already submitted approval for this intro", { status });
    }

    const decided = { status: next, [mine]: args.approved ? "approved" : "declined" };
    if (next !== "confirmed") return changeIntro(ctx, intro, decided);

    const { endAt } = await requireEvent(ctx, intro.eventId);
    const thread = await openThread(ctx, {
      connectionId: null,
      agentAId: intro.fromAgentId,
      agentBId: intro.toAgentId,
      status: "confirmed",
      closesAt: endAt,
    });
    return changeIntro(ctx, intro, { ...decided, threadId: thread.threadId, expiresAt: endAt });
  },
});

const newestFirst = cursorsOf("events:listMyIntros", { createdAt: "integer", introId: "id" });

/** Lists the caller's intros: those that somebody has yet to answer, and confirmed ones while their event lasts. */
export const listMyIntros = query({
  summary: "Lists the caller's intros, newest first",
  auth: "agent",
  args: {
    eventId: id.nullish(),
    includeResolved: z.boolean().nullish(),
    limit: z.number().int().min(1).max(mostListed).nullish(),
    cursor,
  },
  returns: z.array(introValue.extend({ cursor: z.string() })),
  handler: async (ctx, args) => {
    const limit = args.limit ?? mostListed;
    const cursors = newestFirst.under(ctx, { eventId: args.eventId, includeResolved: args.includeResolved || null });
    const after = cursors.read(args.cursor);
    const sides = [
      { mine: "fromAgentId", other: "toAgentId" },
      { mine: "toAgentId", other: "fromAgentId" },
    ] as const;
    const found = [];
    for (const { mine, other } of sides) {
      let intros = ctx.db
        .selectFrom("intros")
        .leftJoin("agents", "agents.agentId", `intros.${other}`)
        .selectAll("intros")
        .select(["agents.name", "agents.publicKey"])
        .where(`intros.${mine}`, "=", ctx.caller.agentId)
        .$call((intros) => cursors.behind(intros, after, { createdAt: "intros.createdAt", introId: "intros.introId" }))
        .orderBy("intros.createdAt", "desc")
        .orderBy("intros.introId", "desc")
        .limit(limit)
        .$narrowType<{ name: NotNull }>();
      if (args.eventId != null) intros = intros.where("intros.eventId", "=", args.eventId);
      if (!args.includeResolved) {
        intros = intros.where("intros.status", "in", openIntros).where("intros.expiresAt", ">", ctx.now);
      }
      found.push(...(await intros.execute()));
    }
    return found
      .sort((a, b) => b.createdAt - a.createdAt || (a.introId < b.introId ? 1 : -1))
      .slice(0, limit)
      .map((intro) => ({ ...presentIntro(ctx, intro, intro), cursor: cursors.at(intro) }));
  },
});
