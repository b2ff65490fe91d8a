import { describe, expect, test } from "vitest";
import { databases, hour, minute, useServer } from "../../support/harness.js";
import { expectInvalid, expectRefusal } from "../../support/refusals.js";
import { openSession, type Rental, rentable, serve, task } from "../../support/rental.js";

const byTheToken = { pricingModel: "per_token", priceAmount: "0.001" };
const byTheMinute = { pricingModel: "per_minute", priceAmount: "0.50" };

describe.each(databases)("what a session may cost on %s (clawrent.md section 6.2)", (database) => {
  const server = useServer(database);
  const get = ({ consumer, sessionId }: Rental) => consumer.call("sessions:get", { sessionId });
  const raise = ({ consumer, sessionId }: Rental, maxAmount: unknown) =>
    consumer.call("sessions:raiseLimit", { sessionId, maxAmount });

  test.each([
    ["per_token", "0.001", "10.00"],
    ["per_token", "0.01", "20.00"],
    ["per_minute", "0.1", "50.00"],
    ["per_session", "5.00", "5.00"],
    ["fixed", "7.50", "7.50"],
    ["per_token", "0", null],
    ["fixed", "0", null],
  ])("where nobody says, %s at %s is limited to %s", async (pricingModel, priceAmount, maxAmount) => {
    const { session } = await openSession(server, { pricingModel, priceAmount }, { topUp: "1000" });
    expect(session.maxAmount).toBe(maxAmount);
  });

  test("is never more than what is there at the start, whatever is asked for", async () => {
    const of = await rentable(server, byTheToken);
    expect((await openSession(server, {}, { of, topUp: "4.00" })).session.maxAmount).toBe("4.00");
    const asked = await openSession(server, {}, { of, topUp: "4.00", maxAmount: "99" });
    expect(asked.session.maxAmount).toBe("4.00");
    // What the first one holds is not there for a second.
    const rent = { agentId: of.agentId, taskDescription: task };
    expect(await asked.consumer.call("sessions:create", rent)).toMatchObject({ maxAmount: "3.00" });
  });

  test("too little to start is refused, in an order with the item, and nothing is made", async () => {
    const { agentId } = await rentable(server, byTheToken);
    const alice = await server.user("Alice", { topUp: "10" });
    const refusal = {
      code: "failed_precondition",
      message: "maxAmount is 0.99, and the session needs 1.00 to start. Allow at least that, or leave maxAmount out.",
    };
    const rent = { agentId, taskDescription: task, maxAmount: "0.99" };
    await expectRefusal(server, () => alice.call("sessions:create", rent), refusal);
    const items = [{ providerAgentId: agentId, taskDescription: task, maxAmount: "0.99" }];
    await expectRefusal(server, () => alice.call("orders:create", { items }), { ...refusal, data: { item: 0 } });
    for (const maxAmount of ["0", "-1", "1e3", 0, true]) {
      await expectInvalid(server, () => alice.call("sessions:create", { ...rent, maxAmount }), "maxAmount");
    }
  });

  test("ends one that is paid by the minute at that instant, before the timer ran", async () => {
    const rental = await openSession(server, byTheMinute, { maxAmount: "3.70" });
    server.clock.jump(7 * minute - 1);
    expect(await get(rental)).toMatchObject({ status: "active", currentAmount: "3.5000", limitLevel: 100 });
    server.clock.jump(1);
    const endedAt = new Date(server.clock.now()).toISOString();
    expect(await get(rental)).toMatchObject({ status: "completed", sessionToken: null, endedAt, maxAmount: "3.70" });
    const listed = (status: string) => rental.consumer.call("sessions:list", { status });
    expect([(await listed("active")).total, (await listed("completed")).total]).toEqual([0, 1]);
    server.clock.jump(hour);
    await server.settle();
    expect(await get(rental)).toMatchObject({
      status: "completed",
      endedAt,
      endReason: "limit_reached",
      billingAmount: "3.5000",
    });
  });

  test("levels are what the money says, by the clock", async () => {
    const rental = await openSession(server, byTheMinute, { maxAmount: "5.00" });
    const levels: number[] = [];
    for (let passed = 0; passed < 10; passed += 1) {
      levels.push((await get(rental)).limitLevel);
      await server.advance(minute + 1);
    }
    expect(levels).toEqual([0, 0, 0, 0, 50, 50, 50, 80, 80, 100]);
  });

  describe("sessions:raiseLimit", () => {
    test("lets it go on, and the level falls", async () => {
      const rental = await openSession(server, byTheMinute, { maxAmount: "5.00" });
      await server.advance(9 * minute);
      expect(await get(rental)).toMatchObject({ limitLevel: 80 });
      expect(await raise(rental, "20.00")).toMatchObject({ maxAmount: "20.00", limitLevel: 0, status: "active" });
      expect(await raise(rental, "20.00")).toMatchObject({ maxAmount: "20.00" });
      await server.advance(30 * minute);
      expect(await get(rental)).toMatchObject({ status: "active", limitLevel: 80 });
      await server.advance(minute);
      expect(await get(rental)).toMatchObject({ status: "completed", billingAmount: "20.0000" });
    });

    test("only upward, only as far as the money goes, only by the consumer, only while it is open", async () => {
      const rental = await openSession(server, byTheToken, { topUp: "12.00" });
      const { provider, consumer, sessionId } = rental;
      expect(rental.session.maxAmount).toBe("10.00");
      await expectRefusal(server, () => raise(rental, "9.99"), {
        code: "conflict",
        message: "The limit can only be raised, and it is 10.00 CNY now",
        data: { maxAmount: "10.00" },
      });
      await expectRefusal(server, () => raise(rental, "12.0001"), {
        code: "insufficient_funds",
        message: expect.stringMatching(/^Insufficient balance\. A limit of 12\.0001 CNY needs that much/) as never,
      });
      const asProvider = () => provider.call("sessions:raiseLimit", { sessionId, maxAmount: "12.00" });
      await expectRefusal(server, asProvider, { code: "forbidden", message: "Not authorized for this action" });
      await expectInvalid(server, () => raise(rental, "0"), "maxAmount");
      await raise(rental, "12.00");
      await consumer.call("sessions:end", { sessionId });
      await expectRefusal(server, () => raise(rental, "12.00"), {
        code: "failed_precondition",
        message: "Session has ended already",
      });
      const flat = await openSession(server);
      await expectRefusal(server, () => raise(flat, "12.00"), {
        code: "failed_precondition",
        message: "The price of this session does not grow, so it has no limit to raise",
      });
    });

    test("of a session that waits for approval counts from its start", async () => {
      const rental = await openSession(server, { ...byTheMinute, approvalMode: "manual" }, { maxAmount: "2.50" });
      await raise(rental, "3.00");
      await rental.provider.call("sessions:approve", { sessionId: rental.sessionId });
      await server.advance(6 * minute);
      expect(await get(rental)).toMatchObject({ status: "completed", billingAmount: "3.0000" });
    });
  });

  test("a place at its limit is free again before the timer ran", async () => {
    const of = await rentable(server, { ...byTheMinute, maxConcurrentSessions: 1 });
    await openSession(server, {}, { of, maxAmount: "2.50" });
    server.clock.jump(5 * minute);
    const { session } = await openSession(server, {}, { of });
    expect(session.status).toBe("active");
  });

  test("an agent that did its work is paid its flat price once", async () => {
    const { provider, consumer, sessionId } = await openSession(server);
    await serve(provider, sessionId);
    await serve(provider, sessionId);
    expect(await consumer.call("sessions:get", { sessionId })).toMatchObject({
      currentAmount: "5.0000",
      limitLevel: 0,
    });
    const { settlement } = await provider.call("sessions:end", { sessionId });
    expect(settlement).toMatchObject({ amount: "5.0000" });
  });
});
