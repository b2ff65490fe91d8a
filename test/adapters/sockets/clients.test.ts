/** The published clients, unmodified, against a server with the machine's own clock. */
import { once } from "node:events";
import { type ActiveSession, ConsumerAgentClient, ProviderClient } from "@clawrent/provider";
import { afterEach, describe, expect, test } from "vitest";
import { RunningClock } from "../../support/clock.js";
import { Caller, databases, startServer, type TestServer, useServer } from "../../support/harness.js";
import { asAgent, disconnect, draft } from "../../support/market.js";
import { type Rentable, openSession as rentAgent, rentable, task } from "../../support/rental.js";
import { cutSocketsAfterEach, eventually, openAgent, openSession, type TestSocket } from "../../support/sockets.js";

cutSocketsAfterEach();

// biome-ignore lint/suspicious/noExplicitAny: the client's own type for frames is a record.
type Message = any;

const running: { stop(): void }[] = [];
afterEach(() => {
  for (const client of running.splice(0)) client.stop();
});

/** A host of the SDK: keeps all that it hears. */
class Host {
  readonly messages: Message[] = [];
  readonly fresh: ActiveSession[] = [];
  readonly ended: string[] = [];
  readonly warnings: string[] = [];
  readonly client: ProviderClient;

  constructor(
    server: TestServer,
    token: string,
    options: Partial<ConstructorParameters<typeof ProviderClient>[0]> = {},
    readonly decide?: (session: ActiveSession) => boolean,
  ) {
    this.client = new ProviderClient({
      apiUrl: server.url,
      wsUrl: server.url.replace("http", "ws"),
      agentToken: token,
      ...options,
    });
    this.client.on("agent:warning", (warning) => this.warnings.push(String(warning)));
    this.client.on("session:error", () => {});
    running.push(this.client);
  }

  async start(): Promise<this> {
    await this.client.start({
      onMessage: (_session, message) => {
        this.messages.push(message);
      },
      onSessionNew: (session) => {
        this.fresh.push(session);
      },
      onSessionEnded: ({ sessionId }) => {
        this.ended.push(sessionId);
      },
      onPendingApproval: this.decide,
    });
    return this;
  }

  contents(): string[] {
    return this.messages.filter(({ type }) => type === "dialogue.message").map(({ payload }) => payload.content);
  }

  /** Once its socket for the session is in. */
  async attached(server: TestServer, sessionId: string): Promise<void> {
    await eventually(
      () =>
        server.read((db) =>
          db
            .selectFrom("sessionSockets")
            .select("socketId")
            .where("sessionId", "=", sessionId)
            .where("side", "=", "provider")
            .execute(),
        ),
      (rows) => rows.length === 1,
    );
  }
}

const say = (content: string) => ({ type: "dialogue.message", payload: { content } });
const heard = (host: Host, count: number) =>
  eventually(
    async () => host.contents(),
    (contents) => contents.length >= count,
  );

