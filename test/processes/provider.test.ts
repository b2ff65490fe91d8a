/** The shipped provider client against two processes behind a plain proxy that sends each connection to the next one. */
import { ProviderClient } from "@clawrent/provider";
import { expect, onTestFinished, test } from "vitest";
import { Caller as Client } from "../support/harness.js";
import { disconnect } from "../support/market.js";
import { closeBoth, describeProcesses, startTwo } from "../support/processes.js";
import { RoundRobin } from "../support/proxy.js";
import { rentable, task } from "../support/rental.js";
import { eventually } from "../support/sockets.js";

describeProcesses("a provider behind a round-robin proxy", () => {
  test.each([
    ["/ws/session", false],
    ["/ws/group", true],
  ])("serves by %s, wherever its sockets are and its customer writes", async (_channel, useGroupChannel) => {
    const pair = await startTwo();
    const { one, other } = pair;
    const ports = [one, other].map(({ url }) => Number(new URL(url).port));
    const proxy = await RoundRobin.start(ports);
    const rented = await rentable(one);
    await disconnect(one, rented.agentId);

    const got: string[] = [];
    const client = new ProviderClient({
      apiUrl: proxy.url,
      wsUrl: proxy.url.replace("http", "ws"),
      agentToken: rented.agent.credential,
      autoApprove: true,
      useGroupChannel,
      agentReconnectInitialMs: 50,
    });
    client.on("error", () => {});
    onTestFinished(() => client.stop());
    await client.start({
      agentId: rented.agentId,
      onMessage: (_session, message) => {
        got.push((message as { payload: { content: string } }).payload.content);
      },
    });
    const alice = await one.user("Alice", { topUp: "100.00" });
    const { id: sessionId } = await alice.call("sessions:create", { agentId: rented.agentId, taskDescription: task });
    const isIn = () =>
      eventually(
        () =>
          one.read((db) => db.selectFrom("sessionSockets").selectAll().where("sessionId", "=", sessionId).execute()),
        (rows) => rows.length === 1,
      );
    await isIn();

    const sent: string[] = [];
    const write = async (count: number) => {
      for (let at = 0; at < count; at += 1) {
        const content = `message ${sent.length}`;
        const on = sent.length % 2 ? other : one;
        await new Client(on, alice.credential).call("sessions:sendMessage", {
          sessionId,
          type: "dialogue.message",
          payload: { content },
        });
        sent.push(content);
      }
    };
    await write(20);
    await eventually(
      async () => got.length,
      (count) => count === 20,
    );
    // Its sockets come back on whichever process is next.
    for (let round = 0; round < 2; round += 1) {
      proxy.cut();
      await write(20);
    }
    await eventually(
      async () => got.length,
      (count) => count >= sent.length,
    );
    expect(got).toEqual(sent);
    client.stop();
    await proxy.stop();
    await closeBoth(pair);
  });
});
