/** Two servers as processes of their own, and the end of one of them by kill -9. */
import { randomUUID } from "node:crypto";
import { expect, onTestFinished, test } from "vitest";
import { createClient } from "../../client/index.js";
import type { Api } from "../../functions/index.js";
import { ManualClock } from "../support/clock.js";
import { Caller as Client, startServer } from "../support/harness.js";
import { liveClient, until } from "../support/live-clients.js";
import { ServerProcess } from "../support/process.js";
import { ask, createShared, cutBuses, describeProcesses } from "../support/processes.js";
import { RoundRobin } from "../support/proxy.js";
import { openSession as rentAgent } from "../support/rental.js";
import { startRentalProcesses } from "../support/rental-processes.js";
import { cutSocketsAfterEach, eventually, openAgent, openSession, type TestSocket } from "../support/sockets.js";

cutSocketsAfterEach();

const secret = "a secret that only the tests know, and all of them";
const leaseMs = 30_000;
const say = (content: string) => ({ type: "dialogue.message", payload: { content } });
/** Each call by a connection of its own, which a proxy sends where it likes. */
const fetchAlone: typeof fetch = (url, init) =>
  fetch(url, { ...init, headers: { ...init?.headers, Connection: "close" } });
const contents = (socket: TestSocket) => socket.of("dialogue.message").map(({ payload }) => payload.content);

