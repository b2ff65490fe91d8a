/**
 * How far clients are known to have read. It is gathered and written a few times a second, because one pong is not
 * worth a transaction. Whatever is lost with the process is replayed, and the clients drop what they had.
 */
import { confirmDelivered } from "../../../functions/system/replay.js";
import type { Dispatcher } from "../../../runtime/call/dispatch.js";
import type { Clock } from "../../../runtime/clock.js";
import type { SenderNotice } from "../../../runtime/notices.js";
import type { Background } from "../background.js";

const writeEveryMs = 250;
const mostAtOnce = 100;

interface Confirmation {
  sessionId: string;
  participant: SenderNotice;
  upTo: number;
}

export class Confirmations {
  readonly #waiting = new Map<string, Confirmation>();
  #cancel: (() => void) | undefined;
  #writing: Promise<void> | undefined;

  constructor(
    readonly dispatcher: Dispatcher,
    readonly clock: Clock,
    readonly background: Background,
  ) {}

  /** The participant has read everything up to the stamp. */
  confirm(sessionId: string, participant: SenderNotice, upTo: number): void {
    const key = `${sessionId} ${participant.participantId}`;
    if ((this.#waiting.get(key)?.upTo ?? 0) >= upTo) return;
    this.#waiting.set(key, { sessionId, participant, upTo });
    this.#cancel ??= this.clock.after(writeEveryMs, () => void this.write());
  }

  /** Writes what waits; resolves once it is written, or will be tried again. */
  async write(): Promise<void> {
    this.#cancel?.();
    this.#cancel = undefined;
    while (this.#writing) await this.#writing;
    if (this.#waiting.size === 0) return;
    this.#writing = this.#writeAll().finally(() => {
      this.#writing = undefined;
    });
    await this.background.track(this.#writing);
  }

  async #writeAll(): Promise<void> {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (let from = 0; from < all.length; from += mostAtOnce) {
      const confirmations = all.slice(from, from + mostAtOnce);
      try {
        await this.dispatcher.runSystem(confirmDelivered, { confirmations });
      } catch {
        for (const { sessionId, participant, upTo } of confirmations) this.confirm(sessionId, participant, upTo);
      }
    }
  }
}
