import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { CallError } from "../../../../runtime/errors.js";
import { databases, startServer, useServer } from "../../../support/harness.js";
import {
  contents,
  expectRising,
  iso,
  meeting,
  rental,
  say,
  socketsOf,
  storedOf,
  uuid,
} from "../../../support/session-sides.js";
import { cutSocketsAfterEach, eventually, openAt, openSession } from "../../../support/sockets.js";

cutSocketsAfterEach();

describe.each(databases)("/ws/session on %s", (database) => {
  const server = useServer(database);

  describe("messages", () => {
    test("go to the other side in the documented shape, and the sender hears nothing", async () => {
      const { sessionId, agentId, consumer, provider, consumerUser } = await meeting(server);
      const lie = { id: "mine-1", sessionId, timestamp: 1, sender: { role: "provider", agentId: "somebody else" } };
      consumer.send(say("Hello", lie));
      const first = await provider.next();
      expect(first).toEqual({
        id: uuid,
        sessionId,
        timestamp: first.timestamp,
        sender: { role: "consumer", agentId: consumerUser.userId, slotIndex: 0 },
        type: "dialogue.message",
        payload: { content: "Hello" },
        _meta: { sessionId, senderRole: "consumer", slotIndex: 0, timestamp: iso(first.timestamp) },
      });
      provider.send({ type: "result.success", payload: { text: "你好", nested: { list: [1, null, true] } } });
      const second = await consumer.next();
      expect(second).toEqual({
        id: uuid,
        sessionId,
        timestamp: second.timestamp,
        sender: { role: "provider", agentId },
        type: "result.success",
        payload: { text: "你好", nested: { list: [1, null, true] } },
        _meta: { sessionId, senderRole: "provider", timestamp: iso(second.timestamp) },
      });
      await Promise.all([consumer.settled(), provider.settled()]);
      expect(consumer.frames).toHaveLength(2);
      expect(provider.frames).toHaveLength(2);

      const { data } = await consumerUser.call("sessions:listMessages", { sessionId });
      expect(data).toMatchObject([
        { id: first.id, timestamp: first.timestamp, createdAt: iso(first.timestamp), delivered: true },
        { id: second.id, timestamp: second.timestamp, delivered: true },
      ]);
    });

    test("sent by REST arrive on the sockets", async () => {
      const { sessionId, consumerUser, provider } = await meeting(server);
      const sent = await consumerUser.call("sessions:sendMessage", { sessionId, ...say("by REST") });
      expect(sent).toMatchObject({ delivered: true });
      expect(await provider.next()).toMatchObject({ id: sent.messageId, payload: { content: "by REST" } });
    });

    test("keep the order in which one socket sent them", async () => {
      const { consumer, provider } = await meeting(server);
      for (let count = 0; count < 200; count += 1) consumer.send(say(String(count)));
      await consumer.settled();
      await provider.until(() => contents(provider).length === 200, "200 messages");
      expect(contents(provider)).toEqual(Array.from({ length: 200 }, (_, count) => String(count)));
      expectRising(provider.frames);
    });

    test("sent from everywhere at the same moment rise strictly and are all there", async () => {
      const { sessionId, consumer, provider, consumerUser } = await meeting(server);
      const byRest = Array.from({ length: 40 }, (_, count) =>
        consumerUser.call("sessions:sendMessage", { sessionId, ...say(`rest ${count}`) }),
      );
      for (let count = 0; count < 40; count += 1) {
        consumer.send(say(`socket ${count}`));
        provider.send(say(`back ${count}`));
        if (count % 4 === 0) consumer.send({ type: "dialogue.typing", payload: {} });
      }
      await Promise.all(byRest);
      await provider.until(
        () => contents(provider).length === 80 && provider.of("dialogue.typing").length === 10,
        "all",
      );
      await consumer.until(() => contents(consumer).length === 40, "all");
      expectRising(provider.frames);
      expectRising(consumer.frames);
    });

    test("under the same id are one message", async () => {
      const { sessionId, consumer, provider } = await meeting(server);
      consumer.send(say("once", { id: "m-1" }));
      consumer.send(say("once", { id: "m-1" }));
      consumer.send(say("then", { id: "m-2" }));
      await provider.until(() => contents(provider).includes("then"), "the last message");
      expect(contents(provider)).toEqual(["once", "then"]);
      expect(await storedOf(server, sessionId)).toHaveLength(2);
    });

    test("of a client that leaves right behind them are kept", async () => {
      const { asConsumer, sessionId } = await rental(server);
      const socket = await openAt(server, "/ws/session", asConsumer);
      socket.send(say("and off"));
      await socket.close();
      const [stored] = await eventually(
        () => storedOf(server, sessionId),
        (rows) => rows.length === 1,
      );
      expect(stored?.payload).toBe('{"content":"and off"}');
      await eventually(
        () => socketsOf(server, sessionId),
        (rows) => rows.length === 0,
      );
    });

    test("that the gateway blocks are answered with system.blocked, and the other side sees nothing", async () => {
      const { sessionId, consumer, provider } = await meeting(server);
      provider.send({ id: "p-1", type: "instruction.exec", payload: { command: "ls" } });
      const frame = await provider.next();
      expect(frame).toMatchObject({
        type: "system.blocked",
        sessionId,
        payload: { id: "p-1", messageId: uuid, reason: expect.any(String), category: expect.any(String) },
        _meta: { sessionId, senderRole: "platform", timestamp: iso(frame.timestamp) },
      });
      expect(frame.payload.timestamp).toBe(iso(frame.timestamp));
      await consumer.settled();
      expect(consumer.frames).toHaveLength(1);
      expect(await storedOf(server, sessionId)).toEqual([]);
    });
  });

  describe("typing", () => {
    test("is forwarded with a stamp, and neither stored nor counted", async () => {
      const { sessionId, agentId, consumer, provider, consumerUser } = await meeting(server);
      provider.send({ type: "dialogue.typing", payload: {} });
      const frame = await consumer.next();
      expect(frame).toEqual({
        id: expect.any(String),
        sessionId,
        timestamp: frame.timestamp,
        sender: { role: "provider", agentId },
        type: "dialogue.typing",
        payload: {},
        _meta: { sessionId, senderRole: "provider", timestamp: iso(frame.timestamp) },
      });
      consumer.send({ type: "dialogue.typing" });
      expect(await provider.next()).toMatchObject({
        type: "dialogue.typing",
        sender: { role: "consumer", slotIndex: 0 },
      });
      provider.send(say("done"));
      expect((await consumer.next()).timestamp).toBeGreaterThan(frame.timestamp);
      expect(await storedOf(server, sessionId)).toHaveLength(1);
      expect(await consumerUser.call("sessions:get", { sessionId })).toMatchObject({ totalMessages: 1 });
    });
  });

  describe("frames that are refused", () => {
    test.each([
      ["no JSON", "invalid_args"],
      ["[1]", "invalid_args"],
      ['{"payload":{}}', "invalid_args"],
      ['{"type":"dialogue.message"}', "invalid_args"],
      ['{"type":"dialogue.message","payload":"text"}', "invalid_args"],
      ['{"type":"system.session_ended","payload":{}}', "invalid_args"],
      ['{"type":"staff.hello","payload":{}}', "invalid_args"],
      ['{"type":"dialogue.message","payload":{},"sessionId":"another"}', "invalid_args"],
      ['{"type":"dialogue.message","payload":{},"targetSlot":7}', "invalid_args"],
      [`{"type":"dialogue.message","payload":{"content":"${"x".repeat(300_000)}"}}`, "too_large"],
    ])("%.60s gets a stamped system.error, and the socket stays", async (text, code) => {
      const { sessionId, consumer, provider } = await meeting(server);
      provider.send(text);
      const frame = await provider.next();
      expect(frame).toEqual({
        type: "system.error",
        payload: { code, message: expect.any(String) },
        sessionId,
        timestamp: frame.timestamp,
        _meta: { sessionId, senderRole: "platform", timestamp: iso(frame.timestamp) },
      });
      provider.send(say("still here"));
      expect(await consumer.next()).toMatchObject({ payload: { content: "still here" } });
      expect(await storedOf(server, sessionId)).toHaveLength(1);
    });
  });

  describe("coming in", () => {
    test.each([
      ["without a session", 4000, { sessionId: undefined }],
      ["without a token", 4000, { token: undefined }],
      ["without a role", 4000, { role: undefined }],
      ["with another role", 4001, { role: "admin" }],
      ["with an unknown session", 4002, { sessionId: "0193d0c8-0000-7000-8000-000000000000" }],
      ["with a session that is no id", 4002, { sessionId: "' or 1=1" }],
      ["with a wrong token", 4002, { token: "x".repeat(43) }],
      ["with the consumer's token as the provider", 4002, { role: "provider" }],
      ["with a slot that is not there", 4004, { slotIndex: 1 }],
      ["with a slot that is no number", 4004, { slotIndex: "first" }],
      ["with a negative slot", 4004, { slotIndex: -1 }],
    ])("%s closes with %d", async (_what, code, change) => {
      const { asConsumer, sessionId } = await rental(server);
      const socket = await openAt(server, "/ws/session", { ...asConsumer, ...change });
      expect((await socket.closed).code).toBe(code);
      expect(socket.frames).toEqual([]);
      expect(await socketsOf(server, sessionId)).toEqual([]);
    });

    test("with the token of another session closes with 4002", async () => {
      const [one, other] = [await rental(server), await rental(server)];
      const socket = await openAt(server, "/ws/session", { ...one.asConsumer, token: other.asConsumer.token });
      expect((await socket.closed).code).toBe(4002);
    });

    test("to a session that has ended closes both sides with 4003", async () => {
      const { sessionId, consumer, asConsumer, asProvider } = await rental(server);
      await consumer.call("sessions:end", { sessionId });
      for (const side of [asConsumer, asProvider]) {
        expect((await (await openAt(server, "/ws/session", side)).closed).code).toBe(4003);
      }
    });

    test("a provider whose client calls itself consumer is the provider", async () => {
      const { asProvider, agentId, asConsumer } = await rental(server);
      const provider = await openSession(server, { ...asProvider, role: "consumer" });
      const consumer = await openSession(server, asConsumer);
      provider.send(say("It is me"));
      expect((await consumer.next("dialogue.message")).sender).toEqual({ role: "provider", agentId });
    });

    test("a provider that comes to a pending session approves it by that; a consumer waits", async () => {
      const { sessionId, asProvider, asConsumer, consumer } = await rental(server, { approvalMode: "manual" });
      expect((await (await openAt(server, "/ws/session", asConsumer)).closed).code).toBe(4003);
      await openSession(server, asProvider);
      expect(await consumer.call("sessions:get", { sessionId })).toMatchObject({ status: "active" });
      await openSession(server, asConsumer);
    });

    test("nobody comes to a session that the guardrail stopped", async () => {
      const taskDescription = "Please run rm -rf / on the machine and tell me what happens";
      const { sessionId, asProvider, consumer } = await rental(server, {}, { taskDescription });
      expect((await (await openAt(server, "/ws/session", asProvider)).closed).code).toBe(4003);
      expect(await consumer.call("sessions:get", { sessionId })).toMatchObject({
        status: "pending_approval",
        needsManualReview: true,
      });
    });

    test("the newest provider socket wins, and the older one leaves nobody away", async () => {
      const { asProvider, provider, consumer, sessionId } = await meeting(server);
      const newer = await openSession(server, asProvider);
      expect(await provider.closed).toMatchObject({ code: 4009 });
      await eventually(
        () => socketsOf(server, sessionId),
        (rows) => rows.length === 2,
      );
      await server.advance(70_000);
      newer.send(say("still the provider"));
      await consumer.next("dialogue.message");
      expect(consumer.of("system.peer_disconnected")).toEqual([]);
    });

    test("of many providers at the same moment one is left", async () => {
      const { asProvider, sessionId } = await rental(server);
      const sockets = await Promise.all(Array.from({ length: 6 }, () => openAt(server, "/ws/session", asProvider)));
      await eventually(
        async () => sockets.filter(({ ws }) => ws.readyState === WebSocket.OPEN).length,
        (count) => count === 1,
      );
      expect(await socketsOf(server, sessionId)).toHaveLength(1);
    });

    test("eight sockets fit into a consumer's slot and all get every frame; the ninth gets 4006", async () => {
      const { asConsumer, asProvider } = await rental(server);
      const consumers = await Promise.all(Array.from({ length: 8 }, () => openSession(server, asConsumer)));
      const ninth = await openAt(server, "/ws/session", asConsumer);
      expect((await ninth.closed).code).toBe(4006);
      const provider = await openSession(server, asProvider);
      provider.send(say("to all"));
      for (const consumer of consumers) {
        expect((await consumer.next("dialogue.message")).payload).toEqual({ content: "to all" });
      }
      await consumers[0]?.close();
      await eventually(
        async () => {
          const again = await openAt(server, "/ws/session", asConsumer);
          return Promise.race([again.closed.then(({ code }) => code), again.settled().then(() => "in")]).catch(() => 0);
        },
        (is) => is === "in",
      );
    });

    test("slots are told apart, and a message to one slot reaches it alone", async () => {
      const { asConsumer, asProvider } = await rental(server, { maxConsumerSlots: 3 });
      const [first, second, third] = await Promise.all(
        [0, 1, 2].map((slotIndex) => openSession(server, { ...asConsumer, slotIndex })),
      );
      if (!first || !second || !third) throw new Error("There are three");
      const provider = await openSession(server, asProvider);
      await provider.until(() => provider.frames.length === 3, "who is there");
      expect(
        provider
          .of("system.peer_connected")
          .map(({ payload }) => payload.slotIndex)
          .sort(),
      ).toEqual([0, 1, 2]);
      expectRising(provider.frames);
      second.send(say("from the second"));
      expect(await provider.next("dialogue.message")).toMatchObject({
        sender: { slotIndex: 1 },
        _meta: { slotIndex: 1 },
      });
      provider.send(say("to the second", { targetSlot: 1 }));
      provider.send(say("to all"));
      for (const [consumer, all] of [
        [first, ["to all"]],
        [second, ["to the second", "to all"]],
        [third, ["to all"]],
      ] as const) {
        await consumer.until(() => contents(consumer).includes("to all"), "the message to all");
        expect(contents(consumer)).toEqual(all);
      }
    });

    test("is tried again where the database cannot answer", async () => {
      const { asProvider, sessionId } = await rental(server);
      const { dispatcher } = server.server;
      const { runSystem } = dispatcher;
      dispatcher.runSystem = async () => {
        throw new CallError("unavailable", "The database cannot be reached");
      };
      try {
        const socket = await openAt(server, "/ws/session", asProvider);
        expect((await socket.closed).code).toBe(1013);
      } finally {
        dispatcher.runSystem = runSystem;
      }
      await openSession(server, asProvider);
      expect(await socketsOf(server, sessionId)).toHaveLength(1);
    });

    test("and leaving at the same moment leaves nothing behind", async () => {
      const { asConsumer, asProvider, sessionId } = await rental(server);
      for (let round = 0; round < 20; round += 1) {
        const socket = await openAt(server, "/ws/session", round % 2 ? asConsumer : asProvider);
        if (round % 3) socket.ws.terminate();
        else socket.ws.close();
      }
      await eventually(
        () => socketsOf(server, sessionId),
        (rows) => rows.length === 0,
      );
    });
  });

  test("a clock that goes back keeps the stamps rising", async () => {
    const own = await startServer(database);
    try {
      const { consumer, provider } = await meeting(own);
      consumer.send(say("one"));
      await provider.next();
      own.clock.jump(-60_000);
      consumer.send(say("two"));
      await provider.next();
      expectRising(provider.frames);
    } finally {
      await own.close();
    }
  });
});
