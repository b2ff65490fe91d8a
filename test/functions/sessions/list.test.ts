import { beforeAll, describe, expect, test } from "vitest";
import { type Agent, databases, day, type User, useServer } from "../../support/harness.js";
import { asAgent, draft } from "../../support/market.js";
import { expectInvalid } from "../../support/refusals.js";
import { openSession, type Rentable, rentable, serve } from "../../support/rental.js";

const ids = ({ data }: { data: { id: string }[] }) => data.map(({ id }) => id);

describe.each(databases)("sessions:list on %s (clawrent.md section 2.6)", (database) => {
  const server = useServer(database);
  let bob: User;
  let first: Rentable;
  let second: Rentable;
  let carol: User;
  /** By how they stand, oldest first. */
  const made: Record<"completed" | "active" | "pending" | "lapsed" | "ofBob", string> = {
    completed: "",
    active: "",
    pending: "",
    lapsed: "",
    ofBob: "",
  };

  beforeAll(async () => {
    bob = await server.user("Bob", { topUp: "50" });
    first = await rentable(server, { maxConcurrentSessions: 50 }, bob);
    second = await rentable(server, { approvalMode: "manual" }, bob);
    const other = await rentable(server);
    carol = await server.user("Carol", { topUp: "100" });
    const rent = async (of: Rentable, by = carol) => {
      const { sessionId } = await openSession(server, {}, { of, by });
      server.clock.jump(1_000);
      return sessionId;
    };
    made.lapsed = await rent(second);
    server.clock.jump(day);
    made.completed = await rent(first);
    await carol.call("sessions:end", { sessionId: made.completed });
    made.active = await rent(first);
    made.pending = await rent(second);
    made.ofBob = await rent(other, bob);
  });

  test("gives both sides' sessions, newest first, with the token of the caller's side while open", async () => {
    const all = await bob.call("sessions:list");
    expect(ids(all)).toEqual([made.ofBob, made.pending, made.active, made.completed, made.lapsed]);
    expect(all).toMatchObject({ total: 5, page: 1, limit: 100 });
    expect(all.data.map(({ role }: { role: string }) => role)).toEqual([
      "consumer",
      "provider",
      "provider",
      "provider",
      "provider",
    ]);
    const [rented, pending, active, completed, lapsed] = all.data;
    for (const session of [rented, pending, active]) expect(session.sessionToken).toEqual(expect.any(String));
    for (const session of [completed, lapsed]) expect(session.sessionToken).toBeNull();
    expect(pending).not.toHaveProperty("slotIndex");
    const { data } = await carol.call("sessions:list", { status: "active" });
    expect(data).toMatchObject([{ id: made.active, role: "consumer", slotIndex: 0 }]);
    expect(data[0].sessionToken).not.toBe(active.sessionToken);
  });

  test("filters by side and by status, by the clock and not by what the timer wrote", async () => {
    const list = async (args: object, who: User = bob) => ids(await who.call("sessions:list", args));
    expect(await list({ role: "consumer" })).toEqual([made.ofBob]);
    expect(await list({ role: "provider", status: "active" })).toEqual([made.active]);
    expect(await list({ status: "pending_approval" })).toEqual([made.pending]);
    expect(await list({ status: "expired" })).toEqual([made.lapsed]);
    expect(await list({ role: "provider", status: "expired, completed" })).toEqual([made.completed, made.lapsed]);
    expect(await list({ status: "pending_approval,active" }, carol)).toEqual([made.pending, made.active]);
    // States of the clients' own types that no session here is ever in.
    expect(await list({ status: "settled" })).toEqual([]);
    expect(await list({ status: "settled,completed" })).toEqual([made.completed]);
    await expectInvalid(server, () => bob.call("sessions:list", { status: "open" }), "status");
  });

  test("an agent that asks for the provider's side gets its own sessions alone", async () => {
    const list = async (agent: Agent, args: object = {}) => ids(await agent.call("sessions:list", args));
    expect(await list(first.agent, { role: "provider" })).toEqual([made.active, made.completed]);
    expect(await list(second.agent, { role: "provider", status: "pending_approval" })).toEqual([made.pending]);
    expect(await list(first.agent, { role: "consumer" })).toEqual([made.ofBob]);
    expect(await list(first.agent)).toHaveLength(5);
  });

  test("pages through", async () => {
    const seen: string[] = [];
    for (let page = 1; page <= 3; page += 1) {
      const answer = await bob.call("sessions:list", { page, limit: 2 });
      expect(answer).toMatchObject({ total: 5, page, limit: 2 });
      seen.push(...ids(answer));
    }
    expect(seen).toEqual(ids(await bob.call("sessions:list")));
    expect(ids(await bob.call("sessions:list", { page: 4, limit: 2 }))).toEqual([]);
  });

  test("an admin reads any session without its token, and nobody else does", async () => {
    const admin = await server.admin();
    const session = await admin.call("sessions:get", { sessionId: made.active });
    expect(session).toMatchObject({ id: made.active, role: null, sessionToken: null });
    expect(ids(await admin.call("sessions:list"))).toEqual([]);
    const stranger = asAgent(server, await draft(await server.user("Dave")));
    await expect(stranger.call("sessions:get", { sessionId: made.active })).rejects.toMatchObject({
      code: "not_found",
    });
    expect(ids(await admin.call("admin:listSessions", { status: "pending_approval" }))).toEqual([made.pending]);
    const all = await admin.call("admin:listSessions", { limit: 2 });
    expect(all).toMatchObject({ total: 5, page: 1, limit: 2 });
    expect(ids(all)).toEqual([made.ofBob, made.pending]);
    for (const { sessionToken } of all.data) expect(sessionToken).toBeNull();
    await expect(bob.call("admin:listSessions")).rejects.toMatchObject({ code: "forbidden" });
    await expect(bob.call("admin:terminateSession", { sessionId: made.active })).rejects.toMatchObject({
      code: "forbidden",
    });
  });

  test("the agents that one rented come once each, the latest first", async () => {
    const { data, total } = await carol.call("sessions:listRentedAgents");
    expect(total).toBe(2);
    expect(data).toMatchObject([
      { id: second.agentId, sessionCount: 2, name: "Reader", owner: { id: bob.userId } },
      { id: first.agentId, sessionCount: 2 },
    ]);
    const { createdAt } = await carol.call("sessions:get", { sessionId: made.pending });
    expect(data[0].lastRentedAt).toBe(createdAt);
    expect((await carol.call("sessions:listRentedAgents", { page: 2, limit: 1 })).data).toMatchObject([
      { id: first.agentId },
    ]);
  });
});

