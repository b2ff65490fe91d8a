/** What happens when a key that replaced another is used for the first time. */
import { systemMutation } from "../../runtime/call/define.js";
import { settleKey } from "../model/agents/agent-keys.js";

/** Ends the key before it. Repeating changes nothing. */
export const noteFirstUse = systemMutation("keyUse.noteFirst", async (ctx, { secretHash }: { secretHash: string }) => {
  await settleKey(ctx, secretHash);
});
