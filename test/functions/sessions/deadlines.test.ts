/** Sessions and time (clawrent.md sections 5 and 6.2): by the clock first, by the timer after it, and never twice. */
import { describe, expect, test } from "vitest";
import {
  databases,
  day,
  hour,
  minute,
  startServer,
  type TestServer,
  type User,
  useServer,
} from "../../support/harness.js";
import { openSession, type Rental, rentable } from "../../support/rental.js";

const perMinute = { pricingModel: "per_minute", priceAmount: "1" };
const iso = (at: number) => new Date(at).toISOString();
const get = ({ consumer, sessionId }: Rental) => consumer.call("sessions:get", { sessionId });
const wallet = ({ consumer }: Rental) => consumer.call("billing:getWallet");

describe.each(databases)("deadlines of sessions on %s", (database) => {
  const server = useServer(database);

  test("five minutes are held at first, then five more at a time, then what is left, then it ends", async () => {
    const rental = await openSession(server, perMinute, { topUp: "12" });
    const startedAt = server.clock.now();
    expect(await wallet(rental)).toMatchObject({ held: "5.00" });
    await server.advance(5 * minute - 1);
    expect(await wallet(rental)).toMatchObject({ held: "5.00" });
    await server.advance(1);
    expect(await wallet(rental)).toMatchObject({ held: "10.00" });
    await server.advance(5 * minute);
    expect(await wallet(rental)).toMatchObject({ held: "12.00" });
    expect(await get(rental)).toMatchObject({ status: "active" });
    await server.advance(2 * minute);
    expect(await get(rental)).toMatchObject({
      status: "completed",
      endReason: "insufficient_balance",
      endedAt: iso(startedAt + 12 * minute),
      billingAmount: "12.0000",
    });
    expect(await wallet(rental)).toMatchObject({ balance: "0.00", held: "0.00" });
  });

  const noticedBy: Record<string, (rental: Rental) => Promise<unknown>> = {
    "the timer": () => server.settle(),
    "the consumer who ends it": ({ consumer, sessionId }) => consumer.call("sessions:end", { sessionId }),
    "the provider who ends it": ({ provider, sessionId }) => provider.call("sessions:end", { sessionId }),
  };
  test.each(Object.keys(noticedBy))("a session whose money ran out ended then, though only %s notices", async (who) => {
    const rental = await openSession(server, perMinute, { topUp: "7" });
    const startedAt = server.clock.now();
    server.clock.jump(48 * hour);
    await noticedBy[who]?.(rental);
    const ended = await rental.consumer.call("sessions:end", { sessionId: rental.sessionId });
    expect(ended).toMatchObject({
      status: "completed",
      endReason: "insufficient_balance",
      endedAt: iso(startedAt + 7 * minute),
      settlement: { amount: "7.0000", quantity: 7 },
    });
    await server.settle();
    expect(await rental.consumer.call("sessions:end", { sessionId: rental.sessionId })).toEqual(ended);
  });

  test("nothing can be sent once the money has run out, also before the timer ran", async () => {
    const rental = await openSession(server, perMinute, { topUp: "7" });
    const send = () =>
      rental.provider.call("sessions:sendMessage", {
        sessionId: rental.sessionId,
        type: "dialogue.message",
        payload: {},
      });
    server.clock.jump(7 * minute - 1);
    await send();
    server.clock.jump(1);
    await expect(send()).rejects.toMatchObject({ message: "Session is not active" });
    await server.settle();
    expect(await get(rental)).toMatchObject({ status: "completed", totalMessages: 1 });
  });

  test("money that comes while the session runs keeps it going, where its limit is raised", async () => {
    const rental = await openSession(server, perMinute, { topUp: "5" });
    const { consumer, sessionId } = rental;
    await consumer.call("billing:topUp", { amount: "3" });
    await consumer.call("sessions:raiseLimit", { sessionId, maxAmount: "8" });
    await server.advance(5 * minute);
    expect(await get(rental)).toMatchObject({ status: "active" });
    await server.advance(3 * minute);
    expect(await get(rental)).toMatchObject({ status: "completed", billingAmount: "8.0000" });
  });

  test("two sessions of one consumer share what is left, and both end", async () => {
    const first = await openSession(server, perMinute, { topUp: "13" });
    const second = await openSession(server, perMinute, { by: first.consumer });
    server.clock.jump(2 * day);
    await server.settle();
    const amounts = [await get(first), await get(second)].map(({ status, billingAmount }) => {
      expect(status).toBe("completed");
      return Number(billingAmount);
    });
    expect(amounts.sort()).toEqual([5, 8]);
    expect(await wallet(first)).toMatchObject({ balance: "0.00", held: "0.00" });
  });

  test("many pending sessions expire, however many there are", async () => {
    const of = await rentable(server, { approvalMode: "manual", maxConcurrentSessions: 200, priceAmount: "0.01" });
    const rentals: Rental[] = [];
    const consumers: User[] = [];
    // One user can have twenty that wait for one provider.
    while (consumers.length < 6) {
      const by = await server.user("Alice", { topUp: "100" });
      consumers.push(by);
      for (let index = 0; index < 20; index += 1) rentals.push(await openSession(server, {}, { of, by }));
    }
    await server.advance(day);
    for (const by of consumers) {
      expect((await by.call("sessions:list", { status: "expired", limit: 1 })).total).toBe(20);
      expect(await by.call("billing:getWallet")).toMatchObject({ held: "0.00" });
    }
    const stored = await server.read((db) =>
      db.selectFrom("sessions").select("status").where("providerAgentId", "=", of.agentId).distinct().execute(),
    );
    expect(stored).toEqual([{ status: "expired" }]);
    await expect(of.provider.call("sessions:approve", { sessionId: rentals[0]?.sessionId })).rejects.toMatchObject({
      message: "Session is not pending approval",
    });
  });

  test.each([48 * hour, -48 * hour])(
    "the clock jumps by %i ms: ends, amounts and stamps stay in order",
    async (jump) => {
      const rental = await openSession(server, { approvalMode: "manual", ...perMinute });
      const { provider, consumer, sessionId } = rental;
      const waiting = await openSession(server, { approvalMode: "manual" });
      await provider.call("sessions:approve", { sessionId });
      const send = async (): Promise<number> =>
        Date.parse(
          (await provider.call("sessions:sendMessage", { sessionId, type: "dialogue.message", payload: {} })).createdAt,
        );
      const first = await send();
      server.clock.jump(jump);
      if (jump < 0) {
        expect(await send()).toBe(first + 1);
        const { settlement, startedAt, endedAt } = await consumer.call("sessions:end", { sessionId });
        expect(settlement).toMatchObject({ amount: "1.0000", quantity: 1 });
        expect(endedAt).toBe(startedAt);
        expect(await get(waiting)).toMatchObject({ status: "pending_approval" });
        server.clock.jump(-jump);
      } else {
        await expect(send()).rejects.toMatchObject({ message: "Session is not active" });
        await server.settle();
        expect(await get(rental)).toMatchObject({ status: "completed", billingAmount: "100.0000" });
        expect(await get(waiting)).toMatchObject({ status: "expired" });
      }
      await server.settle();
    },
  );
});

describe.each(databases)("deadlines of sessions across a restart on %s", (database) => {
  test("what fell due while the server was down is done at the start, at its own time", async () => {
    const server = await startServer(database);
    let again: TestServer | undefined;
    try {
      const metered = await openSession(server, perMinute, { topUp: "6" });
      const pending = await openSession(server, { approvalMode: "manual" });
      const startedAt = server.clock.now();
      await server.server.close();
      server.clock.jump(3 * day);
      again = await startServer(database, { databaseUrl: server.databaseUrl, clock: server.clock });
      const sessions = await again.read((db) =>
        db.selectFrom("sessions").select(["sessionId", "status", "endedAt"]).execute(),
      );
      expect(sessions).toContainEqual({
        sessionId: metered.sessionId,
        status: "completed",
        endedAt: startedAt + 6 * minute,
      });
      expect(sessions).toContainEqual({ sessionId: pending.sessionId, status: "expired", endedAt: startedAt + day });
    } finally {
      await again?.server.close();
      await server.remove();
    }
  });
});
