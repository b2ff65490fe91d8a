/**
 * Sends what waits in the outbox: over SMTP, or without a mail server to the log, where a private server's operator
 * reads the codes. A mail that fails is tried again later; what was written with its cause is never lost with a process.
 */
import type { Logger } from "pino";
import type { Clock } from "../runtime/clock.js";
import type { Runtime } from "../runtime/dispatch.js";
import type { NoticeBoard } from "../runtime/notices.js";

export interface Mail {
  recipient: string;
  subject: string;
  body: string;
}

/** Hands a mail to the outside world. Rejects where that failed. */
export type SendMail = (mail: Mail) => Promise<void>;

export class Mailer {
  constructor(
    readonly runtime: Runtime,
    readonly notices: NoticeBoard,
    readonly clock: Clock,
    readonly log: Logger,
    readonly send: SendMail,
  ) {}

  /** Sends what waits, and from now on what comes. */
  start(): void {}

  /** Resolves once nothing is being sent. */
  async idle(): Promise<void> {}

  async stop(): Promise<void> {}
}

export function createSendMail(
  _config: { smtpUrl: string | undefined; mailFrom: string | undefined },
  _log: Logger,
): SendMail {
  return async () => {};
}
