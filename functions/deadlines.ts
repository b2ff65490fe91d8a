/** What the server's timer runs (runtime/deadlines.ts). Not callable from outside. */
import { z } from "zod";
import { mutation } from "../runtime/define.js";
import { batchSize, expireDue, forgetOldCalls, nextDeadline } from "./model/expiry.js";

/** Expires what is due, a bounded amount at a time, and says when the next deadline comes. */
export const expire = mutation({
  summary: "Expires everything whose time has passed",
  auth: "system",
  args: {},
  returns: z.object({ changed: z.number(), more: z.boolean(), nextDeadlineAt: z.number().nullable() }),
  handler: async (ctx) => {
    const { expired, more } = await expireDue(ctx, batchSize);
    const moreCalls = await forgetOldCalls(ctx, batchSize);
    return {
      changed: Object.values(expired).reduce((sum, count) => sum + count, 0),
      more: more || moreCalls,
      nextDeadlineAt: await nextDeadline(ctx),
    };
  },
});
