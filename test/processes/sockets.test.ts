/** The marketplace's sockets where the two sides of a session are on different processes. */
import { expect, test } from "vitest";
import { RunningClock } from "../support/clock.js";
import { Caller as Client, type TestServer } from "../support/harness.js";
import { until } from "../support/live-clients.js";
import { asAgent, disconnect, draft } from "../support/market.js";
import {
  closeBoth,
  cutBuses,
  describeProcesses,
  holdWord,
  type Pair,
  startTwo,
  useTwoServers,
} from "../support/processes.js";
import { openSession as rentAgent, rentable, task } from "../support/rental.js";
import {
  cutSocketsAfterEach,
  eventually,
  type Frame,
  openAgent,
  openAt,
  openGroup,
  openSession,
  type TestSocket,
} from "../support/sockets.js";

cutSocketsAfterEach();

const say = (content: string, more: object = {}) => ({ type: "dialogue.message", payload: { content }, ...more });
const contents = (socket: TestSocket) => socket.of("dialogue.message").map(({ payload }) => payload.content);

/** The promise that every client's cursor rests on. */
function expectRising(frames: Frame[]): void {
  for (const [index, frame] of frames.entries()) {
    if (index > 0) expect(frame.timestamp).toBeGreaterThan(frames[index - 1].timestamp);
  }
}

/** A session whose consumer is on one server and whose provider is on the other, both in. */
async function apart({ one, other }: Pair) {
  const rented = await rentAgent(one);
  const { sessionId, session, provider: owner } = rented;
  const { sessionToken } = await owner.call("sessions:get", { sessionId });
  const asConsumer = { sessionId, token: session.sessionToken as string, role: "consumer" };
  const asProvider = { sessionId, token: sessionToken as string, role: "provider" };
  const consumer = await openSession(one, asConsumer);
  const provider = await openSession(other, asProvider);
  await consumer.next("system.peer_connected");
  await provider.next("system.peer_connected");
  return { ...rented, alice: rented.consumer, owner, consumer, provider, asConsumer, asProvider };
}

const socketsOf = (server: TestServer, sessionId: string) =>
  server.read((db) => db.selectFrom("sessionSockets").selectAll().where("sessionId", "=", sessionId).execute());

