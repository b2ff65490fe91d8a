/** A process that stands still for longer than its lease (SIGSTOP), and then goes on as if nothing had been. */
import { expect, test } from "vitest";
import type { ServerProcess } from "../support/process.js";
import { ask, describeProcesses } from "../support/processes.js";
import { startRentalProcesses } from "../support/rental-processes.js";
import { cutSocketsAfterEach, eventually, openAgent, openSession, type TestSocket } from "../support/sockets.js";

cutSocketsAfterEach();

const say = (content: string) => ({ type: "dialogue.message", payload: { content } });
const contents = (socket: TestSocket) => socket.of("dialogue.message").map(({ payload }) => payload.content);

describeProcesses("a process that stands still for longer than its lease", () => {
  test("loses its sockets to the other, and brings none of them back", async () => {
    const { database, rented, one: still, other: going, asProvider, asConsumer } = await startRentalProcesses();
    const at = (process: ServerProcess) => ({ url: process.url }) as Parameters<typeof openSession>[0];
    const { agentId, agent } = rented;
    const oldControl = await openAgent(at(still), agent.credential);
    const oldProvider = await openSession(at(still), asProvider);
    const oldTab = await openSession(at(still), asConsumer);
    const consumer = await openSession(at(going), asConsumer);
    consumer.send(say("before"));
    await oldProvider.next("dialogue.message");
    await oldProvider.settled();

    still.signal("SIGSTOP");
    const stoppedAt = Date.now();
    const control = await openAgent(at(going), agent.credential);
    const provider = await openSession(at(going), asProvider);
    for (let count = 0; count < 20; count += 1) consumer.send(say(`meanwhile ${count}`));
    // What a client sends into a process that does not run.
    oldTab.send(say("into the stillness"));
    await provider.until(() => contents(provider).length >= 20, "20 messages");
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, stoppedAt + 42_000 - Date.now())));
    expect(await ask(database.url, `select 1 from "serverProcesses"`)).toHaveLength(1);
    still.signal("SIGCONT");
    for (let count = 0; count < 20; count += 1) consumer.send(say(`afterwards ${count}`));
    expect((await oldControl.closed).code).toBe(4009);
    expect((await oldProvider.closed).code).toBe(4009);
    // Nobody took its place: a consumer may have several.
    expect((await oldTab.closed).code).toBe(1012);
    await provider.until(() => contents(provider).includes("afterwards 19"), "the last");
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    const expected = ["meanwhile", "afterwards"].flatMap((name) =>
      Array.from({ length: 20 }, (_, n) => `${name} ${n}`),
    );
    expect(contents(provider).filter((content) => /meanwhile|afterwards/.test(content))).toEqual(expected);
    expect(contents(provider).filter((content) => content === "into the stillness").length).toBeLessThanOrEqual(1);
    const agents = await ask(database.url, `select "onlineStatus" from "agentSockets" where "agentId" = $1`, [agentId]);
    expect(agents).toEqual([{ onlineStatus: "online" }]);
    const last = control.frames.findLast(({ payload }) => payload.onlineStatus)?.payload.onlineStatus;
    expect(last).toBe("online");
    const sockets = await eventually(
      () => ask<{ side: string }>(database.url, `select side from "sessionSockets" order by side`),
      (rows) => rows.length === 2,
    );
    expect(sockets.map(({ side }) => side)).toEqual(["consumer", "provider"]);
    expect(await ask(database.url, `select 1 from "serverProcesses"`)).toHaveLength(2);
    // It serves as before.
    const again = await openAgent(at(still), agent.credential);
    expect((await control.closed).code).toBe(4009);
    await again.close();
    await still.stop();
    await going.stop();
    await database.remove();
  }, 120_000);
});
