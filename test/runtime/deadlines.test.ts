import { describe, expect, test } from "vitest";
import { createDatabase } from "../support/databases.js";
import { databases, day, hour, startServer, useServer } from "../support/harness.js";

describe.each(databases)("deadlines on %s (architecture.md section 2)", (database) => {
  const server = useServer(database);

  const storedStatus = async (threadId: string) => {
    const rows = await server.read((db) =>
      db.selectFrom("threads").select("status").where("threadId", "=", threadId).execute(),
    );
    return rows[0]?.status;
  };

  test("a deadline fires by itself, at its instant and not before", async () => {
    const { alice, threadId } = await server.awaitingPair();
    await server.advance(48 * hour - 1);
    expect(await storedStatus(threadId)).toBe("awaiting_approval");
    expect(await alice.call("approvals:getPending")).toHaveLength(1);
    await server.advance(1);
    expect(await storedStatus(threadId)).toBe("expired");
    expect(await alice.call("approvals:getPending")).toEqual([]);
  });

  test("what is shown is right by the clock even before the timer came", async () => {
    const { alice, threadId } = await server.awaitingPair();
    server.clock.jump(48 * hour);
    expect(await storedStatus(threadId)).toBe("awaiting_approval");
    expect(await alice.call("messages:getThreadsForAgent")).toMatchObject([{ threadId, status: "expired" }]);
    expect(await alice.call("messages:getThreadsForAgent", { status: "expired" })).toHaveLength(1);
    expect(await alice.call("messages:getThreadsForAgent", { status: "awaiting_approval" })).toEqual([]);
    const late = alice.call("approvals:submit", { threadId, approved: true });
    await expect(late).rejects.toMatchObject({ code: "expired", message: "Approval deadline has passed" });
    await server.settle();
    expect(await storedStatus(threadId)).toBe("expired");
  });

  test("a nearer deadline than the one it waits for is not missed", async () => {
    const agent = await server.agent();
    await agent.call("connections:invite");
    const { shareToken } = await agent.call("events:requestLocationShare", { expiresInMinutes: 1 });
    await server.advance(60_000);
    expect(await agent.call("events:getLocationShare", { shareToken })).toMatchObject({ status: "expired" });
    const rows = await server.read((db) =>
      db.selectFrom("locationShares").select("status").where("agentId", "=", agent.agentId).execute(),
    );
    expect(rows).toEqual([{ status: "spent" }]);
  });

  test("what fell due while the server was down is caught up at the start", async () => {
    const created = await createDatabase(database);
    const before = await startServer(database, { databaseUrl: created.url });
    const { threadId } = await before.awaitingPair();
    const { clock } = before;
    await before.close();
    clock.jump(3 * day);
    const after = await startServer(database, { databaseUrl: created.url, clock });
    const rows = await after.read((db) =>
      db.selectFrom("threads").select("status").where("threadId", "=", threadId).execute(),
    );
    expect(rows).toEqual([{ status: "expired" }]);
    await after.close();
    await created.remove();
  });
});
