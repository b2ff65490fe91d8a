/** Whoever has the results of many writes kept: none is forgotten early, and over the bound none more is taken. */
import { afterEach, describe, expect, test } from "vitest";
import { mostDone } from "../../../adapters/live/sync-state.js";
import { keptResults } from "../../../runtime/limits.js";
import { bigModules } from "../../support/big.js";
import { databases, day, useServer } from "../../support/harness.js";
import { isLong } from "../../support/long.js";
import { cutSocketsAfterEach } from "../../support/sockets.js";
import { openSync, type RawClient, timestampOf } from "../../support/sync-frames.js";

const key = (name: number | string) => ({ "Idempotency-Key": `key-${name}` });

describe.each(databases)("kept results on %s", (database) => {
  const server = useServer(database, { modules: bigModules });
  cutSocketsAfterEach();
  const rows = () =>
    server.read((db) =>
      db.selectFrom("idempotency").select(["bytes", "holder", "requestId"]).orderBy("requestId").execute(),
    );
  const done = async (client: RawClient, count: number) => {
    while (client.socket.of("MutationResponse").length < count) await client.next();
    return client.socket.of("MutationResponse");
  };

  afterEach(() => server.server.store.write(({ db }) => db.deleteFrom("idempotency").execute()));

  test("over the bound of its caller a keyed write is refused before it runs, and everything else goes on", async () => {
    const [agent, other] = await Promise.all([server.agent("Retries"), server.agent("Other")]);
    const write = (name: number) => agent.call("big:write", { bytes: 1_000_000 }, key(name));
    let have = 0;
    let count = 0;
    while (have < keptResults.bytes) {
      await write(count);
      count += 1;
      have = (await rows()).reduce((sum, { bytes }) => sum + bytes, 0);
    }
    const { inviteToken } = await other.call("connections:invite", {});
    const accept = () => agent.call("connections:accept", { inviteToken }, key("accept"));
    await expect(accept()).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringContaining("without an Idempotency-Key"),
      data: { limit: keptResults.bytes, have, unit: "bytes" },
    });
    expect(await agent.call("connections:list")).toEqual([]);
    // What is kept is given again, the first as well; the refusal is not kept; others have their own share.
    expect(await write(0)).toHaveLength(1_000_000);
    expect(await write(count - 1)).toHaveLength(1_000_000);
    expect(await other.call("connections:invite", {}, key("other"))).toMatchObject({ inviteToken: expect.anything() });
    expect(await server.nobody.call("big:write", { bytes: 5 }, key("nobody"))).toBe("xxxxx");
    await agent.call("connections:accept", { inviteToken });
    // It goes by itself when its time is over, and not before.
    server.clock.jump(day - 1);
    await server.settle();
    await expect(agent.call("connections:invite", {}, key("early"))).rejects.toMatchObject({ code: "conflict" });
    await server.advance(6_000);
    expect(await agent.call("connections:invite", {}, key("late"))).toMatchObject({ inviteToken: expect.anything() });
  });

  test("the table holds no address and no session", async () => {
    await server.nobody.call("big:write", { bytes: 5 }, key("anonymous"));
    const client = (await openSync(server)).connect().mutation(0, "big:write", { bytes: 5 });
    await done(client, 1);
    const stored = JSON.stringify(await server.read((db) => db.selectFrom("idempotency").selectAll().execute()));
    expect(stored).not.toContain("127.0.0.1");
    expect(stored).not.toContain(client.sessionId);
  });

  test("a live client's results go when its next socket begins with a later mutation, and not for less", async () => {
    const first = (await openSync(server)).connect().modify();
    for (let requestId = 0; requestId < 4; requestId += 1) first.mutation(requestId, "big:write", { bytes: requestId });
    await done(first, 4);
    // It goes on: what it was sent may still be on its way.
    first.mutation(4, "big:write", { bytes: 4 });
    const answers = await done(first, 5);
    await first.socket.close();
    expect((await rows()).map(({ requestId }) => requestId)).toEqual([0, 1, 2, 3, 4]);

    // An instant that it has seen shows nothing: it may have seen it without the reply.
    const { sessionId } = first;
    const second = (await openSync(server, { sessionId })).connect({
      connectionCount: 1,
      maxObservedTimestamp: timestampOf(BigInt(server.clock.now()) * 1_000_000n),
    });
    second.modify();
    await second.answered();
    expect(await rows()).toHaveLength(5);
    // What it sends again it gets again, as it was; what came before that it has.
    second
      .mutation(3, "big:write", { bytes: 3 })
      .mutation(4, "big:write", { bytes: 4 })
      .mutation(5, "big:write", { bytes: 5 });
    const again = await done(second, 3);
    expect(again.slice(0, 2)).toEqual(answers.slice(3));
    expect((await rows()).map(({ requestId }) => requestId)).toEqual([0, 1, 2, 3, 4, 5]);
    await second.socket.close();

    const third = (await openSync(server, { sessionId })).connect({ connectionCount: 2 }).modify();
    third.mutation(6, "big:write", { bytes: 6 }).mutation(7, "big:write", { bytes: 7 });
    await done(third, 2);
    expect((await rows()).map(({ requestId }) => requestId)).toEqual([6, 7]);
    // Another session's are its own.
    const stranger = (await openSync(server)).connect().mutation(9, "big:write", { bytes: 1 });
    await done(stranger, 1);
    expect((await rows()).map(({ requestId }) => requestId)).toEqual([6, 7, 9]);
  });

  // Each mutation is a flush to disk.
  test.runIf(isLong)(
    "a client that has had many results on one socket is asked to come again, with nothing open",
    async () => {
      const client = (await openSync(server)).connect().modify();
      for (let requestId = 0; requestId < mostDone; requestId += 1)
        client.mutation(requestId, "big:write", { bytes: 1 });
      expect(await client.socket.closed).toEqual({ code: 1001, reason: "ComeAgain" });
      expect(client.socket.of("MutationResponse")).toHaveLength(mostDone);
      const { sessionId } = client;
      const next = (await openSync(server, { sessionId })).connect({ connectionCount: 1 }).modify();
      next.mutation(mostDone, "big:write", { bytes: 1 });
      await done(next, 1);
      expect(await rows()).toHaveLength(1);
    },
  );
});
