/** Clients that take no refusal for final: who comes again soon waits longer for the same close code (clawrent.md section 4.7). */
import { pino } from "pino";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Holds } from "../../../adapters/sockets/holds.js";
import type { Socket } from "../../../adapters/sockets/socket.js";
import { holdTimes, sizes } from "../../../runtime/limits.js";
import { ManualClock } from "../../support/clock.js";
import {
  type DatabaseName,
  databases,
  startServer,
  type TestOptions,
  type TestServer,
  useServer,
} from "../../support/harness.js";
import { openSession as rentAgent, rentable } from "../../support/rental.js";
import {
  cutSocketsAfterEach,
  eventually,
  openAgent,
  openAt,
  openSession,
  type TestSocket,
} from "../../support/sockets.js";

cutSocketsAfterEach();

const running: TestServer[] = [];
afterEach(async () => {
  for (const server of running.splice(0)) await server.close();
});

/** A server that keeps rates, and knows of each socket whether it waits. */
async function start(database: DatabaseName, config: TestOptions["config"] = {}) {
  let held = 0;
  const count = (line: string) => {
    if (line.includes('"socket held"')) held += 1;
  };
  const log = pino({ level: "debug" }, { write: count });
  const server = await startServer(database, { log, config: { rateLimits: true, ...config } });
  running.push(server);
  const refuse = async (path: string, query: object, options = {}): Promise<TestSocket> =>
    openAt(server, path, query as Record<string, unknown>, options);
  return {
    server,
    refuse,
    /** The code of a socket that does not wait. */
    atOnce: async (path: string, query: object, options = {}) => {
      const before = held;
      const { code } = await (await refuse(path, query, options)).closed;
      expect(held).toBe(before);
      return code;
    },
    /** A socket that waits. */
    held: async (path: string, query: object, options = {}) => {
      const before = held;
      const socket = await refuse(path, query, options);
      await eventually(
        async () => held,
        (now) => now > before,
      );
      expect(socket.ws.readyState).toBe(WebSocket.OPEN);
      return socket;
    },
    heldSoFar: () => held,
  };
}

const endedSession = async (server: TestServer) => {
  const { sessionId, session, consumer } = await rentAgent(server);
  await consumer.call("sessions:end", { sessionId });
  return { sessionId, token: session.sessionToken as string, role: "consumer" };
};

