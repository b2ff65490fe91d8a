/** Whoever sends payloads without end: a session and an account take so many bytes, and nothing that is stored goes. */
import { describe, expect, test } from "vitest";
import { storedPayloadBytes } from "../../../runtime/limits.js";
import { databases, useServer } from "../../support/harness.js";
import { openSession } from "../../support/rental.js";

describe.each(databases)("stored payloads on %s", (database) => {
  const server = useServer(database);
  const payload = { content: "hello" };
  const bytes = JSON.stringify(payload).length;
  const say = { type: "dialogue.message", payload };
  /** As if so much had been sent in the session already. */
  const have = (sessionId: string, stored: { providerPayloadBytes?: number; consumerPayloadBytes?: number }) =>
    server.server.store.write(({ db }) =>
      db.updateTable("sessions").set(stored).where("sessionId", "=", sessionId).execute(),
    );

  test("a session takes messages up to the last byte of its share, from both sides together", async () => {
    const { sessionId, consumer, provider } = await openSession(server);
    const send = (who: typeof consumer) => who.call("sessions:sendMessage", { sessionId, ...say });
    await send(provider);
    await have(sessionId, { consumerPayloadBytes: storedPayloadBytes.session - 3 * bytes });
    await send(consumer);
    await send(provider);
    for (const who of [consumer, provider]) {
      await expect(send(who)).rejects.toMatchObject({
        code: "conflict",
        data: { limit: storedPayloadBytes.session, have: storedPayloadBytes.session },
      });
    }
    const { data } = await consumer.call("sessions:listMessages", { sessionId });
    expect(data).toHaveLength(3);
  });

  test("an account takes so many in the sessions of 30 days, the other side's do not count against it", async () => {
    const first = await openSession(server);
    const { consumer, provider } = first;
    const second = await openSession(server, {}, { of: first, by: consumer });
    await have(first.sessionId, { consumerPayloadBytes: storedPayloadBytes.account - bytes });
    const send = (who: typeof consumer) => who.call("sessions:sendMessage", { sessionId: second.sessionId, ...say });
    await send(consumer);
    await have(first.sessionId, { consumerPayloadBytes: storedPayloadBytes.account });
    await have(second.sessionId, { consumerPayloadBytes: 64 * 1_024 - 1 });
    await expect(send(consumer)).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringContaining("last 30 days"),
      data: { limit: storedPayloadBytes.account },
    });
    await send(provider);
  });
});
