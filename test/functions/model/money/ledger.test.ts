import { type Kysely, sql } from "kysely";
import { beforeAll, describe, expect, test } from "vitest";
import { type AuditFinding, auditLedger } from "../../../../functions/model/money/audit.js";
import { postTransfer } from "../../../../functions/model/money/ledger.js";
import { settleSession } from "../../../../functions/model/money/settlement.js";
import { findSession } from "../../../../functions/model/session/session.js";
import { systemMutation } from "../../../../runtime/call/define.js";
import type { Database } from "../../../../schema/index.js";
import { databases, hour, minute, type TestServer, useServer } from "../../../support/harness.js";
import { Ledger, type Party } from "../../../support/ledger.js";

/** In 1/10000 of a currency unit. */
const yuan = 10_000;

const insufficient = { code: "insufficient_funds", message: expect.stringMatching(/^Insufficient balance/) };

describe.each(databases)("the ledger on %s", (database) => {
  const server = useServer(database);
  const ledger = new Ledger(server);
  let alice: Party;
  let bob: Party;

  /** Alice with this much in her wallet, and Bob without anything. */
  async function meet(balance: string): Promise<void> {
    [alice, bob] = [await ledger.party(), await ledger.party()];
    await ledger.topUp(alice.userId, balance);
  }

  async function expectSound(): Promise<void> {
    const findings = await server.read((db) => auditLedger({ db }));
    expect(findings.filter(({ ok }) => !ok)).toEqual([]);
  }

  function holdOf(sessionId: string) {
    return server.read((db) =>
      db.selectFrom("holds").select(["amountMinor", "status"]).where("sessionId", "=", sessionId).executeTakeFirst(),
    );
  }

  describe("a hold", () => {
    test("reserves what a rent needs, and the next rent must fit into the rest", async () => {
      await meet("10.00");
      const sessionId = await ledger.rent(alice, bob, { pricingModel: "per_session", priceMinor: 6 * yuan });
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 10 * yuan, heldMinor: 6 * yuan });
      expect(await holdOf(sessionId)).toEqual({ amountMinor: 6 * yuan, status: "held" });

      const second = ledger.rent(alice, bob, { pricingModel: "per_session", priceMinor: 4 * yuan + 1 });
      await expect(second).rejects.toMatchObject({
        ...insufficient,
        data: { needed: "4.0001", available: "4.00", currency: "CNY" },
      });
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 10 * yuan, heldMinor: 6 * yuan });
      await ledger.rent(alice, bob, { pricingModel: "per_session", priceMinor: 4 * yuan });
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 10 * yuan, heldMinor: 10 * yuan });
      await expectSound();
    });

    test("is refused where there is no wallet, or only one of the other currency", async () => {
      await meet("10.00");
      const terms = { pricingModel: "fixed", priceMinor: 1 } as const;
      await expect(ledger.rent(bob, alice, terms)).rejects.toMatchObject(insufficient);
      await expect(ledger.rent(alice, bob, { ...terms, currency: "USD" })).rejects.toMatchObject(insufficient);
    });

    test("is not made for what costs nothing", async () => {
      await meet("0.01");
      const sessionId = await ledger.start(bob, alice, { pricingModel: "per_token", priceMinor: 0 });
      expect(await holdOf(sessionId)).toBeUndefined();
      await ledger.use(sessionId, 10 ** 12);
      expect(await ledger.session(sessionId)).toMatchObject({ status: "active" });
      await ledger.end(sessionId);
      expect(await ledger.session(sessionId)).toMatchObject({ billingStatus: "settled", billingAmountMinor: 0 });
      await expectSound();
    });

    test("is had by one of a hundred rents at once that have the money for one", async () => {
      await meet("5.00");
      const rents = Array.from({ length: 100 }, () =>
        ledger.rent(alice, bob, { pricingModel: "per_session", priceMinor: 3 * yuan }),
      );
      const outcomes = await Promise.allSettled(rents);
      expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      for (const outcome of outcomes)
        if (outcome.status === "rejected") expect(outcome.reason).toMatchObject(insufficient);
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 5 * yuan, heldMinor: 3 * yuan });
      await expectSound();
    });

    test("is given back once where the session ends before it began", async () => {
      await meet("5.00");
      const terms = { pricingModel: "per_session", priceMinor: 2 * yuan } as const;
      const [cancelled, forgotten] = [await ledger.rent(alice, bob, terms), await ledger.rent(alice, bob, terms)];
      await Promise.all([ledger.end(cancelled), ledger.end(cancelled), ledger.end(cancelled)]);
      expect(await holdOf(cancelled)).toEqual({ amountMinor: 2 * yuan, status: "released" });
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 5 * yuan, heldMinor: 2 * yuan });
      server.clock.jump(24 * hour);
      await ledger.meter(forgotten);
      await ledger.end(forgotten);
      expect(await holdOf(forgotten)).toEqual({ amountMinor: 2 * yuan, status: "expired" });
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 5 * yuan, heldMinor: 0 });
      await expectSound();
    });
  });

  describe("a settlement", () => {
    test("moves the amount, the fee and the income in one transfer, and leaves one record", async () => {
      await meet("100.00");
      const sessionId = await ledger.start(alice, bob, { pricingModel: "per_session", priceMinor: 5 * yuan });
      await ledger.end(sessionId);
      expect(await ledger.session(sessionId)).toMatchObject({
        status: "completed",
        billingStatus: "settled",
        billingAmountMinor: 50_000,
        platformFeeMinor: 7_500,
        providerIncomeMinor: 42_500,
      });
      expect(await holdOf(sessionId)).toEqual({ amountMinor: 50_000, status: "captured" });
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 950_000, heldMinor: 0 });
      expect(await ledger.wallet(bob.userId)).toEqual({ balanceMinor: 42_500, heldMinor: 0 });

      const entries = await server.read((db) =>
        db
          .selectFrom("entries")
          .innerJoin("transfers", "transfers.transferId", "entries.transferId")
          .select(["accountId", "type", "amountMinor", "balanceAfterMinor", "position"])
          .where("referenceId", "=", sessionId)
          .orderBy("type")
          .execute(),
      );
      expect(entries).toEqual([
        { accountId: `fees:${bob.userId}:CNY`, type: "fee", amountMinor: 7_500, balanceAfterMinor: 7_500, position: 1 },
        {
          accountId: `wallet:${bob.userId}:CNY`,
          type: "income",
          amountMinor: 42_500,
          balanceAfterMinor: 42_500,
          position: 1,
        },
        {
          accountId: `wallet:${alice.userId}:CNY`,
          type: "payment",
          amountMinor: -50_000,
          balanceAfterMinor: 950_000,
          position: 2,
        },
      ]);
      await expectSound();
    });

    test("happens once, however many end the session at the same moment", async () => {
      await meet("100.00");
      const sessionId = await ledger.start(alice, bob, { pricingModel: "fixed", priceMinor: 5 * yuan });
      await Promise.all(Array.from({ length: 100 }, () => ledger.end(sessionId)));
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 95 * yuan, heldMinor: 0 });
      expect(await ledger.wallet(bob.userId)).toEqual({ balanceMinor: 42_500, heldMinor: 0 });
      await expectSound();
    });

    test("cannot be had twice, even by a caller that did not look", async () => {
      await meet("100.00");
      const sessionId = await ledger.start(alice, bob, { pricingModel: "fixed", priceMinor: 5 * yuan });
      await ledger.end(sessionId);
      const settleAgain = systemMutation("test: settles without asking", async (ctx) => {
        const session = await findSession(ctx, sessionId);
        if (session) await settleSession(ctx, session);
      });
      await expect(server.server.dispatcher.runSystem(settleAgain)).rejects.toThrow(/unique/i);
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 95 * yuan, heldMinor: 0 });
      await expectSound();
    });

    test("takes no more than the consumer has, leaves alone what other sessions hold, and notes the rest", async () => {
      await meet("10.00");
      const tokens = await ledger.start(alice, bob, { pricingModel: "per_token", priceMinor: 50 });
      const other = await ledger.start(alice, bob, { pricingModel: "fixed", priceMinor: 3 * yuan });
      await ledger.use(tokens, Number.MAX_SAFE_INTEGER);
      expect(await ledger.session(tokens)).toMatchObject({
        status: "completed",
        endReason: "insufficient_balance",
        billingAmountMinor: 7 * yuan,
      });
      const { meteringData } = await server.read((db) =>
        db.selectFrom("billingRecords").selectAll().where("sessionId", "=", tokens).executeTakeFirstOrThrow(),
      );
      expect(JSON.parse(meteringData)).toMatchObject({
        quantity: 20_000,
        tokensReported: Number.MAX_SAFE_INTEGER,
        unitPrice: "0.005",
        unpaid: "3.0000",
        overLimit: "90.0000",
      });
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 3 * yuan, heldMinor: 3 * yuan });
      await ledger.end(other);
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 0, heldMinor: 0 });
      await expectSound();
    });

    test("of nothing makes a record and no transfer, and gives the hold back", async () => {
      await meet("10.00");
      const sessionId = await ledger.start(alice, bob, { pricingModel: "per_token", priceMinor: 50 });
      await ledger.end(sessionId);
      expect(await ledger.session(sessionId)).toMatchObject({ billingStatus: "settled", billingAmountMinor: 0 });
      expect(await holdOf(sessionId)).toEqual({ amountMinor: 50_000, status: "released" });
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 10 * yuan, heldMinor: 0 });
      expect(await ledger.call(alice.userId, "billing:listRecords", {})).toMatchObject({ total: 1 });
      expect(await ledger.call(alice.userId, "billing:listTransactions", {})).toMatchObject({ total: 1 });
      await expectSound();
    });

    test("of an amount whose fee rounds to nothing leaves it all to the provider", async () => {
      await meet("10.00");
      const sessionId = await ledger.start(alice, bob, { pricingModel: "fixed", priceMinor: 3 });
      await ledger.end(sessionId);
      expect(await ledger.wallet(bob.userId)).toEqual({ balanceMinor: 3, heldMinor: 0 });
      await expectSound();
    });

    test("of a session whose clock was set back costs a minute and nothing less", async () => {
      await meet("10.00");
      const sessionId = await ledger.start(alice, bob, { pricingModel: "per_minute", priceMinor: yuan });
      server.clock.jump(-48 * hour);
      await ledger.end(sessionId);
      expect(await ledger.session(sessionId)).toMatchObject({ billingAmountMinor: yuan });
      server.clock.jump(48 * hour);
      await expectSound();
    });
  });

  describe("metering", () => {
    test("by the minute holds five at a time, then what there is, and ends the session when that is used up", async () => {
      await meet("12.50");
      const sessionId = await ledger.start(alice, bob, { pricingModel: "per_minute", priceMinor: yuan });
      const startedAt = server.clock.now();
      const held = async () => [(await holdOf(sessionId))?.amountMinor, (await ledger.session(sessionId)).meterAt];
      expect(await held()).toEqual([5 * yuan, startedAt + 5 * minute]);

      server.clock.jump(5 * minute - 1);
      await ledger.meter(sessionId);
      expect(await held()).toEqual([5 * yuan, startedAt + 5 * minute]);
      server.clock.jump(1);
      await ledger.meter(sessionId);
      expect(await held()).toEqual([10 * yuan, startedAt + 10 * minute]);
      server.clock.jump(5 * minute);
      await ledger.meter(sessionId);
      expect(await held()).toEqual([12 * yuan, startedAt + 12 * minute]);
      server.clock.jump(3 * minute);
      await ledger.meter(sessionId);
      expect(await ledger.session(sessionId)).toMatchObject({
        status: "completed",
        endReason: "insufficient_balance",
        endedAt: startedAt + 12 * minute,
        billingAmountMinor: 12 * yuan,
      });
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: yuan / 2, heldMinor: 0 });
      await expectSound();
    });

    test("by the minute catches up in one step where the timer was late, and never past the money", async () => {
      await meet("100.00");
      const terms = { pricingModel: "per_minute", priceMinor: yuan } as const;
      const [first, second] = [await ledger.start(alice, bob, terms), await ledger.start(alice, bob, terms)];
      const startedAt = server.clock.now();
      server.clock.jump(31 * minute);
      await ledger.meter(first);
      expect(await ledger.session(first)).toMatchObject({ status: "active", meterAt: startedAt + 35 * minute });
      server.clock.jump(48 * hour);
      await ledger.meter(first);
      await ledger.end(second);
      expect(await ledger.session(first)).toMatchObject({
        endedAt: startedAt + 95 * minute,
        billingAmountMinor: 95 * yuan,
      });
      expect(await ledger.session(second)).toMatchObject({
        endedAt: startedAt + 5 * minute,
        billingAmountMinor: 5 * yuan,
        endReason: "insufficient_balance",
      });
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 0, heldMinor: 0 });
      await expectSound();
    });

    test("by the token follows the running cost, and ends the session once it has cost all there is", async () => {
      await meet("2.00");
      const sessionId = await ledger.start(alice, bob, { pricingModel: "per_token", priceMinor: 10 });
      expect(await holdOf(sessionId)).toMatchObject({ amountMinor: yuan });
      await ledger.use(sessionId, 1_000);
      expect(await holdOf(sessionId)).toMatchObject({ amountMinor: yuan });
      await ledger.use(sessionId, 999);
      expect(await holdOf(sessionId)).toMatchObject({ amountMinor: 2 * yuan - 10 });
      expect(await ledger.session(sessionId)).toMatchObject({ status: "active" });
      await ledger.use(sessionId, 1);
      expect(await ledger.session(sessionId)).toMatchObject({
        status: "completed",
        endReason: "insufficient_balance",
        billingAmountMinor: 2 * yuan,
      });
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 0, heldMinor: 0 });
      await expectSound();
    });
  });

  describe("a refund", () => {
    /** A settled session of 5.00. */
    async function settled(): Promise<string> {
      await meet("5.00");
      const sessionId = await ledger.start(alice, bob, { pricingModel: "fixed", priceMinor: 5 * yuan });
      await ledger.end(sessionId);
      return sessionId;
    }

    test("puts everything back where it was, once", async () => {
      const sessionId = await settled();
      const attempts = await Promise.allSettled(Array.from({ length: 20 }, () => ledger.refund(sessionId)));
      expect(attempts.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      for (const attempt of attempts) {
        if (attempt.status === "rejected") {
          expect(attempt.reason).toMatchObject({ code: "conflict", message: "Billing record is already refunded" });
        }
      }
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: 5 * yuan, heldMinor: 0 });
      expect(await ledger.wallet(bob.userId)).toEqual({ balanceMinor: 0, heldMinor: 0 });
      expect(await ledger.session(sessionId)).toMatchObject({ billingStatus: "refunded" });
      await expectSound();
    });

    test("within the dispute window finds the income where it was: the provider cannot spend it", async () => {
      const sessionId = await settled();
      const rented = ledger.rent(bob, alice, { pricingModel: "fixed", priceMinor: 1 });
      await expect(rented).rejects.toMatchObject({ ...insufficient, data: { available: "0.00" } });
      await ledger.refund(sessionId);
      expect(await ledger.wallet(bob.userId)).toEqual({ balanceMinor: 0, heldMinor: 0 });
      await expectSound();
    });

    test("after it is refused where the provider has spent the income, or an open session holds it", async () => {
      const sessionId = await settled();
      server.clock.jump(24 * hour);
      const rented = await ledger.rent(bob, alice, { pricingModel: "fixed", priceMinor: 1 });
      const refused = {
        code: "insufficient_funds",
        message: expect.stringContaining("takes 4.25 CNY from the provider's wallet, and 4.2499 CNY is available"),
      };
      await expect(ledger.refund(sessionId)).rejects.toMatchObject(refused);
      await ledger.approve(rented);
      await ledger.end(rented);
      await expect(ledger.refund(sessionId)).rejects.toMatchObject(refused);
      expect(await ledger.session(sessionId)).toMatchObject({ billingStatus: "settled" });
      expect(await ledger.wallet(bob.userId)).toEqual({ balanceMinor: 42_499, heldMinor: 0 });
      await ledger.topUp(bob.userId, "0.01");
      await ledger.refund(sessionId);
      await expectSound();
    });

    test("of a record that is not there is refused", async () => {
      await meet("1.00");
      const pending = await ledger.rent(alice, bob, { pricingModel: "fixed", priceMinor: 1 });
      await expect(ledger.refund(pending)).rejects.toMatchObject({
        code: "not_found",
        message: "Billing record not found",
      });
    });

    test("of nothing only marks the record", async () => {
      await meet("10.00");
      const sessionId = await ledger.start(alice, bob, { pricingModel: "per_token", priceMinor: 50 });
      await ledger.end(sessionId);
      await ledger.refund(sessionId);
      expect(await ledger.session(sessionId)).toMatchObject({ billingStatus: "refunded" });
      await expect(ledger.refund(sessionId)).rejects.toMatchObject({ code: "conflict" });
      await expectSound();
    });
  });

  describe("a transfer", () => {
    const wrong = (entries: { userId: string; amountMinor: number }[]) =>
      systemMutation("test: posts a transfer", async (ctx) => {
        await postTransfer(ctx, {
          kind: "recharge",
          currency: "CNY",
          reference: { type: "topup", id: ctx.newUuid() },
          entries: entries.map((entry) => ({ ...entry, account: "wallet", type: "recharge", description: "" })),
        });
      });

    test("that does not sum to zero, or overdraws a wallet, is a fault and changes nothing", async () => {
      await meet("1.00");
      const unbalanced = wrong([
        { userId: alice.userId, amountMinor: 2 },
        { userId: bob.userId, amountMinor: -1 },
      ]);
      await expect(server.server.dispatcher.runSystem(unbalanced)).rejects.toThrow("sum to 1");
      const overdrawn = wrong([
        { userId: alice.userId, amountMinor: -yuan - 1 },
        { userId: bob.userId, amountMinor: yuan + 1 },
      ]);
      await expect(server.server.dispatcher.runSystem(overdrawn)).rejects.toThrow(/check constraint/i);
      expect(await ledger.wallet(alice.userId)).toEqual({ balanceMinor: yuan, heldMinor: 0 });
      expect(await ledger.wallet(bob.userId)).toEqual({ balanceMinor: 0, heldMinor: 0 });
      await expectSound();
    });
  });

  describe("the journal", () => {
    test.each([
      `update entries set "amountMinor" = 1`,
      `update entries set description = ''`,
      "update transfers set currency = 'USD'",
      "delete from entries",
      "delete from transfers",
      ...(database === "postgres"
        ? ["truncate entries", "truncate transfers cascade"]
        : [
            "insert or replace into entries select * from entries limit 1",
            `update or replace transfers set "createdAt" = 0`,
          ]),
    ])("refuses %s", async (statement) => {
      await meet("1.00");
      const before = await journal(server);
      const change = server.server.store.write(({ db }) => sql.raw(statement).execute(db));
      await expect(change).rejects.toThrow(/append-only/);
      expect(await journal(server)).toEqual(before);
    });
  });
});

