import { randomUUID } from "node:crypto";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import { firstQueriesMs } from "../../../adapters/live/sync-socket.js";
import { pingMs } from "../../../adapters/live/sync-speaker.js";
import { checkEveryMs } from "../../../adapters/sockets/socket.js";
import { mutation, query } from "../../../runtime/call/define.js";
import { CallError } from "../../../runtime/errors.js";
import { sizes } from "../../../runtime/limits.js";
import { echoModules, large } from "../../support/echo.js";
import { databases, day, hour, minute, startServer, useServer } from "../../support/harness.js";
import { until } from "../../support/live-clients.js";
import { asAgent, description, draft, freshSlug } from "../../support/market.js";
import { cutSocketsAfterEach, type Frame } from "../../support/sockets.js";
import { add, openSync, type RawClient, timeOf, timestampOf, zero } from "../../support/sync-frames.js";

cutSocketsAfterEach();

/** What the test functions below do next. */
const world = { failures: 0, runs: 0 };

const odd = query({
  summary: "A value that Convex's clients cannot read",
  auth: "none",
  args: {},
  returns: z.unknown(),
  handler: async () => ({ $odd: 1, 名: 2 }),
});
const oddly = mutation({
  summary: "A change whose value Convex's clients cannot read",
  auth: "none",
  args: {},
  returns: z.unknown(),
  handler: async () => ({ $odd: 1 }),
});

const sometimes = query({
  summary: "Cannot be had for a while",
  auth: "none",
  args: {},
  returns: z.string(),
  handler: async () => {
    if (world.failures > 0) {
      world.failures -= 1;
      throw new CallError("unavailable", "Not now", { retryAfterMs: 2_000 });
    }
    return "here";
  },
});
const sometimesChange = mutation({
  summary: "Cannot be done for a while",
  auth: "none",
  args: {},
  returns: z.number(),
  handler: async () => {
    if (world.failures > 0) {
      world.failures -= 1;
      throw new CallError("unavailable", "Not now", { retryAfterMs: 2_000 });
    }
    world.runs += 1;
    return world.runs;
  },
});
/** Reads all agents, and says the same whoever they are. */
const constant = query({
  summary: "The same value at all times",
  auth: "none",
  args: {},
  returns: z.string(),
  handler: async (ctx) => {
    await ctx.db.selectFrom("agents").select("name").execute();
    return "the same";
  },
});

const modules = { ...echoModules, test: { odd, oddly, sometimes, sometimesChange, constant, large } };

