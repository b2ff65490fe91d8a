/** Admins and disputes: what waits for a decision, and deciding it (clawrent.md section 6.4). */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import type { QueryContext } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import { disputeDecisions, disputeStatuses } from "../../schema/ledger.js";
import { maxAmount } from "../../schema/money.js";
import { cursor, id, limit, page, pageOf, text } from "../../schema/values.js";
import { cursorsOf, skippedBy } from "../model/cursors.js";
import {
  type Dispute,
  decideOpenDispute,
  disputesWithRecords,
  disputeValue,
  disputeView,
} from "../model/money/dispute.js";

/** The most that is counted and paged through: the total stops here, and so do the pages. */
const mostCounted = 10_000;

const byOpening = cursorsOf("admin:listDisputes", { openedAt: "integer", disputeId: "id" });

/** The disputes: of one state, the longest waiting first; of all states, the newest first. */
export const listDisputes = query({
  summary: "What consumers dispute",
  auth: "admin",
  args: { status: z.enum(disputeStatuses).nullish(), page, limit, cursor },
  returns: pageOf(disputeValue),
  handler: async (ctx, args) => {
    const { status } = args;
    const cursors = byOpening.under(ctx, { status });
    const after = cursors.read(args.cursor);
    const offset = skippedBy(args);
    const all = ctx.db
      .selectFrom("disputes")
      .$if(status != null, (rows) => rows.where("disputes.status", "in", storedAs(status ?? "open")))
      // A dispute that has lapsed by the clock may still be stored as open.
      .$if(status === "open", (rows) => rows.where("disputes.decideBy", ">", ctx.now))
      .$if(status === "lapsed", (rows) => rows.where("disputes.decideBy", "<=", ctx.now));
    const order = status == null ? ("desc" as const) : ("asc" as const);
    const [found, { total }] = await Promise.all([
      all
        .select(["disputeId", "openedAt"])
        .$call((rows) => cursors.behind(rows, after, { openedAt: "openedAt", disputeId: "disputeId" }, order))
        .orderBy("openedAt", order)
        .orderBy("disputeId", order)
        .limit(offset < mostCounted ? args.limit + 1 : 0)
        .offset(Math.min(offset, mostCounted))
        .execute(),
      ctx.db
        .selectFrom(all.select("disputeId").limit(mostCounted).as("counted"))
        .select(({ fn }) => fn.countAll<number>().as("total"))
        .executeTakeFirstOrThrow(),
    ]);
    const { rows, nextCursor } = cursors.page(found, args.limit, (row) => row);
    const data = await viewsOf(
      ctx,
      rows.map(({ disputeId }) => disputeId),
    );
    return { data, total: Number(total), page: args.page, limit: args.limit, nextCursor };
  },
});

function storedAs(status: (typeof disputeStatuses)[number]): (typeof disputeStatuses)[number][] {
  return status === "lapsed" ? ["open", "lapsed"] : [status];
}

/** Gives the consumer all of the amount back, a part of it, or none; the rest is the provider's at once. */
export const decideDispute = mutation({
  summary: "Decides a dispute: all, part or none of the amount goes back",
  auth: "admin",
  args: {
    disputeId: id,
    decision: z.enum(disputeDecisions),
    /** What goes back, for `part`. */
    amount: maxAmount.nullish(),
    /** For both sides to read. */
    note: text(1_000).nullish(),
  },
  returns: disputeValue,
  oneAtATime: ({ disputeId }) => `dispute ${disputeId}`,
  handler: async (ctx, { disputeId, decision, amount, note }) => {
    await decideOpenDispute(ctx, disputeId, { decision, partMinor: amount ?? null, note: note ?? null });
    const [view] = await viewsOf(ctx, [disputeId]);
    if (!view) throw new CallError("not_found", "Dispute not found");
    return view;
  },
});

/** The disputes in the order given. */
async function viewsOf(ctx: QueryContext, disputeIds: readonly string[]): Promise<Dispute[]> {
  if (disputeIds.length === 0) return [];
  const rows = await disputesWithRecords(ctx).where("disputes.disputeId", "in", disputeIds).execute();
  const byId = new Map(rows.map((row) => [row.disputeId, disputeView(row, ctx.now)]));
  return disputeIds.flatMap((disputeId) => byId.get(disputeId) ?? []);
}
