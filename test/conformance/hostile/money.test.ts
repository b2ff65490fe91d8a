/**
 * What a hostile provider, consumer or stranger can do with money: count tokens that were never made, park the income
 * where a refund does not find it, be paid for nothing, move a price between the look and the rent, and race the
 * deadlines (clawrent.md sections 6.2 to 6.4). The sum of all money is checked after each.
 */
import { afterEach, describe, expect, test } from "vitest";
import { auditLedger } from "../../../functions/model/money/audit.js";
import { tokenRate } from "../../../runtime/limits.js";
import { Caller, databases, day, hour, minute, type Refused, type User, useServer } from "../../support/harness.js";
import { lastingAdmin, openSession, type Rental, rentable, serve, task } from "../../support/rental.js";

/** At 0.0001 a token the default limit of 10.00 is a hundred thousand tokens. */
const byTheToken = { pricingModel: "per_token", priceAmount: "0.0001" };
const byTheMinute = { pricingModel: "per_minute", priceAmount: "1.00" };

// biome-ignore lint/suspicious/noExplicitAny: what a function answers is what the tests look at.
type Value = any;

/** Starts all calls before any is answered. */
async function race(calls: (() => Promise<Value>)[]): Promise<{ won: Value[]; lost: Refused[] }> {
  const outcomes = await Promise.allSettled(calls.map((call) => call()));
  return {
    won: outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : [])),
    lost: outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as Refused] : [])),
  };
}

