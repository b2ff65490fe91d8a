/**
 * Codes that prove a mailbox (clawrent.md section 2.3). Each mail holds a code of six digits, which opens an account
 * for an address that has none. To an address that has one it brings a second code, of ten characters, which sets a new
 * password.
 *
 * Strangers ask for codes and guess at them, and none of that may keep the owner of the mailbox out:
 * - A newer code leaves the older ones as they are, so whatever is in the mailbox works for its ten minutes.
 * - Mails are counted by asker and address together, and in all by address: 10 at once and one more every 6 minutes,
 *   which is less than a code lives. Where others have used them up, the newest in the mailbox still works.
 * - Wrong guesses are counted by asker and address together, and in all by code. A code that was guessed at too often
 *   is void, and another one is mailed at once.
 *
 * How likely a guess is: a code of six digits is void after 50 wrong guesses, whoever made them, so it is guessed with
 * a chance of at most 50 in 1,000,000. An address gets at most 20 codes an hour, so within an hour the chance is at
 * most 1 in 1,000, however many codes are live at a time, and that takes ten network addresses for every fifty guesses.
 * From a single one it is at most 5 mails and 36 guesses an hour, each at no more than 12 live codes: 1 in 2,300. What
 * it wins is an account at an address that had none. A code of ten characters is one of 2^50, and wrong guesses never
 * make it void: a million network addresses at their 20 guesses a minute, at 12 live codes, have a chance of 1 in
 * 450,000 in ten minutes.
 */
import type { Kysely } from "kysely";
import type { MutationContext, Origin } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import type { Database } from "../../../schema/index.js";
import type { CodeAskersTable, MailedCodesTable } from "../../../schema/users.js";
import { isoTime } from "../../../schema/values.js";
import { queueMail } from "../outbox.js";
import { findUserByEmail } from "./users.js";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const codeMs = 10 * minuteMs;
/** Wrong guesses of one asker: after so many, one more may still be right. */
const mostWrongTries = 5;
/** Wrong guesses at one code, by all askers. */
const mostWrongTriesInAll = 50;
/** Mails to one address, for one asker. */
const mailsPerHour = 5;
/** Mails to one address, for all askers: how many at once, and how long until one more may go. 20 in any hour. */
const mailsAtOnce = 10;
const mailEveryMs = 6 * minuteMs;

type Purpose = MailedCodesTable["purpose"];

/** What looking at a code needs; `prepare` has it as well as a handler. */
interface Looking {
  db: Kysely<Database>;
  now: number;
  from: Origin;
  derive(purpose: string): string;
}

function codeHash(ctx: Looking, purpose: Purpose, email: string, code: string): string {
  const kind = purpose === "register" ? "verification" : "reset";
  return ctx.derive(`${kind} code ${code} for ${email}`);
}

/** Somebody who asks or guesses about one address. From the hash, nobody who has the database learns either. */
function askerHash(ctx: Looking, email: string): string {
  return ctx.derive(`asker ${ctx.from.addressKey} about ${email}`);
}

function findAsker(ctx: Looking, email: string) {
  return ctx.db
    .selectFrom("codeAskers")
    .selectAll()
    .where("askerHash", "=", askerHash(ctx, email))
    .where("expiresAt", ">", ctx.now)
    .executeTakeFirst();
}

async function keepAsker(
  ctx: MutationContext,
  email: string,
  did: Omit<CodeAskersTable, "askerHash" | "expiresAt">,
): Promise<void> {
  const row = { ...did, expiresAt: ctx.now + hourMs };
  await ctx.db
    .insertInto("codeAskers")
    .values({ askerHash: askerHash(ctx, email), ...row })
    .onConflict((conflict) => conflict.column("askerHash").doUpdateSet(row))
    .execute();
}

/** Mails new codes because somebody asked. Throws `rate_limited` where the asker or the address had too many. */
export async function mailCodes(ctx: MutationContext, email: string): Promise<void> {
  const before = await findAsker(ctx, email);
  if (before && ctx.now < before.sentAt + minuteMs) throw tooManyMails(before.sentAt + minuteMs - ctx.now);
  const sameHour = before && ctx.now < before.hourStartedAt + hourMs ? before : undefined;
  if (sameHour && sameHour.sentInHour >= mailsPerHour) throw tooManyMails(sameHour.hourStartedAt + hourMs - ctx.now);
  const waitMs = await takeMail(ctx, email);
  if (waitMs > 0) throw tooManyMails(waitMs);

  await keepAsker(ctx, email, {
    wrongTries: 0,
    sentAt: ctx.now,
    hourStartedAt: sameHour?.hourStartedAt ?? ctx.now,
    sentInHour: (sameHour?.sentInHour ?? 0) + 1,
  });
  await sendCodes(ctx, email);
}

