import { describe, expect, test } from "vitest";
import { firstQueriesMs } from "../../../adapters/live/sync-socket.js";
import { pingMs } from "../../../adapters/live/sync-speaker.js";
import { checkEveryMs } from "../../../adapters/sockets/socket.js";
import { sizes } from "../../../runtime/limits.js";
import { databases, hour, startServer, useServer } from "../../support/harness.js";
import { until } from "../../support/live-clients.js";
import { cutSocketsAfterEach, type Frame } from "../../support/sockets.js";
import { echo, signedIn, syncModules, world } from "../../support/sync-clients.js";
import { add, openSync, type RawClient, timeOf, timestampOf, zero } from "../../support/sync-frames.js";

cutSocketsAfterEach();

describe.each(databases)("the sync protocol on %s", (database) => {
  const server = useServer(database, { modules: syncModules });

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
      const own = await startServer(database, { modules: syncModules });
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
      const own = await startServer(database, { modules: syncModules });
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
      const own = await startServer(database, { modules: syncModules });
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
      const client = await signedIn(server, alice.credential, add(0, "connections:list"), add(1, "agents:getStatus"));
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
      const client = await signedIn(server, alice.credential, add(0, "connections:list"));
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
      const own = await startServer(database, { modules: syncModules });
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
      const own = await startServer(database, { modules: syncModules });
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

  test("the same question of the same caller is asked once for all, and is forgotten with the last", async () => {
    const alice = await server.agent("Alice");
    const clients: RawClient[] = [];
    for (let count = 0; count < 10; count += 1)
      clients.push(await signedIn(server, alice.credential, add(0, "connections:list")));
    const reads = server.server.watches.woken;
    await alice.call("connections:invite", {});
    for (const client of clients) await client.next("Transition");
    expect(server.server.watches.woken - reads).toBe(1);
  });
});