function journal(server: TestServer) {
  return server.read(async (db) => [
    await db.selectFrom("transfers").selectAll().orderBy("transferId").execute(),
    await db.selectFrom("entries").selectAll().orderBy("entryId").execute(),
  ]);
}

describe.each(databases)("the audit on %s", (database) => {
  const server = useServer(database);
  const ledger = new Ledger(server);

  beforeAll(async () => {
    const [alice, bob] = [await ledger.party(), await ledger.party()];
    await ledger.topUp(alice.userId, "100.00");
    await ledger.topUp(alice.userId, "7.00", "USD");
    const terms = { pricingModel: "fixed", priceMinor: 5 * yuan } as const;
    const ended = [await ledger.start(alice, bob, terms), await ledger.start(alice, bob, terms)];
    for (const sessionId of ended) await ledger.end(sessionId);
    await ledger.refund(ended[0] ?? "");
    await ledger.end(await ledger.rent(alice, bob, terms));
    await ledger.end(await ledger.start(alice, bob, { ...terms, priceMinor: 0 }));
    await ledger.start(alice, bob, { ...terms, currency: "USD" });
    await ledger.rent(alice, bob, terms);
    await ledger.call(alice.userId, "sessions:dispute", { sessionId: ended[1], reason: "Not good" });
    const made = await ledger.call(alice.userId, "admin:createTopUpCodes", { amount: "2.00" }, true);
    const { codes } = made as { codes: { topUpCode: string }[] };
    await ledger.call(bob.userId, "billing:redeem", { code: codes[0]?.topUpCode });
  });

  /** What the audit says after changes that are undone behind it. */
  async function auditAfter(changes: string[]): Promise<AuditFinding[]> {
    const undone = new Error("undone");
    let findings: AuditFinding[] = [];
    await server.server.store
      .write(async ({ db }) => {
        await withoutGuards(db);
        for (const change of changes) await sql.raw(change).execute(db);
        findings = await auditLedger({ db });
        throw undone;
      })
      .catch((error: unknown) => {
        if (error !== undone) throw error;
      });
    if (database === "sqlite") await pragma("ignore_check_constraints = off");
    return findings;
  }

  function pragma(setting: string) {
    return server.server.store.write(({ db }) => sql.raw(`pragma ${setting}`).execute(db));
  }

  /** Takes away what keeps the ledger sound in the database itself. */
  async function withoutGuards(db: Kysely<Database>): Promise<void> {
    const statements =
      database === "sqlite"
        ? [
            "pragma ignore_check_constraints = on",
            ...["transfers", "entries"].flatMap((table) =>
              ["update", "delete"].map((change) => `drop trigger "${table}_no_${change}"`),
            ),
          ]
        : [
            ...["transfers", "entries"].map((table) => `drop trigger "${table}_append_only" on "${table}"`),
            `alter table "ledgerAccounts" drop constraint "ledgerAccountsNotOverspent"`,
            `alter table "ledgerAccounts" drop constraint "ledgerAccountsPendingIsThere"`,
            `alter table "billingRecords" drop constraint "billingRecordsRefundedExactly"`,
            `alter table sessions drop constraint "sessionsWithinLimit"`,
            `alter table sessions drop constraint "sessionsSettledExactly"`,
            `alter table "billingRecords" drop constraint "billingRecordsExact"`,
          ];
    for (const statement of statements) await sql.raw(statement).execute(db);
  }

  test("finds nothing wrong where nothing is, and says how much it looked at", async () => {
    const findings = await server.read((db) => auditLedger({ db }));
    expect(findings.filter(({ ok }) => !ok)).toEqual([]);
    expect(findings.map(({ detail }) => detail)).toContain("6 sessions");
    expect(findings).toHaveLength(20);
  });

  test("finds the journal's triggers gone", async () => {
    const findings = await auditAfter([]);
    expect(findings.filter(({ ok }) => !ok).map(({ invariant }) => invariant)).toEqual([
      "The journal cannot be changed",
    ]);
  });

  test.each([
    [
      "The entries of every transfer sum to zero",
      `update entries set "amountMinor" = "amountMinor" + 1 where type = 'fee'`,
    ],
    ["The entries of every transfer sum to zero", "delete from entries where type = 'recharge'"],
    [
      "Every entry is in the currency of its transfer, and only wallets' entries are somebody's",
      "update transfers set currency = case when currency = 'USD' then 'CNY' else 'USD' end where kind = 'recharge'",
    ],
    [
      "Every entry is in the currency of its transfer, and only wallets' entries are somebody's",
      `update entries set "userId" = null where type = 'income'`,
    ],
    [
      "Every balance is the sum of its entries",
      `update "ledgerAccounts" set "balanceMinor" = "balanceMinor" + 1 where kind = 'outside'`,
    ],
    ["Every balance is the sum of its entries", `update "ledgerAccounts" set "entryCount" = 0 where kind = 'fees'`],
    [
      "Every entry follows on the one before it",
      `update entries set "balanceAfterMinor" = "balanceAfterMinor" + 1 where type = 'recharge'`,
    ],
    ["Every entry follows on the one before it", `update entries set "position" = 100 where type = 'recharge'`],
    [
      "No wallet has less than it holds and has pending, and no fees are negative",
      `update "ledgerAccounts" set "balanceMinor" = "heldMinor" - 1 where kind = 'wallet'`,
    ],
    [
      "No wallet has less than it holds and has pending, and no fees are negative",
      `update "ledgerAccounts" set "balanceMinor" = -1 where kind = 'fees'`,
    ],
    [
      "All accounts of a currency sum to zero",
      `update "ledgerAccounts" set "balanceMinor" = "balanceMinor" + 1 where kind = 'fees'`,
    ],
    [
      "Wallets and fees are what was topped up, credited and redeemed",
      `update "ledgerAccounts" set "balanceMinor" = "balanceMinor" + 1 where kind = 'fees'`,
    ],
    ["What an account holds is the sum of its open holds", `update "ledgerAccounts" set "heldMinor" = 0`],
    ["What an account holds is the sum of its open holds", `update holds set "amountMinor" = 1 where status = 'held'`],
    [
      "A hold is on its consumer's wallet, and open exactly as long as its session is",
      `update holds set status = 'held', "endedAt" = null where status = 'captured'`,
    ],
    [
      "A hold is on its consumer's wallet, and open exactly as long as its session is",
      `update holds set status = 'released', "endedAt" = 1 where status = 'held'`,
    ],
    [
      "A hold is on its consumer's wallet, and open exactly as long as its session is",
      `update holds set "accountId" = (select "accountId" from "ledgerAccounts" where kind = 'fees')`,
    ],
    ["Every open session that costs something holds money", "delete from holds where status = 'held'"],
    [
      "A session that was completed is settled, with one record, and no other is",
      `delete from "billingRecords" where "amountMinor" = 0`,
    ],
    [
      "A session that was completed is settled, with one record, and no other is",
      `update "billingRecords" set status = 'refunded'`,
    ],
    [
      "A session that was completed is settled, with one record, and no other is",
      "update sessions set status = 'aborted' where status = 'completed'",
    ],
    [
      "Every charge is fee plus income, in the record as in the session",
      `update "billingRecords" set "platformFeeMinor" = "platformFeeMinor" + 1`,
    ],
    [
      "Every charge is fee plus income, in the record as in the session",
      `update sessions set "billingAmountMinor" = 1, "platformFeeMinor" = 0, "providerIncomeMinor" = 1 where "billingAmountMinor" > 0`,
    ],
    [
      "Every record's amount was paid once, and given back as far as it was refunded",
      `update "billingRecords" set status = case when status = 'settled' then 'refunded' else 'settled' end`,
    ],
    [
      "Every record's amount was paid once, and given back as far as it was refunded",
      `update "billingRecords" set "amountMinor" = 1, "platformFeeMinor" = 0, "providerIncomeMinor" = 1 where "amountMinor" = 0`,
    ],
    [
      "No wallet has less than it holds and has pending, and no fees are negative",
      `update "ledgerAccounts" set "pendingMinor" = "balanceMinor" + 1 where kind = 'wallet'`,
    ],
    [
      "What is pending of an account is what is pending of its records",
      `update "ledgerAccounts" set "pendingMinor" = "pendingMinor" - 1 where "pendingMinor" > 0`,
    ],
    [
      "What is pending of an account is what is pending of its records",
      `update "billingRecords" set "pendingMinor" = 0 where "pendingMinor" > 0`,
    ],
    [
      "What is pending of a record is all that its provider kept of it",
      `update "billingRecords" set "pendingMinor" = "pendingMinor" - 1 where "pendingMinor" > 0`,
    ],
    [
      "Nothing is held for a session or charged beyond its limit",
      `update sessions set "maxAmountMinor" = 1 where "billingAmountMinor" > 1`,
    ],
    [
      "Nothing is held for a session or charged beyond its limit",
      `update sessions set "maxAmountMinor" = 1 where status = 'active'`,
    ],
    [
      "A dispute is of a settled session's consumer, and its income is pending while it is open",
      `update disputes set "decideBy" = "decideBy" + 1`,
    ],
    [
      "A dispute is of a settled session's consumer, and its income is pending while it is open",
      `update sessions set "disputedAt" = null`,
    ],
    [
      "A code that was redeemed brought its amount in, and no other brought in anything",
      `update "topUpCodes" set "redeemedAt" = null, "redeemedBy" = null`,
    ],
    [
      "A code that was redeemed brought its amount in, and no other brought in anything",
      `update "topUpCodes" set "amountMinor" = 1`,
    ],
    [
      "Every payment and refund is of a session with a record, and every recharge of money from outside",
      `delete from "billingRecords" where "amountMinor" > 0`,
    ],
    [
      "Every payment and refund is of a session with a record, and every recharge of money from outside",
      `update transfers set "referenceType" = 'session' where kind = 'recharge'`,
    ],
  ])("finds that %s does not hold after: %s", async (invariant, change) => {
    const findings = await auditAfter([change]);
    expect(findings.find((finding) => finding.invariant === invariant)).toMatchObject({
      ok: false,
      detail: expect.stringMatching(/^broken by \S/),
    });
  });
});
