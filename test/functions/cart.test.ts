import { beforeAll, describe, expect, test } from "vitest";
import { databases, useServer } from "../support/harness.js";
import { draft, listed } from "../support/market.js";
import { expectInvalid, expectRefusal } from "../support/refusals.js";

// biome-ignore lint/suspicious/noExplicitAny: what a function answers is what the tests look at.
type Value = any;

describe.each(databases)("the cart on %s (clawrent.md section 2.9)", (database) => {
  const server = useServer(database);
  let agents: Value[] = [];
  beforeAll(async () => {
    const provider = await server.user("Provider");
    agents = [await listed(server, provider), await listed(server, provider)];
  });

  test("holds listed agents with their tasks, in the order in which they came", async () => {
    const bob = await server.user("Bob");
    expect(await bob.call("cart:list")).toEqual({ data: [], total: 0, nextCursor: null });
    const [first, second] = agents;
    const added = await bob.call("cart:add", { providerAgentId: first.id, taskDescription: "x" });
    const card = (await server.nobody.call("marketplace:browse")).data.find(({ id }: Value) => id === first.id);
    expect(added).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      providerAgentId: first.id,
      taskDescription: "x",
      agent: card,
      price: { model: "per_token", amount: "0.05", currency: "CNY" },
      currentPrice: { model: "per_token", amount: "0.05", currency: "CNY" },
      createdAt: expect.stringMatching(/\.\d{3}Z$/),
      updatedAt: added.createdAt,
    });
    await server.advance(1);
    const other = await bob.call("cart:add", { providerAgentId: second.id, taskDescription: "Task desc" });
    expect(await bob.call("cart:list")).toEqual({ data: [added, other], total: 2, nextCursor: null });
  });

  test("holds an agent once: again replaces its task", async () => {
    const bob = await server.user("Bob");
    const [{ id: providerAgentId }] = agents;
    const added = await bob.call("cart:add", { providerAgentId, taskDescription: "One" });
    await server.advance(1_000);
    const again = await bob.call("cart:add", { providerAgentId, taskDescription: "Two" });
    expect(again).toEqual({ ...added, taskDescription: "Two", updatedAt: expect.not.stringMatching(added.updatedAt) });
    const updated = await bob.call("cart:update", { cartItemId: added.id, taskDescription: "Three" });
    expect(updated).toEqual({ ...again, taskDescription: "Three" });
    expect(await bob.call("cart:list")).toEqual({ data: [updated], total: 1, nextCursor: null });
  });

  test("loses one item, or all", async () => {
    const bob = await server.user("Bob");
    const items: Value[] = [];
    for (const { id } of agents) {
      items.push(await bob.call("cart:add", { providerAgentId: id, taskDescription: "x" }));
    }
    expect(await bob.call("cart:remove", { cartItemId: items[0].id })).toEqual({ message: "Item removed from cart" });
    expect(await bob.call("cart:list")).toMatchObject({ total: 1 });
    expect(await bob.call("cart:clear")).toEqual({ message: "Cart cleared", removed: 1 });
    expect(await bob.call("cart:clear")).toEqual({ message: "Cart cleared", removed: 0 });
  });

  test("is nobody else's", async () => {
    const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
    const { id } = await bob.call("cart:add", { providerAgentId: agents[0].id, taskDescription: "x" });
    for (const cartItemId of [id, "no such item"]) {
      const missing = { code: "not_found", message: "Cart item not found" };
      await expectRefusal(server, () => alice.call("cart:remove", { cartItemId }), missing);
      await expectRefusal(server, () => alice.call("cart:update", { cartItemId, taskDescription: "y" }), missing);
    }
    await alice.call("cart:clear");
    expect(await bob.call("cart:list")).toMatchObject({ total: 1 });
  });

  test("refuses agents that are not listed, one's own, and tasks of the wrong length", async () => {
    const alice = await server.user("Alice");
    const own = await listed(server, alice);
    const add = (providerAgentId: string, taskDescription = "x") => {
      return () => alice.call("cart:add", { providerAgentId, taskDescription });
    };
    for (const providerAgentId of [(await draft(alice)).id, (await draft(await server.user("Bob"))).id, "nobody"]) {
      await expectRefusal(server, add(providerAgentId), { code: "not_found", message: "Agent not found" });
    }
    await expectRefusal(server, add(own.id), { code: "failed_precondition", message: "Cannot rent your own agent" });
    for (const task of ["", "   ", "x".repeat(2_001)]) {
      await expectInvalid(server, add(agents[0].id, task), "taskDescription");
    }
    await add(agents[0].id, "x".repeat(2_000))();
  });

  test("holds an agent once and at most 100, however many are added at once", async () => {
    const [bob, carol] = [await server.user("Bob"), await server.user("Carol")];
    const [{ id: providerAgentId }] = agents;
    const tasks = Array.from({ length: 20 }, (_, index) => `Task ${index}`);
    const added = await Promise.all(
      tasks.map((taskDescription) => bob.call("cart:add", { providerAgentId, taskDescription })),
    );
    expect(new Set(added.map(({ id }) => id)).size).toBe(1);
    expect(await bob.call("cart:list")).toMatchObject({ total: 1 });

    await server.server.store.write(async ({ db }) => {
      const agent = await db
        .selectFrom("agents")
        .selectAll()
        .where("agentId", "=", agents[1].id)
        .executeTakeFirstOrThrow();
      for (let index = 0; index < 99; index += 1) {
        const agentId = `filler-${index}`;
        await db
          .insertInto("agents")
          .values({ ...agent, agentId, slug: agentId, claimTokenHash: agentId })
          .execute();
        await db
          .insertInto("cartItems")
          .values({
            cartItemId: `item-${index}`,
            userId: carol.userId,
            providerAgentId: agentId,
            taskDescription: "x",
            createdAt: 1,
            updatedAt: 1,
          })
          .execute();
      }
    });
    const outcomes = await Promise.allSettled(
      agents.map(({ id }) => carol.call("cart:add", { providerAgentId: id, taskDescription: "x" })),
    );
    expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    const refused = outcomes.find((outcome) => outcome.status === "rejected");
    expect(refused?.reason).toMatchObject({ code: "conflict", message: "The cart is full (max 100 items)" });
    expect((await carol.call("cart:list")).data).toHaveLength(100);
  });
});
