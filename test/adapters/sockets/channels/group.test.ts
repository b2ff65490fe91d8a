import { describe, expect, test } from "vitest";
import { databases, startServer, type TestServer, useServer } from "../../../support/harness.js";
import { asAgent, draft } from "../../../support/market.js";
import { openSession as rentAgent, rentable, task } from "../../../support/rental.js";
import {
  cutSocketsAfterEach,
  eventually,
  openAt,
  openGroup,
  openSession,
  type TestSocket,
} from "../../../support/sockets.js";

cutSocketsAfterEach();

const uuid = expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f-]{27}$/);
const iso = (stamp: number) => new Date(stamp).toISOString();
const say = (content: string, more: object = {}) => ({ type: "dialogue.message", payload: { content }, ...more });
const contents = (socket: TestSocket) => socket.of("dialogue.message").map(({ payload }) => payload.content);

/** A session in which the consumer named an agent of their own. */
async function threesome(server: TestServer, fields: Parameters<typeof rentable>[1] = {}) {
  const rented = await rentable(server, fields);
  const alice = await server.user("Alice", { topUp: "100.00" });
  const made = await draft(alice);
  const session = await alice.call("sessions:create", {
    agentId: rented.agentId,
    taskDescription: task,
    consumerAgentId: made.id,
  });
  return { ...rented, alice, helper: asAgent(server, made), session, sessionId: session.id as string };
}

