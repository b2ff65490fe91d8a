/**
 * Puts what a session's sockets are sent into the order of its stamps, whichever process it comes from. Each moment names the stamp
 * before it (runtime/notices.ts, Stamped), so a moment that comes too early waits for the one before it. Where that
 * does not come, the session is read again from the database.
 */
import type { Logger } from "pino";
import type { Clock } from "../../../runtime/clock.js";

/** How long a moment waits for the ones before it. They are committed, so their notices are on their way or lost. */
const patienceMs = 250;
const afterFailureMs = 1_000;

export interface Moment {
  /** The session's last stamp before it. */
  after: number;
  stamp: number;
  /** The last stamp that it took. */
  upTo: number;
  /** Told even where the session was read again meanwhile: it concerns one socket, and is not in the database. */
  always?: boolean;
  /** Passes it on to the session's sockets. If it returns a promise, the moments after it wait for that. */
  tell(): unknown;
}

/** What was read again: all moments up to a stamp, and what to do once they are told. */
export interface Reread {
  moments: Moment[];
  upTo: number;
  more: boolean;
  finish(): void;
}

export class Timeline {
  /** Everything up to this stamp is told; undefined before the first socket. */
  #toldUpTo: number | undefined;
  #waiting: Moment[] = [];
  #busy = false;
  #rereadDue = false;
  #losePatience: (() => void) | undefined;
  #retry: (() => void) | undefined;
  #ended = false;

  constructor(
    readonly clock: Clock,
    readonly log: Logger,
    /** Reads what came after a stamp, a part at a time; undefined where there is no such session. */
    readonly read: (after: number) => Promise<Reread | undefined>,
  ) {}

  get toldUpTo(): number {
    return this.#toldUpTo ?? 0;
  }

  /** A socket comes in. What was before the first socket is not told. */
  begin(after: number): void {
    this.#toldUpTo ??= after;
  }

  add(moment: Moment): void {
    // It is nearly always the last.
    let at = this.#waiting.length;
    while (at > 0 && (this.#waiting[at - 1] as Moment).stamp > moment.stamp) at -= 1;
    this.#waiting.splice(at, 0, moment);
    this.#advance();
  }

  /** Something may have been missed. */
  reread(): void {
    if (this.#toldUpTo === undefined || this.#ended) return;
    this.#rereadDue = true;
    this.#advance();
  }

  /** No socket is left. */
  end(): void {
    this.#ended = true;
    this.#calm();
    this.#retry?.();
  }

  #advance(): void {
    while (!this.#busy && !this.#ended && this.#toldUpTo !== undefined) {
      if (this.#rereadDue) {
        this.#busily(this.#rereadAll());
        return;
      }
      const next = this.#waiting[0];
      if (!next) {
        this.#calm();
        return;
      }
      const isKnown = next.upTo <= this.#toldUpTo;
      if (!isKnown && next.after > this.#toldUpTo) {
        this.#losePatience ??= this.clock.after(patienceMs, () => this.reread());
        return;
      }
      this.#waiting.shift();
      if (isKnown && !next.always) continue;
      const telling = this.#tell(next);
      if (telling) this.#busily(telling);
    }
  }

  #calm(): void {
    this.#losePatience?.();
    this.#losePatience = undefined;
  }

  #tell(moment: Moment): Promise<void> | undefined {
    const telling = moment.tell();
    const told = () => {
      this.#toldUpTo = Math.max(this.toldUpTo, moment.upTo);
    };
    if (telling instanceof Promise) return telling.then(told);
    told();
    return undefined;
  }

  #busily(work: Promise<void>): void {
    this.#busy = true;
    work
      .catch((error: unknown) => {
        this.log.warn({ err: error }, "a session could not be read; it will be tried again");
        this.#retry?.();
        this.#retry = this.clock.after(afterFailureMs, () => this.reread());
      })
      .finally(() => {
        this.#busy = false;
        this.#advance();
      });
  }

  async #rereadAll(): Promise<void> {
    this.#rereadDue = false;
    this.#calm();
    for (;;) {
      const from = this.toldUpTo;
      const found = await this.read(from);
      if (!found || this.#ended) return;
      const noticed = this.#waiting.filter(({ stamp }) => stamp <= found.upTo);
      const stamps = new Set(noticed.map(({ stamp }) => stamp));
      const all = [...noticed, ...found.moments.filter(({ stamp }) => !stamps.has(stamp))];
      all.sort((one, other) => one.stamp - other.stamp);
      for (const moment of all) {
        if (moment.upTo > from || moment.always) await this.#tell(moment);
        this.#waiting = this.#waiting.filter((waiting) => waiting !== moment);
      }
      this.#toldUpTo = Math.max(found.upTo, this.toldUpTo);
      if (!found.more) {
        found.finish();
        return;
      }
    }
  }
}
