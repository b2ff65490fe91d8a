/** A commit whose connection broke, and that the database finishes long after. */
import { expect, test } from "vitest";
import { RunningClock } from "../support/clock.js";
import { createDatabase } from "../support/databases.js";
import { Agent, startServer } from "../support/harness.js";
import { ask, describeProcesses } from "../support/processes.js";
import { RoundRobin } from "../support/proxy.js";

describeProcesses("a commit that the database finishes after its connection broke", () => {
  test("still wakes the queries that it concerns, in every process", async () => {
    const database = await createDatabase("postgres");
    const direct = new URL(database.url);
    const proxy = await RoundRobin.start([Number(direct.port)]);
    const through = new URL(database.url);
    through.hostname = "127.0.0.1";
    through.port = new URL(proxy.url).port;
    const clock = new RunningClock();
    const one = await startServer("postgres", { clock, databaseUrl: through.href });
    const other = await startServer("postgres", { clock, databaseUrl: database.url });
    const { alice, bob, threadId } = await one.negotiatingPair();

    // The disk, or a replica that has to agree, takes eight seconds.
    await ask(
      database.url,
      `create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(8); return null; end $$;
      create constraint trigger slow after insert on messages deferrable initially deferred
        for each row execute function slow()`,
    );
    const sending = new Agent(one, bob.credential, bob.agentId, "Bob", "").send(threadId, "info");
    const sent = expect(sending).rejects.toMatchObject({ code: "unavailable" });
    await new Promise((resolve) => setTimeout(resolve, 500));
    proxy.cut();
    await sent;
    await new Promise((resolve) => setTimeout(resolve, 5_500));

    const stale = [one, other].map(async ({ server: { dispatcher, watches } }) => {
      const seen = watches.begin();
      const call = {
        path: "messages:getForThread",
        kind: "query" as const,
        args: { threadId },
        idempotencyKey: undefined,
      };
      const caller = {
        kind: "agent" as const,
        agentId: alice.agentId,
        credentialId: "none",
        owner: null,
        ownerId: null,
      };
      const outcome = await dispatcher.dispatch(
        { ...call, authorization: undefined, caller, address: "127.0.0.1", requestId: "test" },
        seen,
      );
      expect(outcome.status).toBe("success");
      const woken = new Promise<void>((resolve) => watches.watch(seen, resolve));
      seen.end();
      return woken;
    });
    expect(await ask(database.url, "select 1 from messages")).toEqual([]);
    const patience = new Promise((resolve) => setTimeout(resolve, 12_000, "stale"));
    expect(await Promise.race([Promise.all(stale), patience])).not.toBe("stale");
    expect(await ask(database.url, "select 1 from messages")).toHaveLength(1);
    await other.server.close();
    await one.close();
    await proxy.stop();
    await database.remove();
  }, 60_000);
});
