/** Refused sockets that wait on one process for what happens on the other (adapters/sockets/holds.ts). */
import { expect, test } from "vitest";
import { Caller as Client } from "../support/harness.js";
import { closeBoth, describeProcesses, startTwo } from "../support/processes.js";
import { openSession as rentAgent } from "../support/rental.js";
import { cutSocketsAfterEach, openAt, openSession } from "../support/sockets.js";

cutSocketsAfterEach();

describeProcesses("a socket that is held because its session is pending", () => {
  test("comes in when the session is approved on the other process", async () => {
    const pair = await startTwo({ config: { rateLimits: true } });
    const { one, other } = pair;
    const { sessionId, session, provider } = await rentAgent(one, { approvalMode: "manual" });
    const asConsumer = { sessionId, token: session.sessionToken as string, role: "consumer" };
    expect((await (await openAt(one, "/ws/session", asConsumer)).closed).code).toBe(4003);
    // Its clock stands still: nothing but the approval ends the wait.
    const waiting = await openAt(one, "/ws/session", asConsumer);
    await new Client(other, provider.credential).call("sessions:approve", { sessionId });
    expect((await waiting.closed).code).toBe(1012);
    await openSession(one, asConsumer);
    await closeBoth(pair);
  });
});
