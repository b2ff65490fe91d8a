import { describe, expect, test } from "vitest";
import { databases, startServer, type User, useServer } from "../../../support/harness.js";
import {
  confirmedAt,
  contents,
  expectRising,
  iso,
  meeting,
  rental,
  say,
  socketsOf,
  storedOf,
} from "../../../support/session-sides.js";
import { cutSocketsAfterEach, eventually, openAt, openSession } from "../../../support/sockets.js";

cutSocketsAfterEach();

describe.each(databases)("what is replayed on /ws/session on %s", (database) => {
  const server = useServer(database);

  describe("replay", () => {
    test("a provider gets what it missed before anything newer, with the stamps of then; a consumer gets none", async () => {
      const { sessionId, consumer: alice, asConsumer, asProvider } = await rental(server);
      const sent: { messageId: string; createdAt: string; delivered: boolean }[] = [];
      for (let count = 0; count < 120; count += 1) {
        sent.push(await alice.call("sessions:sendMessage", { sessionId, ...say(`missed ${count}`) }));
      }
      expect(sent.every(({ delivered }) => !delivered)).toBe(true);
      const consumer = await openSession(server, asConsumer);
      const provider = await openSession(server, asProvider);
      await provider.until(() => contents(provider).length === 120, "the backlog");
      expect(provider.of("dialogue.message").map(({ id, timestamp }) => [id, iso(timestamp)])).toEqual(
        sent.map(({ messageId, createdAt }) => [messageId, createdAt]),
      );
      await provider.next("system.peer_connected");
      expect(provider.frames.at(-1)?.type).toBe("system.peer_connected");
      expectRising(provider.frames);
      expect(consumer.of("dialogue.message")).toEqual([]);

      const later = await openSession(server, asConsumer);
      expect(later.of("dialogue.message")).toEqual([]);
    });

    test("a pong confirms: what was read is delivered and does not come again", async () => {
      const { sessionId, provider, consumer, asProvider } = await meeting(server);
      consumer.send(say("one"));
      consumer.send(say("two"));
      await provider.until(() => contents(provider).length === 2, "both");
      const last = provider.frames.at(-1);
      await eventually(
        async () => {
          await server.advance(250);
          return confirmedAt(server, sessionId);
        },
        (stamp) => stamp === last.timestamp,
      );
      provider.ws.terminate();
      const again = await openSession(server, asProvider);
      consumer.send(say("three"));
      await again.next("dialogue.message");
      expect(contents(again)).toEqual(["three"]);
    });

    test("without a pong everything comes again, and stored messages are delivered once they are confirmed", async () => {
      const { sessionId, consumer: alice, asProvider } = await rental(server);
      await alice.call("sessions:sendMessage", { sessionId, ...say("one") });
      const deaf = await openAt(server, "/ws/session", asProvider, { autoPong: false });
      await deaf.next("dialogue.message");
      await alice.call("sessions:sendMessage", { sessionId, ...say("two") });
      await deaf.next("dialogue.message");
      deaf.ws.terminate();
      await server.advance(1_000);
      expect((await storedOf(server, sessionId)).map(({ delivered }) => delivered)).toEqual([0, 1]);

      const hearing = await openSession(server, asProvider);
      await hearing.until(() => contents(hearing).length === 2, "both again");
      expect(contents(hearing)).toEqual(["one", "two"]);
      await hearing.close();
      await eventually(
        () => storedOf(server, sessionId),
        (rows) => rows.every(({ delivered }) => delivered === 1),
      );
    });

    test("one ping is on its way at a time, however many messages there are", async () => {
      const { provider, consumer } = await meeting(server, {}, { autoPong: false });
      const { pings } = provider;
      for (let count = 0; count < 50; count += 1) consumer.send(say(String(count)));
      await provider.until(() => contents(provider).length === 50, "all");
      expect(provider.pings - pings).toBe(1);
    });

    test("nothing is lost and nothing overtakes while a provider comes and goes", async () => {
      const { sessionId, consumer: alice, asProvider, asConsumer } = await rental(server);
      const consumer = await openSession(server, asConsumer);
      const got: string[] = [];
      // A client with a cursor, as the SDK has one: it takes what is newer than the last.
      const providing = (async () => {
        let cursor = "";
        while (got.length < 100) {
          const socket = await openAt(server, "/ws/session", asProvider);
          const isNew = () => socket.of("dialogue.message").some(({ _meta }) => _meta.timestamp > cursor);
          await socket.until(isNew, "something new");
          socket.ws.terminate();
          await socket.closed;
          expectRising(socket.frames);
          for (const { _meta, payload } of socket.of("dialogue.message")) {
            if (_meta.timestamp <= cursor) continue;
            cursor = _meta.timestamp;
            got.push(payload.content);
          }
        }
      })();
      for (let count = 0; count < 100; count += 1) {
        if (count % 2) consumer.send(say(String(count)));
        else await alice.call("sessions:sendMessage", { sessionId, ...say(String(count)) });
      }
      await providing;
      const stored = (await storedOf(server, sessionId)).map(({ payload }) => JSON.parse(payload).content);
      expect(stored).toHaveLength(100);
      expect(got).toEqual(stored);
    });

    test("a reader that does not keep up is closed, and what it missed comes later", async () => {
      const { sessionId, asProvider, asConsumer } = await rental(server);
      const consumer = await openSession(server, asConsumer);
      const slow = await openSession(server, asProvider);
      slow.ws.pause();
      const content = "x".repeat(200_000);
      for (let count = 0; count < 60; count += 1) consumer.send(say(content));
      await consumer.settled();
      await eventually(
        async () => (await socketsOf(server, sessionId)).filter(({ side }) => side === "provider").length,
        (count) => count === 0,
      );
      slow.ws.resume();
      expect((await slow.closed).code).toBe(1013);
      const again = await openSession(server, asProvider);
      const ids = () => new Set([...slow.frames, ...again.of("dialogue.message")].map(({ id }) => id).filter(Boolean));
      await again.until(() => ids().size === 60, "what the first did not read");
    });
  });

  describe("a restart", () => {
    test("closes with 1012; the same tokens come in again, and what was not confirmed is replayed", async () => {
      const first = await startServer(database);
      const { sessionId, asProvider, asConsumer, consumer: alice } = await rental(first);
      const consumer = await openSession(first, asConsumer);
      const deaf = await openAt(first, "/ws/session", asProvider, { autoPong: false });
      await deaf.settled();
      consumer.send(say("before"));
      await deaf.next("dialogue.message");
      await first.server.close();
      for (const socket of [consumer, deaf]) expect((await socket.closed).code).toBe(1012);

      const second = await startServer(database, { databaseUrl: first.databaseUrl });
      try {
        expect(await second.read((db) => db.selectFrom("sessionSockets").selectAll().execute())).toEqual([]);
        const again = await openSession(second, asProvider);
        expect(await again.next()).toMatchObject({ payload: { content: "before" } });
        const user = Object.assign(Object.create(Object.getPrototypeOf(alice)), alice, { on: second }) as User;
        const late = await user.call("sessions:sendMessage", { sessionId, ...say("after") });
        const frame = await again.next("dialogue.message");
        expect(frame.id).toBe(late.messageId);
        expectRising(again.frames);
      } finally {
        await second.close();
        await first.remove();
      }
    });
  });
});
