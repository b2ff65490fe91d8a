/**
 * The outbox as the mailer works through it (adapters/mailer.ts). A mail is written in one transaction with what it is
 * about (model/outbox.ts), and is sent from here: claimed, sent, removed.
 */
import { systemMutation } from "../../runtime/call/define.js";

/**
 * How long a claimed mail is left alone: longer than sending it takes, so that no second process sends it meanwhile.
 */
const claimMs = 60_000;
/** The wait after the first failure; doubled with every further one. Six tries fall into a code's ten minutes. */
const firstRetryMs = 10_000;
const mostAttempts = 8;

interface Claimed {
  mail: { mailId: string; recipient: string; subject: string; body: string } | null;
  /** When there is next something to do; null where nothing waits. */
  nextAttemptAt: number | null;
}

/** Takes the mail that has waited longest. If the process dies before sending it, it is taken again after `claimMs`. */
export const claimMail = systemMutation("outbox.claim", async (ctx): Promise<Claimed> => {
  const next = await ctx.db
    .selectFrom("outbox")
    .select(["mailId", "recipient", "subject", "body", "attempts", "nextAttemptAt"])
    .orderBy("nextAttemptAt")
    .limit(1)
    .executeTakeFirst();
  if (!next || next.nextAttemptAt > ctx.now) return { mail: null, nextAttemptAt: next?.nextAttemptAt ?? null };
  const { attempts, nextAttemptAt: _, ...mail } = next;
  await ctx.db
    .updateTable("outbox")
    .set({ attempts: attempts + 1, nextAttemptAt: ctx.now + claimMs })
    .where("mailId", "=", mail.mailId)
    .execute();
  return { mail, nextAttemptAt: ctx.now };
});

/** Forgets a mail that was sent, and the code in it. */
export const removeMail = systemMutation("outbox.remove", async (ctx, args: { mailId: string }) => {
  await ctx.db.deleteFrom("outbox").where("mailId", "=", args.mailId).execute();
});

/** Keeps a mail that could not be sent, to be tried again later, or gives it up. */
export const postponeMail = systemMutation("outbox.postpone", async (ctx, args: { mailId: string }) => {
  const mail = await ctx.db
    .selectFrom("outbox")
    .select("attempts")
    .where("mailId", "=", args.mailId)
    .executeTakeFirst();
  if (!mail) return { givenUp: false };
  if (mail.attempts >= mostAttempts) {
    await ctx.db.deleteFrom("outbox").where("mailId", "=", args.mailId).execute();
    return { givenUp: true };
  }
  await ctx.db
    .updateTable("outbox")
    .set({ nextAttemptAt: ctx.now + firstRetryMs * 2 ** (mail.attempts - 1) })
    .where("mailId", "=", args.mailId)
    .execute();
  return { givenUp: false };
});