describe.each(databases)("the sync protocol on %s", (database) => {
  const server = useServer(database, { modules });
  const echo = (queryId: number, value: unknown) => add(queryId, "echo:value", { value });

  /** Connected and signed in, with its first Transition taken. */
  const signedIn = async (secret: string, ...queries: object[]) => {
    const client = (await openSync(server))
      .connect()
      .authenticate(secret)
      .modify(...queries);
    await client.answered();
    return client;
  };

  /** Moves time on until it has come. */
  const whileTimePasses = async <T>(coming: Promise<T>): Promise<T> => {
    let hasCome = false;
    const watching = coming.finally(() => {
      hasCome = true;
    });
    while (!hasCome) {
      await server.advance(1_000);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return watching;
  };

  describe("transport (convex-wire.md section 4)", () => {
    test.each(["/api/1.48.0/sync", "/api/1.48.0-alpha.2+x/sync", "/api/sync", "//api/1.48.0/sync"])(
      "is at %s",
      async (path) => {
        const client = (await openSync(server, { path })).connect().modify(echo(0, "here"));
        await client.answered();
        expect(client.shown.get(0).value).toBe("here");
      },
    );

    test("pings after 15 s without a frame, and not before", async () => {
      const own = await startServer(database, { modules });
      try {
        const client = (await openSync(own)).connect().modify(echo(0, 1));
        await client.answered();
        await own.advance(pingMs - 5_000);
        client.modify(echo(1, 2));
        await client.answered();
        await own.advance(6_000);
        client.modify();
        expect(await client.next()).toMatchObject({ type: "Transition" });
        await own.advance(pingMs);
        expect(await client.next()).toEqual({ type: "Ping" });
        await own.advance(pingMs);
        expect(await client.next()).toEqual({ type: "Ping" });
      } finally {
        await own.close();
      }
    });

    test("sends protocol pings, and drops a socket that is silent for 120 s", async () => {
      const own = await startServer(database, { modules });
      try {
        const client = await openSync(own, { autoPong: false });
        let waited = 0;
        for (; waited < 110_000; waited += checkEveryMs) await own.advance(checkEveryMs);
        expect(client.socket.ws.readyState).toBe(client.socket.ws.OPEN);
        for (; waited < 130_000; waited += checkEveryMs) await own.advance(checkEveryMs);
        expect((await client.socket.closed).code).toBe(4008);
        expect(client.socket.pings).toBeGreaterThan(3);
      } finally {
        await own.close();
      }
    });

    test("closes with 1012 when the server stops", async () => {
      const own = await startServer(database, { modules });
      const client = (await openSync(own)).connect().modify(echo(0, 1));
      await client.answered();
      await own.close();
      expect((await client.socket.closed).code).toBe(1012);
    });

    test("a version that is no segment has no socket", async () => {
      await expect(openSync(server, { path: "/api/a/b/sync" })).rejects.toThrow("404");
    });
  });

  describe("what does not belong closes retriably (section 6)", () => {
    const retriable = { code: 1013, reason: expect.stringMatching(/^InternalServerError/) };

    test.each([
      ["Authenticate", { type: "Authenticate", baseVersion: 0, tokenType: "None" }],
      ["ModifyQuerySet", { type: "ModifyQuerySet", baseVersion: 0, newVersion: 1, modifications: [] }],
      ["Mutation", { type: "Mutation", requestId: 0, udfPath: "agents:register", args: [{ name: "Nobody" }] }],
    ])("%s before Connect, and nothing of it is done", async (_type, frame) => {
      const client = await openSync(server);
      client.socket.send(frame);
      client.socket.send({ type: "Mutation", requestId: 1, udfPath: "agents:register", args: [{ name: "Nobody" }] });
      expect(await client.socket.closed).toEqual(retriable);
      expect(client.socket.frames).toEqual([]);
      const nobody = await server.read((db) =>
        db.selectFrom("agents").select("agentId").where("name", "=", "Nobody").execute(),
      );
      expect(nobody).toEqual([]);
    });

    test.each([
      ["no JSON", "{"],
      ["a list", "[]"],
      ["no type", {}],
      ["an unknown type", { type: "Subscribe" }],
      ["a second Connect", { type: "Connect", sessionId: "s" }],
      [
        "a query set that does not follow",
        { type: "ModifyQuerySet", baseVersion: 1, newVersion: 2, modifications: [] },
      ],
      ["one that does not advance", { type: "ModifyQuerySet", baseVersion: 0, newVersion: 0, modifications: [] }],
      ["an identity that does not follow", { type: "Authenticate", baseVersion: 1, tokenType: "None" }],
      ["an unknown tokenType", { type: "Authenticate", baseVersion: 0, tokenType: "Guest" }],
      ["a requestId that is none", { type: "Mutation", requestId: -1, udfPath: "a:b", args: [] }],
      ["a path that is none", { type: "Mutation", requestId: 0, udfPath: 7, args: [] }],
      [
        "a query twice",
        { type: "ModifyQuerySet", baseVersion: 0, newVersion: 1, modifications: [add(0, "a:b"), add(0, "a:b")] },
      ],
    ])("%s", async (_what, frame) => {
      const client = (await openSync(server)).connect();
      client.socket.send(frame);
      expect(await client.socket.closed).toEqual(retriable);
      expect(client.socket.frames.filter(({ type }) => type === "FatalError")).toEqual([]);
    });

    test("a binary frame", async () => {
      const client = (await openSync(server)).connect();
      client.socket.ws.send(Buffer.from('{"type":"Event"}'), { binary: true });
      expect(await client.socket.closed).toEqual(retriable);
    });

    test("an Event, unknown fields and removals of what is not there are no matter", async () => {
      const client = (await openSync(server)).connect({ extra: 1 });
      client.socket.send({ type: "Event", eventType: "ClientConnect", event: { deep: [1] } });
      client.modify({ type: "Remove", queryId: 7 }, { ...echo(0, 1), extra: 1 });
      await client.answered();
      expect(client.shown.get(0).value).toBe(1);
    });
  });

  describe("Transitions (section 7)", () => {
    test("the first starts at zero, each other one where the last ended, in the agreed form", async () => {
      const client = (await openSync(server)).connect().modify(echo(3, { deep: [true] }));
      const frame = await client.answered();
      expect(frame).toEqual({
        type: "Transition",
        startVersion: { querySet: 0, identity: 0, ts: zero },
        endVersion: { querySet: 1, identity: 0, ts: expect.stringMatching(/^.{11}=$/) },
        modifications: [{ type: "QueryUpdated", queryId: 3, value: { deep: [true] }, logLines: [], journal: null }],
      });
      client.modify(echo(4, "more"));
      expect((await client.answered()).modifications).toHaveLength(1);
    });

    test("every query set is answered, an empty one too, and several may be answered together", async () => {
      const client = (await openSync(server)).connect();
      for (let number = 0; number < 20; number += 1) client.modify();
      await client.answered();
      expect(client.version).toMatchObject({ querySet: 20, identity: 0 });
    });

    test("a removed query is gone, and says nothing any more", async () => {
      const alice = await server.agent("Alice");
      const client = await signedIn(alice.credential, add(0, "connections:list"), add(1, "agents:getStatus"));
      client.modify({ type: "Remove", queryId: 0 });
      const { modifications } = await client.answered();
      expect(modifications).toEqual([{ type: "QueryRemoved", queryId: 0 }]);
      await alice.call("connections:invite", {});
      client.modify(echo(2, "after"));
      const after = await client.answered();
      expect(after.modifications.map(({ queryId }: Frame) => queryId)).not.toContain(0);
    });

    test("a change that leaves the value as it was costs no frame, and one that concerns others not even a run", async () => {
      const [alice, bob] = [await server.agent("Alice"), await server.agent("Bob")];
      const { watches: live } = server.server;
      const client = await signedIn(alice.credential, add(0, "connections:list"));
      const wokenBefore = live.woken;
      await bob.call("connections:invite", {});
      expect(live.woken).toBe(wokenBefore);

      client.modify(add(1, "test:constant"));
      await client.answered();
      await server.agent("Carol", { publicKey: false });
      expect(live.woken).toBeGreaterThan(wokenBefore);
      const { connectionId } = await alice.call("connections:invite", {});
      const { modifications } = await client.next("Transition");
      expect(modifications).toMatchObject([{ queryId: 0, value: [{ connectionId }] }]);
    });

    test("after Authenticate the first one waits for the queries, but not for ever", async () => {
      const own = await startServer(database, { modules });
      try {
        const alice = await own.agent("Alice");
        const client = (await openSync(own)).connect().authenticate(alice.credential);
        await client.socket.settled();
        await new Promise((resolve) => setTimeout(resolve, 100));
        expect(client.socket.frames).toEqual([]);
        client.socket.send({ type: "Action", requestId: 0, udfPath: "a:b", args: [{}] });
        await client.next("ActionResponse");
        client.modify(add(0, "agents:getStatus"));
        const frame = await client.next("Transition");
        expect(frame.endVersion).toMatchObject({ querySet: 1, identity: 1 });
        expect(client.shown.get(0).value.name).toBe("Alice");

        const patient = (await openSync(own)).connect().authenticate(alice.credential);
        await patient.socket.settled();
        await new Promise((resolve) => setTimeout(resolve, 100));
        await own.advance(firstQueriesMs);
        expect((await patient.next("Transition")).endVersion).toMatchObject({ querySet: 0, identity: 1 });
      } finally {
        await own.close();
      }
    });

    test("failures are per query and in the agreed form", async () => {
      const client = (await openSync(server)).connect();
      client.modify(
        echo(0, "fine"),
        add(1, "echo:refuse"),
        add(2, "echo:breakDown"),
        add(3, "no:where"),
        add(4, "echo:value", {}, { componentPath: "other" }),
        add(5, "test:odd"),
        { type: "Add", queryId: 6, udfPath: "echo:value", args: [{ value: { $integer: "no" } }] },
        { type: "Add", queryId: 7, udfPath: "echo:value", args: "none" },
        { type: "Add", queryId: 8, udfPath: "echo:value.js", args: [] },
      );
      await client.answered();
      expect(client.shown.get(0).value).toBe("fine");
      expect(client.shown.get(1)).toEqual({
        type: "QueryFailed",
        queryId: 1,
        errorMessage: "No, and here is why",
        errorData: { code: "conflict", status: "shut", count: { $integer: "BQAAAAAAAAA=" } },
        logLines: [],
        journal: null,
      });
      expect(client.shown.get(2)).toEqual({
        type: "QueryFailed",
        queryId: 2,
        errorMessage: expect.stringMatching(/^\[Request ID: [0-9a-f]{16}\] Server Error$/),
        logLines: [],
        journal: null,
      });
      const codes = [3, 4, 5, 6, 7, 8].map((queryId) => client.shown.get(queryId).errorData.code);
      expect(codes).toEqual([
        "not_found",
        "invalid_args",
        "failed_precondition",
        "invalid_args",
        "invalid_args",
        "not_found",
      ]);
    });

    test("a query too many fails alone", async () => {
      const client = (await openSync(server)).connect();
      client.modify(...Array.from({ length: sizes.queriesPerSocket + 1 }, (_, queryId) => echo(queryId, queryId)));
      await client.answered();
      expect(client.shown.get(sizes.queriesPerSocket - 1).value).toBe(sizes.queriesPerSocket - 1);
      expect(client.shown.get(sizes.queriesPerSocket).errorData.code).toBe("too_large");
    });

    test("a query that cannot run now is asked again, with the socket as it is", async () => {
      const own = await startServer(database, { modules });
      try {
        world.failures = 1;
        const client = (await openSync(own)).connect().modify(add(0, "test:sometimes"));
        await until(() => world.failures === 0, "the first try");
        await new Promise((resolve) => setTimeout(resolve, 50));
        expect(client.socket.frames).toEqual([]);
        await own.advance(2_000);
        await client.answered();
        expect(client.shown.get(0).value).toBe("here");
      } finally {
        await own.close();
      }
    });

    test("a slow reader gets the newest value and not all between", async () => {
      const client = (await openSync(server)).connect().modify(add(0, "test:large"));
      await client.answered();
      client.socket.ws.pause();
      for (let count = 0; count < 60; count += 1) await server.agent("Another", { publicKey: false });
      const count = (await server.read((db) => db.selectFrom("agents").select("agentId").execute())).length;
      client.socket.ws.resume();
      while (!client.shown.get(0).value.endsWith(`x${count}`)) await client.next("Transition");
      // What the network holds on both sides, and the two that may wait.
      expect(client.socket.frames.length).toBeLessThan(40);
    });
  });

  describe("mutations (sections 7 and 9)", () => {
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
      const client = await signedIn(alice.credential, add(0, "messages:getForThread", { threadId }));
      for (let requestId = 0; requestId < 10; requestId += 1) {
        client.mutation(requestId, "messages:send", { threadId, type: "info", payload: {} });
        await client.next("MutationResponse");
        await client.next("Transition");
        expect(client.shown.get(0).value).toHaveLength(requestId + 1);
      }
    });

    test("without a query set it is answered as well, after a moment", async () => {
      const own = await startServer(database, { modules });
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
      const client = await signedIn(alice.credential);
      const args = { threadId: "thr_none", type: "info", payload: {} };
      expect(await client.mutation(0, "messages:send", args).next()).toMatchObject({ success: false });
      const { threadId } = await alice.call("messages:startThread", { connectionId });
      client.mutation(0, "messages:send", { ...args, threadId });
      expect(await client.next()).toMatchObject({ success: true });
    });

    test("is done as who the client was when it came", async () => {
      const alice = await server.agent("Alice");
      const client = await signedIn(alice.credential);
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
      expect(await whileTimePasses(client.socket.next("MutationResponse"))).toMatchObject({ success: true });
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

  describe("timestamps (section 5)", () => {
    test("one that a client has seen is not undercut, by any socket", async () => {
      const ahead = BigInt(server.clock.now() + hour) * 1_000_000n;
      const client = (await openSync(server)).connect({ maxObservedTimestamp: timestampOf(ahead) }).modify();
      await client.answered();
      expect(timeOf(client.version.ts) > ahead).toBe(true);
      const other = (await openSync(server)).connect().modify();
      await other.answered();
      expect(timeOf(other.version.ts) > timeOf(client.version.ts)).toBe(true);
    });

    test("one that no clock can have shown is not believed", async () => {
      const client = (await openSync(server)).connect({ maxObservedTimestamp: "/////////38=" }).modify();
      await client.answered();
      expect(timeOf(client.version.ts) < BigInt(server.clock.now() + 3 * hour) * 1_000_000n).toBe(true);
    });
  });

  describe("authentication (section 10)", () => {
    /** The database lets nobody look up a credential, so many times. */
    const away = (times: number) => {
      const look = vi.spyOn(server.server.store, "read");
      onTestFinished(() => look.mockRestore());
      const error = new CallError("unavailable", "Not now", { retryAfterMs: 1_000 });
      for (let time = 0; time < times; time += 1) look.mockRejectedValueOnce(error);
      return look;
    };

    test("a token that cannot be looked up now is looked up again, and nobody is sent away", async () => {
      const alice = await server.agent("Alice");
      const key = await server.withAgentToken(alice);
      const client = (await openSync(server)).connect().modify(add(0, "agents:getStatus"));
      await client.answered();
      const look = away(1);
      client.authenticate(key.credential);
      await until(() => look.mock.calls.length === 1, "a look");
      await whileTimePasses(client.answered());
      expect(client.shown.get(0).value).toMatchObject({ agentId: alice.agentId });
    });

    test("one that is doubted while the database is away is looked up again, and nothing is said before that", async () => {
      const bob = await server.user("Bob");
      const { id: agentId, agentToken } = await draft(bob);
      const client = await signedIn(agentToken);
      client.modify(add(0, "agents:getStatus"));
      await client.answered();
      const look = away(1);
      // Without an answer about the credential nobody knows that it was revoked.
      await bob.call("agents:revokeToken", { agentId });
      await until(() => look.mock.calls.length > 0, "a look");
      const told = client.socket.frames.length;
      await server.settle();
      expect(client.socket.frames.slice(told)).toEqual([]);
      expect(await whileTimePasses(client.socket.next("AuthError"))).toMatchObject({ authUpdateAttempted: false });
    });

    test("each accepted token advances the identity, and all queries are asked again", async () => {
      const [alice, bob] = [await server.agent("Alice"), await server.agent("Bob")];
      const client = (await openSync(server)).connect().modify(add(0, "agents:getStatus"), echo(1, "same"));
      await client.answered();
      expect(client.shown.get(0).errorData.code).toBe("unauthenticated");
      for (const [number, { credential, name }] of [alice, bob].entries()) {
        client.authenticate(credential);
        const frame = await client.answered();
        expect(frame.endVersion.identity).toBe(number + 1);
        expect(frame.modifications).toHaveLength(1);
        expect(client.shown.get(0).value.name).toBe(name);
      }
      client.authenticate(undefined);
      await client.answered();
      expect(client.shown.get(0).errorData.code).toBe("unauthenticated");
    });

    test.each([
      ["an unknown key", async () => "c2c_wrong", "Invalid API key"],
      ["an empty one", async () => "", "Invalid API key"],
      ["a broken JWT", async () => "eyJhbGciOiJIUzI1NiJ9.e30.x", "Token expired or invalid"],
      [
        "a suspended user's",
        async () => {
          const alice = await server.user("Alice");
          await (await server.admin()).call("admin:suspendUser", { userId: alice.userId });
          return alice.credential;
        },
        "Account is suspended",
      ],
    ])("%s is refused with an AuthError, and then a quiet close", async (_what, secret, error) => {
      const client = (await openSync(server))
        .connect()
        .authenticate(undefined)
        .authenticate(await secret());
      expect(await client.socket.next("AuthError")).toEqual({
        type: "AuthError",
        error,
        baseVersion: 1,
        authUpdateAttempted: true,
      });
      expect((await client.socket.closed).code).toBe(1000);
    });

    test("a deployment key is refused, in whatever name it comes", async () => {
      const client = (await openSync(server)).connect();
      client.socket.send({ type: "Authenticate", baseVersion: 0, tokenType: "Admin", value: "k", impersonating: {} });
      expect(await client.socket.next()).toMatchObject({
        type: "AuthError",
        baseVersion: 0,
        authUpdateAttempted: true,
      });
    });

    test("a revoked one ends in an AuthError that blames no update, with no value after the revocation", async () => {
      const bob = await server.user("Bob");
      const agent = asAgent(server, await draft(bob));
      const client = await signedIn(agent.credential, add(0, "agents:getMine"));
      const shown = client.socket.frames.length;
      await bob.call("agents:revokeToken", { agentId: agent.agentId });
      expect(await client.next()).toEqual({
        type: "AuthError",
        error: "Invalid API key",
        baseVersion: 1,
        authUpdateAttempted: false,
      });
      expect((await client.socket.closed).code).toBe(1000);
      expect(client.socket.frames).toHaveLength(shown + 1);
    });

    test("an answer that comes after the revocation is not told", async () => {
      const own = await startServer(database, { modules });
      try {
        const bob = await own.user("Bob");
        const agent = asAgent(own, await draft(bob));
        world.failures = 1;
        const client = (await openSync(own)).connect().authenticate(agent.credential).modify(add(0, "test:sometimes"));
        await until(() => world.failures === 0, "the first try");
        await bob.call("agents:revokeToken", { agentId: agent.agentId });
        await own.advance(2_000);
        expect(await client.next()).toMatchObject({ type: "AuthError", baseVersion: 1, authUpdateAttempted: false });
        expect((await client.socket.closed).code).toBe(1000);
      } finally {
        await own.close();
      }
    });

    test("one that runs out does so by itself", async () => {
      const own = await startServer(database, { modules });
      try {
        const alice = await own.user("Alice");
        const client = (await openSync(own)).connect().authenticate(alice.credential).modify(add(0, "users:me"));
        await client.answered();
        await own.advance(7 * day + minute);
        const frames = [await client.next(), await client.next()];
        expect(frames).toContainEqual(
          expect.objectContaining({ type: "AuthError", baseVersion: 1, authUpdateAttempted: false }),
        );
      } finally {
        await own.close();
      }
    });

    test("an agent that is taken over goes on with its key, which opens nothing of its new owner's", async () => {
      const agent = await server.agent("Alice's agent");
      const client = await signedIn(agent.credential, add(0, "users:me"), add(1, "agents:getStatus"));
      expect(client.shown.get(0).errorData.code).toBe("forbidden");
      const alice = await server.user("Alice");
      await alice.call("agents:takeOver", {
        claimToken: agent.claimToken,
        slug: freshSlug(),
        description,
      });
      await client.next("Transition");
      expect(client.shown.get(1).value).toMatchObject({ claimed: true });
      expect(client.shown.get(0).errorData.code).toBe("forbidden");
    });
  });

  test("the same question of the same caller is asked once for all, and is forgotten with the last", async () => {
    const alice = await server.agent("Alice");
    const clients: RawClient[] = [];
    for (let count = 0; count < 10; count += 1)
      clients.push(await signedIn(alice.credential, add(0, "connections:list")));
    const reads = server.server.watches.woken;
    await alice.call("connections:invite", {});
    for (const client of clients) await client.next("Transition");
    expect(server.server.watches.woken - reads).toBe(1);
  });
});
