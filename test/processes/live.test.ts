/**
 * Live queries of several processes behind a load balancer: Convex's unmodified clients, streams of events and the typed
 * client are shown every change and nothing that is older, whichever process they, the writers and their own writes are on.
 */
import { ConvexHttpClient } from "convex/browser";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createClient } from "../../client/index.js";
import type { Api } from "../../functions/index.js";
import { RunningClock } from "../support/clock.js";
import { reactClient } from "../support/convex-react.js";
import { open } from "../support/event-streams.js";
import { type Agent, Caller as Client, hour, type TestServer } from "../support/harness.js";
import { type LiveClient, liveClient, mutationAt, queryAt, until } from "../support/live-clients.js";
import {
  ask,
  closeBoth,
  cutBuses,
  describeProcesses,
  holdWord,
  type Pair,
  startTwo,
  useTwoServers,
} from "../support/processes.js";
import { RoundRobin } from "../support/proxy.js";
import { cutSocketsAfterEach, eventually } from "../support/sockets.js";
import { add, openSync, timeOf, timestampOf } from "../support/sync-frames.js";

cutSocketsAfterEach();

const list = "messages:getForThread";

interface Message {
  messageId: string;
  payload: { index: number };
}

/** A load balancer in front of both, for all tests of the surrounding `describe`. */
function useProxy(pair: Pair): RoundRobin {
  let running: RoundRobin | undefined;
  beforeAll(async () => {
    running = await RoundRobin.start([pair.one, pair.other].map(({ url }) => Number(new URL(url).port)));
  });
  afterAll(() => running?.stop());
  return new Proxy({} as RoundRobin, {
    get(_target, property) {
      if (!running) throw new Error("The proxy has not started yet");
      const value = Reflect.get(running, property, running) as unknown;
      return typeof value === "function" ? value.bind(running) : value;
    },
  });
}

/** A live client whose sockets go through the proxy, the first of them to this server. */
async function signedIn(proxy: RoundRobin, server: TestServer, { credential }: Agent): Promise<LiveClient> {
  proxy.only(server);
  const live = liveClient(proxy);
  await live.signIn(credential);
  expect(live.signedIn).toEqual([true]);
  proxy.only();
  return live;
}

/** On the other server, as the same agent. */
const at = (server: TestServer, agent: Agent) => new Client(server, agent.credential);

/** Sends a message with a number. Time goes on, so that messages of both processes have an order. */
async function say(server: TestServer, agent: Agent, threadId: string, index: number): Promise<string> {
  server.clock.jump(1);
  const { messageId } = await at(server, agent).call("messages:send", { threadId, type: "info", payload: { index } });
  return messageId;
}

/** What somebody is shown of a thread, as the numbers of its messages. */
interface Shown {
  name: string;
  values: Message[][];
}
const indexesOf = (messages: Message[]) => messages.map(({ payload }) => payload.index);

/** Every kind of subscriber, on this server. */
async function subscribeAll(server: TestServer, agent: Agent, threadId: string): Promise<Shown[]> {
  const live = liveClient(server);
  await live.signIn(agent.credential);
  const plain = live.watch(list, { threadId });

  const react = await reactClient(server);
  react.setAuth(async () => agent.credential);
  const watch = react.watchQuery(queryAt(list), { threadId });
  const rendered: Message[][] = [];
  onTestFinished(watch.onUpdate(() => rendered.push(watch.localQueryResult() as Message[])));

  const { reader } = await open(server, agent, list, { threadId });

  const typed: Message[][] = [];
  const client = createClient<Api>({ url: server.url, token: agent.credential });
  const subscription = client.subscribe("messages:getForThread", { threadId }, (value) => {
    typed.push(value as unknown as Message[]);
  });
  onTestFinished(() => subscription.unsubscribe());

  const all: Shown[] = [
    { name: "ConvexClient", values: plain.values },
    { name: "ConvexReactClient", values: rendered },
    {
      name: "events",
      get values() {
        return reader.events.map(({ data }) => data as Message[]);
      },
    },
    { name: "typed client", values: typed },
  ];
  await until(() => all.every(({ values }) => values.length > 0), "the first values");
  return all;
}

async function allShow(all: Shown[], isIt: (value: Message[]) => boolean): Promise<void> {
  await until(
    () => all.every(({ values }) => isIt(values.at(-1) ?? [])),
    () => `all to show it: ${JSON.stringify(all.map(({ name, values }) => [name, indexesOf(values.at(-1) ?? [])]))}`,
  );
}

