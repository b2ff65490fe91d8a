import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { firstQueriesMs } from "../../../adapters/live/sync-socket.js";
import { databases, startServer, useServer } from "../../support/harness.js";
import { until } from "../../support/live-clients.js";
import { cutSocketsAfterEach } from "../../support/sockets.js";
import { signedIn, syncModules, whileTimePasses, world } from "../../support/sync-clients.js";
import { add, openSync, timeOf } from "../../support/sync-frames.js";

cutSocketsAfterEach();

describe.each(databases)("mutations of a live client on %s", (database) => {
  const server = useServer(database, { modules: syncModules });

  describe("mutations (convex-wire.md sections 7 and 9)", () => {
    test("the reply comes first, and then a Transition that reaches its instant, also without queries", async () => {
      const client = (await openSync(server)).connect().modify();
      await client.answered();
      client.mutation(0, "echo:change", { value: { $integer: "BQAAAAAAAAA=" } });
      const reply = await client.next();
      expect(reply).toEqual({
        type: "MutationResponse",
        requestId: 0,
        success: true,
        result: { $integer: "BQAAAAAAAAA=" },
        ts: expect.stringMatching(/^.{11}=$/),
        logLines: [],
      });
      expect(timeOf(reply.ts) > timeOf(client.version.ts)).toBe(true);
      const { endVersion } = await client.next("Transition");
      expect(timeOf(endVersion.ts) >= timeOf(reply.ts)).toBe(true);
    });

    test("what it changed is in that Transition, and in no earlier one", async () => {
      const { alice, threadId } = await server.negotiatingPair();
      const client = await signedIn(server, alice.credential, add(0, "messages:getForThread", { threadId }));
      for (let requestId = 0; requestId < 10; requestId += 1) {
        client.mutation(requestId, "messages:send", { threadId, type: "info", payload: {} });
        await client.next("MutationResponse");
        await client.next("Transition");
        expect(client.shown.get(0).value).toHaveLength(requestId + 1);
      }
    });

    test("without a query set it is answered as well, after a moment", async () => {
      const own = await startServer(database, { modules: syncModules });
      try {
        const client = (await openSync(own)).connect().mutation(0, "echo:change", { value: 1 });
        await client.next("MutationResponse");
        await own.advance(firstQueriesMs);
        await client.next("Transition");
      } finally {
        await own.close();
      }
    });

    test("a failure has a message and data, and no ts", async () => {
      const client = (await openSync(server)).connect().modify();
      await client.answered();
      client
        .mutation(0, "connections:accept", { inviteToken: "x" })
        .mutation(1, "no:where")
        .mutation(2, "echo:value", { value: 1 })
        .mutation(3, "echo:change", { value: 1 }, { componentPath: "other" });
      const codes = ["unauthenticated", "not_found", "not_found", "invalid_args"];
      for (const [requestId, code] of codes.entries()) {
        expect(await client.next()).toEqual({
          type: "MutationResponse",
          requestId,
          success: false,
          result: expect.any(String),
          errorData: expect.objectContaining({ code }),
          logLines: [],
        });
      }
    });

    test("a done one succeeds, although its value cannot be read", async () => {
      const client = (await openSync(server)).connect().modify().mutation(0, "test:oddly");
      expect(await client.socket.next("MutationResponse")).toMatchObject({ success: true, result: null });
    });

    test("an action fails", async () => {
      const client = (await openSync(server)).connect().modify();
      client.socket.send({ type: "Action", requestId: 0, udfPath: "echo:change", args: [{}] });
      expect(await client.socket.next("ActionResponse")).toEqual({
        type: "ActionResponse",
        requestId: 0,
        success: false,
        result: "Could not find public function for 'echo:change'",
        errorData: { code: "not_found" },
        logLines: [],
      });
    });

    test("sent again it is not done again, and has its result and its own ts", async () => {
      const sessionId = randomUUID();
      const args = { name: "Once" };
      const first = (await openSync(server, { sessionId })).connect().modify();
      await first.answered();
      const reply = await first.mutation(4, "agents:register", args).next();
      first.socket.ws.terminate();
      const second = (await openSync(server, { sessionId })).connect().modify();
      await second.answered();
      second.mutation(4, "agents:register", args);
      expect(await second.next()).toEqual(reply);
      const { endVersion } = await second.next("Transition");
      expect(timeOf(endVersion.ts) >= timeOf(reply.ts)).toBe(true);

      const another = (await openSync(server)).connect().modify();
      await another.answered();
      expect((await another.mutation(4, "agents:register", args).next()).result).not.toEqual(reply.result);
      // The same number for something else is a mistake, not a repeat.
      second.mutation(4, "agents:register", { name: "Twice" });
      expect(await second.next()).toMatchObject({ success: false, errorData: { code: "conflict" } });
    });

    test("sent again under another token of the same agent, or once it has signed in, it has its result; nobody else has", async () => {
      const [alice, mallory] = [await server.agent("Alice"), await server.agent("Mallory")];
      const sessionId = randomUUID();
      const as = async (credential: string | undefined) => {
        const client = (await openSync(server, { sessionId })).connect().modify();
        if (credential !== undefined) client.authenticate(credential);
        await client.answered();
        return (requestId: number, path: string, args: object = {}) =>
          client.mutation(requestId, path, args).socket.next("MutationResponse");
      };
      const nobody = await as(undefined);
      const registered = await nobody(0, "agents:register", { name: "Once" });
      const hers = await as(alice.credential);
      expect(await hers(0, "agents:register", { name: "Once" })).toMatchObject({ result: registered.result });
      const invited = await hers(1, "connections:invite");
      const { apiKey } = await alice.call("agents:rotateKey");
      expect(await (await as(apiKey))(1, "connections:invite")).toEqual(invited);
      const refused = { success: false, errorData: { code: "conflict" } };
      expect(await (await as(mallory.credential))(1, "connections:invite")).toMatchObject(refused);
      const invites = await server.read((db) =>
        db.selectFrom("connections").select("connectionId").where("inviterAgentId", "=", mallory.agentId).execute(),
      );
      expect(invites).toEqual([]);
    });

    test("sent again while it still runs it is done once", async () => {
      const sessionId = randomUUID();
      const clients = await Promise.all(Array.from({ length: 5 }, () => openSync(server, { sessionId })));
      const replies = await Promise.all(
        clients.map((client) =>
          client.connect().modify().mutation(0, "agents:register", { name: "Five" }).socket.next("MutationResponse"),
        ),
      );
      expect(new Set(replies.map((reply) => JSON.stringify(reply))).size).toBe(1);
      const made = await server.read((db) =>
        db.selectFrom("agents").select("agentId").where("name", "=", "Five").execute(),
      );
      expect(made).toHaveLength(1);
    });

    test("a failed one that is sent again runs again", async () => {
      const { alice, connectionId } = await server.connectedPair();
      const client = await signedIn(server, alice.credential);
      const args = { threadId: "thr_none", type: "info", payload: {} };
      expect(await client.mutation(0, "messages:send", args).next()).toMatchObject({ success: false });
      const { threadId } = await alice.call("messages:startThread", { connectionId });
      client.mutation(0, "messages:send", { ...args, threadId });
      expect(await client.next()).toMatchObject({ success: true });
    });

    test("is done as who the client was when it came", async () => {
      const alice = await server.agent("Alice");
      const client = await signedIn(server, alice.credential);
      client.mutation(0, "connections:invite").authenticate(undefined).mutation(1, "connections:invite");
      const replies = [await client.socket.next("MutationResponse"), await client.socket.next("MutationResponse")];
      expect(replies).toMatchObject([{ success: true }, { success: false, errorData: { code: "unauthenticated" } }]);
    });

    test("one that arrived is done, although its client left at once", async () => {
      const client = (await openSync(server)).connect().modify();
      client.mutation(0, "agents:register", { name: "Farewell" });
      client.socket.ws.close();
      await client.socket.closed;
      const found = () =>
        server.read((db) => db.selectFrom("agents").select("agentId").where("name", "=", "Farewell").execute());
      let made = await found();
      for (let tries = 0; made.length === 0 && tries < 100; tries += 1) made = await found();
      expect(made).toHaveLength(1);
    });

    test("one that the database could not take is done once it can, on the same socket", async () => {
      const client = (await openSync(server)).connect().modify();
      await client.answered();
      const before = world.runs;
      world.failures = 1;
      client.mutation(0, "test:sometimesChange");
      await until(() => world.failures === 0, "the failure");
      expect(await whileTimePasses(server, client.socket.next("MutationResponse"))).toMatchObject({ success: true });
      expect(world.runs).toBe(before + 1);
    });

    test("one that the database could not take is not done again for a client that has left", async () => {
      const sessionId = randomUUID();
      const client = (await openSync(server, { sessionId })).connect().modify();
      await client.answered();
      const before = world.runs;
      world.failures = 1;
      client.mutation(0, "test:sometimesChange");
      await until(() => world.failures === 0, "the failure");
      client.socket.ws.close();
      await client.socket.closed;
      await server.advance(2_000);
      expect(world.runs).toBe(before);
      const again = (await openSync(server, { sessionId })).connect().modify();
      await again.answered();
      expect(await again.mutation(0, "test:sometimesChange").next()).toMatchObject({ success: true });
      expect(world.runs).toBe(before + 1);
    });
  });
});