describe.each(databases)("a client that comes again and again to what has ended, on %s", (database) => {
  test("waits longer each time, up to half a minute, and after a pause not at all", async () => {
    const { server, atOnce, held } = await start(database);
    const ended = await endedSession(server);
    expect(await atOnce("/ws/session", ended)).toBe(4003);
    for (const seconds of [1, 2, 4, 8, 16, 30, 30]) {
      await server.advance(1_000);
      const socket = await held("/ws/session", ended);
      await server.advance(seconds * 1_000 - 1);
      // Whatever was to be sent is here before the answer to a ping.
      socket.ws.ping();
      await new Promise((resolve) => socket.ws.once("pong", resolve));
      expect(socket.ws.readyState).toBe(WebSocket.OPEN);
      await server.advance(1);
      expect(await socket.closed).toEqual({ code: 4003, reason: "Session is not active" });
    }
    await server.advance(holdTimes.soonMs);
    expect(await atOnce("/ws/session", ended)).toBe(4003);
    await held("/ws/session", ended);
  });

  test("waits for itself alone: another token, session, channel or client without a token is answered at once", async () => {
    const { server, atOnce, held } = await start(database, { trustProxy: true });
    const ended = await endedSession(server);
    const other = await endedSession(server);
    const from = (address: string) => ({ headers: { "X-Forwarded-For": address } });
    await atOnce("/ws/session", ended);
    await held("/ws/session", ended);
    expect(await atOnce("/ws/session", other)).toBe(4003);
    expect(await atOnce("/ws/session", { ...ended, token: "another" })).toBe(4002);
    expect(await atOnce("/ws/session", { ...ended, sessionId: "another" })).toBe(4002);
    expect(await atOnce("/ws/group", ended)).toBe(4012);
    expect(await atOnce("/ws/agent", {}, from("192.0.2.1"))).toBe(4000);
    await held("/ws/agent", {}, from("192.0.2.1"));
    expect(await atOnce("/ws/agent", {}, from("192.0.2.2"))).toBe(4000);
    // From wherever it comes.
    await held("/ws/session", ended, from("192.0.2.3"));
  });

  test("on every channel", async () => {
    const { server, atOnce, held } = await start(database);
    const { sessionId } = await endedSession(server);
    for (const [path, code] of [
      ["/ws/agent", 4001],
      ["/ws/agent/consumer", 4001],
      ["/ws/group", 4012],
      ["/ws/staff", 4012],
    ] as const) {
      const query = { token: "agt_clawrent_revoked", sessionId };
      expect(await atOnce(path, query)).toBe(code);
      const socket = await held(path, query);
      await server.advance(holdTimes.firstMs);
      expect((await socket.closed).code).toBe(code);
    }
  });

  test("is held back by no refusal after which it may come again", async () => {
    const { server, atOnce } = await start(database);
    const { sessionId, session } = await rentAgent(server);
    const asConsumer = { sessionId, token: session.sessionToken as string, role: "consumer" };
    for (let count = 0; count < sizes.socketsPerSlot; count += 1) await openSession(server, asConsumer);
    for (let count = 0; count < 3; count += 1) expect(await atOnce("/ws/session", asConsumer)).toBe(4006);
  });

  test("is let in as soon as it is welcome: its session was approved", async () => {
    const { server, atOnce, held } = await start(database);
    const { sessionId, session, provider, consumer } = await rentAgent(server, { approvalMode: "manual" });
    const asConsumer = { sessionId, token: session.sessionToken as string, role: "consumer" };
    const stranger = await endedSession(server);
    for (const query of [asConsumer, stranger]) await atOnce("/ws/session", query);
    const waiting = await held("/ws/session", asConsumer);
    const ended = await held("/ws/session", stranger);
    await provider.call("sessions:approve", { sessionId });
    expect(await waiting.closed).toEqual({ code: 1012, reason: "Come again" });
    await openSession(server, asConsumer);
    expect(ended.ws.readyState).toBe(WebSocket.OPEN);
    // Having been in, it begins anew.
    await consumer.call("sessions:end", { sessionId });
    expect(await atOnce("/ws/session", asConsumer)).toBe(4003);
  });

  test("is let in as soon as it is welcome: its participant was resumed, its account reinstated", async () => {
    const { server, atOnce, held } = await start(database);
    const { sessionId, agent, agentId, consumer, provider } = await rentAgent(server);
    const admin = await server.admin();
    const query = { sessionId, token: agent.credential };
    await consumer.call("sessions:pauseParticipant", { sessionId, participantId: agentId });
    expect(await atOnce("/ws/group", query)).toBe(4013);
    const paused = await held("/ws/group", query);
    await consumer.call("sessions:resumeParticipant", { sessionId, participantId: agentId });
    expect((await paused.closed).code).toBe(1012);
    await (await openAt(server, "/ws/group", query)).next("system.connected");

    await admin.call("admin:suspendUser", { userId: provider.userId });
    expect(await atOnce("/ws/agent", query)).toBe(4001);
    const suspended = await held("/ws/agent", query);
    await admin.call("admin:reinstateUser", { userId: provider.userId });
    expect((await suspended.closed).code).toBe(1012);
    await openAgent(server, agent.credential);
  });

  test("hears nothing while it waits", async () => {
    const { server, atOnce, held } = await start(database);
    const { agent, provider } = await rentable(server);
    const query = { token: agent.credential };
    await (await server.admin()).call("admin:suspendUser", { userId: provider.userId });
    for (const path of ["/ws/agent", "/ws/agent/consumer"]) {
      await atOnce(path, query);
      const socket = await held(path, query);
      socket.send({ type: "system.heartbeat" });
      socket.ws.ping();
      await new Promise((resolve) => socket.ws.once("pong", resolve));
      await server.advance(holdTimes.firstMs);
      expect((await socket.closed).code).toBe(4001);
      expect(socket.frames).toEqual([]);
      await expect(socket.settled()).rejects.toThrow();
    }
  });

  test("ends with 1012 when the server stops", async () => {
    const { server, atOnce, held } = await start(database);
    await atOnce("/ws/staff", { token: "wrong" });
    const waiting = await held("/ws/staff", { token: "wrong" });
    running.length = 0;
    await Promise.all([server.close(), expect(waiting.closed).resolves.toMatchObject({ code: 1012 })]);
  });
});

