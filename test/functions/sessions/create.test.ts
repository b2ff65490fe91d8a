import { describe, expect, test } from "vitest";
import { databases, hour, useServer } from "../../support/harness.js";
import { asAgent, connect, draft, listed } from "../../support/market.js";
import { expectInvalid, expectRefusal } from "../../support/refusals.js";
import { openSession, rentable, serve, task, write } from "../../support/rental.js";

describe.each(databases)("sessions:create on %s (clawrent.md section 2.6)", (database) => {
  const server = useServer(database);

  test("an agent that approves by itself starts at once; the consumer sees its own side", async () => {
    const { consumer, provider, agentId, session } = await openSession(server, {
      priceAmount: "5.5",
      maxConsumerSlots: 3,
    });
    expect(session).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      orderId: null,
      providerAgentId: agentId,
      providerUserId: provider.userId,
      consumerUserId: consumer.userId,
      consumerAgentId: null,
      taskDescription: task,
      grantedPermissions: {},
      status: "active",
      sessionType: "task",
      sessionToken: expect.stringMatching(/^[A-Za-z0-9_-]{22,}$/),
      role: "consumer",
      slotIndex: 0,
      maxSlots: 3,
      pricingSnapshot: { model: "per_session", amount: "5.50", currency: "CNY" },
      guardrailDecision: null,
      needsManualReview: false,
      missingPermissions: [],
      totalMessages: 0,
      totalInstructions: 0,
      totalTokensProvider: 0,
      totalTokensConsumer: 0,
      totalTokensReported: 0,
      maxAmount: "5.50",
      currentAmount: "0.0000",
      limitLevel: 0,
      activeDurationMs: 0,
      billingAmount: null,
      platformFee: null,
      providerIncome: null,
      billingStatus: "pending",
      dispute: null,
      startedAt: session.createdAt,
      endedAt: null,
      endReason: null,
      createdAt: new Date(server.clock.now()).toISOString(),
      updatedAt: session.createdAt,
      providerAgent: { id: agentId, name: "Reader", slug: expect.any(String), onlineStatus: "online" },
    });
    expect(await consumer.call("billing:getWallet")).toMatchObject({
      balance: "100.00",
      held: "5.50",
      available: "94.50",
    });
  });

  test("an agent whose owner approves starts pending, and so does a task that the guardrail stops", async () => {
    expect((await openSession(server, { approvalMode: "manual" })).session).toMatchObject({
      status: "pending_approval",
      startedAt: null,
      needsManualReview: false,
    });
    const { session } = await openSession(server, {}, { taskDescription: "Please run rm -rf / on the server" });
    expect(session).toMatchObject({
      status: "pending_approval",
      needsManualReview: true,
      guardrailDecision: { verdict: "block", categories: ["destructive"], reason: expect.any(String) },
    });
  });

  test("what the agent asks for and was not granted is listed", async () => {
    const of = await rentable(server, { requiredPermissions: ["file.read", "system.exec", "network.http"] });
    const { session } = await openSession(
      server,
      {},
      {
        of,
        grantedPermissions: { "file.read": true, "system.exec": { granted: true, constraints: { rateLimit: 3 } } },
      },
    );
    expect(session.missingPermissions).toEqual(["network.http"]);
    expect(session.grantedPermissions).toEqual({
      "file.read": { granted: true },
      "system.exec": { granted: true, constraints: { rateLimit: 3 } },
    });
  });

  test("grants have a size, as every message and every list reads them", async () => {
    const entries = Array.from({ length: 100 }, (_, index) => `/${index}/${"x".repeat(200)}`);
    const grantedPermissions = { "file.read": { granted: true, constraints: { pathWhitelist: entries } } };
    await expect(openSession(server, {}, { grantedPermissions })).rejects.toMatchObject({ code: "invalid_args" });
  });

  test("an agent of the consumer's takes part, and the agent may rent for its owner", async () => {
    const of = await rentable(server);
    const consumer = await server.user("Alice", { topUp: "10" });
    const helper = asAgent(server, await draft(consumer));
    const args = { agentId: of.agentId, taskDescription: task, consumerAgentId: helper.agentId };
    const session = await helper.call("sessions:create", args);
    expect(session).toMatchObject({ consumerUserId: consumer.userId, consumerAgentId: helper.agentId });
    const participants = await server.read((db) =>
      db
        .selectFrom("sessionParticipants")
        .select(["participantId", "type", "side"])
        .where("sessionId", "=", session.id)
        .orderBy("side")
        .orderBy("type")
        .execute(),
    );
    expect(participants).toEqual([
      { participantId: helper.agentId, type: "agent", side: "consumer" },
      { participantId: consumer.userId, type: "user", side: "consumer" },
      { participantId: of.agentId, type: "agent", side: "provider" },
    ]);
  });

  test("an agent that rents is the consumer's agent, unless it names another; a person's rent has none", async () => {
    const of = await rentable(server, { maxConcurrentSessions: 10 });
    const consumer = await server.user("Alice", { topUp: "100" });
    const [helper, other] = [asAgent(server, await draft(consumer)), asAgent(server, await draft(consumer))];
    const rent = { agentId: of.agentId, taskDescription: task };
    const order = { items: [{ providerAgentId: of.agentId, taskDescription: task }] };
    const mine = async (agent: typeof helper) =>
      (await agent.call("agents:listMySessions")).sessions.map(({ sessionId }: { sessionId: string }) => sessionId);

    // On every surface, and where the agent is left out by name.
    const byRpc = await helper.call("sessions:create", rent);
    const withNull = await helper.call("sessions:create", { ...rent, consumerAgentId: null });
    const { body: byRest } = await helper.rest("POST", "/api/sessions", rent);
    for (const session of [byRpc, withNull, byRest]) expect(session.consumerAgentId).toBe(helper.agentId);
    const [byOrder] = (await helper.call("orders:create", order)).items;
    const [byRestOrder] = (await helper.rest("POST", "/api/orders", order)).body.items;
    for (const item of [byOrder, byRestOrder]) expect(item.consumerAgentId).toBe(helper.agentId);
    const all = [byRpc.id, withNull.id, byRest.id, byOrder.sessionId, byRestOrder.sessionId];
    expect((await mine(helper)).sort()).toEqual(all.sort());

    const forOther = await helper.call("sessions:create", { ...rent, consumerAgentId: other.agentId });
    expect(await mine(other)).toEqual([forOther.id]);
    expect((await consumer.call("sessions:create", rent)).consumerAgentId).toBeNull();
    expect(await mine(helper)).toHaveLength(all.length);
  });

  test("refuses in the order of the contract, and writes nothing", async () => {
    const admin = await server.admin();
    const provider = await server.user("Bob");
    const consumer = await server.user("Alice");
    const { id: agentId } = await draft(provider, {
      priceAmount: "5",
      pricingModel: "per_session",
      approvalMode: "auto",
    });
    const stranger = await draft(await server.user("Carol"));
    // Wrong in every later respect too: each step below mends the first thing that is wrong.
    const args = { agentId, taskDescription: task, consumerAgentId: stranger.id };
    const rent = (more: object = {}) => consumer.call("sessions:create", { ...args, ...more });

    await expectInvalid(server, () => rent({ taskDescription: "Too short" }), "taskDescription");
    await expectInvalid(server, () => rent({ taskDescription: "x".repeat(2_001) }), "taskDescription");
    await expectRefusal(server, () => rent({ agentId: "nobody" }), { code: "not_found", message: "Agent not found" });
    const own = () => provider.call("sessions:create", args);
    await expectRefusal(server, own, { code: "failed_precondition", message: "Cannot rent your own agent" });

    const unavailable = { code: "failed_precondition", message: "Agent is not available for rent" };
    // A draft, or one that nobody has reviewed yet, is not there for anybody else.
    const missing = { code: "not_found", message: "Agent not found" };
    await expectRefusal(server, rent, missing);
    await provider.call("agents:publish", { agentId, maxConcurrentSessions: 1 });
    await expectRefusal(server, rent, missing);
    await admin.call("admin:approveAgent", { agentId });
    await expectRefusal(server, rent, unavailable);
    await connect(server, agentId);
    await provider.call("agents:activate", { agentId });
    await admin.call("admin:suspendUser", { userId: provider.userId });
    await expectRefusal(server, rent, unavailable);
    await admin.call("admin:reinstateUser", { userId: provider.userId });
    const setStanding = (status: "active" | "banned") =>
      write(server, (db) => db.updateTable("users").set({ status }).where("userId", "=", provider.userId).execute());
    await setStanding("banned");
    await expectRefusal(server, rent, unavailable);
    await setStanding("active");

    const other = await server.user("Dave", { topUp: "10" });
    const { id: sessionId } = await other.call("sessions:create", { agentId, taskDescription: task });
    await provider.call("agents:setOnlineStatus", { agentId, onlineStatus: "busy" });
    await expectRefusal(server, rent, { code: "conflict", message: "Agent is busy" });
    await provider.call("agents:setOnlineStatus", { agentId, onlineStatus: "online" });
    const full = { code: "conflict", message: "Agent has reached its maximum concurrent sessions" };
    await expectRefusal(server, rent, full);
    await other.call("sessions:end", { sessionId });

    await expectRefusal(server, rent, { code: "not_found", message: "Agent not found" });
    const poor = () => rent({ consumerAgentId: null });
    await expectRefusal(server, poor, {
      code: "insufficient_funds",
      message: expect.stringMatching(/^Insufficient balance/),
    });
    await consumer.call("billing:topUp", { amount: "4.99" });
    await expectRefusal(server, poor, {
      code: "insufficient_funds",
      message: expect.stringMatching(/^Insufficient balance/),
    });
    await consumer.call("billing:topUp", { amount: "0.01" });
    expect(await rent({ consumerAgentId: null })).toMatchObject({ status: "active" });
  });

  test("a place is free again once a pending session's day is over, before the timer ran", async () => {
    const of = await rentable(server, { approvalMode: "manual", maxConcurrentSessions: 1 });
    await openSession(server, {}, { of });
    const full = { code: "conflict", message: "Agent has reached its maximum concurrent sessions" };
    await expect(openSession(server, {}, { of })).rejects.toMatchObject(full);
    server.clock.jump(24 * hour);
    expect((await openSession(server, {}, { of })).session.status).toBe("pending_approval");
  });

  test("an agent that is offline for a moment can be rented, one that was never activated cannot", async () => {
    const of = await rentable(server);
    await write(server, (db) => db.deleteFrom("agentSockets").where("agentId", "=", of.agentId).execute());
    const { session } = await openSession(server, {}, { of });
    expect(session.providerAgent.onlineStatus).toBe("offline");
    const { id: agentId } = await listed(server, await server.user("Bob"));
    const consumer = await server.user("Alice", { topUp: "10" });
    await expect(consumer.call("sessions:create", { agentId, taskDescription: task })).rejects.toMatchObject({
      message: "Agent is not available for rent",
    });
  });

  test("the price is that of the rent, whatever the agent costs later", async () => {
    const { provider, consumer, agentId, sessionId } = await openSession(server, { priceAmount: "2" });
    await provider.call("agents:update", { agentId, priceAmount: "9" });
    await serve(provider, sessionId);
    const { settlement, pricingSnapshot } = await consumer.call("sessions:end", { sessionId });
    expect(pricingSnapshot.amount).toBe("2.00");
    expect(settlement.amount).toBe("2.0000");
  });
});