describe.each(databases)("/ws/group on %s", (database) => {
  const server = useServer(database);

  const socketsOf = (sessionId: string) =>
    server.read((db) => db.selectFrom("sessionSockets").selectAll().where("sessionId", "=", sessionId).execute());

  describe("coming in", () => {
    test("greets each participant as who they are, before anything else", async () => {
      const { sessionId, agent, agentId, provider, alice, helper } = await threesome(server);
      await alice.call("sessions:sendMessage", { sessionId, ...say("early") });
      const expected = [
        [
          agent.credential,
          { participantId: agentId, participantType: "agent", side: "provider", userId: provider.userId, agentId },
        ],
        [
          alice.credential,
          {
            participantId: alice.userId,
            participantType: "user",
            side: "consumer",
            userId: alice.userId,
            agentId: null,
          },
        ],
        [
          helper.credential,
          {
            participantId: helper.agentId,
            participantType: "agent",
            side: "consumer",
            userId: alice.userId,
            agentId: helper.agentId,
          },
        ],
      ] as const;
      for (const [token, participant] of expected) {
        const socket = await openAt(server, "/ws/group", { sessionId, token });
        const frame = await socket.next();
        expect(frame).toEqual({
          type: "system.connected",
          payload: { participant: { ...participant, role: participant.side } },
          sessionId,
          timestamp: frame.timestamp,
          _meta: { sessionId, senderRole: "platform", timestamp: iso(frame.timestamp) },
        });
        if (token !== alice.credential) expect((await socket.next()).payload).toEqual({ content: "early" });
      }
    });

    test.each([
      ["without a session", 4000, async () => ({ sessionId: undefined })],
      ["without a token", 4000, async () => ({ token: undefined })],
      ["with a bad JWT", 4011, async () => ({ token: "eyJhbGciOiJIUzI1NiJ9.e30.x" })],
      ["with an unknown agent token", 4012, async () => ({ token: "agt_clawrent_of_nobody" })],
      ["as a stranger", 4013, async () => ({ token: (await server.user("Bob")).credential })],
      ["as a stranger's agent", 4013, async () => ({ token: (await rentable(server)).agent.credential })],
      ["to an unknown session", 4014, async () => ({ sessionId: "0193d0c8-0000-7000-8000-000000000000" })],
    ])("%s closes with %d", async (_what, code, change) => {
      const { sessionId, consumer } = await rentAgent(server);
      const socket = await openAt(server, "/ws/group", {
        sessionId,
        token: consumer.credential,
        ...(await change()),
      });
      expect((await socket.closed).code).toBe(code);
      expect(socket.frames).toEqual([]);
    });

    test("the provider's owner is no participant; the agent is", async () => {
      const { sessionId, provider, agent } = await rentAgent(server);
      const socket = await openAt(server, "/ws/group", { sessionId, token: provider.credential });
      expect((await socket.closed).code).toBe(4013);
      await openGroup(server, sessionId, agent.credential);
    });

    test("a session that is not active closes with 4015, and a provider's agent approves a pending one", async () => {
      const { sessionId, consumer, agent } = await rentAgent(server, { approvalMode: "manual" });
      const early = await openAt(server, "/ws/group", { sessionId, token: consumer.credential });
      expect((await early.closed).code).toBe(4015);
      await openGroup(server, sessionId, agent.credential);
      await openGroup(server, sessionId, consumer.credential);
      await consumer.call("sessions:end", { sessionId });
      const late = await openAt(server, "/ws/group", { sessionId, token: agent.credential });
      expect((await late.closed).code).toBe(4015);
    });

    test("the newest socket of a participant wins; for the provider whichever way it comes", async () => {
      const { sessionId, consumer, agent, provider } = await rentAgent(server);
      const first = await openGroup(server, sessionId, consumer.credential);
      await openGroup(server, sessionId, consumer.credential);
      expect((await first.closed).code).toBe(4009);

      const group = await openGroup(server, sessionId, agent.credential);
      const { sessionToken } = await provider.call("sessions:get", { sessionId });
      const session = await openSession(server, { sessionId, token: sessionToken, role: "provider" });
      expect((await group.closed).code).toBe(4009);
      await openGroup(server, sessionId, agent.credential);
      expect((await session.closed).code).toBe(4009);
      await eventually(
        () => socketsOf(sessionId),
        (rows) => rows.length === 2,
      );
    });
  });

  describe("messages", () => {
    test("go to all others with the participant's shape, and are acknowledged to the sender", async () => {
      const { sessionId, agent, agentId, provider, alice, helper, session } = await threesome(server);
      const sender = await openGroup(server, sessionId, agent.credential);
      const user = await openGroup(server, sessionId, alice.credential);
      const helping = await openGroup(server, sessionId, helper.credential);
      const byRole = await openSession(server, { sessionId, token: session.sessionToken });
      sender.send(
        say("hello", {
          id: "mine",
          sessionId,
          timestamp: 1,
          sender: { participantId: "x", side: "consumer", agentId: "y" },
          mentions: [alice.userId],
        }),
      );
      const ack = await sender.next("system.message_ack");
      const frame = await user.next("dialogue.message");
      expect(frame).toEqual({
        id: uuid,
        sessionId,
        timestamp: frame.timestamp,
        sender: { participantId: agentId, side: "provider", role: "provider", agentId, userId: provider.userId },
        type: "dialogue.message",
        mentions: [alice.userId],
        payload: { content: "hello" },
        _meta: { sessionId, senderRole: "provider", participantId: agentId, timestamp: iso(frame.timestamp) },
      });
      expect(ack).toEqual({
        type: "system.message_ack",
        payload: {
          id: "mine",
          messageId: frame.id,
          delivered: true,
          gatewayResult: "passed",
          timestamp: iso(frame.timestamp),
        },
        sessionId,
        timestamp: frame.timestamp,
        _meta: { sessionId, senderRole: "platform", timestamp: iso(frame.timestamp) },
      });
      expect(await helping.next("dialogue.message")).toEqual(frame);
      expect(await byRole.next("dialogue.message")).toMatchObject({
        id: frame.id,
        sender: { role: "provider", agentId },
      });

      helping.send(say("from the helper"));
      expect(await sender.next("dialogue.message")).toMatchObject({
        sender: { participantId: helper.agentId, side: "consumer", agentId: helper.agentId, slotIndex: 0 },
      });
      expect(await user.next("dialogue.message")).toMatchObject({ payload: { content: "from the helper" } });
      user.send(say("from the user"));
      expect(await helping.next("dialogue.message")).toMatchObject({
        sender: { participantId: alice.userId, userId: alice.userId, agentId: alice.userId },
      });
      await sender.settled();
      expect(contents(sender)).toEqual(["from the helper", "from the user"]);
    });

    test("the same id gets the same acknowledgement", async () => {
      const { sessionId, agent } = await rentAgent(server);
      const socket = await openGroup(server, sessionId, agent.credential);
      socket.send(say("once", { id: "m" }));
      const first = await socket.next("system.message_ack");
      socket.send(say("once", { id: "m" }));
      expect((await socket.next("system.message_ack")).payload).toEqual(first.payload);
      expect(first.payload).toMatchObject({ delivered: false });
    });

    test("a mention of nobody here is a system.error, and nothing is sent", async () => {
      const { sessionId, agent, consumer } = await rentAgent(server);
      const socket = await openGroup(server, sessionId, agent.credential);
      const other = await openGroup(server, sessionId, consumer.credential);
      socket.send(say("psst", { mentions: ["nobody"] }));
      expect(await socket.next("system.error")).toMatchObject({ payload: { code: "invalid_args" } });
      await other.settled();
      expect(contents(other)).toEqual([]);
    });

    test("that are blocked are told to the sender alone; bad frames as well", async () => {
      const { sessionId, agent } = await rentAgent(server);
      const socket = await openGroup(server, sessionId, agent.credential);
      socket.send({ id: "b", type: "instruction.exec", payload: { command: "ls" } });
      expect((await socket.next()).payload).toMatchObject({ id: "b", category: expect.any(String) });
      socket.send("no JSON");
      const frame = await socket.next("system.error");
      expect(frame._meta.timestamp).toBe(iso(frame.timestamp));
    });

    test("typing goes to the others and is not acknowledged", async () => {
      const { sessionId, agent, consumer, agentId } = await rentAgent(server);
      const socket = await openGroup(server, sessionId, agent.credential);
      const other = await openGroup(server, sessionId, consumer.credential);
      socket.send({ type: "dialogue.typing", payload: {} });
      expect(await other.next("dialogue.typing")).toMatchObject({
        payload: {},
        sender: { participantId: agentId, side: "provider" },
        _meta: { participantId: agentId },
      });
      await socket.settled();
      expect(socket.of("system.message_ack")).toEqual([]);
    });

    test("missed ones are replayed to every participant, in order, and confirmed by pongs", async () => {
      const { sessionId, consumer, agent } = await rentAgent(server);
      const provider = await openGroup(server, sessionId, agent.credential);
      for (let count = 0; count < 60; count += 1) provider.send(say(String(count)));
      await provider.until(() => provider.of("system.message_ack").length === 60, "60 acknowledgements");
      const first = await openGroup(server, sessionId, consumer.credential);
      await first.until(() => contents(first).length === 60, "all of them");
      expect(contents(first)).toEqual(Array.from({ length: 60 }, (_, count) => String(count)));
      await first.close();
      const last = first.of("dialogue.message").at(-1).timestamp;
      await eventually(
        async () =>
          (
            await server.read((db) =>
              db
                .selectFrom("sessionParticipants")
                .select("confirmedAt")
                .where("sessionId", "=", sessionId)
                .where("participantId", "=", consumer.userId)
                .executeTakeFirstOrThrow(),
            )
          ).confirmedAt,
        (confirmed) => confirmed > 0 && confirmed <= last,
      );
      const { data } = await consumer.call("sessions:listMessages", { sessionId });
      expect(data[0].delivered).toBe(true);
    });
  });

  describe("presence", () => {
    test("joined and left tell the others, also of those who come by /ws/session", async () => {
      const { sessionId, agent, agentId, consumer, session } = await rentAgent(server);
      const group = await openGroup(server, sessionId, agent.credential);
      const byRole = await openSession(server, { sessionId, token: session.sessionToken });
      const participant = {
        participantId: consumer.userId,
        participantType: "user",
        side: "consumer",
        userId: consumer.userId,
        agentId: null,
        role: "consumer",
      };
      expect(await group.next()).toMatchObject({ type: "system.participant_joined", payload: { participant } });
      await byRole.close();
      await eventually(
        () => socketsOf(sessionId),
        (rows) => rows.length === 1,
      );
      await server.advance(5_000);
      expect(await group.next()).toMatchObject({ type: "system.participant_left", payload: { participant } });
      await server.advance(60_000);
      const back = await openSession(server, { sessionId, token: session.sessionToken });
      expect((await group.next()).type).toBe("system.participant_joined");
      expect((await back.next()).payload).toMatchObject({ role: "provider" });
      await group.close();
      await eventually(
        () => socketsOf(sessionId),
        (rows) => rows.length === 1,
      );
      await server.advance(5_000);
      expect(await back.next()).toMatchObject({ type: "system.peer_disconnected", payload: { role: "provider" } });
      const user = await openGroup(server, sessionId, consumer.credential);
      const again = await openGroup(server, sessionId, agent.credential);
      expect((await user.next()).payload.participant.participantId).toBe(agentId);
      expect((await again.next()).payload.participant.participantId).toBe(consumer.userId);
    });

    test("a side is there as long as one of its participants is", async () => {
      const { sessionId, provider, alice, helper } = await threesome(server);
      const { sessionToken } = await provider.call("sessions:get", { sessionId });
      const seen = await openSession(server, { sessionId, token: sessionToken, role: "provider" });
      const user = await openGroup(server, sessionId, alice.credential);
      const helping = await openGroup(server, sessionId, helper.credential);
      await user.close();
      await eventually(
        () => socketsOf(sessionId),
        (rows) => rows.length === 2,
      );
      await server.advance(5_000);
      expect((await helping.next("system.participant_left")).payload.participant.participantId).toBe(alice.userId);
      await seen.settled();
      expect(seen.of("system.peer_disconnected")).toEqual([]);
    });
  });

  describe("the end", () => {
    test("of the session is told and closes with 4004", async () => {
      const { sessionId, agent, consumer } = await rentAgent(server);
      const group = await openGroup(server, sessionId, agent.credential);
      await consumer.call("sessions:end", { sessionId });
      expect((await group.next("system.session_ended")).payload).toMatchObject({ reason: "completed" });
      expect(await group.closed).toEqual({ code: 4004, reason: "Session ended" });
    });

    test("of a token closes with 4012; sockets with a session token stay", async () => {
      const { sessionId, agent, agentId, provider, session } = await rentAgent(server);
      const group = await openGroup(server, sessionId, agent.credential);
      const byRole = await openSession(server, { sessionId, token: session.sessionToken });
      await provider.call("agents:revokeToken", { agentId });
      expect((await group.closed).code).toBe(4012);
      await byRole.settled();
      const late = await openAt(server, "/ws/group", { sessionId, token: agent.credential });
      expect((await late.closed).code).toBe(4012);
    });

    test("of an account closes with the code of its credential", async () => {
      const { sessionId, agent, consumer, provider } = await rentAgent(server);
      const byToken = await openGroup(server, sessionId, agent.credential);
      const byJwt = await openGroup(server, sessionId, consumer.credential);
      const admin = await server.admin();
      await admin.call("admin:suspendUser", { userId: provider.userId });
      expect((await byToken.closed).code).toBe(4012);
      // What a suspended consumer rents ends, and its sockets with it; a new one is refused by its credential.
      await admin.call("admin:suspendUser", { userId: consumer.userId });
      expect((await byJwt.closed).code).toBe(4004);
      const again = await openAt(server, "/ws/group", { sessionId, token: consumer.credential });
      expect((await again.closed).code).toBe(4011);
    });
  });

  test("a participant that is paused closes with 4020, is refused with 4013, and hears when it may come again", async () => {
    const { sessionId, agent, agentId, consumer } = await rentAgent(server);
    const control = await openAt(server, "/ws/agent", { token: agent.credential });
    const group = await openGroup(server, sessionId, agent.credential);
    await consumer.call("sessions:pauseParticipant", { sessionId, participantId: agentId });
    expect((await group.closed).code).toBe(4020);
    const refused = await openAt(server, "/ws/group", { sessionId, token: agent.credential });
    expect((await refused.closed).code).toBe(4013);
    await consumer.call("sessions:sendMessage", { sessionId, ...say("waiting") });
    await consumer.call("sessions:resumeParticipant", { sessionId, participantId: agentId });
    expect((await control.next("session.participant_resumed")).payload).toEqual({ sessionId });
    const again = await openGroup(server, sessionId, agent.credential);
    expect((await again.next("dialogue.message")).payload).toEqual({ content: "waiting" });
  });

  test("who comes too often is told how long to wait", async () => {
    const limited = await startServer(database, { config: { rateLimits: true } });
    try {
      const { sessionId, agent, consumer } = await rentAgent(limited);
      for (let count = 0; count < 30; count += 1) {
        const socket = await openAt(limited, "/ws/group", { sessionId, token: agent.credential });
        await socket.next("system.connected");
        await socket.close();
      }
      const storm = await openAt(limited, "/ws/group", { sessionId, token: agent.credential });
      const { code, reason } = await storm.closed;
      expect(code).toBe(4030);
      const seconds = Number(/retry after (\d+)s/i.exec(reason)?.[1]);
      expect(seconds).toBeGreaterThan(0);
      expect(seconds).toBeLessThanOrEqual(60);
      await openGroup(limited, sessionId, consumer.credential);
    } finally {
      await limited.close();
    }
  });
});
