/**
 * The ledger under everything at once: random top-ups, credits, codes, rents, approvals, tokens, raised limits, ends,
 * disputes, decisions, refunds and leaps of the clock, many at the same moment. Whatever order they came in, every invariant holds, and every wallet has what the sessions
 * and top-ups come to by the rules of clawrent.md section 6, written down here a second time.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { auditLedger } from "../../../../functions/model/money/audit.js";
import { CallError } from "../../../../runtime/errors.js";
import { type Currency, currencies, pricingModels } from "../../../../schema/listings.js";
import { printAmount } from "../../../../schema/money.js";
import type { SessionsTable } from "../../../../schema/sessions.js";
import { databases, hour, minute, type TestServer, useServer } from "../../../support/harness.js";
import { Ledger, type Party, type Terms } from "../../../support/ledger.js";
import { amount } from "../../../support/long.js";

describe.each(databases)("the ledger on %s", (database) => {
  const server = useServer(database);
  const runs = amount(1, 50);
  const stepsPerRun = 2_000;

  test(
    `is sound after ${runs * stepsPerRun} operations, ${workers} at a time`,
    async () => {
      const seen = { settled: 0, refunded: 0, partly: 0, pending: 0, unpaid: 0, dropped: 0 };
      await fc.assert(
        // The number stands for its steps: thousands of them would only fill the screen.
        fc.asyncProperty(fc.integer(), async (seed) => {
          const life = await Life.begin(server);
          await life.live(fc.sample(anyStep, { seed, numRuns: stepsPerRun }));
          await life.check(seen);
        }),
        // What happens at once happens in another order the next time, so there is nothing to shrink.
        { numRuns: runs, endOnFailure: true, interruptAfterTimeLimit: 14 * 60_000, markInterruptAsFailure: true },
      );
      // Many runs in which one of these never happened would prove little; in a single one it may be missing by chance.
      if (runs > 1)
        for (const [what, count] of Object.entries(seen)) expect(count, `${what} sessions`).toBeGreaterThan(0);
    },
    15 * 60_000,
  );
});

const workers = 16;
const people = 6;
/** Refusals that a step may meet. Another one, or a fault, is a mistake. */
const expected = new Set([
  "insufficient_funds",
  "conflict",
  "not_found",
  "failed_precondition",
  "expired",
  "invalid_args",
]);

/** Sessions are counted from the newest, so that steps that run at once often want the same. */
type Step =
  | { do: "topUp"; who: number; cents: number; currency: Currency }
  | { do: "rent"; who: number; from: number; terms: Required<Omit<Terms, "maxAmountMinor">> & Terms; approved: boolean }
  | { do: "approve" | "end" | "meter" | "refund"; session: number }
  | { do: "dispute" | "withdraw"; session: number }
  | { do: "raise" | "decide"; session: number; cents: number }
  | { do: "credit" | "code"; who: number; cents: number; currency: Currency }
  | { do: "use"; session: number; tokens: number }
  | { do: "pass"; ms: number }
  | { do: "audit" };

const who = fc.nat(people - 1);
const session = fc.oneof({ weight: 3, arbitrary: fc.nat(12) }, { weight: 1, arbitrary: fc.nat(200) });
const currency = fc.oneof(
  { weight: 5, arbitrary: fc.constant<Currency>("CNY") },
  { weight: 1, arbitrary: fc.constantFrom(...currencies) },
);
const on = <Do extends "approve" | "end" | "meter" | "refund" | "dispute" | "withdraw">(act: Do, weight: number) => ({
  weight,
  arbitrary: fc.record({ do: fc.constant(act), session }),
});
const cents = fc.integer({ min: 1, max: 5_000 });

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 140,
    arbitrary: fc.record({
      do: fc.constant("topUp" as const),
      who,
      cents: fc.integer({ min: 1, max: 5_000 }),
      currency,
    }),
  },
  {
    weight: 260,
    arbitrary: fc.record({
      do: fc.constant("rent" as const),
      who,
      from: who,
      terms: fc.record({
        pricingModel: fc.constantFrom(...pricingModels),
        priceMinor: fc.oneof(fc.nat(40), fc.nat(60_000), fc.constant(0)),
        currency,
        served: fc.boolean(),
        maxAmountMinor: fc.option(fc.integer({ min: 1, max: 1_000_000 }), { nil: undefined }),
      }),
      approved: fc.boolean(),
    }),
  },
  on("approve", 180),
  on("end", 140),
  on("meter", 60),
  on("refund", 60),
  on("dispute", 100),
  on("withdraw", 20),
  { weight: 60, arbitrary: fc.record({ do: fc.constant("decide" as const), session, cents: fc.nat(3_000) }) },
  { weight: 40, arbitrary: fc.record({ do: fc.constant("raise" as const), session, cents }) },
  {
    weight: 20,
    arbitrary: fc.record({ do: fc.constantFrom("credit" as const, "code" as const), who, cents, currency }),
  },
  {
    weight: 160,
    arbitrary: fc.record({
      do: fc.constant("use" as const),
      session,
      tokens: fc.oneof(fc.nat(3_000), fc.nat(30), fc.maxSafeNat()),
    }),
  },
  {
    weight: 40,
    arbitrary: fc.record({
      do: fc.constant("pass" as const),
      ms: fc.oneof(
        { weight: 8, arbitrary: fc.nat(8 * minute) },
        { weight: 1, arbitrary: fc.constantFrom(48 * hour, -48 * hour) },
      ),
    }),
  },
  { weight: 1, arbitrary: fc.constant<Step>({ do: "audit" }) },
);

