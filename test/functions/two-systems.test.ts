/** One agent in both systems: what agents agree on (Claw-to-Claw) and what they are rented for (ClawRent) share one table. */
import { describe, expect, test } from "vitest";
import { serve } from "../support/daemon.js";
import { type Agent, type Caller, databases, hour, type TestServer, useServer } from "../support/harness.js";
import { asAgent, draft, freshSlug } from "../support/market.js";

/** Has a peer invite the agent, and the two agree on something. */
async function negotiate(server: TestServer, agent: Caller): Promise<void> {
  const peer = await server.agent("Peer");
  const { inviteToken } = await peer.call("connections:invite");
  const { connectionId } = await agent.call("connections:accept", { inviteToken });
  const { threadId } = await peer.call("messages:startThread", { connectionId });
  await peer.send(threadId, "proposal");
  await agent.call("messages:send", { threadId, type: "accept", payload: { notes: "gladly" } });
  await peer.call("approvals:submit", { threadId, approved: true });
  expect(await agent.call("approvals:submit", { threadId, approved: true })).toMatchObject({ status: "confirmed" });
}

/** Has the agent go to an event, with a place that its human shared. */
async function attend(server: TestServer, agent: Caller): Promise<void> {
  const host = await server.agent("Host", { claimed: true });
  const startAt = server.clock.now();
  const place = { locationLat: 48.2, locationLng: 16.37 };
  const { eventId } = await host.call("events:create", { name: "Meeting", startAt, endAt: startAt + hour, ...place });
  const { shareToken } = await agent.call("events:requestLocationShare");
  await server.nobody.call("events:submitLocationShare", { shareToken, lat: 48.2, lng: 16.37 });
  await agent.call("events:checkIn", { eventId, locationShareToken: shareToken });
  expect((await agent.call("events:getById", { eventId })).myCheckin).not.toBeNull();
}

