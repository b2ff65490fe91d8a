import { beforeAll, describe, expect, test } from "vitest";
import { auditLedger } from "../../functions/model/money/audit.js";
import { postTransfer } from "../../functions/model/money/ledger.js";
import { systemMutation } from "../../runtime/call/define.js";
import { databases, minute, type User, useServer } from "../support/harness.js";
import { Ledger, type Party } from "../support/ledger.js";

const yuan = 10_000;
const iso = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const uuid = expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);

describe.each(databases)("billing on %s", (database) => {
  const server = useServer(database);
  const ledger = new Ledger(server);

  describe("getWallet", () => {
    test("shows nothing at first, then what is there, held and available", async () => {
      const alice = await server.user("Alice");
      expect(await alice.call("billing:getWallet")).toEqual({
        balance: "0.00",
        currency: "CNY",
        balances: { CNY: "0.00", USD: "0.00" },
        held: "0.00",
        pending: "0.00",
        available: "0.00",
      });
      await alice.call("billing:topUp", { amount: "10" });
      await alice.call("billing:topUp", { amount: "3.50", currency: "USD" });
      const bob = await ledger.party();
      const terms = { pricingModel: "per_token", priceMinor: 12 } as const;
      await ledger.rent({ userId: alice.userId, agentId: "" }, bob, terms);
      expect(await alice.call("billing:getWallet")).toEqual({
        balance: "10.00",
        currency: "CNY",
        balances: { CNY: "10.00", USD: "3.50" },
        held: "1.20",
        pending: "0.00",
        available: "8.80",
      });
    });

    test("is for users: nobody, and an agent without an owner, are refused", async () => {
      await expect(server.nobody.call("billing:getWallet")).rejects.toMatchObject({ code: "unauthenticated" });
      const agent = await server.agent();
      for (const path of ["getWallet", "listRecords", "listTransactions"]) {
        await expect(agent.call(`billing:${path}`)).rejects.toMatchObject({ code: "forbidden" });
      }
      await expect(agent.call("billing:topUp", { amount: 1 })).rejects.toMatchObject({ code: "forbidden" });
    });
  });

  describe("topUp", () => {
    test.each([
      ["0.01", "0.01"],
      [0.01, "0.01"],
      ["10000", "10000.00"],
      [10_000, "10000.00"],
      ["19.99", "19.99"],
      [19.99, "19.99"],
      ["5.0", "5.00"],
    ])("credits %j at once", async (amount, balance) => {
      const alice = await server.user("Alice");
      expect(await alice.call("billing:topUp", { amount })).toMatchObject({ balance, available: balance });
      expect(await alice.call("billing:getWallet")).toMatchObject({ balance, balances: { CNY: balance, USD: "0.00" } });
    });

    test("credits the currency that it names; null is the default", async () => {
      const alice = await server.user("Alice");
      await alice.call("billing:topUp", { amount: 1, currency: null });
      const wallet = await alice.call("billing:topUp", { amount: 2, currency: "USD" });
      expect(wallet).toMatchObject({ balance: "1.00", currency: "CNY", balances: { CNY: "1.00", USD: "2.00" } });
    });

    test("refuses every other amount and currency, and changes nothing", async () => {
      const alice = await server.user("Alice");
      const wrong = [
        "0",
        "0.00",
        "0.001",
        "0.009",
        "10000.01",
        "10001",
        "-1",
        "1e3",
        "１",
        "٣",
        " 1",
        "1.",
        ".5",
        "",
        "x",
      ];
      for (const amount of [...wrong, 0, -1, 0.001, 10_000.01, 1e21, null, true, {}, ["1"]]) {
        await expect(alice.call("billing:topUp", { amount }), JSON.stringify(amount)).rejects.toMatchObject({
          code: "invalid_args",
          data: { issues: [{ path: "amount", message: expect.stringContaining("from 0.01 to 10000") }] },
        });
      }
      await expect(alice.call("billing:topUp", {})).rejects.toMatchObject({ code: "invalid_args" });
      for (const currency of ["EUR", "cny", "", 1]) {
        await expect(alice.call("billing:topUp", { amount: 1, currency })).rejects.toMatchObject({
          code: "invalid_args",
        });
      }
      expect(await alice.call("billing:getWallet")).toMatchObject({ balance: "0.00" });
      expect(await alice.call("billing:listTransactions")).toMatchObject({ data: [], total: 0 });
    });

    test("counts each of a hundred at once, and a repeated key once", async () => {
      const alice = await server.user("Alice");
      await Promise.all(Array.from({ length: 100 }, () => alice.call("billing:topUp", { amount: "0.01" })));
      expect(await alice.call("billing:getWallet")).toMatchObject({ balance: "1.00" });
      const key = { "Idempotency-Key": crypto.randomUUID() };
      const again = () => alice.call("billing:topUp", { amount: "1" }, key);
      expect(await Promise.all([again(), again(), again()])).toEqual(Array(3).fill(await again()));
      expect(await alice.call("billing:getWallet")).toMatchObject({ balance: "2.00" });
    });

    test("fills a wallet to a thousand million and no further", async () => {
      const rich = await ledger.party();
      const enrich = systemMutation("test: tops up at once what would take years", async (ctx) => {
        const amountMinor = 1_000_000_000 * yuan - 100;
        const mine = { userId: rich.userId, description: "" };
        await postTransfer(ctx, {
          kind: "recharge",
          currency: "CNY",
          reference: { type: "topup", id: ctx.newUuid() },
          entries: [
            { ...mine, account: "wallet", type: "recharge", amountMinor },
            { ...mine, account: "outside", type: "outside", amountMinor: -amountMinor },
          ],
        });
      });
      await server.server.dispatcher.runSystem(enrich);
      await expect(ledger.topUp(rich.userId, "0.02")).rejects.toMatchObject({
        code: "failed_precondition",
        message: "A wallet takes top-ups up to 1000000000.00",
      });
      await ledger.topUp(rich.userId, "0.01");
      expect(await ledger.call(rich.userId, "billing:getWallet")).toMatchObject({ balance: "1000000000.00" });
    });
  });

  describe("the lists", () => {
    let alice: User;
    let bob: Party;
    let sessions: string[];

    /** Alice topped up twice, in both currencies, and rented three times from Bob; the last rent was refunded. */
    beforeAll(async () => {
      alice = await server.user("Alice", { topUp: "100" });
      bob = await ledger.party();
      const consumer = { userId: alice.userId, agentId: "" };
      sessions = [];
      for (const priceMinor of [5 * yuan, 0, 7 * yuan + 3]) {
        server.clock.jump(minute);
        sessions.push(await ledger.start(consumer, bob, { pricingModel: "fixed", priceMinor }));
      }
      // All in one millisecond: the order in which it happened has to show all the same.
      for (const sessionId of sessions) await ledger.end(sessionId);
      await ledger.refund(sessions[2] ?? "");
      await alice.call("billing:topUp", { amount: "2", currency: "USD" });
    });

    test("of transactions has everything that moved the wallet, newest first", async () => {
      const { data, ...rest } = await alice.call("billing:listTransactions");
      expect(rest).toEqual({ total: 5, page: 1, limit: 20, nextCursor: null });
      const common = { id: uuid, userId: alice.userId, currency: "CNY", createdAt: iso };
      const [first, , last] = sessions;
      expect(data).toHaveLength(5);
      expect(data.filter(({ currency }: { currency: string }) => currency === "USD")).toEqual([
        {
          ...common,
          currency: "USD",
          type: "recharge",
          amount: "2.00",
          balanceAfter: "2.00",
          referenceType: "topup",
          referenceId: uuid,
          description: "Top-up",
        },
      ]);
      expect(data.filter(({ currency }: { currency: string }) => currency === "CNY")).toEqual([
        {
          ...common,
          type: "refund",
          amount: "7.0003",
          balanceAfter: "95.00",
          referenceType: "session",
          referenceId: last,
          description: `Refund of session ${last}`,
        },
        {
          ...common,
          type: "payment",
          amount: "7.0003",
          balanceAfter: "87.9997",
          referenceType: "session",
          referenceId: last,
          description: `Payment for session ${last}`,
        },
        {
          ...common,
          type: "payment",
          amount: "5.00",
          balanceAfter: "95.00",
          referenceType: "session",
          referenceId: first,
          description: `Payment for session ${first}`,
        },
        {
          ...common,
          type: "recharge",
          amount: "100.00",
          balanceAfter: "100.00",
          referenceType: "topup",
          referenceId: uuid,
          description: "Top-up",
        },
      ]);
    });

    test("of transactions shows the provider the income and the reversal, and no fees", async () => {
      const { data, total } = (await ledger.call(bob.userId, "billing:listTransactions")) as {
        data: object[];
        total: number;
      };
      expect(total).toBe(3);
      expect(data).toMatchObject([
        { type: "refund", amount: "5.9503", balanceAfter: "4.25", referenceId: sessions[2] },
        { type: "income", amount: "5.9503", balanceAfter: "10.2003", referenceId: sessions[2] },
        { type: "income", amount: "4.25", balanceAfter: "4.25", referenceId: sessions[0] },
      ]);
    });

    test("of transactions can be of one type, and comes in pages", async () => {
      const all = (await alice.call("billing:listTransactions")).data;
      const payments = await alice.call("billing:listTransactions", { type: "payment", page: 2, limit: "1" });
      expect(payments).toMatchObject({ total: 2, page: 2, limit: 1, data: [{ amount: "5.00" }] });
      expect(await alice.call("billing:listTransactions", { type: "income" })).toMatchObject({ data: [], total: 0 });
      const pages = [1, 2, 3, 4].map((page) => alice.call("billing:listTransactions", { page, limit: 2 }));
      expect((await Promise.all(pages)).flatMap(({ data }) => data)).toEqual(all);
      const clamped = await alice.call("billing:listTransactions", { page: 0, limit: 1_000, type: null });
      expect(clamped).toEqual({ data: all, total: 5, page: 1, limit: 100, nextCursor: null });
      for (const wrong of [{ type: "fee" }, { type: "outside" }, { type: "" }, { page: "x" }, { limit: 1.5 }]) {
        await expect(alice.call("billing:listTransactions", wrong)).rejects.toMatchObject({ code: "invalid_args" });
      }
    });

    test("of records has every settlement of either side, newest first", async () => {
      const mine = await alice.call("billing:listRecords");
      expect(mine).toMatchObject({ total: 3, page: 1, limit: 20 });
      const record = mine.data.find(({ sessionId }: { sessionId: string }) => sessionId === sessions[2]);
      expect(record).toEqual({
        id: uuid,
        sessionId: sessions[2],
        consumerUserId: alice.userId,
        providerUserId: bob.userId,
        amount: "7.0003",
        platformFee: "1.0500",
        providerIncome: "5.9503",
        currency: "CNY",
        pricingModel: "fixed",
        meteringData: { quantity: 1, unitPrice: "7.0003", startedAt: iso, endedAt: iso, unpaid: "0.0000" },
        status: "refunded",
        refunded: "7.0003",
        disputeUntil: iso,
        createdAt: iso,
      });
      expect(await ledger.call(bob.userId, "billing:listRecords")).toEqual(mine);
      const pages = [1, 2, 3, 4].map((page) => alice.call("billing:listRecords", { page, limit: 1 }));
      expect((await Promise.all(pages)).map(({ data }) => data)).toEqual([
        ...mine.data.map((one: object) => [one]),
        [],
      ]);
    });

    test("merges the two sides by time", async () => {
      await ledger.topUp(bob.userId, "50");
      const provider = await ledger.party();
      for (const [consumer, other] of [
        [bob, provider],
        [provider, bob],
        [bob, provider],
      ] as const) {
        server.clock.jump(minute);
        await ledger.topUp(consumer.userId, "1");
        await ledger.end(await ledger.start(consumer, other, { pricingModel: "fixed", priceMinor: 100 }));
      }
      const { data } = (await ledger.call(provider.userId, "billing:listRecords")) as {
        data: { consumerUserId: string; createdAt: string }[];
      };
      expect(data.map(({ consumerUserId }) => consumerUserId)).toEqual([bob.userId, provider.userId, bob.userId]);
      expect(data.map(({ createdAt }) => createdAt)).toEqual(
        data
          .map(({ createdAt }) => createdAt)
          .sort()
          .reverse(),
      );
    });

    test("show a stranger nothing", async () => {
      const carol = await server.user("Carol");
      for (const path of ["billing:listRecords", "billing:listTransactions"]) {
        expect(await carol.call(path)).toEqual({ data: [], total: 0, page: 1, limit: 20, nextCursor: null });
      }
    });
  });

  test("leaves a sound ledger", async () => {
    const findings = await server.read((db) => auditLedger({ db }));
    expect(findings.filter(({ ok }) => !ok)).toEqual([]);
  });
});

describe.each(databases)("billing:topUp on %s", (database) => {
  describe("with rate limits", () => {
    const server = useServer(database, { config: { rateLimits: true } });

    test("takes ten a minute of each user", async () => {
      const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
      for (let count = 0; count < 10; count += 1) await alice.call("billing:topUp", { amount: 1 });
      const refused = alice.call("billing:topUp", { amount: 1 });
      await expect(refused).rejects.toMatchObject({
        code: "rate_limited",
        httpStatus: 429,
        data: { retryAfterMs: expect.any(Number) },
      });
      await bob.call("billing:topUp", { amount: 1 });
      expect(await alice.call("billing:getWallet")).toMatchObject({ balance: "10.00" });
    });
  });

  describe("where the operator switched it off", () => {
    const server = useServer(database, { config: { topUps: false } });

    test("is refused, and changes nothing", async () => {
      const alice = await server.user("Alice");
      const refused = alice.call("billing:topUp", { amount: 1 });
      await expect(refused).rejects.toMatchObject({
        code: "forbidden",
        message: "Top-ups are switched off on this server",
      });
      expect(await alice.call("billing:getWallet")).toMatchObject({ balance: "0.00" });
    });
  });
});
