/**
 * This process's lease, by which the others know that it lives (../architecture.md section 3, presence): the rows of
 * its sockets are good as long as its lease. Where no other process works on the database, nothing is renewed.
 */
import type { Logger } from "pino";
import { endProcess, renewLease, startProcess } from "../../functions/system/processes.js";
import type { Dispatcher } from "../../runtime/call/dispatch.js";
import type { Clock } from "../../runtime/clock.js";
import { ConfigError } from "../../runtime/config.js";

/** A third of the lease: two renewals may fail. */
const renewEveryMs = 10_000;
const afterFailureMs = 1_000;

export interface ProcessLeaseParts {
  dispatcher: Dispatcher;
  clock: Clock;
  log: Logger;
  processId: string;
  /** Whether the database is this process's alone. */
  alone: boolean;
  /** Others took this process for dead and forgot its sockets. */
  onLost(): void;
  /** Dead processes were forgotten, with their sockets. */
  onForgotten(): void;
}

export class ProcessLease {
  readonly #parts: ProcessLeaseParts;
  #cancel: (() => void) | undefined;
  #renewing: Promise<void> | undefined;
  #ended = false;

  constructor(parts: ProcessLeaseParts) {
    this.#parts = parts;
  }

  async start(): Promise<void> {
    const { dispatcher, processId, alone } = this.#parts;
    const { sameSecret } = await dispatcher.runSystem(startProcess, { processId, alone });
    if (!sameSecret) {
      throw new ConfigError(
        "JWT_SECRET: another process on this database has another secret, so neither would take the other's tokens. Give all of them the same JWT_SECRET.",
      );
    }
    if (!alone) this.#renewLater(renewEveryMs);
  }

  /** Forgets this process and whatever sockets it still has. */
  async end(): Promise<void> {
    const { dispatcher, processId, log } = this.#parts;
    this.#ended = true;
    this.#cancel?.();
    await this.#renewing;
    try {
      while ((await dispatcher.runSystem(endProcess, { processId })).more);
    } catch (error) {
      // The next start, or another process once the lease has run out, will do it.
      log.warn({ err: error }, "sockets not forgotten");
    }
  }

  #renewLater(afterMs: number): void {
    this.#cancel = this.#parts.clock.after(afterMs, () => {
      this.#renewing = this.#renew();
    });
  }

  async #renew(): Promise<void> {
    const { dispatcher, clock, processId, log, onLost, onForgotten } = this.#parts;
    let afterMs = renewEveryMs;
    try {
      const { alive, forgotten, nextEndAt } = await dispatcher.runSystem(renewLease, { processId });
      if (!alive) onLost();
      if (forgotten > 0) onForgotten();
      // A dead process is to be forgotten right when its lease ends.
      if (nextEndAt !== null) afterMs = Math.max(1, Math.min(afterMs, nextEndAt - clock.now()));
    } catch (error) {
      log.warn({ err: error }, "lease not renewed");
      afterMs = afterFailureMs;
    }
    if (!this.#ended) this.#renewLater(afterMs);
  }
}