describe.each(databases)("one agent in both systems on %s", (database) => {
  const server = useServer(database);

  test("an agent that registered itself is taken over, published and rented, and goes on as before", async () => {
    const agent = await server.agent("Planner");
    await negotiate(server, agent);
    await expect(agent.call("billing:getWallet")).rejects.toMatchObject({ code: "forbidden" });

    const [bob, alice] = [await server.user("Bob"), await server.user("Alice", { topUp: "20" })];
    const plan = { slug: freshSlug(), description: "Plans dinners with other agents" };
    const taken = await bob.call("agents:takeOver", { claimToken: agent.claimToken, ...plan });
    expect(taken).toMatchObject({ id: agent.agentId, ownerId: bob.userId, name: "Planner", status: "draft", ...plan });
    expect(await agent.call("agents:getStatus")).toMatchObject({ agentId: agent.agentId, claimed: true });

    // The key that it registered with never acts for its owner.
    const { agentId } = agent;
    await expect(agent.call("agents:publish", { agentId })).rejects.toMatchObject({ code: "forbidden" });
    await bob.call("agents:publish", {
      agentId,
      pricingModel: "per_session",
      priceAmount: "5",
      approvalMode: "auto",
    });
    await (await server.admin()).call("admin:approveAgent", { agentId });
    const { token } = await bob.call("agents:replaceToken", { agentId });
    const withToken = asAgent(server, { id: agentId, name: "Planner", agentToken: token });
    const daemon = await serve(server, token);
    expect(await withToken.call("agents:activate", { agentId })).toMatchObject({ onlineStatus: "online" });
    expect((await server.nobody.call("marketplace:browse", { search: "dinners" })).data).toMatchObject([
      { id: agentId },
    ]);

    const taskDescription = "Plan a dinner for the four of us";
    const { id: sessionId } = await alice.call("sessions:create", { agentId, taskDescription });
    const said = { sessionId, type: "result.success", payload: { content: "Done" } };
    expect(await withToken.call("sessions:sendMessage", said)).toMatchObject({ gatewayResult: "passed" });
    await expect(agent.call("sessions:sendMessage", said)).rejects.toMatchObject({ code: "forbidden" });
    expect(await withToken.call("sessions:end", { sessionId })).toMatchObject({ settlement: { amount: "5.0000" } });
    expect(await withToken.call("billing:getWallet")).toMatchObject({ balance: "4.25" });
    await expect(agent.call("billing:getWallet")).rejects.toMatchObject({ code: "forbidden" });

    // Both credentials are the one agent, wherever it goes.
    for (const caller of [agent, withToken]) {
      await negotiate(server, caller);
      expect(await caller.call("agents:getStatus")).toMatchObject({
        agentId,
        connections: { active: expect.any(Number) },
      });
      expect(await caller.call("agents:getMine")).toMatchObject({ id: agentId, status: "active" });
    }
    await attend(server, withToken);
    expect(await agent.call("connections:list")).toEqual(await withToken.call("connections:list"));
    expect(await agent.call("connections:list")).toHaveLength(3);
    await daemon.stop();
  });

  test("an agent that was made on the marketplace negotiates and goes to events with its token", async () => {
    const bob = await server.user("Bob");
    const made = await draft(bob, { name: "Reader" });
    const agent = asAgent(server, made);
    // Its owner is known, so it counts as claimed and may do what needs a human behind it.
    expect(await agent.call("agents:getStatus")).toMatchObject({ agentId: made.id, name: "Reader", claimed: true });
    const startAt = server.clock.now();
    await agent.call("events:create", { name: "Reading", startAt, endAt: startAt + hour });
    await agent.call("agents:setPublicKey", { publicKey: Buffer.alloc(32, 7).toString("base64") });
    await negotiate(server, agent);
    await attend(server, agent);

    // A person is no agent, whoever's it is.
    await expect(bob.call("connections:list")).rejects.toMatchObject({ message: "Agent token required" });
    await expect(
      server.agent("Other").then((other) => other.call("agents:get", { agentId: made.id })),
    ).rejects.toThrow();
  });

  test("a token that is revoked opens neither system", async () => {
    const bob = await server.user("Bob");
    const made = await draft(bob);
    const agent = asAgent(server, made);
    const calls = (who: Agent) => [
      () => who.call("connections:list"),
      () => who.call("agents:getStatus"),
      () => who.call("events:listLive"),
      () => who.call("agents:getMine"),
      () => who.call("users:me"),
      () => who.call("sessions:list", { role: "provider" }),
      () => who.call("billing:getWallet"),
    ];
    for (const call of calls(agent)) await call();

    const renewed = await server.withOwnToken(bob, made.id);
    for (const call of calls(agent)) await expect(call()).rejects.toMatchObject({ httpStatus: 401 });
    for (const call of calls(renewed)) await call();

    await bob.call("agents:revokeToken", { agentId: made.id });
    for (const call of calls(renewed)) await expect(call()).rejects.toMatchObject({ httpStatus: 401 });
    await expect(serve(server, renewed.credential as string)).rejects.toThrow("4001");
    expect(await bob.call("agents:get", { agentId: made.id })).toMatchObject({ hasAgentToken: false });
  });

  test("an agent that was taken over keeps its own key when its token is revoked", async () => {
    const agent: Agent = await server.agent("Planner");
    const bob = await server.user("Bob");
    const plan = { slug: freshSlug(), description: "Plans dinners with other agents" };
    await bob.call("agents:takeOver", { claimToken: agent.claimToken, ...plan });
    const renewed = await server.withOwnToken(bob, agent.agentId);
    await bob.call("agents:revokeToken", { agentId: agent.agentId });
    await expect(renewed.call("connections:list")).rejects.toMatchObject({ httpStatus: 401 });
    expect(await agent.call("connections:list")).toEqual([]);
    expect(await agent.call("agents:getMine")).toMatchObject({ id: agent.agentId, hasAgentToken: false });
  });
});
