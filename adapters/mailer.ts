/**
 * Sends what waits in the outbox: over SMTP, or without a mail server to the log, where a private server's operator
 * reads the codes. A mail that fails is tried again later; what was written with its cause is never lost with a
 * process.
 */
import { createTransport } from "nodemailer";
import type { Logger } from "pino";
import { claimMail, postponeMail, removeMail } from "../functions/system/outbox.js";
import type { Dispatcher } from "../runtime/call/dispatch.js";
import type { Clock } from "../runtime/clock.js";
import type { NoticeBoard } from "../runtime/notices.js";

/** How often it looks for what another process left behind, and how long it rests after the database failed. */
const longestSleepMs = 60_000;
const afterFailureMs = 5_000;

/** Together well below the time for which a claimed mail is left alone (functions/system/outbox.ts). */
const smtpTimeouts = { connectionTimeout: 8_000, greetingTimeout: 8_000, socketTimeout: 15_000 };

export interface Mail {
  recipient: string;
  subject: string;
  body: string;
}

/** Hands a mail to the outside world. Rejects where that failed. */
export type SendMail = (mail: Mail) => Promise<void>;

export class Mailer {
  #stopped = true;
  /** Whether to look again: something was written since the last look. */
  #more = false;
  #running: Promise<void> | undefined;
  #cancel: (() => void) | undefined;

  constructor(
    readonly dispatcher: Dispatcher,
    readonly notices: NoticeBoard,
    readonly clock: Clock,
    readonly log: Logger,
    readonly send: SendMail,
  ) {
    notices.on("mailWaiting", () => this.#wake());
  }

  /** Sends what waits, and from now on what comes. */
  start(): void {
    this.#stopped = false;
    this.#wake();
  }

  /** Resolves once nothing is due and nothing is being sent. */
  async idle(): Promise<void> {
    await this.#running;
  }

  /** Takes no further mail; resolves once the one in hand is sent or put back. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#running;
  }

  #wake(): void {
    if (this.#stopped) return;
    this.#more = true;
    this.#running ??= this.#work();
  }

  async #work(): Promise<void> {
    let wakeAt = 0;
    while (this.#more && !this.#stopped) {
      this.#more = false;
      wakeAt = await this.#sendDue();
    }
    // Nothing is awaited between the last look at `#more` and here, so no wake-up falls in between.
    this.#running = undefined;
    this.#cancel?.();
    if (!this.#stopped) this.#cancel = this.clock.after(wakeAt - this.clock.now(), () => this.#wake());
  }

  /** Sends all that is due, one mail at a time, and says when to look again. */
  async #sendDue(): Promise<number> {
    try {
      while (!this.#stopped) {
        const { mail, nextAttemptAt } = await this.dispatcher.runSystem(claimMail);
        if (!mail) return Math.min(nextAttemptAt ?? Number.POSITIVE_INFINITY, this.clock.now() + longestSleepMs);
        await this.#deliver(mail);
      }
    } catch (error) {
      this.log.error({ err: error }, "outbox not read");
    }
    return this.clock.now() + afterFailureMs;
  }

  async #deliver({ mailId, ...mail }: Mail & { mailId: string }): Promise<void> {
    try {
      await this.send(mail);
    } catch (error) {
      const { givenUp } = await this.dispatcher.runSystem(postponeMail, { mailId });
      // The mail itself stays out of the log: a code in it may still be good.
      const reason = error instanceof Error ? error.message : String(error);
      if (givenUp) this.log.error({ mailId, reason }, "mail given up");
      else this.log.warn({ mailId, reason }, "mail not sent, to be tried again");
      return;
    }
    await this.dispatcher.runSystem(removeMail, { mailId });
  }
}

/** The way out that the configuration names: a mail server, or without one the log. */
export function createSendMail(
  { smtpUrl, mailFrom }: { smtpUrl: string | undefined; mailFrom: string | undefined },
  log: Logger,
): SendMail {
  if (smtpUrl === undefined) {
    return async ({ recipient, subject, body }) => {
      // A warning, so that whoever keeps the log quiet still finds the codes.
      log.warn({ recipient, subject, body }, "no SMTP_URL: mail for the operator to hand on");
    };
  }
  const transport = createTransport({
    url: smtpUrl,
    ...smtpTimeouts,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return async ({ recipient, subject, body }) => {
    await transport.sendMail({ from: mailFrom, to: recipient, subject, text: body });
  };
}
