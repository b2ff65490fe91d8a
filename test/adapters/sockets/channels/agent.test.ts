import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { checkEveryMs } from "../../../../adapters/sockets/socket.js";
import { closeAgentSocket, openAgentSocket } from "../../../../functions/system/agent-sockets.js";
import { hashSecret } from "../../../../runtime/ids.js";
import { databases, startServer, useServer } from "../../../support/harness.js";
import { asAgent, disconnect, draft } from "../../../support/market.js";
import { rentable, write } from "../../../support/rental.js";
import { cutSocketsAfterEach, eventually, openAgent, openAt, type TestSocket } from "../../../support/sockets.js";

cutSocketsAfterEach();

const isoTime = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

describe.each(databases)("/ws/agent on %s", (database) => {
  const server = useServer(database);

  const statusOf = async (agentId: string, of = server) =>
    (
      await of.read((db) =>
        db.selectFrom("agentSockets").select("onlineStatus").where("agentId", "=", agentId).executeTakeFirst(),
      )
    )?.onlineStatus ?? "gone";
  const becomes = (agentId: string, status: string) =>
    eventually(
      () => statusOf(agentId),
      (found) => found === status,
    );

  describe("connecting", () => {
    test("greets any agent with a token, and counts it as connected before that", async () => {
      const made = await draft(await server.user("Bob"));
      const socket = await openAt(server, "/ws/agent", { token: made.agentToken });
      expect(await socket.next()).toEqual({
        type: "agent.connected",
        payload: { agentId: made.id, name: "Reader", onlineStatus: "offline", timestamp: isoTime },
      });
      expect(await statusOf(made.id)).toBe("offline");
    });

    test("lets the agent activate right after the greeting, and has it online at once when it comes back", async () => {
      const bob = await server.user("Bob");
      const made = await draft(bob);
      await bob.call("agents:publish", { agentId: made.id });
      await (await server.admin()).call("admin:approveAgent", { agentId: made.id });
      const socket = await openAgent(server, made.agentToken);
      const activated = await asAgent(server, made).call("agents:activate", { agentId: made.id });
      expect(activated).toMatchObject({ onlineStatus: "online" });
      expect(await socket.next()).toEqual({
        type: "agent.status_updated",
        payload: { agentId: made.id, onlineStatus: "online", timestamp: isoTime },
      });

      await socket.close();
      await becomes(made.id, "gone");
      const again = await openAt(server, "/ws/agent", { token: made.agentToken });
      expect((await again.next()).payload.onlineStatus).toBe("online");
    });

    test.each([
      ["without a token", 4000, async () => undefined],
      ["with an unknown token", 4001, async () => "agt_clawrent_of_nobody"],
      ["with a token of another form", 4001, async () => "; drop table agents"],
      ["with a user's JWT", 4001, async () => (await server.user("Alice")).credential],
    ])("%s it is upgraded and then closed with %d", async (_what, code, tokenOf) => {
      const socket = await openAt(server, "/ws/agent", { token: await tokenOf() });
      expect((await socket.closed).code).toBe(code);
      expect(socket.frames).toEqual([]);
    });

    test("has the newest of an agent's sockets win, and an old one that closes late take nothing with it", async () => {
      const { agent, agentId } = await rentable(server);
      const first = await openAgent(server, agent.credential);
      const second = await openAgent(server, agent.credential);
      expect((await first.closed).code).toBe(4009);
      await second.settled();
      expect(await statusOf(agentId)).toBe("online");

      // The disconnect of the one that is no longer the agent's, as it would come late.
      await server.server.dispatcher.runSystem(closeAgentSocket, { agentId, socketId: "the first" });
      expect(await statusOf(agentId)).toBe("online");
    });

    test("leaves one of two that come at the same moment", async () => {
      const { agent, agentId } = await rentable(server);
      const sockets = await Promise.all(
        Array.from({ length: 5 }, () => openAt(server, "/ws/agent", { token: agent.credential })),
      );
      const open = () => sockets.filter(({ ws }) => ws.readyState === WebSocket.OPEN);
      await eventually(
        async () => open().length,
        (count) => count === 1,
      );
      await open()[0]?.settled();
      expect(await statusOf(agentId)).toBe("online");
    });

    test("answers an upgrade at any other address with 404", async () => {
      for (const path of ["/ws/agents", "/", "/api/health", "//", "/ws/agent/"]) {
        const ws = new WebSocket(`${server.url.replace("http", "ws")}${path}`);
        const status = await new Promise((resolve) => {
          ws.on("unexpected-response", (_request, response) => resolve(response.statusCode));
          ws.on("open", () => resolve("open"));
        });
        expect(status, path).toBe(404);
      }
    });

    test("takes a base address that ends in a slash", async () => {
      const made = await draft(await server.user("Bob"));
      const socket = await openAt(server, "//ws/agent", { token: made.agentToken });
      expect((await socket.next()).type).toBe("agent.connected");
    });
  });

  describe("frames", () => {
    let socket: TestSocket;
    const connected = async () => {
      const rented = await rentable(server);
      socket = await openAgent(server, rented.agent.credential);
      return rented;
    };

    test("answers heartbeats with and without a payload", async () => {
      await connected();
      socket.send({ type: "system.heartbeat", payload: {} });
      socket.send({ type: "system.heartbeat" });
      await socket.settled();
      expect(socket.frames).toHaveLength(1);
    });

    test.each([
      "no JSON",
      "[]",
      "null",
      "1",
      '"text"',
      "{}",
      '{"type":1}',
      '{"type":"agent.status_update","payload":[]}',
      '{"type":"agent.status_update","payload":"busy"}',
      '{"type":"agent.status_update"}',
      '{"type":"agent.status_update","payload":{"onlineStatus":"offline"}}',
      '{"type":"agent.status_update","payload":{"onlineStatus":1}}',
      '{"type":"dialogue.message","payload":{}}',
      '{"type":"__proto__","payload":{}}',
    ])("answers %s with system.error and stays open", async (text) => {
      const { agentId } = await connected();
      socket.send(text);
      expect(await socket.next()).toEqual({
        type: "system.error",
        payload: { code: "invalid_args", message: expect.any(String) },
      });
      await socket.settled();
      expect(await statusOf(agentId)).toBe("online");
    });

    test("answers a binary frame with system.error", async () => {
      await connected();
      socket.ws.send(Buffer.from([0, 255, 1]));
      expect((await socket.next()).type).toBe("system.error");
    });

    test("closes on a frame of more than 1 MiB", async () => {
      await connected();
      socket.send(JSON.stringify({ type: "x", payload: { text: "x".repeat(1024 * 1024) } }));
      expect((await socket.closed).code).toBe(1009);
    });

    test("sets busy and back, answers the same status again, and tells of changes from elsewhere", async () => {
      const { agentId, provider } = await connected();
      for (const onlineStatus of ["busy", "busy", "online", "online"]) {
        socket.send({ type: "agent.status_update", payload: { onlineStatus } });
        expect(await socket.next()).toEqual({
          type: "agent.status_updated",
          payload: { agentId, onlineStatus, timestamp: isoTime },
        });
        expect(await statusOf(agentId)).toBe(onlineStatus);
      }
      await provider.call("agents:setOnlineStatus", { agentId, onlineStatus: "busy" });
      expect((await socket.next()).payload).toMatchObject({ onlineStatus: "busy" });
    });

    test("refuses busy for an agent that is not active", async () => {
      const made = await draft(await server.user("Bob"));
      const unpublished = await openAgent(server, made.agentToken);
      unpublished.send({ type: "agent.status_update", payload: { onlineStatus: "busy" } });
      expect(await unpublished.next()).toMatchObject({
        type: "system.error",
        payload: { message: "Agent has no provider profile. Publish it first." },
      });
    });
  });

  describe("the end of a credential", () => {
    test("a replaced token closes with 4001 and opens nothing any more; the new one does", async () => {
      const { agent, agentId, provider } = await rentable(server);
      const socket = await openAgent(server, agent.credential);
      const { token } = await provider.call("agents:replaceToken", { agentId });
      expect((await socket.closed).code).toBe(4001);
      await becomes(agentId, "gone");
      const late = await openAt(server, "/ws/agent", { token: agent.credential });
      expect((await late.closed).code).toBe(4001);
      await openAgent(server, token);
    });

    test("a revoked token closes with 4001", async () => {
      const { agent, agentId, provider } = await rentable(server);
      const socket = await openAgent(server, agent.credential);
      await provider.call("agents:revokeToken", { agentId });
      expect((await socket.closed).code).toBe(4001);
    });

    test("a token that is replaced while sockets open leaves none of them", async () => {
      const { agent, agentId, provider } = await rentable(server);
      await disconnect(server, agentId);
      const sockets = Array.from({ length: 10 }, () => openAt(server, "/ws/agent", { token: agent.credential }));
      await provider.call("agents:replaceToken", { agentId });
      for (const socket of await Promise.all(sockets)) expect([4001, 4009]).toContain((await socket.closed).code);
      await becomes(agentId, "gone");
    });

    test("a credential that lapses between its look-up and the connect is refused in the connect's transaction", async () => {
      const { agent, agentId, provider } = await rentable(server);
      await disconnect(server, agentId);
      const credentialId = `agent_${hashSecret(agent.credential)}`;
      const opener = { credentialId, agentId, userId: provider.userId };
      const entering = { opener, agentId, socketId: "late", processId: "p" };
      await provider.call("agents:replaceToken", { agentId });
      expect(await server.server.dispatcher.runSystem(openAgentSocket, entering)).toEqual({ lapse: "revoked" });
      expect(await statusOf(agentId)).toBe("gone");
    });

    test("a suspended owner's agent closes with 4001", async () => {
      const { agent, agentId, provider } = await rentable(server);
      const socket = await openAgent(server, agent.credential);
      await (await server.admin()).call("admin:suspendUser", { userId: provider.userId });
      expect(await socket.closed).toEqual({ code: 4001, reason: "Account is suspended" });
      await becomes(agentId, "gone");
      const late = await openAt(server, "/ws/agent", { token: agent.credential });
      expect(await late.closed).toEqual({ code: 4001, reason: "Account is suspended" });
    });
  });

  describe("liveness", () => {
    test("closes a socket with 4008 after a minute of silence, and has the agent offline", async () => {
      const { agent, agentId } = await rentable(server);
      const silent = await openAt(server, "/ws/agent", { token: agent.credential }, { autoPong: false });
      await silent.next();
      for (let waited = 0; waited < 60_000; waited += checkEveryMs) {
        expect(silent.ws.readyState).toBe(WebSocket.OPEN);
        await server.advance(checkEveryMs);
      }
      await silent.until(() => silent.pings === 3, "three pings");
      await server.advance(checkEveryMs);
      expect((await silent.closed).code).toBe(4008);
      await becomes(agentId, "gone");
    });

    test("keeps one that answers pings, or only sends, for as long as it does", async () => {
      const [one, other] = [await rentable(server), await rentable(server)];
      const answers = await openAgent(server, one.agent.credential);
      const sends = await openAt(server, "/ws/agent", { token: other.agent.credential }, { autoPong: false });
      for (let waited = 0; waited < 180_000; waited += checkEveryMs) {
        const { pings } = answers;
        await server.advance(checkEveryMs);
        if (waited % 20_000 === 0) {
          await sends.settled();
          await answers.until(() => answers.pings > pings, "a ping");
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await Promise.all([answers.settled(), sends.settled()]);
    });

    test("takes one long jump of the clock for no silence", async () => {
      const { agent } = await rentable(server);
      const socket = await openAt(server, "/ws/agent", { token: agent.credential }, { autoPong: false });
      await server.advance(24 * 60 * 60_000);
      await socket.settled();
    });
  });

  describe("the end of the process", () => {
    test("closes every socket with 1012 and leaves no row; the token opens the next process", async () => {
      const first = await startServer(database);
      const { agent, agentId } = await rentable(first);
      const socket = await openAgent(first, agent.credential);
      const silent = await openAt(first, "/ws/agent/consumer", { token: agent.credential }, { autoPong: false });
      const started = Date.now();
      await first.server.close();
      expect(Date.now() - started).toBeLessThan(5_000);
      expect((await socket.closed).code).toBe(1012);
      expect((await silent.closed).code).toBe(1012);

      const second = await startServer(database, { databaseUrl: first.databaseUrl });
      try {
        expect(await statusOf(agentId, second)).toBe("gone");
        const again = await openAt(second, "/ws/agent", { token: agent.credential });
        expect((await again.next()).payload.onlineStatus).toBe("online");
      } finally {
        await second.close();
        await first.remove();
      }
    });

    test("after a kill, the next start forgets the sockets of the dead process", async () => {
      const first = await startServer(database);
      const { agentId } = await rentable(first);
      await disconnect(first, agentId);
      await first.server.close();
      // What a killed process leaves behind.
      const second = await startServer(database, { databaseUrl: first.databaseUrl });
      await write(second, async (db) => {
        await db
          .insertInto("serverProcesses")
          .values({ processId: "dead", leaseUntil: second.clock.now() + 20_000 })
          .execute();
        await db
          .insertInto("agentSockets")
          .values({ agentId, socketId: "s", processId: "dead", onlineStatus: "online", connectedAt: 0 })
          .execute();
      });
      if (database === "postgres") {
        // Another process sees it die.
        await second.advance(10_000);
        expect(await statusOf(agentId, second)).toBe("online");
        await eventually(
          async () => {
            await second.advance(10_000);
            return statusOf(agentId, second);
          },
          (status) => status === "gone",
        );
      } else {
        await second.server.close();
        const third = await startServer(database, { databaseUrl: first.databaseUrl });
        expect(await statusOf(agentId, third)).toBe("gone");
        await third.server.close();
      }
      await second.server.close();
      await first.remove();
    });

    const onSharedDatabases = database === "postgres" ? test : () => {};
    // One process has SQLite for itself, and nothing to renew.
    onSharedDatabases("a process that others took for dead has its sockets come again", async () => {
      const { agent, agentId } = await rentable(server);
      const socket = await openAgent(server, agent.credential);
      await write(server, async (db) => {
        await db.deleteFrom("agentSockets").where("agentId", "=", agentId).execute();
        await db.deleteFrom("serverProcesses").execute();
      });
      await server.advance(10_000);
      expect((await socket.closed).code).toBe(1012);
      await openAgent(server, agent.credential);
      expect(await statusOf(agentId)).toBe("online");
    });
  });
});
