/** An agent and both processes: connecting to them at the same moment, and a new token of which one has not heard. */
import { expect, test } from "vitest";
import { RunningClock } from "../support/clock.js";
import { Caller as Client, type TestServer } from "../support/harness.js";
import { disconnect } from "../support/market.js";
import { closeBoth, describeProcesses, holdWord, startTwo, useTwoServers } from "../support/processes.js";
import { rentable } from "../support/rental.js";
import { cutSocketsAfterEach, eventually, openAgent, openAt, type TestSocket } from "../support/sockets.js";

cutSocketsAfterEach();

describeProcesses("an agent that connects to both processes at the same moment", () => {
  test("has one channel after every time, and is told its status of now", async () => {
    const pair = await startTwo({ clock: new RunningClock() });
    const { one, other } = pair;
    const rented = await rentable(one);
    await disconnect(one, rented.agentId);
    const token = rented.agent.credential;
    const rowsOf = () =>
      one.read((db) => db.selectFrom("agentSockets").selectAll().where("agentId", "=", rented.agentId).execute());
    const wrong: string[] = [];
    for (let round = 0; round < 100; round += 1) {
      const sockets = await Promise.all([one, other].map((server) => openAt(server, "/ws/agent", { token })));
      const closed = await Promise.race(sockets.map((socket, at) => socket.closed.then(({ code }) => ({ code, at }))));
      if (closed.code !== 4009) wrong.push(`${round}: closed with ${closed.code}`);
      const kept = sockets[1 - closed.at];
      await kept?.next("agent.connected");
      await kept?.settled();
      if (kept?.ws.readyState !== 1) wrong.push(`${round}: none is left`);
      const rows = await eventually(rowsOf, (found) => found.length === 1);
      const last = kept?.frames.findLast(({ payload }) => payload.onlineStatus)?.payload.onlineStatus;
      if (rows[0]?.onlineStatus !== last) wrong.push(`${round}: ${rows[0]?.onlineStatus}, told ${last}`);
      if (round % 2) await kept?.close();
      else kept?.ws.terminate();
      if (round % 3 === 0) await eventually(rowsOf, (found) => found.length === 0);
    }
    await eventually(rowsOf, (found) => found.length === 0);
    expect(wrong).toEqual([]);
    await closeBoth(pair);
  });
});

const told = (control: TestSocket) => control.of("agent.status_updated").map(({ payload }) => payload.onlineStatus);

describeProcesses("the status of an agent that both processes change", () => {
  test("is not told an older one after a newer, in whichever order they arrive", async () => {
    const pair = await startTwo();
    const { one, other } = pair;
    const rented = await rentable(one);
    await disconnect(one, rented.agentId);
    const control = await openAgent(one, rented.agent.credential);
    const { release } = holdWord(other);
    const set = (server: TestServer, onlineStatus: string) =>
      new Client(server, rented.agent.credential).call("agents:setOnlineStatus", {
        agentId: rented.agentId,
        onlineStatus,
      });
    await set(other, "busy");
    one.clock.jump(5);
    await set(one, "online");
    await control.settled();
    release();
    // In order behind what was held back.
    const { agentId } = rented;
    other.server.bus?.notice([{ kind: "participantResumed", sessionId: "marker", participantId: agentId, agentId }]);
    await control.next("session.participant_resumed");
    await control.settled();
    expect(told(control)).toEqual(["online"]);
    await closeBoth(pair);
  });
});

describeProcesses("a new token", () => {
  const pair = useTwoServers();

  test("opens sockets that another process's late word of it does not close; those of the old one close", async () => {
    const { one, other } = pair;
    const { agentId, agent, provider } = await rentable(one);
    await disconnect(one, agentId);
    const before = await openAt(one, "/ws/agent/consumer", { token: agent.credential });
    const held = holdWord(other);
    const owner = new Client(other, provider.credential);
    const { token } = await owner.call("agents:replaceToken", { agentId });
    const control = await openAt(one, "/ws/agent", { token });
    await control.next("agent.connected");
    held.release();
    expect((await before.closed).code).toBe(4001);
    await control.settled();
    expect(control.ws.readyState).toBe(1);
    await control.close();
  });
});

describeProcesses("an agent that was set busy on one process", () => {
  test("is busy when it comes back to the other, and offline in between, for both", async () => {
    const pair = await startTwo();
    const { one, other } = pair;
    const { agent, agentId, provider: owner } = await rentable(one);
    await disconnect(one, agentId);
    const first = await openAgent(one, agent.credential);
    await new Client(other, owner.credential).call("agents:setOnlineStatus", { agentId, onlineStatus: "busy" });
    const seen = () =>
      Promise.all([one, other].map((server) => new Client(server, owner.credential).call("agents:get", { agentId })));
    const bothSay = (status: string) =>
      eventually(seen, (views) => views.every(({ onlineStatus }) => onlineStatus === status));
    await bothSay("busy");
    await first.close();
    await bothSay("offline");

    const second = await openAt(other, "/ws/agent", { token: agent.credential });
    expect((await second.next("agent.connected")).payload.onlineStatus).toBe("busy");
    const activated = await new Client(one, agent.credential).call("agents:activate", { agentId });
    expect(activated).toMatchObject({ status: "active", onlineStatus: "busy" });
    await bothSay("busy");
    await closeBoth(pair);
  });

  test("at the very moment of its coming back is one or the other everywhere, and busy at last", async () => {
    const pair = await startTwo();
    const { one, other } = pair;
    const { agent, agentId, provider: owner } = await rentable(one);
    await disconnect(one, agentId);
    const by = new Client(other, owner.credential);
    const set = (onlineStatus: string) => by.call("agents:setOnlineStatus", { agentId, onlineStatus });
    let socket = await openAgent(one, agent.credential);
    for (let round = 0; round < 10; round += 1) {
      await set("online");
      // It never is away: the newer takes the place of the older.
      const [, newer] = await Promise.all([set("busy"), openAgent(round % 2 ? one : other, agent.credential)]);
      await socket.closed;
      socket = newer;
      expect(await by.call("agents:get", { agentId })).toMatchObject({ onlineStatus: "busy" });
    }
    await closeBoth(pair);
  });
});
