/** What the server's timer runs (runtime/deadlines.ts). Not callable from outside. */
import { z } from "zod";
import { mutation } from "../runtime/define.js";
import { batchSize, expireDue, forgetOld, nextDeadline } from "./model/expiry.js";
import { nextSessionDeadline, sweepSessions } from "./model/session-deadlines.js";

/** Expires what is due, a bounded amount at a time, and says when the next deadline comes. */
export const expire = mutation({
  summary: "Expires everything whose time has passed",
  auth: "system",
  args: {},
  returns: z.object({ changed: z.number(), more: z.boolean(), nextDeadlineAt: z.number().nullable() }),
  handler: async (ctx) => {
    const { expired, more } = await expireDue(ctx, batchSize);
    const moreToForget = await forgetOld(ctx, batchSize);
    const sessions = await sweepSessions(ctx);
    const next = [await nextDeadline(ctx), await nextSessionDeadline(ctx)].flatMap((at) => at ?? []);
    return {
      changed: Object.values(expired).reduce((sum, count) => sum + count, sessions.changed),
      more: more || moreToForget || sessions.more,
      nextDeadlineAt: next.length > 0 ? Math.min(...next) : null,
    };
  },
});