describe.each(databases)("the published clients on %s", (database) => {
  const server = useServer(database, { clock: new RunningClock() });

  /** An agent that is offline, as before its daemon starts. */
  const stopped = async (fields: Parameters<typeof rentable>[1] = {}): Promise<Rentable> => {
    const rented = await rentable(server, fields);
    await disconnect(server, rented.agentId);
    return rented;
  };
  const consumerSocket = (session: { id: string; sessionToken: string }): Promise<TestSocket> =>
    openSession(server, { sessionId: session.id, token: session.sessionToken });

  describe.each([
    ["/ws/session", false],
    ["/ws/group", true],
  ])("ProviderClient over %s", (_channel, useGroupChannel) => {
    test("starts, activates, approves, hears, answers, types, and learns of the end", async () => {
      const rented = await stopped({ approvalMode: "manual" });
      const host = await new Host(server, rented.agent.credential, { useGroupChannel }).start();
      expect(host.client.currentAgentId).toBe(rented.agentId);
      const seen = await rented.provider.call("agents:get", { agentId: rented.agentId });
      expect(seen.onlineStatus).toBe("online");

      const { sessionId, session, consumer } = await rentAgent(server, {}, { of: rented });
      expect(session.status).toBe("pending_approval");
      await host.attached(server, sessionId);
      expect(host.fresh).toMatchObject([{ sessionId, taskDescription: task, consumerUserId: consumer.userId }]);

      const alice = await consumerSocket(session);
      alice.send(say("What does it say?"));
      await heard(host, 1);
      expect(host.client.sendTyping(sessionId)).toBe(true);
      expect(await alice.next("dialogue.typing")).toMatchObject({ sender: { role: "provider" } });
      expect(await host.client.send(sessionId, say("That you pay"))).toMatchObject({ delivered: true });
      expect(await alice.next("dialogue.message")).toMatchObject({
        payload: { content: "That you pay" },
        sender: { role: "provider", agentId: rented.agentId },
      });

      const { settlement } = await consumer.call("sessions:end", { sessionId });
      expect(settlement).toMatchObject({ amount: "5.0000" });
      await eventually(
        async () => host.ended,
        (ended) => ended.includes(sessionId),
      );
      expect(host.messages.at(-1)).toMatchObject({ type: "system.session_ended", payload: { reason: "completed" } });
      expect(host.warnings).toEqual([]);
    });

    test("attaches to a session that starts by itself", async () => {
      const rented = await stopped();
      const host = await new Host(server, rented.agent.credential, { useGroupChannel }).start();
      const { sessionId, consumer } = await rentAgent(server, {}, { of: rented });
      await host.attached(server, sessionId);
      await consumer.call("sessions:sendMessage", { sessionId, ...say("hello") });
      await heard(host, 1);
      expect(host.fresh).toMatchObject([{ sessionId, taskDescription: task }]);
    });

    test("with autoApprove off, its host's yes approves by connecting, and its no leaves the session pending", async () => {
      const rented = await stopped({ approvalMode: "manual" });
      const host = await new Host(
        server,
        rented.agent.credential,
        { useGroupChannel, autoApprove: false },
        ({ taskDescription }) => taskDescription === task,
      ).start();
      const yes = await rentAgent(server, {}, { of: rented });
      const no = await rentAgent(server, {}, { of: rented, taskDescription: "Something that it does not do" });
      await host.attached(server, yes.sessionId);
      expect(await yes.consumer.call("sessions:get", { sessionId: yes.sessionId })).toMatchObject({ status: "active" });
      await eventually(
        async () => host.fresh.length,
        (count) => count === 2,
      );
      expect(await no.consumer.call("sessions:get", { sessionId: no.sessionId })).toMatchObject({
        status: "pending_approval",
      });
    });

    test("hears forty messages of one moment, and its cursor drops none", async () => {
      const rented = await stopped();
      const host = await new Host(server, rented.agent.credential, { useGroupChannel }).start();
      const { sessionId, session, consumer } = await rentAgent(server, {}, { of: rented });
      await host.attached(server, sessionId);
      const alice = await consumerSocket(session);
      const byRest = Array.from({ length: 20 }, (_, count) =>
        consumer.call("sessions:sendMessage", { sessionId, ...say(`rest ${count}`) }),
      );
      for (let count = 0; count < 20; count += 1) {
        alice.send(say(`socket ${count}`));
        host.client.sendTyping(sessionId);
        alice.send({ type: "dialogue.typing", payload: {} });
      }
      await Promise.all(byRest);
      await heard(host, 40);
      expect(new Set(host.contents()).size).toBe(40);
      const { data } = await consumer.call("sessions:listMessages", { sessionId });
      expect(host.contents()).toEqual(data.map(({ payload }: Message) => payload.content));
    });

    test("gets what was said while its network was away, once", async () => {
      const rented = await stopped();
      const host = await new Host(server, rented.agent.credential, { useGroupChannel }).start();
      const { sessionId, consumer } = await rentAgent(server, {}, { of: rented });
      await host.attached(server, sessionId);
      await consumer.call("sessions:sendMessage", { sessionId, ...say("before") });
      await heard(host, 1);
      for (let round = 0; round < 2; round += 1) {
        const back = once(host.client, "session:connected");
        host.client.forceDisconnect(sessionId);
        for (let count = 0; count < 5; count += 1) {
          await consumer.call("sessions:sendMessage", { sessionId, ...say(`away ${round}.${count}`) });
        }
        await back;
        await heard(host, 1 + 5 * (round + 1));
      }
      await consumer.call("sessions:sendMessage", { sessionId, ...say("after") });
      await heard(host, 12);
      const { data } = await consumer.call("sessions:listMessages", { sessionId });
      expect(host.contents()).toEqual(data.map(({ payload }: Message) => payload.content));
    });

    test("a new process of it takes up the open sessions, without what the old one has confirmed", async () => {
      const rented = await stopped();
      const old = await new Host(server, rented.agent.credential, { useGroupChannel }).start();
      const { sessionId, consumer } = await rentAgent(server, {}, { of: rented });
      await old.attached(server, sessionId);
      await consumer.call("sessions:sendMessage", { sessionId, ...say("to the old one") });
      await heard(old, 1);
      await eventually(
        async () =>
          (await consumer.call("sessions:listMessages", { sessionId })).data.every(
            ({ delivered }: Message) => delivered,
          ),
        Boolean,
      );
      old.client.stop();
      await eventually(
        () =>
          server.read((db) =>
            db.selectFrom("agentSockets").selectAll().where("agentId", "=", rented.agentId).execute(),
          ),
        (rows) => rows.length === 0,
      );
      await consumer.call("sessions:sendMessage", { sessionId, ...say("to nobody") });
      const fresh = await new Host(server, rented.agent.credential, { useGroupChannel }).start();
      await heard(fresh, 1);
      await consumer.call("sessions:sendMessage", { sessionId, ...say("to the new one") });
      await heard(fresh, 2);
      expect(fresh.contents()).toEqual(["to nobody", "to the new one"]);
    });

    test("goes on after the server restarts, and gets what was stored meanwhile", async () => {
      const first = await startServer(database, { clock: new RunningClock() });
      const rented = await rentable(first);
      await disconnect(first, rented.agentId);
      const host = await new Host(first, rented.agent.credential, {
        useGroupChannel,
        agentReconnectInitialMs: 100,
      }).start();
      const { sessionId, consumer } = await rentAgent(first, {}, { of: rented });
      await host.attached(first, sessionId);
      await consumer.call("sessions:sendMessage", { sessionId, ...say("before") });
      await heard(host, 1);
      const port = Number(new URL(first.url).port);
      await first.server.close();
      const second = await startServer(database, {
        databaseUrl: first.databaseUrl,
        clock: new RunningClock(),
        config: { port },
      });
      try {
        const again = Object.assign(Object.create(Object.getPrototypeOf(consumer)), consumer, { on: second });
        await again.call("sessions:sendMessage", { sessionId, ...say("in between") });
        await heard(host, 2);
        await eventually(
          () => second.read((db) => db.selectFrom("agentSockets").select("onlineStatus").execute()),
          ([row]) => row?.onlineStatus === "online",
        );
        await again.call("sessions:sendMessage", { sessionId, ...say("after") });
        await heard(host, 3);
        expect(host.contents()).toEqual(["before", "in between", "after"]);
        expect(host.ended).toEqual([]);
      } finally {
        host.client.stop();
        await second.close();
        await first.remove();
      }
    });

    test("stops for good when its token is revoked", async () => {
      const rented = await stopped();
      const host = await new Host(server, rented.agent.credential, { useGroupChannel }).start();
      const dead = once(host.client, "agent:dead");
      await rented.provider.call("agents:revokeToken", { agentId: rented.agentId });
      await dead;
      expect(host.client.running).toBe(false);
    });
  });

  test.each([
    { by: "its owner", isOwner: true },
    { by: "itself", isOwner: false },
  ])(
    "a provider that $by set busy is busy after reconnects and restarts of it and of the server",
    async ({ isOwner }) => {
      const first = await startServer(database, { clock: new RunningClock() });
      const { agent, agentId, provider: owner } = await rentable(first);
      await disconnect(first, agentId);
      /** Once it is back: it ends that with its call of activate. */
      const activated = (client: Host["client"]) => once(client, "agent:activated");
      const hostOf = (server: TestServer) => new Host(server, agent.credential, { agentReconnectInitialMs: 100 });
      const host = await hostOf(first).start();
      const statusOn = async (server: TestServer) =>
        (await new Caller(server, owner.credential).call("agents:get", { agentId })).onlineStatus;
      const setter = isOwner ? owner : agent;
      await setter.call("agents:setOnlineStatus", { agentId, onlineStatus: "busy" });

      let back = activated(host.client);
      // Another socket takes its place, and it takes it back.
      await openAgent(first, agent.credential);
      await back;
      expect(await statusOn(first)).toBe("busy");

      const port = Number(new URL(first.url).port);
      back = activated(host.client);
      await first.server.close();
      const second = await startServer(database, {
        databaseUrl: first.databaseUrl,
        clock: new RunningClock(),
        config: { port },
      });
      await back;
      expect(await statusOn(second)).toBe("busy");

      host.client.stop();
      await eventually(
        () => statusOn(second),
        (status) => status === "offline",
      );
      const next = await hostOf(second).start();
      expect(await statusOn(second)).toBe("busy");
      await new Caller(second, setter.credential).call("agents:setOnlineStatus", { agentId, onlineStatus: "online" });
      expect(await statusOn(second)).toBe("online");
      next.client.stop();
      await second.close();
      await first.remove();
    },
  );

  test("a provider that nobody approved cannot start, and says why", async () => {
    const bob = await server.user("Bob");
    const made = await draft(bob);
    const unpublished = new Host(server, made.agentToken);
    await expect(unpublished.start()).rejects.toThrow("Agent has no provider profile");
    await bob.call("agents:publish", { agentId: made.id });
    const pending = new Host(server, made.agentToken);
    await expect(pending.start()).rejects.toThrow("pending_review");
  });

  test("with the group channel, a paused provider waits and comes back when it is resumed", async () => {
    const rented = await stopped();
    const host = await new Host(server, rented.agent.credential, { useGroupChannel: true }).start();
    const { sessionId, consumer } = await rentAgent(server, {}, { of: rented });
    await host.attached(server, sessionId);
    const paused = once(host.client, "session:paused");
    await consumer.call("sessions:pauseParticipant", { sessionId, participantId: rented.agentId });
    await paused;
    await consumer.call("sessions:sendMessage", { sessionId, ...say("while paused") });
    await consumer.call("sessions:resumeParticipant", { sessionId, participantId: rented.agentId });
    await heard(host, 1);
    expect(host.contents()).toEqual(["while paused"]);
  });

  test("an older SDK, which sends by REST, is heard by the consumer's socket", async () => {
    const rented = await stopped();
    const host = await new Host(server, rented.agent.credential).start();
    const { sessionId, session } = await rentAgent(server, {}, { of: rented });
    await host.attached(server, sessionId);
    const alice = await consumerSocket(session);
    const response = await fetch(`${server.url}/api/sessions/${sessionId}/messages`, {
      method: "POST",
      headers: { Authorization: `Bearer ${rented.agent.credential}`, "Content-Type": "application/json" },
      body: JSON.stringify(say("by REST")),
    });
    expect(response.status).toBe(201);
    expect(await response.json()).toMatchObject({ delivered: true, gatewayResult: "passed" });
    expect(await alice.next("dialogue.message")).toMatchObject({
      payload: { content: "by REST" },
      sender: { role: "provider", agentId: rented.agentId },
    });
    expect(host.contents()).toEqual([]);
  });

  test("ConsumerAgentClient hears of its session, joins, talks, and learns of the end", async () => {
    const rented = await stopped();
    const host = await new Host(server, rented.agent.credential).start();
    const alice = await server.user("Alice", { topUp: "100.00" });
    const made = await draft(alice);
    const client = new ConsumerAgentClient({
      apiUrl: server.url,
      wsUrl: server.url.replace("http", "ws"),
      agentToken: made.agentToken,
    });
    running.push(client);
    const messages: Message[] = [];
    const dead: string[] = [];
    const events: string[] = [];
    client.on("control:session.new", ({ sessionId }) => client.addSession(sessionId));
    client.on("control:session.ended", () => events.push("ended"));
    client.on("control:rules_updated", () => events.push("rules"));
    client.on("control:error", () => {});
    const connected = once(client, "control:connected");
    await client.start({
      sessionIds: [],
      onMessage: (_session, message) => {
        messages.push(message);
      },
      onSessionDead: ({ sessionId }) => {
        dead.push(sessionId);
      },
    });
    await connected;
    await asAgent(server, made).call("agents:setServeRules", { rules: [] });
    await eventually(
      async () => events,
      (seen) => seen.includes("rules"),
    );

    const participant = once(client, "session:participant");
    const { id: sessionId } = await alice.call("sessions:create", {
      agentId: rented.agentId,
      taskDescription: task,
      consumerAgentId: made.id,
    });
    expect((await participant)[1]).toMatchObject({ participantId: made.id, side: "consumer" });
    expect(await client.send(sessionId, say("hello from the helper"))).toMatchObject({ delivered: true });
    await heard(host, 1);
    expect(host.messages.at(-1)).toMatchObject({ sender: { role: "consumer", agentId: made.id } });
    await host.attached(server, sessionId);
    await host.client.send(sessionId, say("hello back"));
    await eventually(
      async () => messages.filter(({ type }) => type === "dialogue.message"),
      (got) => got.length === 1,
    );

    const back = once(client, "session:participant");
    client.forceDisconnect(sessionId);
    await host.client.send(sessionId, say("while you were away"));
    await back;
    await eventually(
      async () => messages.filter(({ type }) => type === "dialogue.message").map(({ payload }) => payload.content),
      (got) => got.join() === "hello back,while you were away",
    );

    await alice.call("sessions:end", { sessionId });
    await eventually(
      async () => [dead, events],
      () => dead.includes(sessionId) && events.includes("ended"),
    );
  });
});
