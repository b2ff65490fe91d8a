/** Coming into a session while the other process is just changing it, and its word of that is still on its way. */
import pg from "pg";
import { expect, test } from "vitest";
import { RunningClock } from "../support/clock.js";
import { Caller as Client, type TestServer } from "../support/harness.js";
import { heard } from "../support/notices.js";
import { ask, closeBoth, cutBuses, describeProcesses, holdWord, startTwo } from "../support/processes.js";
import { openSession as rentAgent } from "../support/rental.js";
import { cutSocketsAfterEach, eventually, openAt, openSession } from "../support/sockets.js";

cutSocketsAfterEach();

const say = (content: string) => ({ type: "dialogue.message", payload: { content } });

const socketsOf = (server: TestServer, sessionId: string) =>
  server.read((db) => db.selectFrom("sessionSockets").selectAll().where("sessionId", "=", sessionId).execute());

describeProcesses("a socket whose coming waits for what was before it", () => {
  test("and that leaves again meanwhile, with all others, is not there any more", async () => {
    const pair = await startTwo();
    const { one, other } = pair;
    const rented = await rentAgent(one);
    const { sessionId, session, consumer: alice } = rented;
    const asConsumer = { sessionId, token: session.sessionToken as string, role: "consumer" };
    const first = await openSession(one, asConsumer);
    const { release } = holdWord(other);
    await new Client(other, alice.credential).call("sessions:sendMessage", { sessionId, ...say("unheard") });
    const second = await openAt(one, "/ws/session", asConsumer);
    await eventually(
      () => socketsOf(one, sessionId),
      (rows) => rows.length === 2,
    );
    first.ws.terminate();
    second.ws.terminate();
    await eventually(
      () => socketsOf(one, sessionId),
      (rows) => rows.length === 0,
    );
    release();
    await closeBoth(pair);
  });

  test("closes where its participant was set aside meanwhile", async () => {
    const pair = await startTwo();
    const { one, other } = pair;
    const rented = await rentAgent(one);
    const { sessionId, session, consumer: alice, agent, agentId } = rented;
    const tab = await openSession(one, { sessionId, token: session.sessionToken as string, role: "consumer" });
    const { release } = holdWord(other);
    await new Client(other, alice.credential).call("sessions:sendMessage", { sessionId, ...say("unheard") });
    const group = await openAt(one, "/ws/group", { sessionId, token: agent.credential });
    await eventually(
      () => socketsOf(one, sessionId),
      (rows) => rows.length === 2,
    );
    await alice.call("sessions:pauseParticipant", { sessionId, participantId: agentId });
    release();
    expect(
      await Promise.race([group.closed, new Promise((resolve) => setTimeout(resolve, 3_000, "open"))]),
    ).toMatchObject({ code: 4020 });
    await tab.close();
    await closeBoth(pair);
  });

  test("closes where its user was suspended, and the notice of that was lost", async () => {
    const pair = await startTwo({ clock: new RunningClock() });
    const { one } = pair;
    const rented = await rentAgent(one);
    const { sessionId, provider: bob } = rented;
    const { sessionToken } = await bob.call("sessions:get", { sessionId });
    const missed = heard("noticesMissed");
    const before = missed.length;
    // The join has asked who comes, and waits for the session's row.
    const holder = new pg.Client(one.databaseUrl);
    await holder.connect();
    await holder.query("begin");
    await holder.query(`select 1 from sessions where "sessionId" = $1 for update`, [sessionId]);
    const socket = await openAt(one, "/ws/session", { sessionId, token: sessionToken, role: "provider" });
    await eventually(
      async () => (await holder.query(`select 1 from pg_locks where not granted`)).rowCount,
      (count) => (count ?? 0) > 0,
    );
    // A suspension also stops the meters of the session, whose row is held here; what counts is that nobody was told.
    await ask(one.databaseUrl, `update users set status = 'suspended' where "userId" = '${bob.userId}'`);
    await cutBuses(one.databaseUrl);
    await eventually(
      async () => missed.length,
      (count) => count >= before + 2,
    );
    await new Promise((resolve) => setTimeout(resolve, 200));
    await holder.query("rollback");
    await holder.end();
    const still = new Promise((resolve) => setTimeout(resolve, 3_000, "open"));
    expect(await Promise.race([socket.closed, still])).toMatchObject({ code: 4001 });
    await closeBoth(pair);
  });
});

describeProcesses("a consumer's tab that was forgotten", () => {
  test("is asked to come again where another is open, and is not told that that one replaced it", async () => {
    const pair = await startTwo({ clock: new RunningClock() });
    const { one, other } = pair;
    const { sessionId, session } = await rentAgent(one);
    const asConsumer = { sessionId, token: session.sessionToken as string, role: "consumer" };
    const forgotten = await openSession(one, asConsumer);
    const [row] = await socketsOf(one, sessionId);
    const tab = await openSession(other, asConsumer);
    await ask(one.databaseUrl, `delete from "sessionSockets" where "socketId" = $1`, [row?.socketId]);
    await cutBuses(one.databaseUrl);
    expect((await forgotten.closed).code).toBe(1012);
    await tab.settled();
    await closeBoth(pair);
  });
});
