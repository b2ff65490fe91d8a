/**
 * Filling the outbox. What is written here is sent after the commit, even after a crash (functions/system/outbox.ts).
 */
import type { MutationContext } from "../../runtime/context.js";

/** Queues a mail, which is sent once this call is committed. */
export async function queueMail(
  ctx: MutationContext,
  { recipient, subject, body }: { recipient: string; subject: string; body: string },
): Promise<void> {
  await ctx.db
    .insertInto("outbox")
    .values({
      mailId: ctx.newUuid(),
      recipient,
      subject,
      body,
      attempts: 0,
      nextAttemptAt: ctx.now,
      createdAt: ctx.now,
    })
    .execute();
  ctx.notify({ kind: "mailWaiting" });
}
