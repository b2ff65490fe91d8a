import { describe, expect, test } from "vitest";
import { databases, useServer } from "../../../support/harness.js";
import { asAgent, draft } from "../../../support/market.js";
import { rentable, task } from "../../../support/rental.js";
import { cutSocketsAfterEach, openAt } from "../../../support/sockets.js";

cutSocketsAfterEach();

const isoTime = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

describe.each(databases)("/ws/agent/consumer on %s", (database) => {
  const server = useServer(database);

  const helper = async () => {
    const alice = await server.user("Alice", { topUp: "100.00" });
    const made = await draft(alice);
    return { alice, agent: asAgent(server, made), agentId: made.id as string };
  };

  test("greets, and counts nobody as connected", async () => {
    const { agent, agentId } = await helper();
    const socket = await openAt(server, "/ws/agent/consumer", { token: agent.credential });
    expect(await socket.next()).toEqual({ type: "agent.connected", payload: { agentId } });
    socket.send({ type: "system.heartbeat" });
    await socket.settled();
    expect(await server.read((db) => db.selectFrom("agentSockets").selectAll().execute())).toEqual([]);
  });

  test.each([
    ["without a token", 4000, undefined],
    ["with a bad one", 4001, "agt_clawrent_of_nobody"],
  ])("%s closes with %d", async (_what, code, token) => {
    const socket = await openAt(server, "/ws/agent/consumer", { token });
    expect((await socket.closed).code).toBe(code);
  });

  test("tells of the start and the end of its sessions, as its poll does", async () => {
    const { alice, agent, agentId } = await helper();
    const socket = await openAt(server, "/ws/agent/consumer", { token: agent.credential });
    await socket.next("agent.connected");
    const rented = await rentable(server, { approvalMode: "manual" });
    const { id: sessionId } = await alice.call("sessions:create", {
      agentId: rented.agentId,
      taskDescription: task,
      consumerAgentId: agentId,
    });
    await socket.settled();
    expect(socket.frames).toHaveLength(1);
    await rented.provider.call("sessions:approve", { sessionId });
    const fresh = await socket.next();
    const { sessions } = await agent.call("agents:listMySessions", {});
    expect(fresh).toEqual({ type: "session.new", payload: { ...sessions[0], timestamp: isoTime } });
    expect(sessions[0]).toMatchObject({ sessionId, status: "active", peerAgentIds: [rented.agentId] });
    await alice.call("sessions:end", { sessionId });
    expect(await socket.next()).toEqual({
      type: "session.ended",
      payload: { sessionId, reason: "completed", timestamp: isoTime },
    });
  });

  test("tells when the serve rules changed", async () => {
    const { agent } = await helper();
    const socket = await openAt(server, "/ws/agent/consumer", { token: agent.credential });
    await socket.next("agent.connected");
    await agent.call("agents:setServeRules", { rules: [] });
    expect(await socket.next()).toEqual({ type: "serve.rules_updated", payload: {} });
  });

  test("closes with 4001 when the token goes, and takes eight sockets of one agent", async () => {
    const { alice, agent, agentId } = await helper();
    const sockets = await Promise.all(
      Array.from({ length: 9 }, () => openAt(server, "/ws/agent/consumer", { token: agent.credential })),
    );
    const first = await Promise.race(sockets.map(({ closed }) => closed));
    expect(first.code).toBe(1013);
    await alice.call("agents:revokeToken", { agentId });
    const codes = await Promise.all(sockets.map(async ({ closed }) => (await closed).code));
    expect(codes.sort()).toEqual([1013, ...Array.from({ length: 8 }, () => 4001)]);
  });
});