describe.each(databases)("money under attack on %s", (database) => {
  const server = useServer(database);

  afterEach(async () => {
    const findings = await server.read((db) => auditLedger({ db }));
    expect(findings.filter(({ ok }) => !ok)).toEqual([]);
  });

  const report = ({ provider, sessionId }: Rental, totalTokens: unknown) =>
    provider.call("sessions:sendMessage", {
      sessionId,
      type: "dialogue.message",
      payload: { content: "Hi", usage: { totalTokens } },
    });
  const get = ({ consumer, sessionId }: Rental) => consumer.call("sessions:get", { sessionId });
  const wallet = (of: Caller) => of.call("billing:getWallet");
  const recordOf = async ({ consumer, sessionId }: Rental) =>
    (await consumer.call("billing:listRecords")).data.find((record: Value) => record.sessionId === sessionId);

  /** A session that cost 5.00, ended. */
  async function paid(topUp = "100.00"): Promise<Rental> {
    const rental = await openSession(server, {}, { topUp });
    await serve(rental.provider, rental.sessionId);
    await rental.consumer.call("sessions:end", { sessionId: rental.sessionId });
    return rental;
  }

  describe("a provider's count of tokens", () => {
    test("of 9,000,000,000,000,000 in one message is cut to the burst; it is delivered, and the cut is on record", async () => {
      const rental = await openSession(server, byTheToken, { topUp: "10000" });
      await report(rental, 9e15);
      expect(await get(rental)).toMatchObject({
        status: "active",
        totalTokensProvider: tokenRate.burst,
        totalTokensReported: 9e15,
        currentAmount: "2.0000",
        maxAmount: "10.00",
      });
      const { data } = await rental.consumer.call("sessions:listMessages", { sessionId: rental.sessionId });
      expect(data).toMatchObject([{ payload: { usage: { totalTokens: 9e15 } }, tokensCounted: tokenRate.burst }]);
      await rental.consumer.call("sessions:end", { sessionId: rental.sessionId });
      expect(await recordOf(rental)).toMatchObject({
        amount: "2.0000",
        meteringData: { quantity: tokenRate.burst, tokensReported: 9e15 },
      });
    });

    test("again and again takes what its session can have produced, and in the end the limit", async () => {
      const rental = await openSession(server, byTheToken, { topUp: "10000" });
      for (let message = 0; message < 20; message += 1) await report(rental, 9e15);
      expect(await get(rental)).toMatchObject({ totalTokensProvider: tokenRate.burst });
      server.clock.jump(1_000);
      await report(rental, 9e15);
      expect(await get(rental)).toMatchObject({ totalTokensProvider: tokenRate.burst + 1_000 * tokenRate.perMs });
      server.clock.jump(hour);
      await report(rental, 9e15);
      expect(await get(rental)).toMatchObject({
        status: "completed",
        endReason: "limit_reached",
        billingAmount: "10.0000",
        limitLevel: 100,
      });
      expect(await wallet(rental.consumer)).toMatchObject({ balance: "9990.00", held: "0.00" });
      expect((await recordOf(rental)).meteringData).toMatchObject({ unpaid: "0.0000", overLimit: expect.any(String) });
    });

    test("does not save up while it says little", async () => {
      const rental = await openSession(server, byTheToken, { topUp: "10000" });
      server.clock.jump(hour);
      await report(rental, 1);
      await report(rental, 9e15);
      expect(await get(rental)).toMatchObject({ totalTokensProvider: 1 + tokenRate.burst });
    });

    test.each([9_007_199_254_740_992, 1.5, -1, "100", null, true, [5], { valueOf: 5 }])(
      "that is no count, %j, counts nothing",
      async (totalTokens) => {
        const rental = await openSession(server, byTheToken);
        await report(rental, totalTokens);
        expect(await get(rental)).toMatchObject({ totalTokensProvider: 0, totalTokensReported: 0, status: "active" });
      },
    );

    test("in many messages at once never takes more than the limit, whoever ends it meanwhile", async () => {
      const rental = await openSession(server, { ...byTheToken, priceAmount: "0.001" }, { topUp: "100" });
      const calls = Array.from({ length: 30 }, () => () => report(rental, 9e15));
      calls.splice(20, 0, () => rental.consumer.call("sessions:end", { sessionId: rental.sessionId }));
      const { lost } = await race(calls);
      for (const { message } of lost) expect(message).toBe("Session is not active");
      expect(await get(rental)).toMatchObject({ status: "completed", billingAmount: "10.0000" });
    });
  });

  describe("income", () => {
    test("cannot be parked with another while it can be disputed: the refund finds it", async () => {
      const rental = await paid();
      const { provider, consumer } = rental;
      expect(await wallet(provider)).toMatchObject({ balance: "4.25", pending: "4.25", available: "0.00" });
      const mule = await rentable(server, { priceAmount: "4.00" });
      const parking = provider.call("sessions:create", { agentId: mule.agentId, taskDescription: task });
      await expect(parking).rejects.toMatchObject({ code: "insufficient_funds" });
      const { id: recordId } = await recordOf(rental);
      await (await lastingAdmin(server)).call("admin:refund", { recordId });
      expect(await wallet(provider)).toMatchObject({ balance: "0.00", pending: "0.00" });
      expect(await wallet(consumer)).toMatchObject({ balance: "100.00" });
    });

    test("is the provider's at the very instant at which the window closes, before any timer ran", async () => {
      const rental = await paid();
      server.clock.jump(day - 1);
      expect(await wallet(rental.provider)).toMatchObject({ pending: "4.25", available: "0.00" });
      server.clock.jump(1);
      expect(await wallet(rental.provider)).toMatchObject({ pending: "0.00", available: "4.25" });
      const mule = await rentable(server, { priceAmount: "4.25" });
      await rental.provider.call("sessions:create", { agentId: mule.agentId, taskDescription: task });
      expect(await wallet(rental.provider)).toMatchObject({ held: "4.25", available: "0.00" });
    });

    test("is frozen by a dispute, and spent meanwhile by nobody; undecided it is the provider's after 14 days", async () => {
      const { sessionId, ...parties } = await paid();
      // Sign-ins run out before that.
      const consumer = new Caller(server, parties.consumer.apiKey);
      const provider = new Caller(server, parties.provider.apiKey);
      await consumer.call("sessions:dispute", { sessionId, reason: "It was empty" });
      await server.advance(14 * day - 1);
      expect(await wallet(provider)).toMatchObject({ pending: "4.25", available: "0.00" });
      expect(await consumer.call("sessions:get", { sessionId })).toMatchObject({ billingStatus: "disputed" });
      await server.advance(1);
      expect(await wallet(provider)).toMatchObject({ pending: "0.00", available: "4.25" });
      expect((await consumer.call("sessions:get", { sessionId })).dispute).toMatchObject({
        status: "lapsed",
        decision: null,
      });
    });
  });

  describe("a flat price", () => {
    test.each(["consumer", "provider", "admin", "suspension"] as const)(
      "is not owed where the provider did nothing, whoever ends it: %s",
      async (who) => {
        const { consumer, provider, sessionId } = await openSession(server);
        const say = (caller: Caller, type: string) =>
          caller.call("sessions:sendMessage", { sessionId, type, payload: {} });
        await say(consumer, "dialogue.message");
        await say(provider, "session.ready");
        const admin = await lastingAdmin(server);
        if (who === "admin") await admin.call("admin:terminateSession", { sessionId });
        else if (who === "suspension") await admin.call("admin:suspendUser", { userId: consumer.userId });
        else await (who === "consumer" ? consumer : provider).call("sessions:end", { sessionId });
        const ended = await admin.call("sessions:get", { sessionId });
        expect(ended).toMatchObject({ status: "completed", billingAmount: "0.0000", billingStatus: "settled" });
        expect(await wallet(provider)).toMatchObject({ balance: "0.00", pending: "0.00" });
      },
    );

    test.each(["dialogue.question", "result.error"])("is owed from the provider's first %s on", async (type) => {
      const { consumer, provider, sessionId } = await openSession(server);
      await provider.call("sessions:sendMessage", { sessionId, type, payload: {} });
      const { settlement } = await consumer.call("sessions:end", { sessionId });
      expect(settlement).toMatchObject({ amount: "5.0000", quantity: 1 });
    });
  });

  describe("a suspended provider", () => {
    test("by the minute is paid up to the suspension and no minute more", async () => {
      const rental = await openSession(server, byTheMinute, { topUp: "100" });
      await server.advance(2 * minute + 1);
      await (await lastingAdmin(server)).call("admin:suspendUser", { userId: rental.provider.userId });
      await server.advance(3 * hour);
      expect(await get(rental)).toMatchObject({ status: "active", currentAmount: "3.0000" });
      const { settlement } = await rental.consumer.call("sessions:end", { sessionId: rental.sessionId });
      expect(settlement).toMatchObject({ amount: "3.0000", quantity: 3 });
    });

    test("by the token counts no token more; a flat price that was not earned before is not owed", async () => {
      const rental = await openSession(server, byTheToken);
      const flat = await openSession(server, {}, { of: await rentable(server, {}, rental.provider) });
      await report(rental, 100);
      const admin = await lastingAdmin(server);
      for (const { agentId } of [rental, flat]) await admin.call("admin:suspendAgent", { agentId });
      server.clock.jump(minute);
      await report(rental, 100);
      await serve(flat.provider, flat.sessionId);
      expect(await get(rental)).toMatchObject({ totalTokensProvider: 100, totalTokensReported: 200 });
      const { settlement } = await flat.consumer.call("sessions:end", { sessionId: flat.sessionId });
      expect(settlement).toMatchObject({ amount: "0.0000" });
    });

    test("whose session is approved afterwards earns nothing in it", async () => {
      const rental = await openSession(server, { ...byTheMinute, approvalMode: "manual" });
      await (await lastingAdmin(server)).call("admin:suspendAgent", { agentId: rental.agentId });
      await rental.provider.call("sessions:approve", { sessionId: rental.sessionId });
      await server.advance(hour);
      const { settlement } = await rental.consumer.call("sessions:end", { sessionId: rental.sessionId });
      expect(settlement).toMatchObject({ amount: "0.0000", quantity: 0 });
    });
  });

  describe("a price that moves between the look and the rent", () => {
    const seen = { model: "per_session", amount: "5.00", currency: "CNY" };

    test("is refused with the present one; the cart shows both", async () => {
      const { provider, agentId } = await rentable(server);
      const alice = await server.user("Alice", { topUp: "100" });
      await alice.call("cart:add", { providerAgentId: agentId, taskDescription: task });
      await provider.call("agents:update", { agentId, priceAmount: "9.00" });
      const price = { ...seen, amount: "9.00" };
      const refused = { code: "conflict", data: { price } };
      const rent = { agentId, taskDescription: task, expectedPrice: seen };
      await expect(alice.call("sessions:create", rent)).rejects.toMatchObject(refused);
      const items = [{ providerAgentId: agentId, taskDescription: task, expectedPrice: seen }];
      await expect(alice.call("orders:create", { items })).rejects.toMatchObject({
        code: "conflict",
        data: { price, item: 0 },
      });
      for (const other of [{ model: "fixed" }, { currency: "USD" }]) {
        const moved = { ...price, ...other };
        await expect(alice.call("sessions:create", { ...rent, expectedPrice: moved })).rejects.toMatchObject(refused);
      }
      expect((await alice.call("cart:list")).data).toMatchObject([{ price: seen, currentPrice: price }]);
      expect(await wallet(alice)).toMatchObject({ held: "0.00" });
      await alice.call("sessions:create", { ...rent, expectedPrice: price });
      await provider.call("agents:update", { agentId, pricingModel: "per_token" });
      expect((await alice.call("cart:list")).data).toMatchObject([{ currentPrice: { ...price, model: "per_token" } }]);
    });
  });

  describe("at the same moment", () => {
    test("a dispute and the end of its window: it is in time, or the income is the provider's", async () => {
      const { consumer, provider, sessionId } = await paid();
      server.clock.jump(day - 1);
      const { won } = await race([
        () => consumer.call("sessions:dispute", { sessionId, reason: "Too late?" }),
        () => server.advance(1),
        () => consumer.call("sessions:dispute", { sessionId, reason: "Too late?" }),
      ]);
      const disputed = won.some((answer) => answer?.dispute?.status === "open");
      expect(await wallet(provider)).toMatchObject(disputed ? { pending: "4.25" } : { available: "4.25" });
      expect((await consumer.call("sessions:get", { sessionId })).billingStatus).toBe(
        disputed ? "disputed" : "settled",
      );
    });

    test("twenty disputes: there is one", async () => {
      const { consumer, sessionId } = await paid();
      const dispute = () => consumer.call("sessions:dispute", { sessionId, reason: "Again" });
      const { won, lost } = await race(Array(20).fill(dispute));
      expect(won).toHaveLength(1);
      expect(new Set(lost.map(({ code }) => code))).toEqual(new Set(["conflict"]));
    });

    test("refunds, decisions and a withdrawal: one of them happens", async () => {
      const rental = await paid();
      const { consumer, provider, sessionId } = rental;
      const { dispute } = await consumer.call("sessions:dispute", { sessionId, reason: "Half of it is missing" });
      const { id: recordId } = await recordOf(rental);
      const admin = await lastingAdmin(server);
      const decide = (decision: string, amount?: string) => () =>
        admin.call("admin:decideDispute", { disputeId: dispute.id, decision, amount });
      await race([
        decide("part", "2.00"),
        () => admin.call("admin:refund", { recordId }),
        decide("all"),
        () => consumer.call("sessions:withdrawDispute", { sessionId }),
        decide("none"),
        () => admin.call("admin:refund", { recordId }),
      ]);
      const back = Number((await recordOf(rental)).refunded);
      expect([0, 2, 5]).toContain(back);
      expect(Number((await wallet(consumer)).balance)).toBe(95 + back);
      expect((await provider.call("sessions:get", { sessionId })).dispute.status).not.toBe("open");
    });

    test("a raise and the cap's end: it goes on, or it had ended", async () => {
      const rental = await openSession(server, byTheMinute, { topUp: "100", maxAmount: "5.00" });
      const { consumer, sessionId } = rental;
      await server.advance(5 * minute - 1);
      const { lost } = await race([
        () => server.advance(1),
        () => consumer.call("sessions:raiseLimit", { sessionId, maxAmount: "7.00" }),
      ]);
      for (const { code } of lost) expect(code).toBe("failed_precondition");
      await server.settle();
      const status = lost.length === 0 ? "active" : "completed";
      expect(await get(rental)).toMatchObject({ status, maxAmount: lost.length === 0 ? "7.00" : "5.00" });
      await server.advance(2 * minute);
      expect(await get(rental)).toMatchObject({
        status: "completed",
        endReason: "limit_reached",
        billingAmount: lost.length === 0 ? "7.0000" : "5.0000",
      });
    });

    test("two redeem one code: one has it, however often it is tried", async () => {
      const [{ topUpCode: code }] = (
        await (await lastingAdmin(server)).call("admin:createTopUpCodes", { amount: "7.00" })
      ).codes;
      const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
      const calls = Array.from(
        { length: 20 },
        (_, at) => () => (at % 2 ? alice : bob).call("billing:redeem", { code }),
      );
      const { won, lost } = await race(calls);
      expect(won).toHaveLength(1);
      for (const { message } of lost) expect(message).toBe("The code was redeemed already");
      const balances = [await wallet(alice), await wallet(bob)].map(({ balance }) => balance).sort();
      expect(balances).toEqual(["0.00", "7.00"]);
    });
  });
});

describe.each(databases)("codes tried by strangers on %s", (database) => {
  const server = useServer(database, { config: { rateLimits: true } });

  test("are limited for one account, and for one address whatever accounts it has", async () => {
    const [alice, bob, carol, dave] = [
      await server.user("Alice"),
      await server.user("Bob"),
      await server.user("Carol"),
      await server.user("Dave"),
    ];
    const guess = (by: User) => by.call("billing:redeem", { code: `top_${crypto.randomUUID()}` });
    for (const one of [alice, bob]) {
      for (let tries = 0; tries < 20; tries += 1) await expect(guess(one)).rejects.toMatchObject({ code: "not_found" });
      await expect(guess(one)).rejects.toMatchObject({ code: "rate_limited" });
    }
    // What was refused counts for the address as well.
    for (let tries = 0; tries < 18; tries += 1) await expect(guess(carol)).rejects.toMatchObject({ code: "not_found" });
    await expect(guess(dave)).rejects.toMatchObject({ code: "rate_limited" });
  });
});
