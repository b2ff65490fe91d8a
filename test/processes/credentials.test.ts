/** What was opened on one process ends where the credential ends on the other (architecture.md, Provenance). */
import { expect, test } from "vitest";
import { Caller as Client, minute } from "../support/harness.js";
import { castFor, ends, expectNothingLeft, openAll, openShared } from "../support/opened.js";
import { describeProcesses, useTwoServers } from "../support/processes.js";
import { cutSocketsAfterEach } from "../support/sockets.js";

cutSocketsAfterEach();

describeProcesses("a credential that ends on another process", () => {
  const pair = useTwoServers();

  test.each(Object.entries(ends))("leaves nothing open here where %s", async (_how, { why, end }) => {
    const { one, other } = pair;
    const cast = await castFor(one);
    const opened = await openAll(one, cast);
    await end(other, cast);
    await expectNothingLeft(one, opened, why, cast, 1_000);
  });

  test("is a key that was rotated there, once the new one is used there or its time is over", async () => {
    const { one, other } = pair;
    for (const wait of [false, true]) {
      const agent = await one.agent();
      const opened = await openShared(one, agent.credential, "agents:getStatus");
      const { apiKey } = await new Client(other, agent.credential).call("agents:rotateKey");
      if (wait) await other.advance(10 * minute);
      else await new Client(other, apiKey).call("agents:getStatus");
      for (const { ended, refused } of Object.values(opened)) {
        await ended("revoked");
        await refused("revoked");
      }
      expect(await new Client(one, apiKey).call("agents:getStatus")).toMatchObject({ agentId: agent.agentId });
    }
  });
});
