import { ConvexError } from "convex/values";
import { describe, expect, test } from "vitest";
import { reactClient } from "../../support/convex-react.js";
import { echoModules } from "../../support/echo.js";
import { Caller, databases, day, minute, startServer, type TestServer, useServer } from "../../support/harness.js";
import { LiveClient, liveClient, mutationAt, queryAt, Seen, until } from "../../support/live-clients.js";
import { asAgent, description, draft, freshSlug } from "../../support/market.js";
import { freePort } from "../../support/postgres.js";

describe.each(databases)("the unmodified ConvexClient on %s (convex-wire.md sections 4 to 10)", (database) => {
  const server = useServer(database, { modules: echoModules });

  const signedIn = async (caller: Caller) => {
    const live = liveClient(server);
    await live.signIn(caller.credential ?? "");
    expect(live.signedIn).toEqual([true]);
    return live;
  };

  describe("subscribing", () => {
    test("shows the state first, and then what RPC changes", async () => {
      const { alice, bob, threadId } = await server.negotiatingPair();
      const seen = (await signedIn(alice)).watch("messages:getForThread", { threadId });
      expect(await seen.shows((value) => Array.isArray(value))).toEqual([]);
      const { messageId } = await bob.send(threadId, "proposal");
      expect(await seen.shows((value) => value.length === 1)).toMatchObject([{ messageId, type: "proposal" }]);
    });

    test("shows what REST changes", async () => {
      const alice = await server.user("Alice");
      const seen = (await signedIn(alice)).watch("agents:listMine", {});
      await seen.shows((value) => value.data.length === 0);
      const made = await alice.rest("POST", "/api/agents", { name: "Reader", slug: freshSlug(), description });
      expect(made.status).toBe(201);
      await seen.shows((value) => value.data.length === 1);
    });

    test("shows what a timer changes", async () => {
      const alice = await server.agent("Alice", { claimed: true });
      const seen = (await signedIn(alice)).watch("connections:list", {});
      await seen.shows(() => true);
      await alice.call("connections:invite", {});
      expect(await seen.shows((value) => value.length === 1)).toMatchObject([{ status: "pending" }]);
      await server.advance(31 * day);
      await seen.shows((value) => value.length === 0 || value[0].status !== "pending");
    });

    test("many queries come together, and each changes alone", async () => {
      const pairs = await Promise.all(Array.from({ length: 8 }, () => server.connectedPair()));
      const live = await signedIn((pairs[0] as (typeof pairs)[0]).alice);
      const values = Array.from({ length: 200 }, (_, value) => live.watch("echo:value", { value }));
      const own = live.watch("connections:list", {});
      await Promise.all(values.map((seen, index) => seen.shows((value) => value === index)));
      await own.shows((value) => value.length === 1);
      await pairs[0]?.alice.call("connections:invite", {});
      await own.shows((value) => value.length === 2);
      expect(values.every((seen) => seen.values.length === 1)).toBe(true);
    });

    test.each([
      ["wrong arguments", "echo:value", { none: 1 }, "invalid_args", /Invalid arguments/],
      ["an unknown function", "echo:nowhere", {}, "not_found", /Could not find public function for 'echo:nowhere'/],
      ["a mutation", "echo:change", { value: 1 }, "not_found", /defined as Mutation/],
      ["a refusal", "echo:refuse", {}, "conflict", /No, and here is why/],
      ["a function that wants a credential", "agents:getStatus", {}, "unauthenticated", /Missing/],
    ])(
      "%s: the query fails with code and message, and the others live on",
      async (_what, path, args, code, message) => {
        const live = liveClient(server);
        const error = await live.watch(path, args).fails();
        expect(error).toBeInstanceOf(ConvexError);
        expect(error.data.code).toBe(code);
        expect(error.message).toMatch(message);
        await live.watch("echo:value", { value: "alive" }).shows((value) => value === "alive");
        expect(live.opened).toBe(1);
      },
    );

    test("a fault is a plain error that tells nothing", async () => {
      const live = liveClient(server);
      const error = await live.watch("echo:breakDown").fails();
      expect(error).not.toBeInstanceOf(ConvexError);
      expect(error.message).toMatch(/^\[CONVEX Q\(echo:breakDown\)\] \[Request ID: [0-9a-f]{16}\] Server Error/);
    });

    test("a refusal becomes a value once the reason is gone, and the other way round", async () => {
      const { alice, bob, connectionId } = await server.connectedPair();
      const live = await signedIn(alice);
      const seen = live.watch("messages:getForThread", { threadId: "thr_none" });
      expect((await seen.fails()).data).toMatchObject({ code: "not_found" });
      const { threadId } = await bob.call("messages:startThread", { connectionId });
      const thread = live.watch("messages:getForThread", { threadId });
      await thread.shows((value) => value.length === 0);
    });

    test.each([
      ["int64", -5n],
      ["bytes", new Uint8Array([0, 1, 254, 255]).buffer],
      ["NaN", Number.NaN],
      ["-0", -0],
      ["all of them, deep", { list: [1n, { bytes: new Uint8Array([7]).buffer }], text: "混合 🌊", none: null }],
    ])("%s goes there and back", async (_name, value) => {
      const live = liveClient(server);
      expect(await live.watch("echo:value", { value }).shows(() => true)).toEqual(value);
      expect(await live.mutate("echo:change", { value })).toEqual(value);
    });

    test("two subscribers of the same query cost one run, and one that leaves costs the other nothing", async () => {
      const { alice, bob, threadId } = await server.negotiatingPair();
      const [one, other] = [await signedIn(alice), await signedIn(alice)];
      const seen = one.watch("messages:getForThread", { threadId });
      const alsoSeen = other.watch("messages:getForThread", { threadId });
      await Promise.all([seen.shows(() => true), alsoSeen.shows(() => true)]);
      await other.client.close();
      await bob.send(threadId, "proposal");
      await seen.shows((value) => value.length === 1);
      expect(alsoSeen.last).toEqual([]);
    });
  });

  describe("mutations", () => {
    test("what one did is shown before it resolves", async () => {
      const { alice, threadId } = await server.negotiatingPair();
      const live = await signedIn(alice);
      const seen = live.watch("messages:getForThread", { threadId });
      await seen.shows((value) => value.length === 0);
      for (let count = 1; count <= 20; count += 1) {
        const sent = await live.mutate("messages:send", { threadId, type: "info", payload: { count } });
        expect(seen.last).toHaveLength(count);
        expect(seen.last.at(-1).messageId).toBe(sent.messageId);
      }
    });

    test("those sent at once are done in their order", async () => {
      const { alice, threadId } = await server.negotiatingPair();
      const live = await signedIn(alice);
      const seen = live.watch("messages:getForThread", { threadId });
      const numbers = Array.from({ length: 60 }, (_, index) => index);
      await Promise.all(
        numbers.map((index) => live.mutate("messages:send", { threadId, type: "info", payload: { index } })),
      );
      expect(seen.last.map(({ payload }: { payload: { index: number } }) => payload.index)).toEqual(numbers);
    });

    test("a refused one rejects with its code, and the next is done", async () => {
      const live = await signedIn(await server.agent("Alice"));
      const refused = live.mutate("connections:accept", { inviteToken: "inv_none" });
      await expect(refused).rejects.toBeInstanceOf(ConvexError);
      await expect(refused).rejects.toMatchObject({ data: { code: "not_found" } });
      await expect(live.mutate("echo:value", { value: 1 })).rejects.toMatchObject({ data: { code: "not_found" } });
      expect(await live.mutate("echo:change", { value: 1 })).toBe(1);
    });

    test("an action fails, because there are none", async () => {
      const live = liveClient(server);
      await expect(live.client.action(mutationAt("echo:change") as never, { value: 1 } as never)).rejects.toMatchObject(
        {
          data: { code: "not_found" },
        },
      );
    });
  });

  describe("signing in", () => {
    test.each([
      ["an agent's c2c_ key", async () => (await server.agent("Alice")).credential, "agents:getStatus"],
      [
        "an agent token",
        async () => (await server.withAgentToken(await server.agent("Alice"))).credential,
        "agents:getStatus",
      ],
      ["a user's JWT", async () => (await server.user("Alice")).credential, "users:me"],
      ["a user's API key", async () => (await server.user("Alice")).apiKey, "users:me"],
    ])("works with %s", async (_what, credential, path) => {
      const live = liveClient(server);
      const seen = live.watch(path);
      expect((await seen.fails()).data.code).toBe("unauthenticated");
      await live.signIn(await credential());
      await seen.shows(() => true);
    });

    test("as somebody else all queries are theirs, and after clearAuth nobody's", async () => {
      const [alice, bob] = [await server.agent("Alice"), await server.agent("Bob")];
      const live = await signedIn(alice);
      const seen = live.watch("agents:getStatus");
      await seen.shows(({ name }) => name === "Alice");
      await live.signIn(bob.credential);
      await seen.shows(({ name }) => name === "Bob");
      live.client.client.clearAuth();
      expect((await seen.fails()).data.code).toBe("unauthenticated");
      expect(live.opened).toBe(1);
    });

    test("with a wrong token ends as nobody", async () => {
      const live = liveClient(server);
      await live.signIn("c2c_wrong");
      expect(live.signedIn).toEqual([false]);
      const seen = live.watch("agents:getStatus");
      expect((await seen.fails()).data.code).toBe("unauthenticated");
      await live.watch("echo:value", { value: 1 }).shows((value) => value === 1);
    });

    test("with a token that is renewed when it was refused", async () => {
      const alice = await server.agent("Alice");
      const live = liveClient(server);
      const reports: boolean[] = [];
      live.client.setAuth(
        async ({ forceRefreshToken }) => (forceRefreshToken ? alice.credential : "c2c_outdated"),
        (isSignedIn) => reports.push(isSignedIn),
      );
      await live.watch("agents:getStatus").shows(({ name }) => name === "Alice");
      expect(reports).toEqual([true]);
    });

    test("a mutation that was sent with the refused token is done with the next", async () => {
      const alice = await server.agent("Alice");
      const live = liveClient(server);
      live.client.setAuth(async ({ forceRefreshToken }) => (forceRefreshToken ? alice.credential : "c2c_outdated"));
      await live.mutate("connections:invite", {});
      expect(await alice.call("connections:list", {})).toHaveLength(1);
    });

    test("without a token to be had it goes on as nobody", async () => {
      const live = liveClient(server);
      const reports: boolean[] = [];
      live.client.setAuth(
        async () => null,
        (isSignedIn) => reports.push(isSignedIn),
      );
      await until(() => reports.length > 0, "onChange");
      expect(reports).toEqual([false]);
      await live.watch("echo:value", { value: 1 }).shows((value) => value === 1);
    });

    test("expectAuth with a late setAuth heals (section 6)", async () => {
      const alice = await server.agent("Alice");
      const { ConvexClient } = await import("convex/browser");
      const client = new ConvexClient(server.url, {
        skipConvexDeploymentUrlCheck: true,
        logger: false,
        expectAuth: true,
      } as never);
      const seen = new Seen();
      client.onUpdate(queryAt("agents:getStatus"), {}, (value) => seen.values.push(value));
      await new Promise((resolve) => setTimeout(resolve, 200));
      client.setAuth(async () => alice.credential);
      await seen.shows(({ name }) => name === "Alice");
      await client.close();
    });
  });

  describe("losing a right", () => {
    test("a replaced agent token ends what is shown, at once", async () => {
      const bob = await server.user("Bob");
      const agent = asAgent(server, await draft(bob));
      const live = liveClient(server);
      const reports: boolean[] = [];
      live.client.setAuth(
        async () => agent.credential,
        (isSignedIn) => reports.push(isSignedIn),
      );
      const seen = live.watch("agents:getMine");
      await seen.shows(() => true);
      const shown = seen.values.length;
      await bob.call("agents:revokeToken", { agentId: agent.agentId });
      await until(() => reports.includes(false), "onChange(false)");
      expect((await seen.fails()).data.code).toBe("unauthenticated");
      expect(seen.values).toHaveLength(shown);
    });

    test("a suspended user is signed out, and a mutation of theirs is not done", async () => {
      const alice = await server.user("Alice");
      const live = await signedIn(alice);
      const seen = live.watch("users:me");
      await seen.shows(() => true);
      await (await server.admin()).call("admin:suspendUser", { userId: alice.userId });
      await until(() => live.signedIn.includes(false), "onChange(false)");
      expect((await seen.fails()).data.code).toBe("unauthenticated");
    });

    test("a connection that is ended leaves the rest", async () => {
      const { alice, bob, connectionId, threadId } = await server.negotiatingPair();
      const live = await signedIn(alice);
      const seen = live.watch("connections:list");
      await seen.shows(([connection]) => connection.status === "active");
      await bob.call("connections:disconnect", { connectionId });
      await seen.shows((list) => list.length === 0 || list[0].status !== "active");
      expect(threadId).toBeTruthy();
      expect(live.opened).toBe(1);
    });
  });

  describe("coming back", () => {
    test("after a cut it shows what happened meanwhile, without a moment of nothing", async () => {
      const { alice, bob, threadId } = await server.negotiatingPair();
      const live = await signedIn(alice);
      const seen = live.watch("messages:getForThread", { threadId });
      const others = Array.from({ length: 30 }, (_, value) => live.watch("echo:value", { value }));
      await Promise.all([seen, ...others].map((one) => one.shows(() => true)));
      live.cut();
      await bob.send(threadId, "proposal");
      await seen.shows((value) => value.length === 1);
      expect(live.opened).toBe(2);
      for (const other of others) expect(new Set(other.values).size).toBe(1);
    });

    test("a mutation whose socket is cut at any time is done exactly once", async () => {
      const { alice, threadId } = await server.negotiatingPair();
      const live = await signedIn(alice);
      const sent: Promise<unknown>[] = [];
      for (let index = 0; index < 12; index += 1) {
        sent.push(live.mutate("messages:send", { threadId, type: "info", payload: { index } }));
        if (index % 4 === 3) {
          await new Promise((resolve) => setTimeout(resolve, index - 3));
          live.cut();
        }
      }
      await Promise.all(sent);
      const messages = (await alice.call("messages:getForThread", { threadId })) as { payload: { index: number } }[];
      expect(messages.map(({ payload }) => payload.index)).toEqual(Array.from({ length: 12 }, (_, index) => index));
    });
  });
});

