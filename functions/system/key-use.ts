/** What the server does when a key that took another's place is used for the first time. */
import { systemMutation } from "../../runtime/call/define.js";
import { settleKey } from "../model/agents/agent-keys.js";

/** The key before it has ended. Said again, it changes nothing. */
export const noteFirstUse = systemMutation("keyUse.noteFirst", async (ctx, { secretHash }: { secretHash: string }) => {
  await settleKey(ctx, secretHash);
});