describeProcesses("kill -9 of one of two processes", () => {
  test("takes nothing with it that was acknowledged; its agents are offline within the lease", async () => {
    const { database, rented, one: dying, other: staying, asProvider, asConsumer } = await startRentalProcesses();
    const at = (process: ServerProcess) => ({ url: process.url }) as Parameters<typeof openSession>[0];
    const { sessionId, agentId, agent } = rented;
    const control = await openAgent(at(dying), agent.credential);
    const provider = await openSession(at(dying), asProvider);
    const consumer = await openSession(at(staying), asConsumer);
    await provider.next("system.peer_connected");

    /** By REST, on either; the replies that came are what was promised. */
    const acknowledged: string[] = [];
    const write = async (process: ServerProcess, name: string, count: number) => {
      for (let number = 0; number < count; number += 1) {
        const content = `${name} ${number}`;
        const response = await fetch(`${process.url}/api/sessions/${sessionId}/messages`, {
          method: "POST",
          headers: { "Content-Type": "application/json", Authorization: `Bearer ${rented.consumer.credential}` },
          body: JSON.stringify(say(content)),
        }).catch(() => undefined);
        if (!response) return;
        if (response.ok) acknowledged.push(content);
        await response.text().catch(() => {});
      }
    };
    const writing = [write(dying, "dying", 10_000), write(staying, "staying", 200)];
    await provider.until(() => contents(provider).length > 50, "50 messages");
    await cutBuses(database.url);
    await provider.until(() => contents(provider).length > 150, "150 messages");
    const killedAt = Date.now();
    expect(await dying.kill("SIGKILL")).toEqual({ code: null, signal: "SIGKILL" });
    await Promise.all(writing);
    expect((await provider.closed).code).toBe(1006);
    expect((await control.closed).code).toBe(1006);

    // The session's socket comes back at once, to the other process; the control channel does not.
    const again = await openSession(at(staying), asProvider);
    await write(staying, "after", 20);
    const all = () => new Set([...contents(provider), ...contents(again)]);
    await again.until(() => acknowledged.every((content) => all().has(content)), "all that was acknowledged");
    const stored = await ask<{ payload: string }>(
      database.url,
      `select payload from "sessionMessages" where "sessionId" = $1 order by "createdAt"`,
      [sessionId],
    );
    const kept = stored.map(({ payload }) => (JSON.parse(payload) as { content: string }).content);
    expect(acknowledged.filter((content) => !kept.includes(content))).toEqual([]);
    expect(new Set(kept).size).toBe(kept.length);
    expect(contents(again)).toEqual(kept.slice(-contents(again).length));

    const statusOf = async () => {
      const seen = await fetch(`${staying.url}/api/agents/${agentId}`, {
        headers: { Authorization: `Bearer ${rented.provider.credential}` },
      });
      const { onlineStatus } = (await seen.json()) as { onlineStatus: string };
      return onlineStatus;
    };
    expect(await statusOf()).toBe("online");
    while ((await statusOf()) !== "offline") {
      expect(Date.now() - killedAt).toBeLessThan(leaseMs + 2_000);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    const rows = await eventually(
      () => ask<{ processId: string }>(database.url, `select "processId" from "serverProcesses"`),
      (found) => found.length === 1,
    );
    expect(rows).toHaveLength(1);
    // The provider was back all the time, so nobody is told that it went.
    await consumer.settled();
    expect(consumer.of("system.peer_offline")).toEqual([]);
    const back = await openAgent(at(staying), agent.credential);
    expect(back.frames[0].payload.onlineStatus).toBe("online");

    expect(await staying.stop()).toEqual({ code: 0, signal: null });
    await database.remove();
  }, 120_000);

  test("sends its live clients to the other, with each mutation done once and nothing lost", async () => {
    const database = await createShared();
    const clock = new ManualClock(Date.now());
    const before = await startServer("postgres", { databaseUrl: database.url, clock });
    const { alice, bob, threadId } = await before.negotiatingPair();
    await before.server.close();

    const options = { databaseUrl: database.url, environment: { JWT_SECRET: secret } };
    const [dying, staying] = await Promise.all([ServerProcess.start(options), ServerProcess.start(options)]);
    const proxy = await RoundRobin.start([dying.port, staying.port]);
    const list = "messages:getForThread";
    const limit = 500;
    interface Message {
      messageId: string;
      payload: { by: string; index: number };
    }
    /** What each subscriber was shown. */
    const shown: Record<string, Message[][]> = {};
    for (const process of [dying, staying]) {
      proxy.only(process);
      const name = process === dying ? "there" : "elsewhere";
      const live = liveClient(proxy);
      await live.signIn(alice.credential);
      shown[`ConvexClient ${name}`] = live.watch(list, { threadId, limit }).values;
      const values: Message[][] = [];
      shown[`typed client ${name}`] = values;
      const client = createClient<Api>({ url: proxy.url, token: alice.credential, fetch: fetchAlone });
      const { unsubscribe } = client.subscribe("messages:getForThread", { threadId, limit }, (value) => {
        values.push(value as unknown as Message[]);
      });
      onTestFinished(unsubscribe);
      await until(() => Object.values(shown).every(({ length }) => length > 0), "the first values");
    }
    proxy.only(dying);
    const writer = liveClient(proxy);
    await writer.signIn(bob.credential);
    proxy.only();

    // One writes over its socket, the other calls by HTTP, and calls again what was not answered.
    const count = 150;
    const acknowledged: string[] = [];
    const send = (by: string, index: number) => ({ threadId, type: "info" as const, payload: { by, index } });
    const overSocket = Array.from({ length: count }, async (_, index) => {
      const { messageId } = await writer.mutate("messages:send", send("socket", index));
      acknowledged.push(messageId);
    });
    const caller = createClient<Api>({ url: proxy.url, token: alice.credential, fetch: fetchAlone });
    const byHttp = (async () => {
      for (let index = 0; index < count; index += 1) {
        const idempotencyKey = randomUUID();
        const { messageId } = await eventually(
          () => caller.mutation("messages:send", send("http", index), { idempotencyKey }).catch(() => undefined),
          (sent) => sent !== undefined,
        ).then((sent) => sent as { messageId: string });
        acknowledged.push(messageId);
      }
    })();
    await until(() => acknowledged.length > 40, "40 replies");
    expect(acknowledged.length).toBeLessThan(2 * count);
    expect(await dying.kill("SIGKILL")).toEqual({ code: null, signal: "SIGKILL" });
    await Promise.all([...overSocket, byHttp]);
    expect(writer.opened).toBeGreaterThan(1);

    const stored = await ask<{ messageId: string; payload: string }>(
      database.url,
      `select "messageId", payload from messages where "threadId" = $1 order by "createdAt", "messageId"`,
      [threadId],
    );
    const kept = stored.map(({ payload }) => JSON.parse(payload) as Message["payload"]);
    const numbers = Array.from({ length: count }, (_, index) => index);
    for (const by of ["socket", "http"]) {
      expect(
        kept
          .filter((payload) => payload.by === by)
          .map(({ index }) => index)
          .toSorted((a, b) => a - b),
        by,
      ).toEqual(numbers);
    }
    expect(new Set(acknowledged)).toEqual(new Set(stored.map(({ messageId }) => messageId)));

    await until(
      () => Object.values(shown).every((values) => values.at(-1)?.length === 2 * count),
      () =>
        `everything: ${JSON.stringify(Object.entries(shown).map(([name, values]) => [name, values.at(-1)?.length]))}`,
    );
    for (const [name, values] of Object.entries(shown)) {
      expect(new Set(values.at(-1)?.map(({ messageId }) => messageId)), name).toEqual(new Set(acknowledged));
      for (const [step, { length }] of values.entries()) {
        expect(length, name).toBeGreaterThanOrEqual(values[step - 1]?.length ?? 0);
      }
    }
    await proxy.stop();
    expect(await staying.stop()).toEqual({ code: 0, signal: null });
    await database.remove();
  }, 120_000);

  test("tells those who stay that the others went, once their process's lease is over", async () => {
    // Everything by the clock of the test: what a killed process leaves behind is its rows.
    const one = await startServer("postgres");
    const other = await startServer("postgres", { databaseUrl: one.databaseUrl, clock: one.clock });
    const rented = await rentAgent(one);
    const { sessionToken } = await rented.provider.call("sessions:get", { sessionId: rented.sessionId });
    const { sessionId } = rented;
    const consumer = await openSession(one, { sessionId, token: rented.session.sessionToken });
    const provider = await openSession(other, { sessionId, token: sessionToken, role: "provider" });
    await consumer.next("system.peer_connected");
    // It goes without a word: its rows stay, and nothing renews its lease.
    const rows = await ask(one.databaseUrl, `select * from "sessionSockets" where side = 'provider'`);
    await other.server.close();
    await provider.closed;
    const [socket] = rows as { sessionId: string; participantId: string; socketId: string; connectedAt: string }[];
    await ask(one.databaseUrl, `insert into "serverProcesses" values ('dead', $1, null)`, [one.clock.now() + 20_000]);
    await ask(one.databaseUrl, `delete from "sessionAbsences"`);
    await ask(
      one.databaseUrl,
      `insert into "sessionSockets" ("socketId", "sessionId", "participantId", side, "slotIndex", channel, "processId", "connectedAt")
        values ($1, $2, $3, 'provider', 0, 'session', 'dead', $4)`,
      [socket?.socketId, sessionId, socket?.participantId, socket?.connectedAt],
    );
    const moved = async (ms: number, until: string) => {
      for (let passed = 0; passed < ms; passed += 1_000) {
        await one.advance(1_000);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await consumer.next(until);
    };
    await moved(27_000, "system.peer_disconnected");
    await moved(60_000, "system.peer_offline");
    expect(await new Client(one, rented.provider.credential).call("sessions:get", { sessionId })).toMatchObject({
      status: "active",
    });
    await one.close();
  });
});