describeProcesses("a session across two processes", () => {
  const pair = useTwoServers();

  test("messages go both ways, by socket and by REST, and are delivered", async () => {
    const { other } = pair;
    const { consumer, provider, sessionId, alice, owner } = await apart(pair);
    consumer.send(say("from the socket"));
    expect((await provider.next("dialogue.message")).payload.content).toBe("from the socket");
    const byRest = new Client(other, alice.credential);
    expect(await byRest.call("sessions:sendMessage", { sessionId, ...say("by REST") })).toMatchObject({
      delivered: true,
    });
    expect((await provider.next("dialogue.message")).payload.content).toBe("by REST");
    const back = new Client(other, owner.credential);
    await back.call("sessions:sendMessage", { sessionId, ...say("back") });
    expect((await consumer.next("dialogue.message")).payload.content).toBe("back");
    provider.send({ type: "dialogue.typing", payload: {} });
    await consumer.next("dialogue.typing");
    expectRising(consumer.frames);
    expectRising(provider.frames);
  });

  test("a message of 256 KiB arrives whole and in its place", async () => {
    const { consumer, provider } = await apart(pair);
    const long = "长".repeat(85_000);
    consumer.send(say("before"));
    consumer.send(say(long));
    consumer.send(say("after"));
    await provider.until(() => contents(provider).length === 3, "three messages");
    expect(contents(provider)).toEqual(["before", long, "after"]);
    expectRising(provider.frames);
  });

  test("40 messages from each of four places at the same moment rise strictly and are all there", async () => {
    const { one, other } = pair;
    const { consumer, provider, sessionId, alice, asConsumer } = await apart(pair);
    const tab = await openSession(other, asConsumer);
    const byRest = [one, other].flatMap((server, at) =>
      Array.from({ length: 40 }, (_, count) =>
        new Client(server, alice.credential).call("sessions:sendMessage", { sessionId, ...say(`rest ${at} ${count}`) }),
      ),
    );
    for (let count = 0; count < 40; count += 1) {
      consumer.send(say(`socket ${count}`));
      provider.send(say(`back ${count}`));
      if (count % 4 === 0) consumer.send({ type: "dialogue.typing", payload: {} });
    }
    await Promise.all(byRest);
    await provider.until(() => contents(provider).length === 120, "all");
    await provider.until(() => provider.of("dialogue.typing").length === 10, "typing");
    await consumer.until(() => contents(consumer).length === 40, "all");
    await tab.until(() => contents(tab).length === 40, "all");
    for (const socket of [provider, consumer, tab]) expectRising(socket.frames);
    const stored = await one.read((db) =>
      db.selectFrom("sessionMessages").selectAll().where("sessionId", "=", sessionId).orderBy("createdAt").execute(),
    );
    const expected = stored.filter(({ senderSide }) => senderSide === "consumer").map(({ messageId }) => messageId);
    expect(provider.of("dialogue.message").map(({ id }) => id)).toEqual(expected);
  });

  test("refusals go to the one socket, and do not hold up the others", async () => {
    const { consumer, provider } = await apart(pair);
    for (let count = 0; count < 10; count += 1) {
      consumer.send({ type: "no such type", payload: {} });
      provider.send(say(`${count}`));
    }
    await consumer.until(() => consumer.of("system.error").length === 10 && contents(consumer).length === 10, "all");
    await provider.settled();
    expect(provider.of("system.error")).toEqual([]);
    expectRising(consumer.frames);
  });

  test("the newest socket of a provider wins, on whichever process it is", async () => {
    const { one } = pair;
    const { provider, consumer, asProvider, sessionId } = await apart(pair);
    const newer = await openSession(one, asProvider);
    expect((await provider.closed).code).toBe(4009);
    consumer.send(say("to the newer one"));
    await newer.next("dialogue.message");
    expect(await socketsOf(one, sessionId)).toHaveLength(2);

    const rented = await rentable(one);
    await disconnect(one, rented.agentId);
    const first = await openAgent(one, rented.agent.credential);
    const second = await openAgent(pair.other, rented.agent.credential);
    expect((await first.closed).code).toBe(4009);
    await second.settled();
    expect(
      await one.read((db) => db.selectFrom("agentSockets").selectAll().where("agentId", "=", rented.agentId).execute()),
    ).toMatchObject([{ onlineStatus: "online" }]);
  });

  test("coming and going is told on the other process", async () => {
    const { one, other } = pair;
    const { provider, consumer, sessionId, asProvider } = await apart(pair);
    provider.ws.terminate();
    await eventually(
      () => socketsOf(one, sessionId),
      (rows) => rows.length === 1,
    );
    await other.advance(5_000);
    await consumer.next("system.peer_disconnected");
    await other.advance(55_000);
    await consumer.next("system.peer_offline");
    await openSession(other, asProvider);
    await consumer.next("system.peer_connected");
    expectRising(consumer.frames);
    expect(consumer.of("system.peer_disconnected")).toHaveLength(1);
    expect(consumer.of("system.peer_offline")).toHaveLength(1);
  });

  test("announcements, changes of status and the end reach the sockets wherever they are", async () => {
    const { one, other } = pair;
    const rented = await rentable(one);
    await disconnect(one, rented.agentId);
    const control = await openAgent(other, rented.agent.credential);
    const alice = await one.user("Alice", { topUp: "100.00" });
    const made = await draft(alice);
    const helper = asAgent(one, made);
    const consumerChannel = await openAt(other, "/ws/agent/consumer", { token: helper.credential });
    await consumerChannel.next("agent.connected");
    const { id: sessionId } = await alice.call("sessions:create", {
      agentId: rented.agentId,
      taskDescription: task,
      consumerAgentId: made.id,
    });
    expect((await control.next("session.approved")).payload.sessionId).toBe(sessionId);
    await control.next("session.new");
    expect((await consumerChannel.next("session.new")).payload.sessionId).toBe(sessionId);
    await new Client(one, rented.agent.credential).call("agents:setOnlineStatus", {
      agentId: rented.agentId,
      onlineStatus: "busy",
    });
    expect((await control.next("agent.status_updated")).payload.onlineStatus).toBe("busy");
    await new Client(one, helper.credential).call("agents:setServeRules", { rules: [] }).catch(() => {});

    const group = await openGroup(other, sessionId, rented.agent.credential);
    await alice.call("sessions:pauseParticipant", { sessionId, participantId: rented.agentId });
    expect((await group.closed).code).toBe(4020);
    await alice.call("sessions:resumeParticipant", { sessionId, participantId: rented.agentId });
    await control.next("session.participant_resumed");
    const again = await openGroup(other, sessionId, rented.agent.credential);
    await alice.call("sessions:end", { sessionId });
    expect((await again.next("system.session_ended")).payload.reason).toBe("completed");
    expect((await again.closed).code).toBe(4004);
    await consumerChannel.next("session.ended");
  });

  test("a revoked token and a suspended user close their sockets everywhere", async () => {
    const { one, other } = pair;
    const rented = await rentable(one);
    await disconnect(one, rented.agentId);
    const control = await openAgent(other, rented.agent.credential);
    await rented.provider.call("agents:revokeToken", { agentId: rented.agentId });
    expect((await control.closed).code).toBe(4001);

    const { consumer, alice, asConsumer } = await apart(pair);
    const tab = await openSession(other, asConsumer);
    await (await one.admin()).call("admin:suspendUser", { userId: alice.userId });
    // Their sessions end with the suspension, and that may be what the socket hears first.
    for (const socket of [consumer, tab]) expect([4001, 4004]).toContain((await socket.closed).code);
    const late = await openAt(other, "/ws/session", asConsumer);
    expect(await late.closed).toEqual({ code: 4001, reason: "Account is suspended" });
  });
});