/** Takes one of the mails that an address may have; or says how long until there is one. */
async function takeMail(ctx: MutationContext, email: string): Promise<number> {
  const mailbox = await ctx.db
    .selectFrom("mailboxes")
    .select("expiresAt")
    .where("email", "=", email)
    .executeTakeFirst();
  const expiresAt = Math.max(mailbox?.expiresAt ?? 0, ctx.now) + mailEveryMs;
  const waitMs = expiresAt - (ctx.now + mailsAtOnce * mailEveryMs);
  if (waitMs > 0) return waitMs;
  await ctx.db
    .insertInto("mailboxes")
    .values({ email, expiresAt })
    .onConflict((conflict) => conflict.column("email").doUpdateSet({ expiresAt }))
    .execute();
  return 0;
}

async function sendCodes(ctx: MutationContext, email: string, why: string[] = []): Promise<void> {
  const expiresAt = ctx.now + codeMs;
  const keep = (purpose: Purpose, code: string) =>
    ctx.db
      .insertInto("mailedCodes")
      .values({
        codeId: ctx.newUuid(),
        email,
        purpose,
        codeHash: codeHash(ctx, purpose, email, code),
        wrongTries: 0,
        expiresAt,
      })
      .execute();
  const code = ctx.newDigits(6);
  await keep("register", code);

  await queueMail(ctx, {
    recipient: email,
    subject: "Your verification code",
    body: [
      ...why,
      `Your verification code is ${code}.`,
      "",
      `It works once, until ${isoTime(expiresAt).slice(11, 16)} UTC.`,
      ...(await forOwner(ctx, email, keep)),
      "If you did not ask for it, ignore this mail.",
      "",
    ].join("\n"),
  });
}

/** Whoever reads the address's mail may know that it has an account; whoever only types the address in may not. */
async function forOwner(
  ctx: MutationContext,
  email: string,
  keep: (purpose: Purpose, code: string) => Promise<unknown>,
): Promise<string[]> {
  if (!(await findUserByEmail(ctx, email))) return [];
  const resetCode = ctx.newCode();
  await keep("reset", resetCode);
  return [
    "This address already has an account: sign in with it, there is no need to register again.",
    "",
    `Forgot the password? Set a new one within the same time: call users:resetPassword (POST ${ctx.publicUrl}/api/auth/reset-password) with the reset code ${resetCode}.`,
    "Whoever has the reset code can take the account over: give it to nobody.",
  ];
}

function tooManyMails(retryAfterMs: number): CallError {
  return new CallError(
    "rate_limited",
    `Codes were mailed to this address already, and each works for 10 minutes. Ask for another one in ${Math.ceil(retryAfterMs / 1_000)} s.`,
    { retryAfterMs },
  );
}

/** Whether this is a code of the address's; `unknown` where it has none, or where the asker may not try any more. */
export async function lookAtCode(
  ctx: Looking,
  email: string,
  purpose: Purpose,
  code: string,
): Promise<"right" | "wrong" | "unknown"> {
  const live = await ctx.db
    .selectFrom("mailedCodes")
    .select("codeHash")
    .where("email", "=", email)
    .where("purpose", "=", purpose)
    .where("expiresAt", ">", ctx.now)
    .execute();
  if (live.length === 0) return "unknown";
  const given = codeHash(ctx, purpose, email, code);
  const isRight = live.some((one) => one.codeHash === given);
  if (purpose === "reset") return isRight ? "right" : "wrong";
  const asker = await findAsker(ctx, email);
  if (asker && asker.wrongTries > mostWrongTries) return "unknown";
  return isRight ? "right" : "wrong";
}

/** Counts a wrong code of six digits. The caller must keep that count although it refuses (`Refusal`). */
export async function countWrongCode(ctx: MutationContext, email: string): Promise<void> {
  const before = await findAsker(ctx, email);
  const { sentAt = 0, hourStartedAt = 0, sentInHour = 0, wrongTries = 0 } = before ?? {};
  await keepAsker(ctx, email, { sentAt, hourStartedAt, sentInHour, wrongTries: wrongTries + 1 });

  const tried = await ctx.db
    .updateTable("mailedCodes")
    .set(({ eb }) => ({ wrongTries: eb("wrongTries", "+", 1) }))
    .where("email", "=", email)
    .where("purpose", "=", "register")
    .where("expiresAt", ">", ctx.now)
    .returning(["codeId", "wrongTries"])
    .execute();
  const isVoid = ({ wrongTries }: { wrongTries: number }) => wrongTries >= mostWrongTriesInAll;
  for (const { codeId } of tried.filter(isVoid)) {
    await ctx.db.deleteFrom("mailedCodes").where("codeId", "=", codeId).execute();
  }
  if (tried.every(isVoid) && (await takeMail(ctx, email)) === 0) {
    await sendCodes(ctx, email, ["Somebody guessed at your earlier codes, so they no longer work.", ""]);
  }
}

/** A code was used: the address is proved, so the other codes of its kind are removed. */
export async function spendCodes(ctx: MutationContext, email: string, purpose: Purpose): Promise<void> {
  await ctx.db.deleteFrom("mailedCodes").where("email", "=", email).where("purpose", "=", purpose).execute();
}
