/** Threads and messages (claw-to-claw.md section 3, messages). What each state takes is in thread-states.test.ts. */
import { describe, expect, test } from "vitest";
import { type Agent, databases, day, hour, useServer } from "../support/harness.js";
import { everything, expectInvalid, expectRefusal, rawCall, tide, wave } from "../support/refusals.js";

interface Sent {
  messageId: string;
  createdAt: number;
}

/** `bytes` bytes of UTF-8, as many of `character` as fit. */
function filled(character: string, bytes: number): string {
  const size = Buffer.byteLength(character);
  return character.repeat(Math.floor(bytes / size)) + "a".repeat(bytes % size);
}

/** Base64 of `bytes` bytes, as long as a box of that size. */
const box = (bytes: number) => Buffer.alloc(bytes, 0xd7).toString("base64");

describe.each(databases)("messages on %s (claw-to-claw.md section 3, messages)", (database) => {
  const server = useServer(database);

  const inactive = (status: string) => ({ code: "conflict", message: "Connection is not active", data: { status } });
  const noThread = '{"status":"error","errorMessage":"Thread not found","errorData":{"code":"not_found"}}';
  const read = (agent: Agent, threadId: string, more = {}) =>
    agent.call("messages:getForThread", { threadId, ...more });
  const times = (messages: Sent[]) => messages.map(({ createdAt }) => createdAt);

  describe("startThread", () => {
    test.each(["alice", "bob"] as const)("either side opens one: %s", async (who) => {
      const pair = await server.connectedPair();
      const { connectionId } = pair;
      const thread = await pair[who].call("messages:startThread", { connectionId });
      expect(thread).toEqual({
        threadId: expect.stringMatching(/^thr_[0-9a-f]{32}$/),
        connectionId,
        status: "negotiating",
        createdAt: server.clock.now(),
      });
      for (const agent of [pair.alice, pair.bob]) {
        expect(await agent.call("messages:getThreadsForAgent")).toMatchObject([{ threadId: thread.threadId }]);
        expect(await read(agent, thread.threadId)).toEqual([]);
      }
    });

    test("a connection carries any number of threads", async () => {
      const { alice, bob, connectionId } = await server.connectedPair();
      const one = await alice.call("messages:startThread", { connectionId });
      const other = await bob.call("messages:startThread", { connectionId });
      expect(one.threadId).not.toBe(other.threadId);
      await alice.send(one.threadId, "reject");
      expect(await bob.send(other.threadId, "info")).toMatchObject({ threadStatus: "negotiating" });
    });

    test("refuses on a disconnected connection and writes nothing", async () => {
      const { alice, bob, connectionId } = await server.connectedPair();
      await bob.call("connections:disconnect", { connectionId });
      for (const agent of [alice, bob]) {
        const start = () => agent.call("messages:startThread", { connectionId });
        await expectRefusal(server, start, inactive("disconnected"));
      }
    });

    test("refuses on an invite that nobody has taken, while it is open and when it has lapsed", async () => {
      const alice = await server.agent("Alice");
      const { connectionId } = await alice.call("connections:invite");
      const start = () => alice.call("messages:startThread", { connectionId });
      await expectRefusal(server, start, inactive("pending"));
      server.clock.jump(7 * day);
      await expectRefusal(server, start, inactive("disconnected"));
      await server.settle();
      await expectRefusal(server, start, inactive("disconnected"));
    });

    test("a stranger's connection answers byte for byte like one that never was", async () => {
      const { connectionId } = await server.connectedPair();
      const ended = await server.connectedPair();
      await ended.alice.call("connections:disconnect", { connectionId: ended.connectionId });
      const stranger = await server.agent("Stranger");
      const before = await everything(server);
      const missing = await rawCall(stranger, "messages:startThread", { connectionId: "conn_missing" });
      expect(missing).toEqual({
        status: 200,
        body: '{"status":"error","errorMessage":"Connection not found","errorData":{"code":"not_found"}}',
      });
      for (const id of [connectionId, ended.connectionId]) {
        expect(await rawCall(stranger, "messages:startThread", { connectionId: id })).toEqual(missing);
      }
      expect(await everything(server)).toEqual(before);
    });

    test.each([[{}], [{ connectionId: null }], [{ connectionId: 1 }], [{ connectionId: "" }]])(
      "an id must be text: %j",
      async (args) => {
        const alice = await server.agent("Alice");
        await expectInvalid(server, () => alice.call("messages:startThread", args), "connectionId");
      },
    );
  });

  describe("send", () => {
    test("answers with the message and what became of the thread", async () => {
      const { alice, threadId } = await server.negotiatingPair();
      expect(await alice.send(threadId, "proposal")).toEqual({
        messageId: expect.stringMatching(/^msg_[0-9a-f]{32}$/),
        threadId,
        threadStatus: "negotiating",
        createdAt: server.clock.now(),
      });
    });

    test("what one sends the other reads, oldest first", async () => {
      const { alice, bob, threadId } = await server.negotiatingPair();
      const first = await alice.send(threadId, "proposal");
      const second = await bob.send(threadId, "counter", { referencesMessageId: first.messageId });

      const messages = [
        {
          messageId: first.messageId,
          threadId,
          fromAgentId: alice.agentId,
          type: "proposal",
          payload: { notes: "proposal" },
          createdAt: first.createdAt,
          cursor: expect.any(String),
        },
        {
          messageId: second.messageId,
          threadId,
          fromAgentId: bob.agentId,
          type: "counter",
          payload: { notes: "counter" },
          referencesMessageId: first.messageId,
          createdAt: second.createdAt,
          cursor: expect.any(String),
        },
      ];
      expect(await read(alice, threadId)).toEqual(messages);
      expect(await read(bob, threadId)).toEqual(messages);
    });

    test("null and nothing at all mean the same, for every optional argument", async () => {
      const { alice, bob, threadId } = await server.negotiatingPair();
      const nothing = { encryptedPayload: null, referencesMessageId: null };
      await alice.call("messages:send", { threadId, type: "info", payload: { notes: "a" }, ...nothing });
      await alice.call("messages:send", { threadId, type: "info", payload: null, encryptedPayload: box(40) });
      const [plain, sealed] = await read(bob, threadId, { limit: null, before: null, after: null });
      expect(Object.keys(plain).sort()).toEqual([
        "createdAt",
        "cursor",
        "fromAgentId",
        "messageId",
        "payload",
        "threadId",
        "type",
      ]);
      expect(Object.keys(sealed)).toContain("encryptedPayload");
      expect(Object.keys(sealed)).not.toContain("payload");
    });

    describe("payloads", () => {
      const either = { code: "invalid_args", message: "Message must have either payload or encryptedPayload" };
      const tooLarge = (what: string, most: number) => ({
        code: "too_large",
        message: `${what} is too large (max ${most} bytes)`,
      });

      test.each([
        ["neither", {}],
        ["neither, as null", { payload: null, encryptedPayload: null }],
        ["both", { payload: { notes: "a" }, encryptedPayload: box(40) }],
        ["both, one of them empty", { payload: {}, encryptedPayload: box(40) }],
      ])("a message has exactly one: %s is refused", async (_what, payloads) => {
        const { alice, threadId } = await server.negotiatingPair();
        await expectRefusal(server, () => alice.call("messages:send", { threadId, type: "info", ...payloads }), either);
      });

      test.each([["text"], [["a"]], [7], [true]])("a plain payload is an object: %j is refused", async (payload) => {
        const { alice, threadId } = await server.negotiatingPair();
        await expectInvalid(server, () => alice.send(threadId, "info", { payload }), "payload");
      });

      test("a plain payload comes back as it was sent", async () => {
        const { alice, bob, threadId } = await server.negotiatingPair();
        const payloads: Record<string, unknown>[] = [
          {},
          { action: "dinner", proposedTime: "2026-02-05T19:00:00Z", proposedLocation: "Chez Panisse", notes: "Bread!" },
          { action: null, notes: "" },
          { text: 'quote " backslash \\ slash / line \n tab \t \u0001 \u2028 \u007f', more: `${tide}${wave}é e\u0301` },
          { nested: { list: [1, -2.5, 1e-7, 1e21, 9007199254740991, true, false, null, { a: [] }], empty: {} } },
          { 'key with "quotes" and \\': 1, "": 2, "0": 3, constructor: 4, toString: 5 },
        ];
        for (const payload of payloads) await alice.send(threadId, "info", { payload });
        const received = await read(bob, threadId);
        expect(received.map((message: { payload: unknown }) => message.payload)).toEqual(payloads);
      });

      test("a number that JSON cannot hold is refused", async () => {
        const { alice, threadId } = await server.negotiatingPair();
        const before = await everything(server);
        const body = `{"path":"messages:send","args":{"threadId":"${threadId}","type":"info","payload":{"x":1e999}}}`;
        const response = await fetch(`${server.url}/api/mutation`, {
          method: "POST",
          headers: { "Content-Type": "application/json", Authorization: `Bearer ${alice.credential}` },
          body,
        });
        expect(await response.json()).toMatchObject({ status: "error", errorData: { code: "invalid_args" } });
        expect(await everything(server)).toEqual(before);
      });

      test.each([
        ["action", 256],
        ["proposedTime", 128],
        ["proposedLocation", 512],
        ["notes", 2048],
      ])("payload.%s takes %i bytes and not one more", async (field, most) => {
        const { alice, bob, threadId } = await server.negotiatingPair();
        for (const character of ["a", "é", tide, wave]) {
          for (const bytes of [most - 1, most]) {
            await alice.send(threadId, "info", { payload: { [field]: filled(character, bytes) } });
            expect(await read(bob, threadId, { limit: 1 })).toMatchObject([
              { payload: { [field]: filled(character, bytes) } },
            ]);
          }
          const payload = { [field]: filled(character, most + 1) };
          const refusal = tooLarge(`payload.${field}`, most);
          await expectRefusal(server, () => alice.send(threadId, "info", { payload }), refusal);
        }
        for (const wrong of [7, true, ["a"], { a: 1 }]) {
          await expectRefusal(server, () => alice.send(threadId, "info", { payload: { [field]: wrong } }), {
            code: "invalid_args",
            message: `payload.${field} must be a string`,
          });
        }
      });

      test("a plain payload takes 4096 bytes of JSON and not one more", async () => {
        const { alice, bob, threadId } = await server.negotiatingPair();
        const around = Buffer.byteLength(JSON.stringify({ x: "" }));
        for (const character of ["a", "é", tide, wave]) {
          for (const bytes of [4095, 4096]) {
            const payload = { x: filled(character, bytes - around) };
            await alice.send(threadId, "info", { payload });
            expect(await read(bob, threadId, { limit: 1 })).toMatchObject([{ payload }]);
          }
          const payload = { x: filled(character, 4097 - around) };
          await expectRefusal(server, () => alice.send(threadId, "info", { payload }), tooLarge("payload", 4096));
        }
        // An escape counts as it is written.
        await alice.send(threadId, "info", { payload: { x: '"'.repeat((4096 - around) / 2) } });
        const escaped = { x: '"'.repeat((4096 - around) / 2 + 1) };
        await expectRefusal(
          server,
          () => alice.send(threadId, "info", { payload: escaped }),
          tooLarge("payload", 4096),
        );
      });

      test("fields within their limits can still be too much together", async () => {
        const { alice, threadId } = await server.negotiatingPair();
        const payload = { notes: "a".repeat(2048), x: "a".repeat(2048) };
        await expectRefusal(server, () => alice.send(threadId, "info", { payload }), tooLarge("payload", 4096));
      });

      const seal = (agent: Agent, threadId: string, encryptedPayload: unknown) =>
        agent.call("messages:send", { threadId, type: "info", encryptedPayload });

      test("an encrypted payload takes 12288 bytes of text and not one more", async () => {
        const { alice, bob, threadId } = await server.negotiatingPair();
        for (const bytes of [9212, 9213, 9214, 9215, 9216]) {
          await seal(alice, threadId, box(bytes));
          expect(await read(bob, threadId, { limit: 1 })).toMatchObject([{ encryptedPayload: box(bytes) }]);
        }
        expect(box(9216)).toHaveLength(12288);
        const refusal = tooLarge("encryptedPayload", 12288);
        for (const text of [box(9217), `${box(9216)}=`, tide.repeat(4097), "A".repeat(500_000)]) {
          await expectRefusal(server, () => seal(alice, threadId, text), refusal);
        }
      });

      test("an encrypted payload is base64 of at least a nonce and a tag", async () => {
        const { alice, bob, threadId } = await server.negotiatingPair();
        for (const bytes of [40, 41, 42]) await seal(alice, threadId, box(bytes));
        expect(await read(bob, threadId)).toHaveLength(3);
        const bad = [
          "",
          box(39),
          "AAAA",
          box(42).slice(0, -1),
          `${box(42)}\n`,
          ` ${box(42)}`,
          `${box(41).slice(0, -1)}A=`,
          `${box(40)}====`,
          Buffer.alloc(60, 0xfb).toString("base64url"),
          `${box(42)}"}`.padEnd(60, "A"),
          // 12288 bytes, and so within the size, but no base64.
          tide.repeat(4096),
        ];
        for (const text of bad) {
          await expectRefusal(server, () => seal(alice, threadId, text), {
            code: "invalid_args",
            message: "encryptedPayload must be base64 of nonce and box, at least 40 bytes",
          });
        }
        for (const wrong of [7, ["a"], { a: 1 }]) {
          await expectInvalid(server, () => seal(alice, threadId, wrong), "encryptedPayload");
        }
      });
    });

    describe("accept", () => {
      const nothingYet = "There is no proposal to accept yet. Send a proposal first.";
      const own = "Cannot accept your own proposal: the other agent must.";
      const replaced =
        "referencesMessageId is not the current proposal: it was replaced meanwhile. Read the thread and answer the current one.";
      const refusal = (message: string, currentProposalId: string | null) => ({
        code: "conflict",
        message,
        data: { status: "negotiating", currentProposalId },
      });

      test("moves the thread to the humans, for 48 hours from now", async () => {
        const { alice, bob, threadId } = await server.negotiatingPair();
        await alice.send(threadId, "proposal");
        server.clock.jump(hour);
        expect(await bob.send(threadId, "accept")).toMatchObject({ threadStatus: "awaiting_approval" });
        const approvalDeadline = server.clock.now() + 48 * hour;
        for (const agent of [alice, bob]) {
          expect(await agent.call("messages:getThreadsForAgent")).toMatchObject([
            { threadId, status: "awaiting_approval", approvalDeadline },
          ]);
        }
        server.clock.jump(hour);
        await bob.send(threadId, "info");
        expect(await bob.call("messages:getThreadsForAgent")).toMatchObject([{ approvalDeadline }]);
      });

      test("needs a proposal; talk is none", async () => {
        const { alice, bob, threadId } = await server.negotiatingPair();
        await expectRefusal(server, () => bob.send(threadId, "accept"), refusal(nothingYet, null));
        const { messageId } = await alice.send(threadId, "info");
        await expectRefusal(server, () => bob.send(threadId, "accept"), refusal(nothingYet, null));
        const accept = () => bob.send(threadId, "accept", { referencesMessageId: messageId });
        await expectRefusal(server, accept, refusal(nothingYet, null));
      });

      test("nobody accepts an own proposal, or an own counter", async () => {
        const { alice, bob, threadId } = await server.negotiatingPair();
        const first = await alice.send(threadId, "proposal");
        const rented = await server.withAgentToken(alice);
        for (const agent of [alice, rented]) {
          await expectRefusal(server, () => agent.send(threadId, "accept"), refusal(own, first.messageId));
        }
        const second = await bob.send(threadId, "counter");
        await expectRefusal(server, () => bob.send(threadId, "accept"), refusal(own, second.messageId));
        expect(await alice.send(threadId, "accept")).toMatchObject({ threadStatus: "awaiting_approval" });
      });

      test("an accept of what was countered meanwhile is refused; the current one can be named or not", async () => {
        for (const named of [true, false]) {
          const { alice, bob, threadId } = await server.negotiatingPair();
          const first = await alice.send(threadId, "proposal");
          const second = await alice.send(threadId, "proposal");
          const stale = () => bob.send(threadId, "accept", { referencesMessageId: first.messageId });
          await expectRefusal(server, stale, refusal(replaced, second.messageId));
          const more = named ? { referencesMessageId: second.messageId } : {};
          expect(await bob.send(threadId, "accept", more)).toMatchObject({ threadStatus: "awaiting_approval" });
        }
      });

      test("a proposal of another thread is not the current one, theirs or a stranger's", async () => {
        const { alice, bob, connectionId, threadId } = await server.negotiatingPair();
        const current = await alice.send(threadId, "proposal");
        const other = await alice.call("messages:startThread", { connectionId });
        const elsewhere = await alice.send(other.threadId, "proposal");
        const strangers = await server.negotiatingPair();
        const foreign = await strangers.alice.send(strangers.threadId, "proposal");
        for (const referencesMessageId of [elsewhere.messageId, foreign.messageId, "msg_missing"]) {
          const accept = () => bob.send(threadId, "accept", { referencesMessageId });
          await expectRefusal(server, accept, refusal(replaced, current.messageId));
        }
      });
    });

    describe("references", () => {
      test("any message may refer to an earlier one of its thread", async () => {
        const { alice, bob, threadId } = await server.negotiatingPair();
        const { messageId } = await alice.send(threadId, "info");
        for (const type of ["info", "proposal", "counter", "reject"]) {
          await bob.send(threadId, type, { referencesMessageId: messageId });
        }
        const messages = await read(alice, threadId);
        expect(
          messages.slice(1).map((message: { referencesMessageId: string }) => message.referencesMessageId),
        ).toEqual(Array(4).fill(messageId));
      });

      test("a message of another thread answers byte for byte like one that never was", async () => {
        const { alice, connectionId, threadId } = await server.negotiatingPair();
        const other = await alice.call("messages:startThread", { connectionId });
        const elsewhere = await alice.send(other.threadId, "info");
        const strangers = await server.negotiatingPair();
        const foreign = await strangers.alice.send(strangers.threadId, "proposal");
        const before = await everything(server);
        const send = (referencesMessageId: string) =>
          rawCall(alice, "messages:send", { threadId, type: "info", payload: {}, referencesMessageId });
        const missing = await send("msg_missing");
        expect(missing).toEqual({
          status: 200,
          body: '{"status":"error","errorMessage":"referencesMessageId is not a message of this thread","errorData":{"code":"not_found"}}',
        });
        expect(await send(elsewhere.messageId)).toEqual(missing);
        expect(await send(foreign.messageId)).toEqual(missing);
        expect(await everything(server)).toEqual(before);
      });
    });

    test("a stranger's thread answers byte for byte like one that never was, whatever is sent", async () => {
      const { threadId, proposalId } = await server.awaitingPair();
      const ended = await server.negotiatingPair();
      await ended.alice.call("connections:disconnect", { connectionId: ended.connectionId });
      const stranger = await server.agent("Stranger");
      const before = await everything(server);
      for (const type of ["proposal", "counter", "accept", "reject", "info"]) {
        for (const more of [{}, { referencesMessageId: proposalId }]) {
          const send = (id: string) => rawCall(stranger, "messages:send", { threadId: id, type, payload: {}, ...more });
          const missing = await send("thr_missing");
          expect(missing).toEqual({ status: 200, body: noThread });
          expect(await send(threadId)).toEqual(missing);
          expect(await send(ended.threadId)).toEqual(missing);
        }
      }
      expect(await everything(server)).toEqual(before);
    });

    test.each([
      ["threadId", { threadId: undefined }],
      ["threadId", { threadId: null }],
      ["threadId", { threadId: 1 }],
      ["type", { type: undefined }],
      ["type", { type: null }],
      ["type", { type: "Proposal" }],
      ["type", { type: "constructor" }],
      ["type", { type: "" }],
      ["referencesMessageId", { referencesMessageId: 7 }],
      ["referencesMessageId", { referencesMessageId: "" }],
    ])("%s must be what it is declared as: %j", async (field, wrong) => {
      const { alice, threadId } = await server.negotiatingPair();
      const args = { threadId, type: "info", payload: {}, ...wrong };
      await expectInvalid(server, () => alice.call("messages:send", args), field);
    });

    test("an argument that it does not know is refused", async () => {
      const { alice, bob, threadId } = await server.negotiatingPair();
      const before = await everything(server);
      for (const more of [{ fromAgentId: bob.agentId }, { createdAt: 1 }, { threadStatus: "confirmed" }]) {
        await expect(alice.send(threadId, "info", more)).rejects.toMatchObject({
          httpStatus: 200,
          code: "invalid_args",
          message: expect.stringContaining(Object.keys(more)[0] ?? ""),
        });
      }
      expect(await everything(server)).toEqual(before);
    });
  });

  describe("createdAt", () => {
    test("increases strictly for sends in the same millisecond, one after the other", async () => {
      const { alice, bob, threadId } = await server.negotiatingPair();
      const now = server.clock.now();
      const sent: Sent[] = [];
      for (let index = 0; index < 20; index += 1) sent.push(await (index % 2 ? alice : bob).send(threadId, "info"));
      expect(times(sent)).toEqual(sent.map((_, index) => now + index));
      expect(times(await read(alice, threadId))).toEqual(times(sent));
    });

    test("increases strictly for sends at once from both sides; none is lost", async () => {
      const { alice, bob, threadId } = await server.negotiatingPair();
      const sent: Sent[] = await Promise.all(
        Array.from({ length: 30 }, (_, index) => (index % 2 ? alice : bob).send(threadId, "info")),
      );
      expect(new Set(times(sent)).size).toBe(30);
      const messages: Sent[] = await read(bob, threadId);
      expect(messages.map(({ messageId }) => messageId)).toEqual(
        sent.sort((one, other) => one.createdAt - other.createdAt).map(({ messageId }) => messageId),
      );
      expect(await alice.call("messages:getThreadsForAgent")).toMatchObject([{ messageCount: 30 }]);
    });

    test("increases even where the clock was set back", async () => {
      const { alice, bob, threadId } = await server.negotiatingPair();
      const first = await alice.send(threadId, "info");
      server.clock.jump(-hour);
      const second = await bob.send(threadId, "info");
      server.clock.jump(hour);
      const third = await alice.send(threadId, "info");
      expect(times([first, second, third])).toEqual([first.createdAt, first.createdAt + 1, first.createdAt + 2]);
    });

    test("one thread's rush does not move another's clock", async () => {
      const { alice, connectionId, threadId } = await server.negotiatingPair();
      const other = await alice.call("messages:startThread", { connectionId });
      for (let index = 0; index < 5; index += 1) await alice.send(threadId, "info");
      expect(await alice.send(other.threadId, "info")).toMatchObject({ createdAt: server.clock.now() });
    });
  });

  describe("getForThread", () => {
    /** A thread with `count` messages, of which some share a millisecond. */
    const talk = async (count: number) => {
      const pair = await server.negotiatingPair();
      const sent: Sent[] = [];
      for (let index = 0; index < count; index += 1) {
        sent.push(await (index % 2 ? pair.bob : pair.alice).send(pair.threadId, "info", { payload: { index } }));
        if (index % 3 === 0) server.clock.jump(10);
      }
      return { ...pair, sent, all: times(sent) };
    };

    test("paging forwards and backwards meets every message once, at any page size", async () => {
      const { bob, threadId, all } = await talk(11);
      for (const limit of [1, 2, 3, 10, 11, 12]) {
        const forwards: number[] = [];
        for (let page = times(await read(bob, threadId, { after: 0, limit })); page.length > 0; ) {
          expect(page.length).toBeLessThanOrEqual(limit);
          forwards.push(...page);
          page = times(await read(bob, threadId, { after: page.at(-1), limit }));
        }
        expect(forwards).toEqual(all);

        const backwards: number[] = [];
        for (let page = times(await read(bob, threadId, { limit })); page.length > 0; ) {
          backwards.unshift(...page);
          page = times(await read(bob, threadId, { before: page[0], limit }));
        }
        expect(backwards).toEqual(all);
      }
    });

    test("a reader that pages by the last createdAt misses nothing that is sent meanwhile", async () => {
      const { alice, bob, threadId, all } = await talk(4);
      const seen = times(await read(bob, threadId));
      expect(seen).toEqual(all);
      const [one, other] = [await alice.send(threadId, "info"), await alice.send(threadId, "info")];
      expect(times(await read(bob, threadId, { after: seen.at(-1) }))).toEqual(times([one, other]));
    });

    test("before and after leave their own instant out; together they cut a window", async () => {
      const { alice, threadId, all } = await talk(8);
      const at = (index: number) => all[index] as number;
      expect(times(await read(alice, threadId, { after: at(2) }))).toEqual(all.slice(3));
      expect(times(await read(alice, threadId, { before: at(5) }))).toEqual(all.slice(0, 5));
      expect(times(await read(alice, threadId, { after: at(2), before: at(6) }))).toEqual(all.slice(3, 6));
      expect(times(await read(alice, threadId, { after: at(2), before: at(6), limit: 2 }))).toEqual(all.slice(3, 5));
      expect(times(await read(alice, threadId, { after: at(2) - 1, limit: 1 }))).toEqual([at(2)]);
      expect(await read(alice, threadId, { after: at(7) })).toEqual([]);
      expect(await read(alice, threadId, { before: at(0) })).toEqual([]);
      expect(await read(alice, threadId, { before: 0 })).toEqual([]);
      expect(await read(alice, threadId, { after: at(5), before: at(5) })).toEqual([]);
      expect(await read(alice, threadId, { after: at(5), before: at(2) })).toEqual([]);
      expect(times(await read(alice, threadId, { after: 0, before: 8_640_000_000_000_000 }))).toEqual(all);
    });

    test("gives the newest 100 where no limit is named, and up to 500 where one is", async () => {
      const { alice, bob, threadId } = await server.negotiatingPair();
      const sent: Sent[] = [];
      for (let index = 0; index < 101; index += 1) sent.push(await alice.send(threadId, "info"));
      const all = times(sent);
      expect(times(await read(bob, threadId))).toEqual(all.slice(1));
      expect(times(await read(bob, threadId, { after: 0 }))).toEqual(all.slice(0, 100));
      for (const limit of [1, 99, 100, 101, 499, 500]) {
        expect(times(await read(bob, threadId, { limit }))).toEqual(all.slice(-limit));
      }
    });

    test.each([
      ["limit", 0],
      ["limit", -1],
      ["limit", 501],
      ["limit", 1.5],
      ["limit", "10"],
      ["before", -1],
      ["before", 1.5],
      ["before", "2026-02-10T16:50:50Z"],
      ["before", 8_640_000_000_000_001],
      ["after", -1],
      ["after", 0.5],
      ["after", true],
    ])("%s cannot be %j", async (field, wrong) => {
      const { alice, threadId } = await server.negotiatingPair();
      await expectInvalid(server, () => read(alice, threadId, { [field]: wrong }), field);
    });

    test("a stranger's thread answers byte for byte like one that never was", async () => {
      const { alice, threadId } = await server.negotiatingPair();
      await alice.send(threadId, "info");
      const stranger = await server.agent("Stranger");
      const missing = await rawCall(stranger, "messages:getForThread", { threadId: "thr_missing" });
      expect(missing).toEqual({ status: 200, body: noThread });
      expect(await rawCall(stranger, "messages:getForThread", { threadId })).toEqual(missing);
      expect(await rawCall(stranger, "messages:getForThread", { threadId: "' or 1=1 --" })).toEqual(missing);
    });

    test("shows messages of its own thread only", async () => {
      const { alice, bob, connectionId, threadId } = await server.negotiatingPair();
      const other = await alice.call("messages:startThread", { connectionId });
      await alice.send(other.threadId, "info");
      expect(await read(bob, threadId)).toEqual([]);
    });
  });

  describe("getThreadsForAgent", () => {
    test("shows each thread in full, from both sides", async () => {
      const { alice, bob, connectionId, threadId } = await server.negotiatingPair();
      const createdAt = server.clock.now();
      const publicKey = (await bob.call("agents:getStatus")).publicKey;
      const thread = {
        threadId,
        connectionId,
        status: "negotiating",
        otherAgent: { agentId: bob.agentId, name: "Bob", publicKey },
        lastMessageAt: null,
        messageCount: 0,
        createdAt,
        cursor: expect.any(String),
      };
      expect(await alice.call("messages:getThreadsForAgent", {})).toEqual([thread]);

      server.clock.jump(1_000);
      await alice.send(threadId, "proposal");
      await bob.send(threadId, "accept");
      expect(await alice.call("messages:getThreadsForAgent", { status: null, limit: null })).toEqual([
        {
          ...thread,
          status: "awaiting_approval",
          lastMessageAt: createdAt + 1_001,
          messageCount: 2,
          approvalDeadline: createdAt + 1_000 + 48 * hour,
        },
      ]);
      expect(await bob.call("messages:getThreadsForAgent")).toMatchObject([
        { threadId, otherAgent: { agentId: alice.agentId, name: "Alice" }, messageCount: 2 },
      ]);
    });

    test("sorts by the last activity, on whichever side the caller is; limit takes from the top", async () => {
      const { alice, bob, connectionId } = await server.connectedPair();
      const carol = await server.agent("Carol");
      const { inviteToken } = await carol.call("connections:invite");
      const withCarol = await alice.call("connections:accept", { inviteToken });
      const threads: string[] = [];
      for (let index = 0; index < 6; index += 1) {
        const [opener, id] = index % 2 ? [bob, connectionId] : [carol, withCarol.connectionId];
        threads.push((await opener.call("messages:startThread", { connectionId: id })).threadId);
        server.clock.jump(10);
      }
      const listed = async (more = {}) =>
        (await alice.call("messages:getThreadsForAgent", more)).map(({ threadId }: { threadId: string }) => threadId);
      expect(await listed()).toEqual(threads.toReversed());

      await carol.send(threads[0] as string, "info");
      server.clock.jump(10);
      await alice.send(threads[3] as string, "info");
      const order = [3, 0, 5, 4, 2, 1].map((index) => threads[index]);
      expect(await listed()).toEqual(order);
      for (const limit of [1, 2, 3, 5, 6, 7, 500]) expect(await listed({ limit })).toEqual(order.slice(0, limit));
    });

    test("filters by status, by the clock", async () => {
      const { alice, bob, connectionId, threadId } = await server.negotiatingPair();
      const open = async () => (await alice.call("messages:startThread", { connectionId })).threadId as string;
      const [rejected, confirmed, waiting] = [await open(), await open(), await open()];
      await bob.send(rejected, "reject");
      for (const id of [confirmed, waiting]) {
        await alice.send(id, "proposal");
        await bob.send(id, "accept");
      }
      for (const agent of [alice, bob]) await agent.call("approvals:submit", { threadId: confirmed, approved: true });

      const found = async (status: string) =>
        (await bob.call("messages:getThreadsForAgent", { status })).map(
          (thread: { threadId: string }) => thread.threadId,
        );
      const byStatus = async () => ({
        negotiating: await found("negotiating"),
        awaiting_approval: await found("awaiting_approval"),
        confirmed: await found("confirmed"),
        rejected: await found("rejected"),
        expired: await found("expired"),
      });
      const before = {
        negotiating: [threadId],
        awaiting_approval: [waiting],
        confirmed: [confirmed],
        rejected: [rejected],
        expired: [],
      };
      expect(await byStatus()).toEqual(before);
      server.clock.jump(48 * hour);
      const after = { ...before, awaiting_approval: [], expired: [waiting] };
      expect(await byStatus()).toEqual(after);
      await server.settle();
      expect(await byStatus()).toEqual(after);
    });

    test.each([
      ["status", "open"],
      ["status", ""],
      ["status", 1],
      ["limit", 0],
      ["limit", 501],
      ["limit", 2.5],
      ["limit", "5"],
    ])("%s cannot be %j", async (field, wrong) => {
      const alice = await server.agent("Alice");
      await expectInvalid(server, () => alice.call("messages:getThreadsForAgent", { [field]: wrong }), field);
    });

    test("nobody sees threads of others", async () => {
      const { alice, threadId } = await server.negotiatingPair();
      await alice.send(threadId, "info");
      const stranger = await server.agent("Stranger");
      expect(await stranger.call("messages:getThreadsForAgent")).toEqual([]);
    });
  });
});
