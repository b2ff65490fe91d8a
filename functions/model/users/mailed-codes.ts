/**
 * Codes that prove a mailbox (clawrent.md section 2.3). Each mail brings one of six digits, which opens an account for an
 * address that has none; to an address that has one it brings a second, of ten characters, which sets a new password.
 *
 * Strangers ask for codes and guess at them, and none of it is to keep the owner of the mailbox out:
 * - A newer code leaves the older ones as they are, so whatever is in the mailbox works for its ten minutes.
 * - Mails are counted by asker and address together, and in all by address: 10 at once and one more every 6 minutes, which
 *   is less than a code lives. Where others have used them up, the newest in the mailbox still works.
 * - Wrong guesses are counted by asker and address together, and in all by code. A code that was guessed at too often is
 *   void, and another one goes to the mailbox by itself.
 *
 * What guessing comes to: a code of six digits is void after 50 wrong guesses, whoever made them, so it is hit with at most
 * 50 in 1,000,000; an address gets at most 20 codes an hour, so all of a guesser's luck with it in an hour is at most 1 in
 * 1,000, however many codes are live at a time, and takes ten network addresses for every fifty guesses. From one it is at
 * most 5 mails and 36 guesses an hour, each at 12 live codes at the most: 1 in 2,300. It wins an account at an address that
 * had none. A code of ten characters is one of 2^50, and guesses at it are not counted, so that none of them is ever void:
 * a million network addresses at their 20 guesses a minute, at 12 live codes, hit one with 1 in 450,000 in its ten minutes.
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
/** By one asker: after so many, one more may still be right. */
const mostWrongTries = 5;
/** At one code, by all. */
const mostWrongTriesInAll = 50;
/** To one address, for one asker. */
const mailsPerHour = 5;
/** To one address, for all askers: at once, and how long until there is one more. 20 in any hour. */
const mailsAtOnce = 10;
const mailEveryMs = 6 * minuteMs;

type Purpose = MailedCodesTable["purpose"];

/** What looking at a code takes; `prepare` has it as well as a handler. */
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

/** One who asks or guesses, about one address. The hash tells whoever has the database neither. */
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

/** Mails new codes at somebody's wish. Throws `rate_limited` where the asker or the address had too many. */
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

/** Counts a wrong code of six digits: the caller must keep that, although it refuses. */
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

/** A code was used: the address has proved what it had to, and no other one of the kind is needed. */
export async function spendCodes(ctx: MutationContext, email: string, purpose: Purpose): Promise<void> {
  await ctx.db.deleteFrom("mailedCodes").where("email", "=", email).where("purpose", "=", purpose).execute();
}
