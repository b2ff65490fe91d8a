/** A process that was taken for dead while it stood still, and has not noticed yet. */
import { expect, test } from "vitest";
import { openAgentSocket } from "../../functions/system/agent-sockets.js";
import { endProcess, forgottenAtOnce, renewLease } from "../../functions/system/processes.js";
import { hashSecret } from "../../runtime/ids.js";
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
    // One that comes in the moment in which the process learns that it was forgotten is sent away once more.
    const open = async () => {
      const socket = await openAt(one, "/ws/agent", { token: agent.credential });
      await Promise.race([socket.next("agent.connected"), socket.closed]);
      return ask(one.databaseUrl, `select 1 from "agentSockets"`);
    };
    await eventually(open, (rows) => rows.length === 1);
    await one.close();
  });

  test("goes in parts where it had thousands of sockets, and is back only once it has registered again", async () => {
    const one = await startServer("postgres");
    const { agentId, agent, provider } = await rentable(one);
    await disconnect(one, agentId);
    const processId = "p_with_many";
    // So that they need no agents.
    await ask(one.databaseUrl, `alter table "agentSockets" drop constraint "agentSockets_agentId_fkey"`);
    await ask(
      one.databaseUrl,
      `insert into "serverProcesses" ("processId", "leaseUntil") values ('${processId}', ${one.clock.now() - 1})`,
    );
    await ask(
      one.databaseUrl,
      `insert into "agentSockets" ("agentId", "socketId", "processId", "onlineStatus", "connectedAt")
       select 'agent ' || n, 'socket ' || n, '${processId}', 'online', 0 from generate_series(1, ${5 * forgottenAtOnce}) as n`,
    );
    const renew = (id: string) => one.server.dispatcher.runSystem(renewLease, { processId: id });
    const left = async () => (await ask(one.databaseUrl, `select 1 from "agentSockets"`)).length;
    expect(await renew("p_survivor")).toMatchObject({ alive: false, forgotten: 1, nextEndAt: one.clock.now() });
    expect(await left()).toBe(4 * forgottenAtOnce);
    const connecting = one.server.dispatcher.runSystem(openAgentSocket, {
      opener: { credentialId: `agent_${hashSecret(agent.credential)}`, agentId, userId: provider.userId },
      agentId,
      socketId: "late",
      processId,
    });
    await expect(connecting).rejects.toMatchObject({ code: "unavailable" });
    // It was not dead, only late; what it still has it has to close.
    expect(await renew(processId)).toMatchObject({ alive: false });
    expect(await renew(processId)).toMatchObject({ alive: true });
    while ((await one.server.dispatcher.runSystem(endProcess, { processId })).more);
    expect(await left()).toBe(0);
    await one.close();
  });
});
