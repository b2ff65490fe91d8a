/** Two servers on one database: what one commits, the other one's live queries and credentials know of at once. */
import { randomUUID } from "node:crypto";
import pg from "pg";
import { expect, test } from "vitest";
import type { Outcome } from "../../runtime/call/call.js";
import type { Caller } from "../../runtime/context.js";
import { RunningClock } from "../support/clock.js";
import { type Agent, Caller as Client, type TestServer } from "../support/harness.js";
import { draft } from "../support/market.js";
import { heard } from "../support/notices.js";
import {
  closeBoth,
  cutBuses,
  describeProcesses,
  holdWord,
  type Pair,
  startTwo,
  useTwoServers,
} from "../support/processes.js";
import { eventually } from "../support/sockets.js";

const watched = async (server: TestServer, path: string, args: object, agent: Agent) => {
  const { dispatcher, watches } = server.server;
  const seen = watches.begin();
  const caller: Caller = { kind: "agent", agentId: agent.agentId, credentialId: "none", owner: null, ownerId: null };
  const call = { path, kind: "query" as const, args, authorization: undefined, idempotencyKey: undefined };
  const outcome = await dispatcher.dispatch({ ...call, caller, address: "127.0.0.1", requestId: "test" }, seen);
  let wokenAt = 0;
  const woken = new Promise<void>((resolve) => {
    watches.watch(seen, () => {
      wokenAt = performance.now();
      resolve();
    });
  });
  seen.end();
  return { outcome, woken, at: () => wokenAt };
};

/** How many items a list has that a query of ours answered. */
function countOf(outcome: Outcome): number {
  const { value } = outcome as { value: { text: string } | unknown[] };
  return Array.isArray(value) ? value.length : (JSON.parse(value.text) as unknown[]).length;
}

/** Resolves once the other has heard everything that happened on the one: notifications arrive in order. */
async function caughtUp({ one, other }: Pair, notices = heard("serveRulesChanged")): Promise<void> {
  const marker = randomUUID();
  expect(other.server.bus).toBeDefined();
  one.server.bus?.notice([{ kind: "serveRulesChanged", agentId: marker }]);
  await eventually(
    async () => notices.some((notice) => "agentId" in notice && notice.agentId === marker),
    (isSo) => isSo,
  );
}

describeProcesses("live queries of two processes", () => {
  const pair = useTwoServers();

  test("a write on one wakes the query on the other whose slice it touched, and no other", async () => {
    const { one, other } = pair;
    const { alice, bob, threadId } = await one.negotiatingPair();
    const { alice: stranger, threadId: elsewhere } = await one.negotiatingPair();
    await caughtUp(pair);
    const mine = await watched(other, "messages:getForThread", { threadId }, alice);
    expect(mine.outcome).toMatchObject({ status: "success" });
    const theirs = await watched(other, "messages:getForThread", { threadId: elsewhere }, stranger);
    const before = other.server.watches.woken;

    const startedAt = performance.now();
    await bob.send(threadId, "info");
    await mine.woken;
    expect(mine.at() - startedAt).toBeLessThan(1_000);
    expect(theirs.at()).toBe(0);
    expect(other.server.watches.woken - before).toBe(1);
    const again = await watched(other, "messages:getForThread", { threadId }, alice);
    expect(countOf(again.outcome)).toBe(1);
  });

  test("a query that read before a commit elsewhere is never left stale", async () => {
    const { one, other } = pair;
    const { alice, bob, threadId } = await one.negotiatingPair();
    // Reads and commits race; whoever read too early must be woken.
    for (let round = 0; round < 30; round += 1) {
      const writing = bob.send(threadId, "info");
      const { outcome, woken } = await watched(other, "messages:getForThread", { threadId }, alice);
      await writing;
      if (countOf(outcome) <= round) await woken;
    }
  });

  test("a write set too long for one notification still wakes everybody that it concerns", async () => {
    const { one, other } = pair;
    const { alice, threadId } = await one.negotiatingPair();
    const pairs: Awaited<ReturnType<typeof one.negotiatingPair>>[] = [];
    // A few at a time: pairs that are made at once compete for the same pages of the indexes.
    while (pairs.length < 40) pairs.push(...(await Promise.all([1, 2, 3, 4].map(() => one.negotiatingPair()))));
    const mine = await watched(other, "messages:getThreadsForAgent", {}, alice);
    await Promise.all([
      alice.send(threadId, "info"),
      ...pairs.map(({ alice: them, threadId: id }) => them.send(id, "info")),
    ]);
    await mine.woken;
  });

  test("a revoked token and a suspended user are refused on the other as soon as the answer is there", async () => {
    const { one, other } = pair;
    const bob = await one.user("Bob");
    const { id: agentId, agentToken } = await draft(bob);
    const there = new Client(other, agentToken);
    expect(await there.call("agents:getStatus")).toMatchObject({ name: "Reader" });
    await bob.call("agents:revokeToken", { agentId });
    await eventually(
      () => there.call("agents:getStatus").catch((error: unknown) => error),
      (found) => (found as { code?: string }).code === "unauthenticated",
    );

    const account = new Client(other, bob.credential);
    expect(await account.call("users:me")).toMatchObject({ id: bob.userId });
    await (await one.admin()).call("admin:suspendUser", { userId: bob.userId });
    await eventually(
      () => account.call("users:me").catch((error: unknown) => error),
      (found) => (found as { code?: string }).code === "forbidden",
    );
  });
});

describeProcesses("a process that dies between its commit and its word of it", () => {
  test("is missed by the others within seconds, and everything is read again", async () => {
    const pair = await startTwo();
    const notices = heard("serveRulesChanged");
    const { one, other } = pair;
    const { alice, bob, threadId } = await one.negotiatingPair();
    await caughtUp(pair, notices);
    const mine = await watched(other, "messages:getForThread", { threadId }, alice);
    // A third one, as far as the others see: connected, and known by its first word.
    const client = new pg.Client({ connectionString: one.databaseUrl, application_name: "tidepool bus third" });
    client.on("error", () => {});
    await client.connect();
    await client.query(`select pg_notify('tidepool', '{"from":"third","number":1,"items":[]}')`);
    await caughtUp(pair, notices);
    holdWord(one);
    await bob.send(threadId, "info");
    await client.end();
    // It is asked every two seconds who is there.
    while (mine.at() === 0) {
      await one.advance(2_000);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const again = await watched(other, "messages:getForThread", { threadId }, alice);
    expect(countOf(again.outcome)).toBe(1);
    await closeBoth(pair);
  });
});

describeProcesses("a bus that is cut", () => {
  test("comes back by itself; everything watched is read again and nothing stays stale", async () => {
    const pair = await startTwo({ clock: new RunningClock() });
    const { one, other } = pair;
    const { alice, bob, threadId } = await one.negotiatingPair();
    for (let round = 0; round < 5; round += 1) {
      const mine = await watched(other, "messages:getForThread", { threadId }, alice);
      expect(await cutBuses(one.databaseUrl)).toBe(2);
      await bob.send(threadId, "info");
      await mine.woken;
      const again = await watched(other, "messages:getForThread", { threadId }, alice);
      expect(countOf(again.outcome)).toBe(round + 1);
      // Both are connected again before the next cut.
      await eventually(
        () => Promise.resolve(one.server.bus?.isConnected && other.server.bus?.isConnected),
        (isSo) => isSo === true,
      );
    }
    await closeBoth(pair);
  });
});
