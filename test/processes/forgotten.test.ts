/** A process that was taken for dead while it stood still, and has not noticed yet. */
import { expect, test } from "vitest";
import { startServer } from "../support/harness.js";
import { disconnect } from "../support/market.js";
import { ask, describeProcesses } from "../support/processes.js";
import { rentable } from "../support/rental.js";
import { eventually, openAt } from "../support/sockets.js";

describeProcesses("a process that is forgotten", () => {
  test("takes no sockets, which nobody would forget with it, until it has registered again", async () => {
    const one = await startServer("postgres");
    const { agentId, agent } = await rentable(one);
    await disconnect(one, agentId);
    await ask(one.databaseUrl, `delete from "serverProcesses"`);
    const early = await openAt(one, "/ws/agent", { token: agent.credential });
    expect((await early.closed).code).toBe(1013);
    expect(await ask(one.databaseUrl, `select 1 from "agentSockets"`)).toEqual([]);

    await one.advance(10_000);
    const open = async () => {
      const socket = await openAt(one, "/ws/agent", { token: agent.credential });
      await Promise.race([socket.next("agent.connected"), socket.closed]);
      return socket.of("agent.connected").length;
    };
    await eventually(open, (greetings) => greetings === 1);
    expect(await ask(one.databaseUrl, `select 1 from "agentSockets"`)).toHaveLength(1);
    await one.close();
  });
});
