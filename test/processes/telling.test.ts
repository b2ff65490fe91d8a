/** What travels between processes: whoever may connect to the database can listen to it. */
import pg from "pg";
import { expect, test } from "vitest";
import { rates } from "../../runtime/limits.js";
import { closeBoth, describeProcesses, startTwo } from "../support/processes.js";
import { openSession as rentAgent } from "../support/rental.js";
import { cutSocketsAfterEach, openSession } from "../support/sockets.js";

cutSocketsAfterEach();

describeProcesses("what processes tell each other", () => {
  test("fits whatever callers write, and names no secret and no address", async () => {
    const pair = await startTwo({ config: { rateLimits: true } });
    const { one, other } = pair;
    const listener = new pg.Client(one.databaseUrl);
    await listener.connect();
    const said: string[] = [];
    listener.on("notification", ({ payload }) => said.push(payload ?? ""));
    await listener.query("listen tidepool");

    const alice = await one.user("Alice");
    const { sessionId, session, provider: bob, consumer: carol, agent, agentId } = await rentAgent(one);
    const { sessionToken } = await bob.call("sessions:get", { sessionId });
    const consumer = await openSession(one, { sessionId, token: session.sessionToken, role: "consumer" });
    const provider = await openSession(other, { sessionId, token: sessionToken, role: "provider" });
    const texts = [
      "\u0000",
      "\ud800",
      '"'.repeat(960),
      "\\".repeat(960),
      "\u0001".repeat(300),
      "😀".repeat(480),
      "'); --",
    ];
    const ids = [undefined, "\u0001".repeat(190), "😀".repeat(90)];
    const mentions = Array.from({ length: 60 }, () => agentId);
    let sent = 0;
    for (const content of [...texts, '"'.repeat(64_000)]) {
      for (const id of ids) {
        consumer.send({ type: "dialogue.message", id: id && `${sent} ${id}`, payload: { content } });
        sent += 1;
      }
    }
    const quotes = { type: "dialogue.message", payload: { content: '"'.repeat(20) } };
    await carol.call("sessions:sendMessage", { sessionId, ...quotes, mentions, id: "\u0001".repeat(190) });
    await provider.until(() => provider.of("dialogue.message").length === sent + 1, "every message");
    const some = Array.from({ length: rates.calls.points / 16 + 1 }, () => one.nobody.call("agents:get", { agentId }));
    await Promise.allSettled(some);
    await provider.settled();

    expect(said.length).toBeGreaterThan(sent);
    expect(Math.max(...said.map((payload) => Buffer.byteLength(payload)))).toBeLessThan(8_000);
    const all = said.join("\n");
    const secrets = [alice.credential, alice.apiKey, agent.credential, session.sessionToken, sessionToken];
    for (const secret of [...secrets, "127.0.0.1", "@example.com"]) expect(all).not.toContain(secret);
    await listener.end();
    await closeBoth(pair);
  });
});
