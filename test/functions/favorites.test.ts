import { describe, expect, test } from "vitest";
import { databases, useServer } from "../support/harness.js";
import { asAgent, draft, listed } from "../support/market.js";
import { expectRefusal } from "../support/refusals.js";

describe.each(databases)("favorites on %s (clawrent.md section 2.9)", (database) => {
  const server = useServer(database);

  test("are kept, listed with their cards, checked and let go of", async () => {
    const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
    const [first, second] = [await listed(server, alice), await listed(server, alice)];
    expect(await bob.call("favorites:check", { agentId: first.id })).toEqual({ agentId: first.id, favorited: false });
    const kept = await bob.call("favorites:add", { agentId: first.id });
    expect(kept).toEqual({ agentId: first.id, favorited: true, createdAt: expect.stringMatching(/\.\d{3}Z$/) });
    await server.advance(1_000);
    await bob.call("favorites:add", { agentId: second.id });
    expect(await bob.call("favorites:check", { agentId: first.id })).toEqual({ agentId: first.id, favorited: true });

    const { data, ...counts } = await bob.call("favorites:list");
    expect(counts).toEqual({ total: 2, page: 1, limit: 20, nextCursor: null });
    const listings = (await server.nobody.call("marketplace:browse")).data;
    const card = listings.find(({ id }: { id: string }) => id === second.id);
    expect(data[0]).toEqual({ agentId: second.id, createdAt: expect.any(String), agent: card });
    expect(data[1]).toMatchObject({ agentId: first.id, createdAt: kept.createdAt, agent: { id: first.id } });
    expect((await bob.call("favorites:list", { page: 2, limit: 1 })).data).toEqual([data[1]]);
    expect(await alice.call("favorites:list")).toMatchObject({ data: [], total: 0 });

    for (let time = 0; time < 2; time += 1) {
      const gone = await bob.call("favorites:remove", { agentId: first.id });
      expect(gone).toEqual({ agentId: first.id, favorited: false });
    }
    expect(await bob.call("favorites:list")).toMatchObject({ total: 1 });
  });

  test("are the same when they are added again, also once the agent is off the marketplace", async () => {
    const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
    const { id: agentId } = await listed(server, alice);
    const kept = await bob.call("favorites:add", { agentId });
    await server.advance(1_000);
    expect(await bob.call("favorites:add", { agentId })).toEqual(kept);
    await (await server.admin()).call("admin:suspendAgent", { agentId });
    expect(await bob.call("favorites:add", { agentId })).toEqual(kept);
    expect((await bob.call("favorites:list")).data).toMatchObject([{ agentId, agent: { status: "suspended" } }]);
  });

  test("are kept once, however often they are added at once", async () => {
    const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
    const { id: agentId } = await listed(server, alice);
    const kept = await Promise.all(Array.from({ length: 20 }, () => bob.call("favorites:add", { agentId })));
    expect(new Set(kept.map(({ createdAt }) => createdAt)).size).toBe(1);
    expect(await bob.call("favorites:list")).toMatchObject({ total: 1 });
  });

  test("are nobody else's drafts; one's own may be", async () => {
    const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
    const made = await draft(alice);
    for (const agentId of [made.id, "no such agent"]) {
      await expectRefusal(server, () => bob.call("favorites:add", { agentId }), {
        code: "not_found",
        message: "Agent not found",
      });
      expect(await bob.call("favorites:check", { agentId })).toEqual({ agentId, favorited: false });
    }
    await alice.call("favorites:add", { agentId: made.id });
    expect((await alice.call("favorites:list")).data).toMatchObject([
      { agent: { status: "draft", priceAmount: null } },
    ]);
  });

  test("belong to the account, whichever of its credentials is used", async () => {
    const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
    const { id: agentId } = await listed(server, alice);
    await asAgent(server, await draft(bob)).call("favorites:add", { agentId });
    expect(await bob.call("favorites:check", { agentId })).toMatchObject({ favorited: true });
  });
});
