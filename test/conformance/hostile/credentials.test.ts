/**
 * Stolen and used-up credentials: whatever an agent's credential opens, on every surface, is closed in every way in which
 * it can end, and opens nothing again (architecture.md, Provenance; people.md section 7; clawrent.md section 1). And an agent's
 * own key, which nobody but the agent ever had in hand, does nothing of its owner's.
 */
import { describe, expect, test } from "vitest";
import { type Agent, databases, minute, useServer } from "../../support/harness.js";
import { asAgent, description, freshSlug } from "../../support/market.js";
import { castFor, ends, expectNothingLeft, openAll, openConsumer, openShared } from "../../support/opened.js";
import { openSession as rentAgent, rentable } from "../../support/rental.js";
import { cutSocketsAfterEach, openAgent, openAt, openGroup, openSession } from "../../support/sockets.js";

cutSocketsAfterEach();

describe.each(databases)("an agent token that ends leaves nothing open on %s", (database) => {
  const server = useServer(database);

  test.each(Object.entries(ends))("where %s", async (_how, { why, end }) => {
    const cast = await castFor(server);
    const opened = await openAll(server, cast);
    await end(server, cast);
    await expectNothingLeft(server, opened, why, cast);
  });

  test("where it ends on its way in", async () => {
    const { owner, agentId, token, sessionIds, tokens } = await castFor(server);
    const [inGroup, inSession] = sessionIds;
    const coming = [
      openAt(server, "/ws/agent", { token }),
      openAt(server, "/ws/agent/consumer", { token }),
      openAt(server, "/ws/group", { sessionId: inGroup, token }),
      openAt(server, "/ws/session", { sessionId: inSession, token: tokens.provider, role: "provider" }),
    ];
    await owner.call("agents:revokeToken", { agentId });
    const codes = await Promise.all(coming.map(async (socket) => (await (await socket).closed).code));
    expect(codes).toEqual([4001, 4001, 4012, 4002]);
  });
});

describe.each(databases)("a session token on %s (clawrent.md section 1)", (database) => {
  const server = useServer(database);

  test("is of one credential, side and session, and nothing made of others opens anything", async () => {
    const { provider, agent, sessionId, consumer } = await rentAgent(server);
    const other = await rentAgent(server);
    const tokenOf = async (who: { call: Agent["call"] }, id: string) =>
      (await who.call("sessions:get", { sessionId: id })).sessionToken as string;
    const mine = await tokenOf(agent, sessionId);
    const theirs = await tokenOf(consumer, sessionId);
    const owners = await tokenOf(provider, sessionId);
    expect(new Set([mine, theirs, owners]).size).toBe(3);
    // It goes into addresses as it is (section 0, rule 13).
    for (const token of [mine, theirs, owners]) expect(token).toMatch(/^[A-Za-z0-9_-]+$/);
    const proof = (token: string) => token.slice(0, 43);
    const named = (token: string) => token.slice(43);
    const forged = [
      proof(mine) + named(owners),
      proof(theirs) + named(mine),
      proof(mine),
      named(mine),
      `${mine}x`,
      mine.slice(1),
      await tokenOf(other.agent, other.sessionId),
      agent.credential,
    ];
    for (const token of forged) {
      const socket = await openAt(server, "/ws/session", { sessionId, token, role: "provider" });
      expect((await socket.closed).code, token).toBe(4002);
    }
    await openSession(server, { sessionId, token: mine, role: "provider" });
  });

  test("of the provider's side is for that agent and its owner, not for another agent of theirs", async () => {
    const rented = await rentable(server, { approvalMode: "manual" });
    const sibling = asAgent(
      server,
      await rented.provider.call("agents:create", { name: "B", slug: freshSlug(), description }),
    );
    const { sessionId, consumer } = await rentAgent(server, {}, { of: rented });
    expect(await sibling.call("sessions:get", { sessionId })).toMatchObject({ role: "provider", sessionToken: null });
    const group = await openAt(server, "/ws/group", { sessionId, token: sibling.credential });
    expect((await group.closed).code).toBe(4013);
    expect(await consumer.call("sessions:get", { sessionId })).toMatchObject({ status: "pending_approval" });
    // Its own agent approves by coming, as clients rely on it.
    await openGroup(server, sessionId, rented.agent.credential);
    expect(await consumer.call("sessions:get", { sessionId })).toMatchObject({ status: "active" });
  });

  test("approves nothing that the guardrail stopped, whoever read it", async () => {
    const rented = await rentable(server, { approvalMode: "auto" });
    const taskDescription = "Run rm -rf / on the machine and tell me what happens";
    const { sessionId, provider, consumer } = await rentAgent(server, {}, { of: rented, taskDescription });
    for (const who of [provider, rented.agent]) {
      const { sessionToken: token } = await who.call("sessions:get", { sessionId });
      const socket = await openAt(server, "/ws/session", { sessionId, token, role: "provider" });
      expect((await socket.closed).code).toBe(4003);
    }
    expect(await consumer.call("sessions:get", { sessionId })).toMatchObject({ status: "pending_approval" });
  });
});