describe.each(databases)("the unmodified ConvexReactClient on %s", (database) => {
  const server = useServer(database);

  test("subscribes, signs in, changes and hears of changes", async () => {
    const { alice, bob, threadId } = await server.negotiatingPair();
    const client = await reactClient(server);
    const reports: boolean[] = [];
    client.setAuth(
      async () => alice.credential,
      (isSignedIn) => reports.push(isSignedIn),
    );
    const watch = client.watchQuery(queryAt("messages:getForThread"), { threadId });
    const sizes: number[] = [];
    const end = watch.onUpdate(() => sizes.push((watch.localQueryResult() as unknown[]).length));
    await until(() => sizes.at(-1) === 0, "the first value");
    await bob.send(threadId, "proposal");
    await until(() => sizes.at(-1) === 1, "the proposal");
    await client.mutation(mutationAt("messages:send"), { threadId, type: "counter", payload: { notes: "less" } });
    expect(watch.localQueryResult()).toHaveLength(2);
    expect(reports).toEqual([true]);
    expect(await client.query(queryAt("agents:getStatus"), {})).toMatchObject({ name: "Alice" });
    end();
  });

  test("an optimistic update gives way to the truth in one step", async () => {
    const { alice, threadId } = await server.negotiatingPair();
    const client = await reactClient(server);
    client.setAuth(async () => alice.credential);
    const list = queryAt("messages:getForThread");
    const watch = client.watchQuery(list, { threadId });
    const shown: string[][] = [];
    watch.onUpdate(() => {
      shown.push((watch.localQueryResult() as { messageId: string }[]).map(({ messageId }) => messageId));
    });
    await until(() => shown.length > 0, "the first value");
    const { messageId } = (await client.mutation(
      mutationAt("messages:send"),
      { threadId, type: "info", payload: {} },
      {
        optimisticUpdate: (store) => store.setQuery(list, { threadId }, [{ messageId: "soon" }]),
      },
    )) as { messageId: string };
    expect(shown).toEqual([[], ["soon"], [messageId]]);
  });
});

describe.each(databases)("a server that restarts on %s", (database) => {
  test("has its clients back, with what they had not heard and each mutation once", async () => {
    const port = await freePort();
    const first = await startServer(database, { config: { port } });
    let second: TestServer | undefined;
    const live = new LiveClient(first.url);
    try {
      const { alice, bob, threadId } = await first.negotiatingPair();
      await live.signIn(alice.credential);
      const seen = live.watch("messages:getForThread", { threadId });
      await seen.shows((value) => value.length === 0);
      await first.server.close();
      const sent = live.mutate("messages:send", { threadId, type: "info", payload: { index: 1 } });
      // On a clock that is behind: what the client saw is not to come again.
      first.clock.jump(-minute);
      second = await startServer(database, {
        config: { port },
        databaseUrl: first.databaseUrl,
        clock: first.clock,
      });
      const { messageId } = await sent;
      expect(seen.last).toMatchObject([{ messageId }]);
      await second.agent("Carol");
      expect(await new Caller(second, bob.credential).call("messages:getForThread", { threadId })).toHaveLength(1);
    } finally {
      await live.client.close();
      await second?.server.close();
      await first.remove();
    }
  });
});
