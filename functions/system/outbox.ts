/**
 * The outbox as the mailer works through it (adapters/mailer.ts). A mail is written with what it is about, in one
 * transaction (model/outbox.ts), and goes out from here: claimed, sent, removed. Not callable from outside.
 */
import { z } from "zod";
import { mutation } from "../../runtime/call/define.js";

/** How long a claimed mail is left alone: longer than sending it takes, so that no second process sends it meanwhile. */
const claimMs = 60_000;
/** The wait after the first failure; doubled with every further one. Six tries fall into a code's ten minutes. */
const firstRetryMs = 10_000;
const mostAttempts = 8;

/** Takes the mail that has waited longest. Whoever dies with it in hand leaves it to be taken again after `claimMs`. */
export const claimMail = mutation({
  summary: "Takes the next mail that is due",
  auth: "system",
  args: {},
  returns: z.object({
    mail: z.object({ mailId: z.string(), recipient: z.string(), subject: z.string(), body: z.string() }).nullable(),
    /** When there is next something to do; null where nothing waits. */
    nextAttemptAt: z.number().nullable(),
  }),
  handler: async (ctx) => {
    const next = await ctx.db
      .selectFrom("outbox")
      .select(["mailId", "recipient", "subject", "body", "attempts", "nextAttemptAt"])
      .orderBy("nextAttemptAt")
      .limit(1)
      .executeTakeFirst();
    if (!next || next.nextAttemptAt > ctx.now) return { mail: null, nextAttemptAt: next?.nextAttemptAt ?? null };
    await ctx.db
      .updateTable("outbox")
      .set({ attempts: next.attempts + 1, nextAttemptAt: ctx.now + claimMs })
      .where("mailId", "=", next.mailId)
      .execute();
    return { mail: next, nextAttemptAt: ctx.now };
  },
});

/** Forgets a mail that was sent, and the code in it. */
export const removeMail = mutation({
  summary: "Removes a mail that was sent",
  auth: "system",
  args: { mailId: z.string() },
  returns: z.object({}),
  handler: async (ctx, args) => {
    await ctx.db.deleteFrom("outbox").where("mailId", "=", args.mailId).execute();
    return {};
  },
});

/** Puts a mail that could not be sent back, to be tried later, or gives it up. */
export const postponeMail = mutation({
  summary: "Has a mail that could not be sent wait for its next try",
  auth: "system",
  args: { mailId: z.string() },
  returns: z.object({ givenUp: z.boolean() }),
  handler: async (ctx, args) => {
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
  },
});