describe("the places of those who wait", () => {
  const staff = "/ws/staff";
  const wrong = { token: "wrong" };

  test("are so many for an address, then the code comes at once; a client that leaves frees its place at once", async () => {
    const { atOnce, held } = await start("sqlite");
    await atOnce(staff, wrong);
    const waiting: TestSocket[] = [];
    for (let count = 0; count < sizes.heldSocketsPerAddress; count += 1) waiting.push(await held(staff, wrong));
    for (let count = 0; count < 3; count += 1) expect(await atOnce(staff, wrong)).toBe(4012);
    // With a goodbye, and without one.
    await waiting[0]?.close();
    await held(staff, wrong);
    waiting[1]?.ws.terminate();
    await eventually(
      async () => {
        const socket = await openAt(running[0] as TestServer, staff, wrong);
        socket.ws.ping();
        return Promise.race([
          socket.closed.then(() => false),
          new Promise<boolean>((resolve) => socket.ws.once("pong", () => resolve(true))),
        ]);
      },
      (isHeld) => isHeld,
    );
    expect(await atOnce(staff, wrong)).toBe(4012);
  });

  test("are so many in all, and none of those of others", async () => {
    const { server, atOnce, refuse, heldSoFar } = await start("sqlite", { trustProxy: true });
    const from = (at: number) => ({ headers: { "X-Forwarded-For": `192.0.2.${at}` } });
    const addresses = sizes.heldSockets / sizes.heldSocketsPerAddress;
    await atOnce(staff, wrong, from(0));
    for (let at = 1; at <= addresses; at += 1) {
      await Promise.all(Array.from({ length: sizes.heldSocketsPerAddress }, () => refuse(staff, wrong, from(at))));
    }
    await eventually(
      async () => heldSoFar(),
      (count) => count === sizes.heldSockets,
    );
    expect(await atOnce(staff, wrong, from(addresses + 1))).toBe(4012);
    const { agent } = await rentable(server);
    await openAgent(server, agent.credential);
  }, 180_000);

  test("are not read from: what one sends stays with it, and it gets its code all the same", async () => {
    const { server, atOnce, held } = await start("sqlite");
    await atOnce(staff, wrong);
    const socket = await held(staff, wrong);
    const sent = 64 * 1024 * 1024;
    const frame = Buffer.alloc(1024 * 1024 - 16, "x");
    for (let bytes = 0; bytes < sent; bytes += frame.length) socket.ws.send(frame);
    // Long enough for all of it, where somebody reads.
    for (let count = 0; count < 20; count += 1) await server.nobody.rest("GET", "/api/health");
    expect(socket.ws.bufferedAmount).toBeGreaterThan(sent / 2);
    await server.advance(holdTimes.firstMs);
    await socket.closed;
  });

  test("are nobody's where rates are off", async () => {
    const { atOnce } = await start("sqlite", { rateLimits: false });
    for (let count = 0; count < 4; count += 1) expect(await atOnce(staff, wrong)).toBe(4012);
  });
});

test("so many refusals are remembered, the latest of them", async () => {
  const holds = new Holds(new ManualClock(), true);
  const held = new Set<string>();
  const refuse = async (token: string) => {
    const socket = { id: token, address: "192.0.2.1", gone: false, close: () => {}, hold: () => held.add(token) };
    const asked = { path: "/ws/agent", token, sessionId: "" };
    return holds.opening(socket as unknown as Socket, asked, async () => ({ code: 4001, reason: "Invalid" }));
  };
  for (let count = 0; count <= sizes.rememberedRefusals; count += 1) await refuse(`token ${count}`);
  expect(await refuse("token 1")).toMatchObject({ held: true });
  expect(await refuse(`token ${sizes.rememberedRefusals}`)).toMatchObject({ held: true });
  expect(await refuse("token 0")).toMatchObject({ held: false });
});

test("what makes a socket welcome while it is still being refused is not missed", async () => {
  const holds = new Holds(new ManualClock(), true);
  const socket = { id: "one", address: "192.0.2.1", gone: false } as unknown as Socket;
  const asked = { path: "/ws/session", token: "token", sessionId: "session" };
  const refusal = await holds.opening(socket, asked, async () => {
    holds.end("another session");
    holds.end("session");
    return { code: 4003, reason: "Session is not active" };
  });
  expect(refusal).toEqual({ closing: { code: 1012, reason: "Come again" }, held: false });
});

describe("/ws/staff", () => {
  const server = useServer("sqlite");

  test("is upgraded and closed with its code", async () => {
    expect((await (await openAt(server, "/ws/staff", {})).closed).code).toBe(4000);
    expect((await (await openAt(server, "/ws/staff", { token: "stf_mine" })).closed).code).toBe(4012);
    expect((await (await openAt(server, "/ws/staff", { token: "dlg_mine" })).closed).code).toBe(4012);
    expect((await server.nobody.rest("GET", "/ws/staff")).status).toBe(426);
  });
});
