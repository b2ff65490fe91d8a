/**
 * Bounds the results of writes that are kept for each caller (runtime/call/idempotency.ts). No result is forgotten
 * early, so a caller at the bound has a write refused, before it runs, if its result would have to be kept. The results
 * are counted in the database now and then, and in memory in between. So a process may lag a little behind what other
 * processes keep for the same caller.
 */
import type { Kysely } from "kysely";
import type { Database } from "../../schema/index.js";
import { CallError } from "../errors.js";
import { keptResults } from "../limits.js";
import { prepared } from "../store/prepared.js";

/** How long a count is used. At the bound it is shorter, so that expired results soon make room. */
const believedMs = 60_000;
const believedWhenFullMs = 5_000;
const mostKnown = 10_000;

interface Kept {
  bytes: number;
  results: number;
  until: number;
}

const countOf = prepared(["holder", "now"], (db, { holder, now }) =>
  db
    .selectFrom("idempotency")
    .select(({ fn }) => [fn.sum<number | null>("bytes").as("bytes"), fn.countAll<number>().as("results")])
    .where("holder", "=", holder)
    .where("expiresAt", ">", now),
);

const dropSeen = prepared(["sessionHash", "requestId"], (db, { sessionHash, requestId }) =>
  db.deleteFrom("idempotency").where("sessionHash", "=", sessionHash).where("requestId", "<", requestId),
);

/** Counts the kept results of each caller. */
export class KeptResults {
  readonly #known = new Map<string, Kept>();

  /** The refusal of one more result; undefined if there is room. */
  async refusal(db: Kysely<Database>, holder: string, now: number): Promise<CallError | undefined> {
    let kept = this.#known.get(holder);
    if (!kept || kept.until <= now || kept.until > now + believedMs) {
      const [counted] = (await countOf({ db }, { holder, now })).rows;
      const bytes = Number(counted?.bytes ?? 0);
      const results = Number(counted?.results ?? 0);
      kept = { bytes, results, until: now + (isFull({ bytes, results }) ? believedWhenFullMs : believedMs) };
      this.#known.delete(holder);
      this.#known.set(holder, kept);
      const [oldest] = this.#known.keys();
      if (this.#known.size > mostKnown && oldest !== undefined) this.#known.delete(oldest);
    }
    if (!isFull(kept)) return undefined;
    return new CallError(
      "conflict",
      "Too many results of your writes are kept for the case that you retry them. They go after 24 hours; until then, write without an Idempotency-Key.",
      kept.bytes >= keptResults.bytes
        ? { limit: keptResults.bytes, have: kept.bytes, unit: "bytes" }
        : { limit: keptResults.results, have: kept.results, unit: "results" },
    );
  }

  /** Counts one more result. */
  add(holder: string, bytes: number): void {
    const kept = this.#known.get(holder);
    if (!kept) return;
    kept.bytes += bytes;
    kept.results += 1;
  }

  /** Deletes the results of all mutations before this one: by sending it, a live client shows that it has them. */
  async dropSeen(
    db: Kysely<Database>,
    seen: { sessionHash: string; requestId: number },
    holder: string,
  ): Promise<void> {
    const { numAffectedRows = 0n } = await dropSeen({ db }, seen);
    if (numAffectedRows > 0n) this.#known.delete(holder);
  }
}

function isFull({ bytes, results }: Pick<Kept, "bytes" | "results">): boolean {
  return bytes >= keptResults.bytes || results >= keptResults.results;
}
