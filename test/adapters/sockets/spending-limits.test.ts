/**
 * How much of its limit a session has used, told on the control channels of both sides and nowhere else: on a session's
 * own channels a client would take a new frame for the answer (clawrent.md sections 0, rule 12, and 6.2).
 */
import { describe, expect, test } from "vitest";
import { databases, minute, useServer } from "../../support/harness.js";
import { asAgent, draft } from "../../support/market.js";
import { rentable, task } from "../../support/rental.js";
import { cutSocketsAfterEach, openAgent, openAt, openGroup, openSession } from "../../support/sockets.js";

cutSocketsAfterEach();

describe.each(databases)("a session's limit on sockets on %s", (database) => {
  const server = useServer(database);

  /** A session with an agent on each side, and everything that both can have open. */
  async function watched(terms: Record<string, string>, maxAmount: string) {
    const alice = await server.user("Alice", { topUp: "100.00" });
    const helper = asAgent(server, await draft(alice));
    const rented = await rentable(server, terms);
    const control = await openAgent(server, rented.agent.credential ?? "");
    const consumer = await openAt(server, "/ws/agent/consumer", { token: helper.credential });
    await consumer.next("agent.connected");
    const { id: sessionId, sessionToken: token } = await alice.call("sessions:create", {
      agentId: rented.agentId,
      taskDescription: task,
      consumerAgentId: helper.agentId,
      maxAmount,
    });
    const room = await openSession(server, { sessionId, token });
    const group = await openGroup(server, sessionId, helper.credential ?? "");
    const told = (socket: typeof control) =>
      socket.frames.filter(({ type }) => type === "session.limit").map(({ payload }) => payload);
    return { alice, provider: rented.provider, sessionId, control, consumer, room, group, told };
  }

  test("by the token at 50, 80 and 100 percent, once each, and again after a raise", async () => {
    const terms = { pricingModel: "per_token", priceAmount: "0.001" };
    const { alice, provider, sessionId, control, consumer, room, group, told } = await watched(terms, "2.00");
    const use = (totalTokens: number) =>
      provider.call("sessions:sendMessage", {
        sessionId,
        type: "result.success",
        payload: { usage: { totalTokens } },
      });
    for (const tokens of [999, 1, 1, 600]) await use(tokens);
    await alice.call("sessions:raiseLimit", { sessionId, maxAmount: "4.00" });
    await use(9_999);
    await control.settled();
    await consumer.settled();
    const said = (level: number, amount: string, maxAmount: string) => ({
      sessionId,
      level,
      amount,
      maxAmount,
      currency: "CNY",
      timestamp: new Date(server.clock.now()).toISOString(),
    });
    const expected = [
      said(50, "1.0000", "2.00"),
      said(80, "1.6010", "2.00"),
      said(0, "1.6010", "4.00"),
      said(100, "4.0000", "4.00"),
    ];
    expect(told(control)).toEqual(expected);
    expect(told(consumer)).toEqual(expected);
    for (const socket of [room, group]) expect(told(socket)).toEqual([]);
    expect(await alice.call("sessions:get", { sessionId })).toMatchObject({
      status: "completed",
      endReason: "limit_reached",
    });
  });

  test("by the minute as time passes, with the instant of the end", async () => {
    const terms = { pricingModel: "per_minute", priceAmount: "0.10" };
    const { control, consumer, room, group, told } = await watched(terms, "1.00");
    const endsAt = new Date(server.clock.now() + 10 * minute).toISOString();
    for (let passed = 0; passed < 10; passed += 1) await server.advance(minute);
    await control.settled();
    await consumer.settled();
    const expected = [
      { level: 50, amount: "0.5000", maxAmount: "1.00", endsAt },
      { level: 80, amount: "0.8000", maxAmount: "1.00", endsAt },
      { level: 100, amount: "1.0000", maxAmount: "1.00", endsAt },
    ];
    expect(told(control)).toMatchObject(expected);
    expect(told(consumer)).toMatchObject(expected);
    for (const socket of [room, group]) expect(told(socket)).toEqual([]);
  });
});