describeProcesses("sockets while the bus is cut", () => {
  test("get every message once, in order, and what became of the others", async () => {
    const pair = await startTwo({ clock: new RunningClock() });
    const { one } = pair;
    const { consumer, provider, asConsumer } = await apart(pair);
    let sent = 0;
    for (let round = 0; round < 5; round += 1) {
      const cutting = cutBuses(one.databaseUrl);
      for (let count = 0; count < 20; count += 1) {
        consumer.send(say(`${sent}`));
        provider.send(say(`back ${sent}`));
        sent += 1;
      }
      await cutting;
      if (round === 2) {
        const tab = await openSession(one, { ...asConsumer });
        await tab.close();
      }
      await provider.until(() => contents(provider).length === sent, `${sent} messages`);
      await consumer.until(() => contents(consumer).length === sent, `${sent} messages`);
    }
    expect(contents(provider)).toEqual(Array.from({ length: sent }, (_, count) => `${count}`));
    expect(contents(consumer)).toEqual(Array.from({ length: sent }, (_, count) => `back ${count}`));
    expectRising(provider.frames);
    expectRising(consumer.frames);
    await closeBoth(pair);
  });

  test("learn what they missed: an end, a pause, a revocation, a newer socket, a new session", async () => {
    const pair = await startTwo();
    const { one, other } = pair;
    /** Nothing of what the one has to tell meanwhile is heard. */
    const unheard = async (work: () => Promise<unknown>) => {
      holdWord(one);
      await work();
      // The one is as well as before, so nothing but its own loss tells the other.
      expect(await cutBuses(one.databaseUrl, 1)).toBe(1);
      await until(() => other.server.bus?.isConnected === false, "the cut");
      // The longest that it waits before it tries to connect again.
      await one.advance(1_000);
    };
    const ended = await apart(pair);
    const rented = await rentable(one);
    await disconnect(one, rented.agentId);
    const control = await openAgent(other, rented.agent.credential);
    const revoked = await rentable(one);
    await disconnect(one, revoked.agentId);
    const revokedControl = await openAgent(other, revoked.agent.credential);
    const replaced = await apart(pair);
    const left = await apart(pair);
    const alice = await one.user("Alice", { topUp: "100.00" });
    let sessionId = "";
    await unheard(async () => {
      ended.consumer.send(say("last words"));
      await ended.consumer.settled();
      await ended.alice.call("sessions:end", { sessionId: ended.sessionId });
      await revoked.provider.call("agents:revokeToken", { agentId: revoked.agentId });
      await openSession(one, replaced.asProvider);
      left.consumer.ws.terminate();
      await eventually(
        () => socketsOf(one, left.sessionId),
        (rows) => rows.length === 1,
      );
      await one.advance(5_000);
      ({ id: sessionId } = await alice.call("sessions:create", { agentId: rented.agentId, taskDescription: task }));
    });
    await ended.provider.next("dialogue.message");
    expect((await ended.provider.next("system.session_ended")).payload.reason).toBe("completed");
    expect((await ended.provider.closed).code).toBe(4004);
    expect((await control.next("session.new")).payload.sessionId).toBe(sessionId);
    expect((await revokedControl.closed).code).toBe(4001);
    expect((await replaced.provider.closed).code).toBe(4009);
    await left.provider.next("system.peer_disconnected");
    await closeBoth(pair);
  });
});
