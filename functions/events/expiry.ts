/** Lets a caller run deadlines at once. The server's own timer does the same (functions/system/deadlines.ts). */
import { z } from "zod";
import { mutation } from "../../runtime/call/define.js";
import { batchSize, expireDue } from "../model/expiry.js";

/** Expires what is due and returns how much that was. What any agent sees is right by the clock even without this. */
export const expireStale = mutation({
  summary: "Expires what is past its time: events, check-ins, intros, threads, invites, location shares",
  auth: "agent",
  args: {},
  returns: z.object({
    events: z.number(),
    checkins: z.number(),
    intros: z.number(),
    threads: z.number(),
    invites: z.number(),
    locationShares: z.number(),
  }),
  handler: async (ctx) => {
    // One batch of each kind. The timer, which every deadline wakes, does the rest.
    const { expired } = await expireDue(ctx, batchSize);
    return expired;
  },
});