class Life {
  readonly #ledger: Ledger;
  readonly #sessions: string[] = [];
  /** What was topped up, by user and currency. */
  readonly #toppedUp = new Map<string, number>();
  #lost = 0;

  private constructor(
    readonly server: TestServer,
    readonly parties: Party[],
  ) {
    this.#ledger = new Ledger(server);
  }

  static async begin(server: TestServer): Promise<Life> {
    const ledger = new Ledger(server);
    return new Life(server, await Promise.all(Array.from({ length: people }, () => ledger.party())));
  }

  async live(steps: Step[]): Promise<void> {
    // All workers take from the same queue.
    const queue = steps.values();
    const work = async () => {
      for (const step of queue) {
        await this.#take(step).catch((error: unknown) => {
          if (!(error instanceof CallError)) throw error;
          // PostgreSQL gives up on a call that lost too many races in a row; then nothing happened.
          if (error.code === "unavailable") this.#lost += 1;
          else if (!expected.has(error.code)) throw error;
        });
      }
    };
    await Promise.all(Array.from({ length: workers }, work));
    expect(this.#lost).toBeLessThan(steps.length / 100);
  }

  async #take(step: Step): Promise<void> {
    const ledger = this.#ledger;
    switch (step.do) {
      case "topUp": {
        const { userId } = this.#party(step.who);
        const { currency, cents } = step;
        await ledger.topUp(userId, `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, "0")}`, currency);
        const key = `${userId} ${currency}`;
        this.#toppedUp.set(key, (this.#toppedUp.get(key) ?? 0) + cents * 100);
        return;
      }
      case "rent": {
        const [consumer, provider] = [this.#party(step.who), this.#party(step.from)];
        if (consumer === provider) return;
        const sessionId = await ledger.rent(consumer, provider, step.terms);
        this.#sessions.push(sessionId);
        if (step.approved) await ledger.approve(sessionId);
        return;
      }
      case "credit":
      case "code":
        return this.#fund(step);
      case "raise":
      case "dispute":
      case "withdraw":
      case "decide":
        return this.#argue(step);
      case "pass":
        this.server.clock.jump(step.ms);
        return;
      case "audit":
        return this.#audit();
      default: {
        const sessionId = this.#sessions.at(-1 - step.session);
        if (sessionId === undefined) return;
        if (step.do === "use") await ledger.use(sessionId, step.tokens);
        else await ledger[step.do](sessionId);
      }
    }
  }

  /** Money that comes in another way than by a top-up. */
  async #fund(step: Extract<Step, { do: "credit" | "code" }>): Promise<void> {
    const ledger = this.#ledger;
    const [{ userId }, admin] = [this.#party(step.who), this.#party(0)];
    const { cents, currency } = step;
    const given = { amount: printAmount(cents * 100), currency };
    if (step.do === "credit") {
      await ledger.call(admin.userId, "admin:credit", { ...given, userId, reason: "A gift" }, true);
    } else {
      const made = (await ledger.call(admin.userId, "admin:createTopUpCodes", given, true)) as {
        codes: { topUpCode: string }[];
      };
      const tries = [0, 1, 2].map(() => ledger.call(userId, "billing:redeem", { code: made.codes[0]?.topUpCode }));
      const won = (await Promise.allSettled(tries)).filter(({ status }) => status === "fulfilled");
      expect(won.length).toBeLessThanOrEqual(1);
      if (won.length === 0) return;
    }
    const key = `${userId} ${currency}`;
    this.#toppedUp.set(key, (this.#toppedUp.get(key) ?? 0) + cents * 100);
  }

  /** What a consumer says of a session's limit and price, and an admin to that. */
  async #argue(step: Extract<Step, { do: "raise" | "dispute" | "withdraw" | "decide" }>): Promise<void> {
    const ledger = this.#ledger;
    const sessionId = this.#sessions.at(-1 - step.session);
    if (sessionId === undefined) return;
    const { consumerUserId } = await ledger.session(sessionId);
    const cents = "cents" in step ? step.cents : 0;
    if (step.do === "raise") {
      const maxAmount = printAmount(cents * 1_000);
      await ledger.call(consumerUserId, "sessions:raiseLimit", { sessionId, maxAmount });
    } else if (step.do === "dispute") {
      await ledger.call(consumerUserId, "sessions:dispute", { sessionId, reason: "Not good" });
    } else if (step.do === "withdraw") await ledger.call(consumerUserId, "sessions:withdrawDispute", { sessionId });
    else {
      const dispute = await this.server.read((db) =>
        db.selectFrom("disputes").select("disputeId").where("sessionId", "=", sessionId).executeTakeFirst(),
      );
      const [decision, amount] = cents === 0 ? ["none"] : cents < 1_000 ? ["part", printAmount(cents)] : ["all"];
      const disputeId = dispute?.disputeId ?? "none";
      await ledger.call(consumerUserId, "admin:decideDispute", { disputeId, decision, amount }, true);
    }
  }

  #party(index: number): Party {
    const party = this.parties[index];
    if (!party) throw new Error(`There is no party ${index}`);
    return party;
  }

  async #audit(): Promise<void> {
    const findings = await this.server.read((db) => auditLedger({ db }));
    expect(findings.filter(({ ok }) => !ok)).toEqual([]);
  }

  /** The invariants, and every wallet against what the sessions say. Counts what became of the sessions. */
  async check(
    seen: Record<"settled" | "refunded" | "partly" | "pending" | "unpaid" | "dropped", number>,
  ): Promise<void> {
    await this.#audit();
    const due = new Map(this.#toppedUp);
    const held = new Map<string, number>();
    const pending = new Map<string, number>();
    const add = (to: Map<string, number>, key: string, minor: number) => to.set(key, (to.get(key) ?? 0) + minor);
    for (const sessionId of this.#sessions) {
      const session = await this.#ledger.session(sessionId);
      const consumer = `${session.consumerUserId} ${session.currency}`;
      const provider = `${session.providerUserId} ${session.currency}`;
      const hold = await this.server.read((db) =>
        db.selectFrom("holds").selectAll().where("sessionId", "=", sessionId).executeTakeFirst(),
      );
      const isOpen = session.status === "active" || session.status === "pending_approval";
      expect(hold === undefined).toBe(session.priceMinor === 0);
      if (hold) expect(hold.status === "held").toBe(isOpen);
      if (isOpen) add(held, consumer, hold?.amountMinor ?? 0);
      if (session.billingAmountMinor === null) {
        expect(session.status).not.toBe("completed");
        if (!isOpen) seen.dropped += 1;
        continue;
      }

      const paid = BigInt(session.billingAmountMinor);
      const record = await this.server.read((db) =>
        db.selectFrom("billingRecords").selectAll().where("sessionId", "=", sessionId).executeTakeFirstOrThrow(),
      );
      const unpaid = BigInt((JSON.parse(record.meteringData) as { unpaid: string }).unpaid.replace(".", ""));
      const most = BigInt(session.maxAmountMinor ?? 0);
      const used = dueFor(session);
      const owed = used < most ? used : most;
      expect(paid >= 0n && unpaid >= 0n).toBe(true);
      expect(paid + unpaid).toBe(owed);
      if (unpaid > 0n) {
        // Only what is metered by use can cost more than was held; time is stopped when the money ends.
        expect(session.pricingModel).toBe("per_token");
        expect(session.endReason).toBe("insufficient_balance");
        seen.unpaid += 1;
      }
      const fee = (paid * 15n + 50n) / 100n;
      expect([session.platformFeeMinor, session.providerIncomeMinor]).toEqual([Number(fee), Number(paid - fee)]);
      // What was kept of it is divided as if no more had been charged.
      const kept = paid - BigInt(record.refundedMinor);
      const keptFee = (kept * 15n + 50n) / 100n;
      expect(session.billingStatus).toBe(record.status);
      if (record.status === "refunded") {
        expect(kept).toBe(0n);
        seen.refunded += 1;
      } else if (record.refundedMinor > 0) seen.partly += 1;
      else seen.settled += 1;
      add(due, consumer, -Number(kept));
      add(due, provider, Number(kept - keptFee));
      if (record.releaseAt !== null) {
        expect(record.pendingMinor).toBe(Number(kept - keptFee));
        add(pending, provider, record.pendingMinor);
        seen.pending += 1;
      }
    }
    for (const { userId } of this.parties) {
      for (const currency of currencies) {
        const key = `${userId} ${currency}`;
        const wallet = { balanceMinor: due.get(key) ?? 0, heldMinor: held.get(key) ?? 0 };
        expect(await this.#ledger.wallet(userId, currency)).toEqual(wallet);
        expect(await this.#ledger.pending(userId, currency)).toBe(pending.get(key) ?? 0);
      }
    }
  }
}

/** What a completed session comes to (clawrent.md section 6.2). */
function dueFor(session: SessionsTable): bigint {
  const price = BigInt(session.priceMinor);
  if (session.pricingModel === "per_token") return price * BigInt(session.totalTokensProvider);
  if (session.pricingModel !== "per_minute") return session.servedAt === null ? 0n : price;
  let minutes = 1n;
  while (Number(minutes) * minute < (session.endedAt ?? 0) - (session.startedAt ?? 0)) minutes += 1n;
  return price * minutes;
}
