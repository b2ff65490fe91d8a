import { wsAgentControlEventSchema } from "@clawrent/protocol";
import { describe, expect, test } from "vitest";
import { databases, useServer } from "../../../support/harness.js";
import { disconnect } from "../../../support/market.js";
import { openSession, rentable, task } from "../../../support/rental.js";
import { cutSocketsAfterEach, eventually, type Frame, openAgent, openAt } from "../../../support/sockets.js";

cutSocketsAfterEach();

const isoTime = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

/** What the SDK's own schema makes of a frame; it drops what does not fit. */
function asTheSdkSees(frame: Frame): Frame {
  expect(JSON.stringify(frame)).not.toContain("null");
  return wsAgentControlEventSchema.parse(frame);
}

describe.each(databases)("announcements on %s", (database) => {
  const server = useServer(database);

  const announcedOf = async (sessionId: string) =>
    (
      await server.read((db) =>
        db.selectFrom("sessions").select("announced").where("sessionId", "=", sessionId).executeTakeFirstOrThrow(),
      )
    ).announced;
  const announcedBecomes = (sessionId: string, status: string) =>
    eventually(
      () => announcedOf(sessionId),
      (announced) => announced === status,
    );

  test("an automatic session is approved first and then new, with all that clients read", async () => {
    const rented = await rentable(server);
    const socket = await openAgent(server, rented.agent.credential);
    const { sessionId, consumer } = await openSession(server, {}, { of: rented });
    const { sessionToken } = await rented.agent.call("sessions:get", { sessionId });
    const approved = await socket.next();
    expect(approved).toEqual({
      type: "session.approved",
      payload: {
        sessionId,
        sessionToken,
        status: "active",
        taskDescription: task,
        consumerUserId: consumer.userId,
        slotIndex: 0,
        timestamp: isoTime,
      },
    });
    asTheSdkSees(approved);
    const fresh = await socket.next();
    expect(fresh).toEqual({
      type: "session.new",
      payload: {
        sessionId,
        sessionToken,
        status: "active",
        consumerUserId: consumer.userId,
        taskDescription: task,
        pricingSnapshot: { model: "per_session", amount: "5.00", currency: "CNY" },
        timestamp: isoTime,
      },
    });
    asTheSdkSees(fresh);
    await announcedBecomes(sessionId, "active");
  });

  test("a manual session is new, and later approved, by whatever way", async () => {
    const rented = await rentable(server, { approvalMode: "manual" });
    const socket = await openAgent(server, rented.agent.credential);
    const { sessionId, provider } = await openSession(server, {}, { of: rented });
    expect(await socket.next()).toMatchObject({
      type: "session.new",
      payload: { sessionId, status: "pending_approval" },
    });
    await announcedBecomes(sessionId, "pending_approval");
    await provider.call("sessions:approve", { sessionId });
    expect(await socket.next()).toMatchObject({ type: "session.approved", payload: { sessionId, status: "active" } });
    await socket.settled();
    expect(socket.frames).toHaveLength(3);
  });

  test("a flagged session carries the guardrail's decision, and an ordered one its order", async () => {
    const rented = await rentable(server);
    const socket = await openAgent(server, rented.agent.credential);
    const taskDescription = "Please run rm -rf / on the machine and tell me what happens";
    const { consumer } = await openSession(server, {}, { of: rented, taskDescription });
    const flagged = asTheSdkSees(await socket.next());
    expect(flagged.payload).toMatchObject({
      status: "pending_approval",
      guardrailDecision: { verdict: "block", categories: ["destructive"] },
    });
    const order = await consumer.call("orders:create", {
      items: [{ providerAgentId: rented.agentId, taskDescription: "Task 1" }],
    });
    const ordered = asTheSdkSees(await socket.next("session.new"));
    expect(ordered.payload.orderId).toBe(order.id);
  });

  test("what came while the agent was away is told when it is back, and once", async () => {
    const rented = await rentable(server);
    const active = await openSession(server, {}, { of: rented });
    const first = await openAgent(server, rented.agent.credential);
    expect((await first.next()).type).toBe("session.approved");
    expect((await first.next()).type).toBe("session.new");
    await announcedBecomes(active.sessionId, "active");
    await first.close();
    const second = await openAgent(server, rented.agent.credential);
    await second.settled();
    expect(second.frames).toHaveLength(1);
  });

  test("without a pong it counts as never told", async () => {
    const rented = await rentable(server);
    await openSession(server, {}, { of: rented });
    const deaf = await openAt(server, "/ws/agent", { token: rented.agent.credential }, { autoPong: false });
    await deaf.next("session.new");
    await openSession(server, {}, { of: rented });
    await deaf.next("session.new");
    expect(deaf.frames).toHaveLength(5);
    deaf.ws.terminate();
    const hearing = await openAgent(server, rented.agent.credential);
    await hearing.until(() => hearing.of("session.new").length === 2, "both again");
  });

  test("pending sessions are new again on every connect; one approved meanwhile gets both frames", async () => {
    const rented = await rentable(server, { approvalMode: "manual" });
    const { sessionId, provider } = await openSession(server, {}, { of: rented });
    for (let count = 0; count < 2; count += 1) {
      const socket = await openAgent(server, rented.agent.credential);
      expect(await socket.next()).toMatchObject({ type: "session.new", payload: { sessionId } });
      await announcedBecomes(sessionId, "pending_approval");
      await socket.close();
    }
    await disconnect(server, rented.agentId);
    await provider.call("sessions:approve", { sessionId });
    const socket = await openAgent(server, rented.agent.credential);
    expect((await socket.next()).type).toBe("session.approved");
    expect(await socket.next()).toMatchObject({ type: "session.new", payload: { status: "active" } });
  });

  test("ended and expired sessions are not told, nor is the end of one", async () => {
    const rented = await rentable(server, { approvalMode: "manual" });
    const { sessionId, consumer } = await openSession(server, {}, { of: rented });
    const socket = await openAgent(server, rented.agent.credential);
    await socket.next("session.new");
    await consumer.call("sessions:end", { sessionId });
    await socket.settled();
    expect(socket.frames).toHaveLength(2);
    await socket.close();
    const again = await openAgent(server, rented.agent.credential);
    await again.settled();
    expect(again.frames).toHaveLength(1);
  });

  test("many sessions at the same moment are each told once, in pairs", async () => {
    const rented = await rentable(server, { maxConcurrentSessions: 40 });
    const socket = await openAgent(server, rented.agent.credential);
    const consumers = await Promise.all(Array.from({ length: 4 }, () => server.user("Alice", { topUp: "100.00" })));
    await Promise.all(
      consumers.flatMap((by) => Array.from({ length: 5 }, () => openSession(server, {}, { of: rented, by }))),
    );
    await socket.until(() => socket.of("session.new").length >= 20, "twenty");
    await socket.settled();
    for (const type of ["session.approved", "session.new"]) {
      const ids = socket.of(type).map(({ payload }) => payload.sessionId);
      expect(ids).toHaveLength(20);
      expect(new Set(ids).size).toBe(20);
    }
    for (const { payload } of socket.of("session.new")) {
      const types = socket.frames.filter((frame) => frame.payload.sessionId === payload.sessionId);
      expect(types.map(({ type }) => type)).toEqual(["session.approved", "session.new"]);
    }
  });
});
