/**
 * This process's word that it lives (../design.md section 3, presence): the rows of its sockets hold as long as its
 * lease does. Where no other process works on the database there is nobody to tell, and nothing is renewed.
 */
import type { Logger } from "pino";
import { type Departure, endProcess, renewLease, startProcess } from "../../functions/presence.js";
import type { Clock } from "../../runtime/clock.js";
import type { Runtime } from "../../runtime/dispatch.js";

/** A third of the lease: two renewals may fail. */
const renewEveryMs = 10_000;

export interface ProcessLeaseParts {
  runtime: Runtime;
  clock: Clock;
  log: Logger;
  processId: string;
  /** Whether the database is this process's alone. */
  alone: boolean;
  /** Others took this process for dead and forgot its sockets. */
  onLost(): void;
  /** Sockets of dead processes were forgotten. */
  onDepartures(departures: Departure[]): void;
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
    const { runtime, processId, alone } = this.#parts;
    await runtime.runSystem(startProcess, { processId, alone });
    if (!alone) this.#renewLater();
  }

  /** Forgets this process and whatever sockets it still has. */
  async end(): Promise<void> {
    const { runtime, processId, log } = this.#parts;
    this.#ended = true;
    this.#cancel?.();
    await this.#renewing;
    try {
      await runtime.runSystem(endProcess, { processId });
    } catch (error) {
      // The next start, or another process once the lease has run out, will do it.
      log.warn({ err: error }, "sockets not forgotten");
    }
  }

  #renewLater(): void {
    this.#cancel = this.#parts.clock.after(renewEveryMs, () => {
      this.#renewing = this.#renew();
    });
  }

  async #renew(): Promise<void> {
    const { runtime, processId, log, onLost, onDepartures } = this.#parts;
    try {
      const { alive, departures } = await runtime.runSystem(renewLease, { processId });
      if (!alive) onLost();
      if (departures.length > 0) onDepartures(departures);
    } catch (error) {
      log.warn({ err: error }, "lease not renewed");
    }
    if (!this.#ended) this.#renewLater();
  }
}
