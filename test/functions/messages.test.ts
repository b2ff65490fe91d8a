import { describe, expect, test } from "vitest";
import { databases, useServer } from "../support/harness.js";

describe.each(databases)("messages on %s (c2c.md section 3, messages)", (database) => {
  const server = useServer(database);

  test("what one sends the other reads, oldest first", async () => {
    const { alice, bob, threadId } = await server.negotiatingPair();
    const first = await alice.send(threadId, "proposal");
    const second = await bob.send(threadId, "counter", { referencesMessageId: first.messageId });

    const read = await alice.call("messages:getForThread", { threadId });
    expect(read).toEqual([
      {
        messageId: first.messageId,
        threadId,
        fromAgentId: alice.agentId,
        type: "proposal",
        payload: { notes: "proposal" },
        createdAt: first.createdAt,
      },
      {
        messageId: second.messageId,
        threadId,
        fromAgentId: bob.agentId,
        type: "counter",
        payload: { notes: "counter" },
        referencesMessageId: first.messageId,
        createdAt: second.createdAt,
      },
    ]);
  });
});