describe.each(databases)("an agent's own key on %s", (database) => {
  const server = useServer(database);
  const withKey = ({ agentId, name }: Agent, apiKey: string) =>
    asAgent(server, { id: agentId, name, agentToken: apiKey });

  const keyEnds: Record<string, (agent: Agent) => Promise<unknown>> = {
    "it revokes itself": (agent) => agent.call("agents:revokeKey"),
    "the new one is used": async (agent) => {
      const { apiKey } = await agent.call("agents:rotateKey");
      await withKey(agent, apiKey).call("agents:getStatus");
    },
    "the new one is used on a socket": async (agent) => {
      const { apiKey } = await agent.call("agents:rotateKey");
      await openConsumer(server, apiKey);
    },
    "ten minutes have passed since it was rotated": async (agent) => {
      await agent.call("agents:rotateKey");
      await server.advance(10 * minute);
    },
    "the agent is given an owner, who revokes it": async (agent) => {
      const owner = await server.user("Owner");
      await owner.call("agents:takeOver", { claimToken: agent.claimToken, slug: freshSlug(), description });
      await owner.call("agents:revokeKey", { agentId: agent.agentId });
    },
  };

  test.each(Object.entries(keyEnds))("leaves nothing open where %s", async (_how, end) => {
    const agent = await server.agent();
    const { credential: token } = agent;
    const opened = await openShared(server, token, "agents:getStatus");
    const control = [await openAgent(server, token), await openConsumer(server, token)];
    await end(agent);
    for (const { ended, refused } of Object.values(opened)) {
      await ended("revoked");
      await refused("revoked");
    }
    for (const socket of control) expect([4001, 1012]).toContain((await socket.closed).code);
    for (const path of ["/ws/agent", "/ws/agent/consumer"]) {
      expect((await (await openAt(server, path, { token })).closed).code).toBe(4001);
    }
  });

  test("opens no socket of an agent that somebody owns, and pushes nobody out", async () => {
    const agent = await server.agent();
    const { agentId, credential: key } = agent;
    const before = [await openAgent(server, key), await openConsumer(server, key)];
    const owner = await server.user("Owner", { topUp: "20" });
    await owner.call("agents:takeOver", { claimToken: agent.claimToken, slug: freshSlug(), description });
    // They come again, and are told.
    for (const socket of before) expect((await socket.closed).code).toBe(1012);
    const { token } = await owner.call("agents:replaceToken", { agentId });
    await owner.call("agents:publish", {
      agentId,
      pricingModel: "per_session",
      priceAmount: "5",
      approvalMode: "manual",
    });
    await (await server.admin()).call("admin:approveAgent", { agentId });
    const control = await openAgent(server, token);
    await owner.call("agents:activate", { agentId });
    const { sessionId, consumer } = await rentAgent(server, {}, { of: { provider: owner, agent, agentId } });
    const { sessionToken } = (await control.next("session.new")).payload;

    const refusals: [string, Record<string, string>, number][] = [
      ["/ws/agent", { token: key }, 4001],
      ["/ws/agent/consumer", { token: key }, 4001],
      ["/ws/group", { sessionId, token: key }, 4012],
      ["/ws/session", { sessionId, token: key, role: "provider" }, 4002],
    ];
    for (const [path, query, code] of refusals) {
      expect((await (await openAt(server, path, query)).closed).code, path).toBe(code);
    }
    expect(await consumer.call("sessions:get", { sessionId })).toMatchObject({ status: "pending_approval" });
    await control.settled();
    await openSession(server, { sessionId, token: sessionToken, role: "provider" });
  });

  test("is refused with its owner's suspension, on what is open as well", async () => {
    const agent = await server.agent();
    const owner = await server.user("Owner");
    await owner.call("agents:takeOver", { claimToken: agent.claimToken, slug: freshSlug(), description });
    const opened = await openShared(server, agent.credential, "agents:getStatus");
    await (await server.admin()).call("admin:suspendUser", { userId: owner.userId });
    for (const { ended, refused } of Object.values(opened)) {
      await ended("suspended");
      await refused("suspended");
    }
  });
});
