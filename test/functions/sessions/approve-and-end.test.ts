import { describe, expect, test } from "vitest";
import { databases, minute, useServer } from "../../support/harness.js";
import { expectRefusal } from "../../support/refusals.js";
import { openSession, rentable, serve } from "../../support/rental.js";

const blocked = { taskDescription: "Please run rm -rf / on the server" };

describe.each(databases)("sessions:approve on %s (clawrent.md section 2.6)", (database) => {
  const server = useServer(database);

  test("starts a pending session, and again changes nothing", async () => {
    const { provider, consumer, sessionId, session } = await openSession(server, { approvalMode: "manual" });
    server.clock.jump(minute);
    const approved = await provider.call("sessions:approve", { sessionId });
    expect(approved).toMatchObject({
      id: sessionId,
      status: "active",
      role: "provider",
      taskDescription: session.taskDescription,
      consumerUserId: consumer.userId,
      startedAt: new Date(server.clock.now()).toISOString(),
    });
    expect(approved).not.toHaveProperty("slotIndex");
    expect(approved.sessionToken).not.toBe(session.sessionToken);
    server.clock.jump(minute);
    expect(await provider.call("sessions:approve", { sessionId })).toEqual({ ...approved, activeDurationMs: minute });
  });

  test("the agent's own token approves too", async () => {
    const { agent, sessionId } = await openSession(server, { approvalMode: "manual" });
    expect(await agent.call("sessions:approve", { sessionId })).toMatchObject({ status: "active", role: "provider" });
  });

  test("a stopped task wants a person of the provider's who says that they looked", async () => {
    const { agent, provider, sessionId } = await openSession(server, {}, blocked);
    const refusal = { code: "forbidden", message: "Session requires manual review" };
    const approve = (who: typeof provider | typeof agent, manual?: boolean) => () =>
      who.call("sessions:approve", { sessionId, manual });
    await expectRefusal(server, approve(provider), refusal);
    await expectRefusal(server, approve(provider, false), refusal);
    await expectRefusal(server, approve(agent), refusal);
    await expectRefusal(server, approve(agent, true), refusal);
    expect(await approve(provider, true)()).toMatchObject({
      status: "active",
      guardrailDecision: { verdict: "block" },
    });
    expect(await approve(agent)()).toMatchObject({ status: "active" });
  });

  test("a stranger's session reads as missing, whatever is done with it", async () => {
    const { sessionId, agentId } = await openSession(server);
    const stranger = await server.user("Carol");
    const calls: [string, object][] = [
      ["sessions:get", {}],
      ["sessions:approve", {}],
      ["sessions:end", {}],
      ["sessions:listMessages", {}],
      ["sessions:sendMessage", { type: "dialogue.message", payload: {} }],
      ["sessions:pauseParticipant", { participantId: agentId }],
      ["sessions:resumeParticipant", { participantId: agentId }],
    ];
    for (const [path, args] of calls) {
      for (const id of [sessionId, "nothing"]) {
        const call = () => stranger.call(path, { sessionId: id, ...args });
        await expectRefusal(server, call, { code: "not_found", message: "Session not found" });
      }
    }
  });
});

describe.each(databases)("sessions:end on %s (clawrent.md sections 2.6 and 6.3)", (database) => {
  const server = useServer(database);

  test("settles, and repeated it answers the same to each side", async () => {
    const { provider, consumer, sessionId } = await openSession(server);
    await serve(provider, sessionId);
    server.clock.jump(minute);
    const ended = await consumer.call("sessions:end", { sessionId });
    expect(ended).toMatchObject({
      status: "completed",
      billingStatus: "settled",
      sessionToken: null,
      endReason: "completed",
      activeDurationMs: minute,
      billingAmount: "5.0000",
      platformFee: "0.7500",
      providerIncome: "4.2500",
      settlement: {
        amount: "5.0000",
        platformFee: "0.7500",
        providerIncome: "4.2500",
        currency: "CNY",
        pricingModel: "per_session",
        quantity: 1,
      },
    });
    server.clock.jump(minute);
    expect(await consumer.call("sessions:end", { sessionId })).toEqual(ended);
    const { slotIndex, ...same } = ended;
    expect(await provider.call("sessions:end", { sessionId })).toEqual({ ...same, role: "provider" });
    expect(await consumer.call("billing:getWallet")).toMatchObject({ balance: "95.00", held: "0.00" });
    expect(await provider.call("billing:getWallet")).toMatchObject({ balance: "4.25" });
    expect((await consumer.call("billing:listRecords")).data).toMatchObject([{ sessionId, status: "settled" }]);
  });

  test.each(["consumer", "provider"] as const)(
    "before the approval the %s calls it off, and nothing is charged",
    async (who) => {
      const rental = await openSession(server, { approvalMode: "manual" });
      const { sessionId, consumer } = rental;
      const aborted = await rental[who].call("sessions:end", { sessionId });
      expect(aborted).toMatchObject({
        status: "aborted",
        settlement: null,
        billingStatus: "pending",
        endReason: who === "consumer" ? "cancelled" : "refused",
      });
      expect(await rental[who].call("sessions:end", { sessionId })).toEqual(aborted);
      expect(await consumer.call("billing:getWallet")).toMatchObject({ balance: "100.00", held: "0.00" });
    },
  );

  test("counts for the agent: sessions that were served, and their share of those that were and that it refused", async () => {
    const of = await rentable(server, { approvalMode: "manual" });
    const rental = async () => openSession(server, {}, { of });
    const counts = async () => (await of.provider.call("agents:get", { agentId: of.agentId })).providerProfile;
    const [first, second, third, unserved, cancelled] = [
      await rental(),
      await rental(),
      await rental(),
      await rental(),
      await rental(),
    ];
    for (const { sessionId } of [first, second, unserved]) await of.provider.call("sessions:approve", { sessionId });
    for (const { sessionId } of [first, second]) await serve(of.provider, sessionId);
    expect(await counts()).toMatchObject({ totalSessions: 0, completionRate: null });
    // Neither rents that cost nothing make an agent popular, nor can a consumer call them off to its harm.
    await unserved.consumer.call("sessions:end", { sessionId: unserved.sessionId });
    await cancelled.consumer.call("sessions:end", { sessionId: cancelled.sessionId });
    expect(await counts()).toMatchObject({ totalSessions: 0, completionRate: null });
    for (const { sessionId } of [first, second, third]) await of.provider.call("sessions:end", { sessionId });
    expect(await counts()).toMatchObject({ totalSessions: 2, completionRate: expect.closeTo(2 / 3) });

    const [record] = (await first.consumer.call("billing:listRecords")).data;
    const admin = await server.admin();
    await admin.call("admin:refund", { recordId: record.id });
    expect(await counts()).toMatchObject({ totalSessions: 1, completionRate: expect.closeTo(1 / 3) });
    await expect(admin.call("admin:refund", { recordId: record.id })).rejects.toMatchObject({ code: "conflict" });
    expect(await counts()).toMatchObject({ totalSessions: 1 });
  });

  test("by the minute it counts started minutes", async () => {
    const { consumer, sessionId } = await openSession(server, { pricingModel: "per_minute", priceAmount: "0.1" });
    await server.advance(2 * minute + 1);
    const { settlement } = await consumer.call("sessions:end", { sessionId });
    expect(settlement).toMatchObject({ amount: "0.3000", quantity: 3 });
  });
});