describeProcesses("live clients of two processes", () => {
  const pair = useTwoServers();
  const proxy = useProxy(pair);

  test("are shown each value once and in order, whichever process wrote it", async () => {
    const { one, other } = pair;
    const { alice, bob, threadId } = await one.negotiatingPair();
    const all = [...(await subscribeAll(one, alice, threadId)), ...(await subscribeAll(other, alice, threadId))];
    for (let index = 0; index < 20; index += 1) {
      await say(index % 2 ? other : one, bob, threadId, index);
      await allShow(all, (value) => value.length === index + 1);
    }
    const numbers = Array.from({ length: 20 }, (_, index) => index);
    const steps = [[], ...numbers.map((last) => numbers.slice(0, last + 1))];
    for (const { name, values } of all) expect(values.map(indexesOf), name).toEqual(steps);
  });

  test("never go back while both processes write at once, and end up with everything", async () => {
    const { one, other } = pair;
    const { alice, bob, threadId } = await one.negotiatingPair();
    const all = [...(await subscribeAll(one, alice, threadId)), ...(await subscribeAll(other, alice, threadId))];
    const count = 60;
    await Promise.all(
      [one, other].map(async (server, first) => {
        for (let index = first; index < count; index += 2) await say(server, first ? bob : alice, threadId, index);
      }),
    );
    await allShow(all, (value) => value.length === count);
    const truth = await alice.call(list, { threadId, limit: count });
    for (const { name, values } of all) {
      expect(values.at(-1), name).toEqual(truth);
      for (const [step, value] of values.entries()) {
        const now = new Set(indexesOf(value));
        expect(
          indexesOf(values[step - 1] ?? []).filter((index) => !now.has(index)),
          name,
        ).toEqual([]);
      }
    }
  });

  describe("sign in", () => {
    test.each([
      [
        "an agent's c2c_ key",
        "agents:getStatus",
        async (server: TestServer) => (await server.agent("Alice")).credential,
      ],
      [
        "an agent token",
        "agents:getStatus",
        async (server: TestServer) => (await server.withAgentToken(await server.agent("Alice"))).credential,
      ],
      ["a user's JWT", "users:me", async (server: TestServer) => (await server.user("Alice")).credential],
      ["a user's API key", "users:me", async (server: TestServer) => (await server.user("Alice")).apiKey],
    ])("with %s on either, whichever gave it", async (_what, path, credential) => {
      for (const giver of [pair.one, pair.other]) {
        const secret = await credential(giver);
        for (const server of [pair.one, pair.other]) {
          proxy.only(server);
          const live = liveClient(proxy);
          const seen = live.watch(path);
          expect((await seen.fails()).data.code).toBe("unauthenticated");
          await live.signIn(secret);
          expect(live.signedIn).toEqual([true]);
          expect(await seen.shows(() => true)).toMatchObject({ name: "Alice" });
          // And again, with the token at hand when it opens.
          const opened = live.opened;
          live.cut();
          await until(() => live.opened > opened, "the next socket");
          expect(await live.client.query(queryAt(path), {})).toMatchObject({ name: "Alice" });
        }
      }
      proxy.only();
    });
  });

  describe("their own writes", () => {
    test("are shown before they resolve, while the other process writes as well", async () => {
      const { one, other } = pair;
      const { alice, bob, threadId } = await one.negotiatingPair();
      const live = await signedIn(proxy, other, alice);
      const seen = live.watch(list, { threadId });
      await seen.shows((value) => value.length === 0);
      let isOver = false;
      const others = (async () => {
        for (let index = 100; !isOver && index < 160; index += 1) await say(one, bob, threadId, index);
      })();
      for (let index = 0; index < 20; index += 1) {
        const sent = await live.mutate("messages:send", { threadId, type: "info", payload: { index } });
        expect(seen.last.map(({ messageId }: Message) => messageId)).toContain(sent.messageId);
      }
      isOver = true;
      await others;
    });

    test("take the place of an optimistic update in one step", async () => {
      const { one, other } = pair;
      const { alice, threadId } = await one.negotiatingPair();
      proxy.only(other);
      const client = await reactClient(proxy as unknown as TestServer);
      client.setAuth(async () => alice.credential);
      const watch = client.watchQuery(queryAt(list), { threadId });
      const shown: string[][] = [];
      watch.onUpdate(() => {
        shown.push((watch.localQueryResult() as Message[]).map(({ messageId }) => messageId));
      });
      await until(() => shown.length > 0, "the first value");
      const { messageId } = (await client.mutation(
        mutationAt("messages:send"),
        { threadId, type: "info", payload: {} },
        { optimisticUpdate: (store) => store.setQuery(queryAt(list), { threadId }, [{ messageId: "soon" }]) },
      )) as Message;
      expect(shown).toEqual([[], ["soon"], [messageId]]);
      proxy.only();
    });

    test("by HTTP, on any process, are in the subscription a moment later", async () => {
      const { one, other } = pair;
      const { alice, threadId } = await one.negotiatingPair();
      const live = await signedIn(proxy, one, alice);
      const seen = live.watch(list, { threadId });
      await seen.shows((value) => value.length === 0);
      const http = new ConvexHttpClient(proxy.url, {
        skipConvexDeploymentUrlCheck: true,
        auth: alice.credential,
        // Each call by a connection of its own, which the proxy sends where it likes.
        fetch: (url, init) => fetch(url, { ...init, headers: { ...init?.headers, Connection: "close" } }),
      });
      for (const [index, server] of [other, one, other].entries()) {
        proxy.only(server);
        const { messageId } = await http.mutation(mutationAt("messages:send"), {
          threadId,
          type: "info",
          payload: { index },
        });
        await seen.shows((value) => value.at(-1)?.messageId === messageId);
      }
      expect(seen.values.map(({ length }) => length)).toEqual([0, 1, 2, 3]);
      proxy.only();
    });
  });

  describe("that come back to the other process", () => {
    test("have a mutation that was done, and whose reply was lost, done once and answered", async () => {
      const { one, other } = pair;
      const { alice, bob, threadId } = await one.negotiatingPair();
      const live = await signedIn(proxy, one, alice);
      const seen = live.watch(list, { threadId });
      await seen.shows((value) => value.length === 0);
      proxy.holdReplies();
      const sending = live.mutate("messages:send", { threadId, type: "info", payload: { index: 1 } });
      const [stored] = await eventually<Message[]>(
        () => bob.call(list, { threadId }),
        (messages) => messages.length === 1,
      );
      // The word of it does not get there before the client does.
      const held = holdWord(one);
      proxy.only(other);
      proxy.cut();
      expect(await sending).toMatchObject({ messageId: stored?.messageId });
      expect(seen.values.map(indexesOf)).toEqual([[], [1]]);
      held.release();
      expect(await bob.call(list, { threadId })).toHaveLength(1);
      expect(live.opened).toBe(2);
      proxy.only();
    });

    test("have a mutation that still runs on the first done once and answered", async () => {
      const { one, other } = pair;
      const { alice, bob, threadId } = await one.negotiatingPair();
      const live = await signedIn(proxy, one, alice);
      const seen = live.watch(list, { threadId });
      await seen.shows((value) => value.length === 0);
      const waiting = async () => {
        const [row] = await ask<{ count: string }>(
          one.databaseUrl,
          "select count(*) from pg_locks where not granted and locktype = 'relation'",
        );
        return Number(row?.count);
      };
      const lock = await holdTable(one.databaseUrl, "messages");
      const sending = live.mutate("messages:send", { threadId, type: "info", payload: { index: 1 } });
      await eventually(waiting, (count) => count === 1);
      proxy.only(other);
      proxy.cut();
      await eventually(waiting, (count) => count === 2);
      // Whoever is first, the other process says nothing of it.
      for (const server of [one, other]) holdWord(server);
      await lock.release();
      const { messageId } = await sending;
      expect(indexesOf(seen.last)).toEqual([1]);
      expect(await bob.call(list, { threadId })).toMatchObject([{ messageId }]);
      proxy.only();
    });

    test("are never shown what is older than what they had, though that process has not heard yet", async () => {
      const { one, other } = pair;
      const { alice, bob, threadId } = await one.negotiatingPair();
      const live = await signedIn(proxy, one, alice);
      const seen = live.watch(list, { threadId });
      // Somebody who asks the same there, so that an answer is ready.
      const there = (await signedIn(proxy, other, alice)).watch(list, { threadId });
      await there.shows((value) => value.length === 0);
      const held = holdWord(one);
      for (const index of [0, 1, 2]) await say(one, bob, threadId, index);
      await seen.shows((value) => value.length === 3);
      expect(there.values).toEqual([[]]);
      proxy.only(other);
      live.cut();
      await until(() => live.opened === 2, "the next socket");
      expect(await live.client.query(queryAt(list), { threadId })).toHaveLength(3);
      await say(other, bob, threadId, 3);
      await seen.shows((value) => value.length === 4);
      for (const [step, { length }] of seen.values.entries()) {
        expect(length).toBeGreaterThanOrEqual(seen.values[step - 1]?.length ?? 0);
      }
      // What the newcomer's asking found, the one who was there is shown as well.
      await there.shows((value) => value.length === 4);
      held.release();
      proxy.only();
    });

    test("find its instants after those that they have seen, though its clock was behind", async () => {
      const { one, other } = pair;
      const { alice, threadId } = await one.negotiatingPair();
      const ahead = BigInt(one.clock.now() + hour) * 1_000_000n;
      one.server.timestamps.raise(ahead);
      const live = await signedIn(proxy, one, alice);
      const seen = live.watch(list, { threadId });
      await live.mutate("messages:send", { threadId, type: "info", payload: { index: 0 } });
      proxy.only(other);
      live.cut();
      // It resolves at a Transition of its instant or later, which none of that process's own clock would be.
      await live.mutate("messages:send", { threadId, type: "info", payload: { index: 1 } });
      expect(indexesOf(seen.last)).toEqual([0, 1]);
      proxy.only();

      const raw = (await openSync(other)).connect({ maxObservedTimestamp: timestampOf(ahead + BigInt(hour)) });
      const { endVersion } = await raw.modify(add(0, "events:list")).answered();
      expect(timeOf(endVersion.ts) > ahead + BigInt(hour)).toBe(true);
    });
  });
});

