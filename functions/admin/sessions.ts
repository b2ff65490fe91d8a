/** Admins and sessions: looking at all of them, and putting an end to one (clawrent.md section 2.10). */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import type { QueryContext } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import type { SessionsTable } from "../../schema/sessions.js";
import { cursor, id, limit, page, pageOf, text } from "../../schema/values.js";
import { cursorsOf, skippedBy } from "../model/cursors.js";
import { settlementOf, settlementValue } from "../model/money/settlement.js";
import { hasStatus, isOpenSession, statusFilter } from "../model/rules/session-states.js";
import { catchUp, terminateSession as endForPlatform, findSession } from "../model/session/session.js";
import { sessionView, sessionViews, viewSession } from "../model/session/session-view.js";

/** The most that is counted and paged through: the total stops here, and so do the pages. */
const mostCounted = 10_000;

/** With the record that `admin:refund` takes, once the session is settled. */
const sessionWithRecord = sessionView.extend({ billingRecordId: z.string().nullable() });

const newestFirst = cursorsOf("admin:listSessions", { createdAt: "integer", sessionId: "id" });

/** All sessions, newest first. An admin sees none of their tokens. */
export const listSessions = query({
  summary: "All sessions, newest first",
  auth: "admin",
  args: { status: statusFilter.nullish(), sessionId: id.nullish(), page, limit, cursor },
  returns: pageOf(sessionWithRecord),
  handler: async (ctx, args) => {
    const { status, sessionId } = args;
    const cursors = newestFirst.under(ctx, { status, sessionId });
    const after = cursors.read(args.cursor);
    const offset = skippedBy(args);
    const all = ctx.db
      .selectFrom("sessions")
      .$if(status != null, (sessions) => sessions.where(hasStatus(status ?? [], ctx.now)))
      .$if(sessionId != null, (sessions) => sessions.where("sessionId", "=", sessionId ?? ""));
    const [found, { total }] = await Promise.all([
      all
        .selectAll()
        .$call((all) => cursors.behind(all, after, { createdAt: "createdAt", sessionId: "sessionId" }))
        .orderBy("createdAt", "desc")
        .orderBy("sessionId", "desc")
        .limit(offset < mostCounted ? args.limit + 1 : 0)
        .offset(Math.min(offset, mostCounted))
        .execute(),
      ctx.db
        .selectFrom(all.select("sessionId").limit(mostCounted).as("counted"))
        .select(({ fn }) => fn.countAll<number>().as("total"))
        .executeTakeFirstOrThrow(),
    ]);
    const { rows, nextCursor } = cursors.page(found, args.limit, (row) => row);
    const [views, records] = await Promise.all([sessionViews(ctx, rows), billingRecordIds(ctx, rows)]);
    const data = views.map((view) => ({ ...view, billingRecordId: records.get(view.id) ?? null }));
    return { data, total: Number(total), page: args.page, limit: args.limit, nextCursor };
  },
});

async function billingRecordIds(ctx: QueryContext, sessions: readonly SessionsTable[]): Promise<Map<string, string>> {
  if (sessions.length === 0) return new Map();
  const records = await ctx.db
    .selectFrom("billingRecords")
    .select(["sessionId", "recordId"])
    .where(
      "sessionId",
      "in",
      sessions.map(({ sessionId }) => sessionId),
    )
    .execute();
  return new Map(records.map(({ sessionId, recordId }) => [sessionId, recordId]));
}

/** Ends a session that is not the admin's own: an active one settles, a pending one costs nothing. */
export const terminateSession = mutation({
  summary: "Ends a session for the platform",
  auth: "admin",
  args: { sessionId: id, reason: text(500).nullish() },
  returns: sessionView.extend({ settlement: settlementValue.nullable() }),
  oneAtATime: ({ sessionId }) => sessionId,
  handler: async (ctx, args) => {
    const session = await findSession(ctx, args.sessionId);
    if (!session) throw new CallError("not_found", "Session not found");
    await catchUp(ctx, session);
    if (!isOpenSession(session.status)) {
      throw new CallError("failed_precondition", "Session has ended already", { status: session.status });
    }
    await endForPlatform(ctx, session);
    // The admin's own words go to the log, because clients know only a few reasons.
    ctx.log.info({ sessionId: session.sessionId, reason: args.reason ?? undefined }, "session terminated");
    return { ...(await viewSession(ctx, session)), settlement: settlementOf(session) };
  },
});
