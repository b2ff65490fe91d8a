/** Counts calls and refuses those over a rate (limits.ts), in one process or in several that share a database. */
import { RateLimiterMemory, RateLimiterPostgres, RateLimiterRes } from "rate-limiter-flexible";
import type { Clock } from "./clock.js";
import { wideAddressKey, wideFactor } from "./counted-as.js";
import { CallError } from "./errors.js";
import { type Rate, rates } from "./limits.js";
import type { NoticeOf } from "./notices.js";

/** Rates of rare calls that guard something: with several processes they are counted exactly, in a row each. */
const exact: ReadonlySet<Rate> = new Set(["registrations", "signIns", "wrongPasswords", "verifications", "topUps"]);
/** Rates of a socket, which a single process holds. */
const ofOneProcess: ReadonlySet<Rate> = new Set(["frames"]);

/** In how many parts of a rate a process tells the others what it has let through. */
const sharedParts = 16;

/** What counting together with other processes needs. */
export interface SharedCounting {
  /** Runs a statement on the database. */
  query(statement: { name?: string; text: string; values?: unknown[] }): Promise<unknown>;
  /** Tells the other processes of calls. */
  tell(notice: NoticeOf<"callsCounted">): void;
  /**
   * A name that is the same in all processes and does not reveal whose it is. A plain hash would: addresses can be
   * guessed.
   */
  pseudonym(who: string): string;
}

interface Limiter {
  consume(who: string): Promise<unknown>;
  /** Takes one call off the count. */
  reward?(who: string): Promise<unknown>;
}

/**
 * Counts calls. With several processes, the rare and strict rates are counted in rows of the database. For the other
 * rates each process keeps its own count, and tells the others whenever a sixteenth of the rate has gone through it.
 * That costs a call nothing. It lets through at most (processes - 1) / 16 of the rate more than one process would, and
 * what comes while a notice is on its way.
 */
export class RateLimits {
  readonly #limiters: Record<Rate, Limiter> | undefined;
  /** The same rates for the wider networks of IPv6. */
  readonly #wideLimiters: Record<Rate, Limiter> | undefined;
  /** The counts that other processes add to, by rate. */
  readonly #together = new Map<string, RateLimiterMemory>();

  constructor(
    readonly on: boolean,
    readonly clock: Clock,
    shared?: SharedCounting,
  ) {
    if (!on) return;
    const limitersOf = (factor: number) =>
      Object.fromEntries(Object.keys(rates).map((rate) => [rate, this.#limiter(rate as Rate, factor, shared)]));
    this.#limiters = limitersOf(1) as Record<Rate, Limiter>;
    this.#wideLimiters = limitersOf(wideFactor) as Record<Rate, Limiter>;
  }

  /** Adds calls that another process has let through. */
  counted({ rate, who, points }: NoticeOf<"callsCounted">): void {
    void this.#together.get(rate)?.penalty(who, points);
  }

  #limiter(rate: Rate, factor: number, shared: SharedCounting | undefined): Limiter {
    const { seconds: duration } = rates[rate];
    const points = rates[rate].points * factor;
    const name = factor === 1 ? rate : `${rate} of a network`;
    const memory = new RateLimiterMemory({ keyPrefix: name, points, duration });
    if (!shared || ofOneProcess.has(rate)) return memory;
    if (exact.has(rate)) {
      const rows = new RateLimiterPostgres({
        storeClient: shared,
        storeType: "client",
        tableName: "rateCounts",
        tableCreated: true,
        // One limiter clears the table for all of them.
        clearExpiredByTimeout: name === "signIns",
        keyPrefix: name,
        points,
        duration,
        // Without the database nothing can be called anyway.
        insuranceLimiter: memory,
      });
      // The table contains no addresses and no names.
      return {
        consume: (who) => rows.consume(shared.pseudonym(who)),
        reward: (who) => rows.reward(shared.pseudonym(who)),
      };
    }
    this.#together.set(name, memory);
    const own = new RateLimiterMemory({ points, duration });
    const part = Math.max(1, Math.floor(points / sharedParts));
    return {
      consume: async (caller) => {
        // The windows of all processes end at the same instant. Otherwise a caller who knows when each one ends could
        // use the full rate of each process.
        const windowMs = duration * 1_000;
        const now = this.clock.now();
        const window = Math.floor(now / windowMs);
        // Callers may choose a name of any length, and the other processes should not learn addresses.
        const who = shared.pseudonym(`${window} ${caller}`);
        const { consumedPoints } = await own.penalty(who);
        if (consumedPoints % part === 0 && consumedPoints <= points) {
          shared.tell({ kind: "callsCounted", rate: name, who, points: part });
        }
        return memory.consume(who).catch((refusal: unknown) => {
          throw refusal instanceof RateLimiterRes ? new RateLimiterRes(0, (window + 1) * windowMs - now) : refusal;
        });
      },
    };
  }

  /** Takes back the count of a call that did not fail after all. */
  async giveBack(rate: Rate, who: string): Promise<void> {
    await this.#limiters?.[rate].reward?.(who);
    const wide = wideAddressKey(who);
    if (wide !== undefined) await this.#wideLimiters?.[rate].reward?.(wide);
  }

  /** Counts one call. Throws `rate_limited` with `retryAfterMs` if `who` has no points left. */
  async take(rate: Rate, who: string): Promise<void> {
    if (!this.#limiters) return;
    try {
      await this.#limiters[rate].consume(who);
      const wide = wideAddressKey(who);
      if (wide !== undefined) await this.#wideLimiters?.[rate].consume(wide);
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal;
      const retryAfterMs = Math.max(refusal.msBeforeNext, 1);
      throw new CallError("rate_limited", `Too many requests. Try again in ${Math.ceil(retryAfterMs / 1_000)} s.`, {
        retryAfterMs,
      });
    }
  }
}
