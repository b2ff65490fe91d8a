import { describe, expect, test } from "vitest";
import { databases, type TestServer, type User, useServer } from "../../../support/harness.js";
import { expectRising, iso, meeting, rental, socketsOf } from "../../../support/session-sides.js";
import { cutSocketsAfterEach, eventually, openAt, openSession } from "../../../support/sockets.js";

cutSocketsAfterEach();

describe.each(databases)("who is there, on /ws/session on %s", (database) => {
  const server = useServer(database);

  describe("presence", () => {
    test("tells the newcomer of the other side, and the other side of the newcomer", async () => {
      const { asConsumer, asProvider } = await rental(server);
      const consumer = await openSession(server, asConsumer);
      expect(consumer.frames).toEqual([]);
      const provider = await openSession(server, asProvider);
      const atConsumer = await consumer.next();
      expect(atConsumer).toEqual({
        type: "system.peer_connected",
        payload: { role: "provider", timestamp: iso(atConsumer.timestamp) },
        sessionId: asConsumer.sessionId,
        timestamp: atConsumer.timestamp,
        _meta: {
          sessionId: asConsumer.sessionId,
          senderRole: "platform",
          timestamp: iso(atConsumer.timestamp),
        },
      });
      expect((await provider.next()).payload).toMatchObject({ role: "consumer", slotIndex: 0 });
    });

    test("says disconnected after 5 s and offline after 60 s, and connected when it is back", async () => {
      const { provider, consumer, sessionId, asProvider } = await meeting(server);
      await provider.close();
      await eventually(
        () => socketsOf(server, sessionId),
        (rows) => rows.length === 1,
      );
      await server.advance(4_000);
      await consumer.settled();
      expect(consumer.frames).toHaveLength(1);
      await server.advance(1_000);
      expect(await consumer.next()).toMatchObject({
        type: "system.peer_disconnected",
        payload: { role: "provider" },
      });
      await server.advance(54_000);
      await consumer.settled();
      expect(consumer.frames).toHaveLength(2);
      await server.advance(1_000);
      expect(await consumer.next()).toMatchObject({ type: "system.peer_offline", payload: { role: "provider" } });
      await server.advance(120_000);
      await openSession(server, asProvider);
      expect(await consumer.next()).toMatchObject({ type: "system.peer_connected" });
      expectRising(consumer.frames);
    });

    test("says nothing of one that is back within 5 s, or while another of its sockets is open", async () => {
      const { provider, consumer, sessionId, asProvider, asConsumer } = await meeting(server);
      provider.ws.terminate();
      await eventually(
        () => socketsOf(server, sessionId),
        (rows) => rows.length === 1,
      );
      const back = await openSession(server, asProvider);
      const tab = await openSession(server, asConsumer);
      await tab.close();
      await eventually(
        () => socketsOf(server, sessionId),
        (rows) => rows.length === 2,
      );
      await server.advance(70_000);
      await Promise.all([consumer.settled(), back.settled()]);
      expect(consumer.of("system.peer_disconnected")).toEqual([]);
      expect(back.of("system.peer_disconnected")).toEqual([]);
    });
  });

  describe("the end", () => {
    const endings: [
      string,
      string,
      string,
      (server: TestServer, users: { alice: User }, id: string) => Promise<unknown>,
    ][] = [
      [
        "an end",
        "completed",
        "Session ended",
        (_server, { alice }, sessionId) => alice.call("sessions:end", { sessionId }),
      ],
      [
        "an admin",
        "terminated",
        "Session terminated",
        async (on, _users, sessionId) => (await on.admin()).call("admin:terminateSession", { sessionId }),
      ],
    ];
    test.each(endings)("%s is told as %s, and then closes with 4004", async (_what, reason, closeReason, end) => {
      const { sessionId, provider, consumer, consumerUser } = await meeting(server);
      await end(server, { alice: consumerUser }, sessionId);
      for (const socket of [provider, consumer]) {
        const frame = await socket.next("system.session_ended");
        expect(frame).toEqual({
          type: "system.session_ended",
          payload: { reason, timestamp: iso(frame.timestamp) },
          sessionId,
          timestamp: frame.timestamp,
          _meta: { sessionId, senderRole: "platform", timestamp: iso(frame.timestamp) },
        });
        expect(await socket.closed).toEqual({ code: 4004, reason: closeReason });
        expect(socket.frames.at(-1)).toBe(frame);
        expectRising(socket.frames);
      }
      await eventually(
        () => socketsOf(server, sessionId),
        (rows) => rows.length === 0,
      );
    });

    test("while somebody comes in is either before or after it", async () => {
      for (let round = 0; round < 5; round += 1) {
        const { sessionId, asProvider, asConsumer, consumer } = await rental(server);
        const sockets = [openAt(server, "/ws/session", asProvider), openAt(server, "/ws/session", asConsumer)];
        await consumer.call("sessions:end", { sessionId });
        for (const socket of await Promise.all(sockets)) {
          const { code } = await socket.closed;
          if (code === 4004) expect(socket.frames.at(-1)?.type).toBe("system.session_ended");
          else expect(code).toBe(4003);
        }
        await eventually(
          () => socketsOf(server, sessionId),
          (rows) => rows.length === 0,
        );
      }
    });

    test("a suspended provider's sockets close with 4001, and do not come back", async () => {
      const { provider, consumer, providerUser, asProvider } = await meeting(server);
      await (await server.admin()).call("admin:suspendUser", { userId: providerUser.userId });
      expect(await provider.closed).toEqual({ code: 4001, reason: "Account is suspended" });
      const again = await openAt(server, "/ws/session", asProvider);
      expect(await again.closed).toEqual({ code: 4001, reason: "Account is suspended" });
      await consumer.settled();
    });

    test("what a suspended consumer rents ends for both", async () => {
      const { provider, consumer, consumerUser } = await meeting(server);
      await (await server.admin()).call("admin:suspendUser", { userId: consumerUser.userId });
      for (const socket of [provider, consumer]) {
        expect((await socket.next("system.session_ended")).payload).toMatchObject({ reason: "terminated" });
        expect(await socket.closed).toEqual({ code: 4004, reason: "Session terminated" });
      }
    });
  });
});
