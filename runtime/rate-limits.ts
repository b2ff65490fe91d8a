/** Counts calls, in one process or in several together, and refuses what is over a rate (limits.ts). */
import { RateLimiterMemory, RateLimiterPostgres, RateLimiterRes } from "rate-limiter-flexible";
import type { Clock } from "./clock.js";
import { wideAddressKey, wideFactor } from "./counted-as.js";
import { CallError } from "./errors.js";
import { type Rate, rates } from "./limits.js";
import type { NoticeOf } from "./notices.js";

/** Rare, and worth a row each where several processes count: what they guard is counted exactly. */
const exact: ReadonlySet<Rate> = new Set(["registrations", "signIns", "wrongPasswords", "verifications", "topUps"]);
/** Of a socket, which one process holds. */
const ofOneProcess: ReadonlySet<Rate> = new Set(["frames"]);

/** In how many parts a process tells the others what it has let through. */
const sharedParts = 16;

/** How several processes count together. */
export interface SharedCounting {
  /** Runs a statement on the database. */
  query(statement: { name?: string; text: string; values?: unknown[] }): Promise<unknown>;
  /** Tells the other processes of calls. */
  tell(notice: NoticeOf<"callsCounted">): void;
  /** A name that is the same in all processes, and tells nobody else whose it is: hashes of addresses can be guessed back. */
  pseudonym(who: string): string;
}

interface Limiter {
  consume(who: string): Promise<unknown>;
  /** Takes one off the count. */
  reward?(who: string): Promise<unknown>;
}

/**
 * Counts calls. Where several processes do, those of the rare and strict rates are rows in the database. Of the others
 * each process keeps its own count and tells the rest whenever a sixteenth of the rate has gone through it: that costs a
 * call nothing, and lets at most (processes - 1) / 16 of the rate more through than one process would, beside what is
 * counted in the moment that a notice takes.
 */
export class RateLimits {
  readonly #limiters: Record<Rate, Limiter> | undefined;
  /** The same rates for the wider networks of IPv6. */
  readonly #wideLimiters: Record<Rate, Limiter> | undefined;
  /** What other processes count as well, by rate. */
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

  /** Another process let calls through. */
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
        // One of them clears the table for all.
        clearExpiredByTimeout: name === "signIns",
        keyPrefix: name,
        points,
        duration,
        // While the database is away nothing can be called anyway.
        insuranceLimiter: memory,
      });
      // The table holds no addresses and no names.
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
        // The windows of all processes end at the same instant, or a caller who knows when each of them does would
        // have the rate of each.
        const windowMs = duration * 1_000;
        const now = this.clock.now();
        const window = Math.floor(now / windowMs);
        // A caller may choose the name, as long as it likes, and addresses are not the others' business.
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

  /** Takes back what was counted for a call that did not fail after all. */
  async giveBack(rate: Rate, who: string): Promise<void> {
    await this.#limiters?.[rate].reward?.(who);
    const wide = wideAddressKey(who);
    if (wide !== undefined) await this.#wideLimiters?.[rate].reward?.(wide);
  }

  /** Counts one call. Throws `rate_limited` with `retryAfterMs` where `who` has used its points up. */
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