describe.each(databases)("admin:terminateSession on %s (clawrent.md section 2.10)", (database) => {
  const server = useServer(database);

  test("ends and settles", async () => {
    const { consumer, provider, sessionId } = await openSession(server);
    await serve(provider, sessionId);
    const admin = await server.admin();
    const ended = await admin.call("admin:terminateSession", { sessionId, reason: "abuse" });
    expect(ended).toMatchObject({ status: "completed", endReason: "terminated", settlement: { amount: "5.0000" } });
    expect((await consumer.call("billing:getWallet")).balance).toBe("95.00");
    await expect(admin.call("admin:terminateSession", { sessionId: "nothing" })).rejects.toMatchObject({
      code: "not_found",
      message: "Session not found",
    });
  });

  test("a settled record is refunded once", async () => {
    const { consumer, provider, sessionId } = await openSession(server);
    await serve(provider, sessionId);
    await consumer.call("sessions:end", { sessionId });
    const [{ id: recordId }] = (await consumer.call("billing:listRecords")).data;
    const admin = await server.admin();
    expect(await admin.call("admin:refund", { recordId })).toMatchObject({ sessionId, status: "refunded" });
    await expect(admin.call("admin:refund", { recordId })).rejects.toMatchObject({ code: "conflict" });
    expect(await consumer.call("sessions:get", { sessionId })).toMatchObject({ billingStatus: "refunded" });
    expect((await consumer.call("billing:getWallet")).balance).toBe("100.00");
    expect((await provider.call("billing:getWallet")).balance).toBe("0.00");
  });
});
