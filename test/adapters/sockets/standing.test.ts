/** Sockets of those who lose their right to a session just before they come in, or while they do. */
import pg from "pg";
import { describe, expect, test } from "vitest";
import { databases, type TestServer, useServer } from "../../support/harness.js";
import { lastingAdmin, openSession as rentAgent } from "../../support/rental.js";
import { cutSocketsAfterEach, eventually, openAt, type TestSocket } from "../../support/sockets.js";

cutSocketsAfterEach();

describe.each(databases)("the standing of whoever comes to a session on %s", (database) => {
  const server = useServer(database);
  const suspend = async (userId: string) => (await lastingAdmin(server)).call("admin:suspendUser", { userId });

  test("a suspended provider approves nothing by coming", async () => {
    const { provider, consumer, sessionId } = await rentAgent(server, { approvalMode: "manual" });
    const { sessionToken } = await provider.call("sessions:get", { sessionId });
    await suspend(provider.userId);
    const socket = await openAt(server, "/ws/session", { sessionId, token: sessionToken, role: "provider" });
    expect(await socket.closed).toEqual({ code: 4001, reason: "Account is suspended" });
    expect(await consumer.call("sessions:get", { sessionId })).toMatchObject({
      status: "pending_approval",
      startedAt: null,
    });
  });

  // SQLite runs one mutation after the other, so there nothing is in the middle of another.
  const onPostgres = database === "postgres" ? describe : () => {};
  onPostgres("in the middle of coming in", () => {
    /** Holds the session's row, so that a join has read everything and cannot write; then does `meanwhile` and lets go. */
    async function whileJoining(sessionId: string, join: () => Promise<TestSocket>, meanwhile: () => Promise<unknown>) {
      const holder = new pg.Client(server.databaseUrl);
      await holder.connect();
      try {
        await holder.query("begin");
        await holder.query(`update sessions set "updatedAt" = "updatedAt" where "sessionId" = $1`, [sessionId]);
        const socket = await join();
        await eventually(
          () => waitingFor(server),
          (count) => count > 0,
        );
        await meanwhile();
        return socket;
      } finally {
        await holder.query("rollback");
        await holder.end();
      }
    }

    test("a suspension closes the socket", async () => {
      // The provider: what a suspended consumer rents ends, and so would wait for the row as well. Its session's meter was
      // stopped by an earlier suspension, so that this one has nothing to write there.
      const { provider, sessionId } = await rentAgent(server);
      await suspend(provider.userId);
      await (await lastingAdmin(server)).call("admin:reinstateUser", { userId: provider.userId });
      const { sessionToken: token } = await provider.call("sessions:get", { sessionId });
      const socket = await whileJoining(
        sessionId,
        () => openAt(server, "/ws/session", { sessionId, token, role: "provider" }),
        () => suspend(provider.userId),
      );
      expect((await socket.closed).code).toBe(4001);
    });

    test("a revoked token closes the socket", async () => {
      const { provider, agent, agentId, sessionId } = await rentAgent(server);
      const socket = await whileJoining(
        sessionId,
        () => openAt(server, "/ws/group", { sessionId, token: agent.credential }),
        () => provider.call("agents:revokeToken", { agentId }),
      );
      expect((await socket.closed).code).toBe(4012);
    });
  });
});

/** How many statements on the test's database wait for somebody's lock. */
async function waitingFor(server: TestServer): Promise<number> {
  const client = new pg.Client(server.databaseUrl);
  await client.connect();
  try {
    const { rows } = await client.query(
      "select count(*)::int as count from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    );
    return rows[0].count;
  } finally {
    await client.end();
  }
}
