/** What the server does when a key that took another's place is used for the first time. Not callable from outside. */
import { z } from "zod";
import { mutation } from "../../runtime/call/define.js";
import { settleKey } from "../model/agents/agent-keys.js";

/** The key before it has ended. Said again, it changes nothing. */
export const noteFirstUse = mutation({
  summary: "Ends the key that a new one has replaced",
  auth: "system",
  args: { secretHash: z.string() },
  returns: z.null(),
  handler: async (ctx, { secretHash }) => {
    await settleKey(ctx, secretHash);
    return null;
  },
});
