import { describe, expect, test } from "vitest";
import { databases, day, hour, type User, useServer } from "../support/harness.js";
import { asAgent, draft } from "../support/market.js";
import { expectInvalid, expectRefusal } from "../support/refusals.js";
import { openSession, type Rentable, rentable, serve } from "../support/rental.js";

const items = (...of: Rentable[]) =>
  of.map(({ agentId }, index) => ({ providerAgentId: agentId, taskDescription: `Task ${index + 1}` }));

describe.each(databases)("orders on %s (clawrent.md section 2.8)", (database) => {
  const server = useServer(database);
  const order = async (by: User, of: Rentable[], more: object = {}) =>
    by.call("orders:create", { items: items(...of), ...more });

  test("one session per item, in the order of the items", async () => {
    const [auto, manual] = [
      await rentable(server, { priceAmount: "2.5" }),
      await rentable(server, { approvalMode: "manual" }),
    ];
    const alice = await server.user("Alice", { topUp: "50" });
    const helper = asAgent(server, await draft(alice));
    const created = await alice.call("orders:create", {
      items: [
        { ...items(manual)[0], grantedPermissions: { "file.read": true } },
        { ...items(auto)[0], consumerAgentId: helper.agentId },
        ...items(manual, auto),
      ],
      note: "For the week",
    });
    const item = (of: Rentable, taskDescription: string, sessionStatus: string) => ({
      id: expect.any(String),
      providerAgentId: of.agentId,
      consumerAgentId: null,
      taskDescription,
      sessionId: expect.any(String),
      sessionToken: expect.any(String),
      sessionStatus,
      agent: expect.objectContaining({ id: of.agentId, name: "Reader" }),
    });
    expect(created).toEqual({
      id: expect.any(String),
      userId: alice.userId,
      status: "active",
      note: "For the week",
      totalAmount: "15.00",
      currency: "CNY",
      items: [
        item(manual, "Task 1", "pending_approval"),
        { ...item(auto, "Task 1", "active"), consumerAgentId: helper.agentId },
        item(manual, "Task 1", "pending_approval"),
        item(auto, "Task 2", "active"),
      ],
      createdAt: new Date(server.clock.now()).toISOString(),
      updatedAt: new Date(server.clock.now()).toISOString(),
    });
    expect((await alice.call("billing:getWallet")).held).toBe("15.00");
    const session = await alice.call("sessions:get", { sessionId: created.items[0].sessionId });
    expect(session).toMatchObject({
      orderId: created.id,
      sessionToken: created.items[0].sessionToken,
      grantedPermissions: { "file.read": { granted: true } },
    });
    expect(await alice.call("orders:get", { orderId: created.id })).toEqual(created);
    // A session token hangs on the credential that reads it.
    const read = created.items.map((item: object) => ({ ...item, sessionToken: expect.any(String) }));
    const byHelper = await helper.call("orders:get", { orderId: created.id });
    expect(byHelper).toEqual({ ...created, items: read });
    expect(byHelper.items[0].sessionToken).not.toBe(created.items[0].sessionToken);
    expect((await alice.call("orders:list")).data).toEqual([created]);
  });

  test("all or nothing: the refusal is the item's own and says which it is", async () => {
    const [good, other] = [await rentable(server), await rentable(server, { maxConcurrentSessions: 2 })];
    const usd = await rentable(server, { currency: "USD" });
    const alice = await server.user("Alice", { topUp: "12" });
    await alice.call("billing:topUp", { amount: "10", currency: "USD" });
    const refusals: [Rentable[], string, string | RegExp, number][] = [
      [[good, { ...good, agentId: "nobody" }], "not_found", "Agent not found", 1],
      [[other, other, other], "conflict", "Agent has reached its maximum concurrent sessions", 2],
      [[good, other, good], "insufficient_funds", /^Insufficient balance/, 2],
      [[good, usd], "failed_precondition", "All agents of one order must be priced in the same currency", 1],
    ];
    for (const [of, code, message, index] of refusals) {
      await expectRefusal(server, () => order(alice, of), {
        code,
        message: typeof message === "string" ? message : expect.stringMatching(message),
      } as { code: string; message: string });
      await expect(order(alice, of)).rejects.toMatchObject({
        data: { issues: [{ path: `items.${index}`, message: expect.stringMatching(message) }] },
      });
    }
    const own = await rentable(server, {}, alice);
    await expect(order(alice, [good, own])).rejects.toMatchObject({ message: "Cannot rent your own agent" });
    expect((await alice.call("orders:list")).total).toBe(0);
    expect((await alice.call("billing:getWallet")).held).toBe("0.00");
  });

  test("its arguments have bounds", async () => {
    const alice = await server.user("Alice");
    const [item] = items(await rentable(server));
    const create = (args: object) => () => alice.call("orders:create", args);
    await expectInvalid(server, create({ items: [] }), "items");
    await expectInvalid(server, create({ items: Array(51).fill(item) }), "items");
    await expectInvalid(server, create({ items: [{ ...item, taskDescription: "" }] }), "items.0.taskDescription");
    await expectInvalid(server, create({ items: [item], note: "x".repeat(501) }), "note");
  });

  test("`fromCart` empties the cart on success, and only then", async () => {
    const of = await rentable(server);
    const alice = await server.user("Alice", { topUp: "5" });
    await alice.call("cart:add", { providerAgentId: of.agentId, taskDescription: "Task desc" });
    await expect(order(alice, [of, of], { fromCart: true })).rejects.toMatchObject({ code: "insufficient_funds" });
    expect((await alice.call("cart:list")).total).toBe(1);
    const { items: made } = await order(alice, [of]);
    expect((await alice.call("cart:list")).total).toBe(1);
    await alice.call("sessions:end", { sessionId: made[0].sessionId });
    await alice.call("billing:topUp", { amount: "5" });
    await order(alice, [of], { fromCart: true });
    expect((await alice.call("cart:list")).total).toBe(0);
  });

  test("follows its sessions: pending, active, completed", async () => {
    const manual = await rentable(server, { approvalMode: "manual" });
    const alice = await server.user("Alice", { topUp: "50" });
    const created = await order(alice, [manual, manual]);
    const status = async () => (await alice.call("orders:get", { orderId: created.id })).status;
    const [first, second] = created.items.map(({ sessionId }: { sessionId: string }) => ({ sessionId }));
    expect(created.status).toBe("pending");
    await manual.provider.call("sessions:approve", first);
    expect(await status()).toBe("active");
    await manual.provider.call("sessions:end", first);
    expect(await status()).toBe("active");
    await manual.provider.call("sessions:end", second);
    expect(await status()).toBe("completed");
    expect((await alice.call("orders:get", { orderId: created.id })).items).toMatchObject([
      { sessionStatus: "completed", sessionToken: null },
      { sessionStatus: "aborted", sessionToken: null },
    ]);
  });

  test("is cancelled once all its sessions were refused or ran out, by the clock too", async () => {
    const manual = await rentable(server, { approvalMode: "manual" });
    const alice = await server.user("Alice", { topUp: "50" });
    const refused = await order(alice, [manual]);
    await manual.provider.call("sessions:end", { sessionId: refused.items[0].sessionId });
    server.clock.jump(1_000);
    const lapsed = await order(alice, [manual, manual]);
    server.clock.jump(day);
    const seen = async () => ({
      cancelled: (await alice.call("orders:list", { status: "cancelled" })).data.map(({ id }: { id: string }) => id),
      pending: (await alice.call("orders:list", { status: "pending" })).total,
      status: (await alice.call("orders:get", { orderId: lapsed.id })).status,
    });
    const expected = { cancelled: [lapsed.id, refused.id], pending: 0, status: "cancelled" };
    expect(await seen()).toEqual(expected);
    await expectRefusal(server, () => alice.call("orders:cancel", { orderId: lapsed.id }), {
      code: "failed_precondition",
      message: "Only pending or active orders can be cancelled",
    });
    await server.settle();
    expect(await seen()).toEqual(expected);
  });

  test("cancelling aborts what is pending and settles what is active", async () => {
    const [auto, manual] = [await rentable(server), await rentable(server, { approvalMode: "manual" })];
    const alice = await server.user("Alice", { topUp: "50" });
    const { id: orderId, items: made } = await order(alice, [auto, manual]);
    await serve(auto.provider, made[0].sessionId);
    const cancelled = await alice.call("orders:cancel", { orderId });
    expect(cancelled).toMatchObject({
      status: "cancelled",
      items: [
        { sessionStatus: "completed", sessionToken: null },
        { sessionStatus: "aborted", sessionToken: null },
      ],
    });
    expect(await alice.call("billing:getWallet")).toMatchObject({ balance: "45.00", held: "0.00" });
    const session = await alice.call("sessions:get", { sessionId: cancelled.items[0].sessionId });
    expect(session).toMatchObject({ endReason: "cancelled", billingStatus: "settled" });
    expect(await alice.call("orders:get", { orderId })).toEqual(cancelled);
    await expectRefusal(server, () => alice.call("orders:cancel", { orderId }), {
      code: "failed_precondition",
      message: "Only pending or active orders can be cancelled",
    });
  });

  test("a completed order cannot be cancelled; anybody else's reads as missing", async () => {
    const { consumer, agentId, provider, agent } = await openSession(server);
    const { id: orderId, items: made } = await order(consumer, [{ agentId, provider, agent }]);
    await consumer.call("sessions:end", { sessionId: made[0].sessionId });
    await expect(consumer.call("orders:cancel", { orderId })).rejects.toMatchObject({ data: { status: "completed" } });
    for (const path of ["orders:get", "orders:cancel"]) {
      for (const id of [orderId, "nothing"]) {
        await expectRefusal(server, () => provider.call(path, { orderId: id }), {
          code: "not_found",
          message: "Order not found",
        });
      }
    }
    await server.advance(hour);
  });
});