/** Keeps everybody from writing to a table. */
async function holdTable(url: string, table: string): Promise<{ release(): Promise<void> }> {
  const client = new pg.Client(url);
  await client.connect();
  await client.query("begin");
  await client.query(`lock table "${table}" in share mode`);
  return { release: () => client.end() };
}

describeProcesses("live queries of two processes that lose their word of each other", () => {
  /** The bus is back within a second; a connection that only seems to be there is found out in 2 + 5 s (runtime/live/bus.ts). */
  const promisedMs = 8_000;

  test.each([
    // The newest is that of the other, and stays it.
    ["the other's is cut", 1, ["one"]],
    ["both are cut", 2, ["one", "other"]],
  ] as const)("are all right again within seconds: %s, and written to meanwhile", async (_what, cut, writers) => {
    const pair = await startTwo({ clock: new RunningClock() });
    onTestFinished(() => closeBoth(pair));
    const { one, other } = pair;
    const { alice, bob, threadId } = await one.negotiatingPair();
    const all = [...(await subscribeAll(one, alice, threadId)), ...(await subscribeAll(other, alice, threadId))];
    // The timer looks again as well, and would bring a thread to light; with a wallet it has nothing to do.
    const carol = await one.user("Carol");
    const there = liveClient(other);
    await there.signIn(carol.credential);
    const transactions = there.watch("billing:listTransactions");
    await transactions.shows(({ total }) => total === 0);
    let count = 0;
    for (let round = 0; round < 5; round += 1) {
      expect(await cutBuses(one.databaseUrl, cut)).toBe(cut);
      await carol.call("billing:topUp", { amount: "1.00" });
      for (const writer of writers) await say(pair[writer], bob, threadId, count++);
      const endedAt = performance.now();
      const truth = await alice.call(list, { threadId });
      expect(truth).toHaveLength(count);
      await allShow(all, (value) => value.length === count);
      await transactions.shows(({ total }) => total === round + 1);
      expect(performance.now() - endedAt).toBeLessThan(promisedMs);
      for (const { name, values } of all) expect(values.at(-1), name).toEqual(truth);
      await eventually(
        () => Promise.resolve(one.server.bus?.isConnected && other.server.bus?.isConnected),
        (isSo) => isSo === true,
      );
    }
    for (const { name, values } of all) {
      const lengths = values.map(({ length }) => length);
      expect(lengths, name).toEqual(lengths.toSorted((before, after) => before - after));
    }
  });

  test("are all right again after writes that never stopped while it was cut again and again", async () => {
    const pair = await startTwo({ clock: new RunningClock() });
    onTestFinished(() => closeBoth(pair));
    const { one, other } = pair;
    const { alice, bob, threadId } = await one.negotiatingPair();
    const all = [...(await subscribeAll(one, alice, threadId)), ...(await subscribeAll(other, alice, threadId))];
    const count = 80;
    let done = 0;
    const writing = Promise.all(
      [one, other].map(async (server, first) => {
        for (let index = first; index < count; index += 2) {
          await say(server, first ? bob : alice, threadId, index);
          done += 1;
        }
      }),
    );
    for (let cuts = 1; done < count; cuts += 1) {
      await until(() => done >= Math.min(count, cuts * 8), "writes between two cuts");
      await cutBuses(one.databaseUrl);
    }
    await writing;
    const endedAt = performance.now();
    const truth = await alice.call(list, { threadId, limit: count });
    expect(truth).toHaveLength(count);
    await allShow(all, (value) => value.length === count);
    expect(performance.now() - endedAt).toBeLessThan(promisedMs);
    for (const { name, values } of all) expect(values.at(-1), name).toEqual(truth);
  });
});
