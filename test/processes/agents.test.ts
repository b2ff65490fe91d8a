/** An agent that connects to both processes at the same moment, again and again. */
import { expect, test } from "vitest";
import { RunningClock } from "../support/clock.js";
import { disconnect } from "../support/market.js";
import { closeBoth, describeProcesses, startTwo } from "../support/processes.js";
import { rentable } from "../support/rental.js";
import { cutSocketsAfterEach, eventually, openAt } from "../support/sockets.js";

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
