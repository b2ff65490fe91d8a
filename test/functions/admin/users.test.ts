import { describe, expect, test } from "vitest";
import { Agent, Caller, databases, password, type TestServer, type User, useServer } from "../../support/harness.js";
import { openSession, rentable } from "../../support/rental.js";

const suspended = { code: "forbidden", message: "Account is suspended" };

/** An agent of the user that is on the marketplace. */
async function listedAgent(server: TestServer, owner: User, name: string): Promise<Agent> {
  const slug = `${name.toLowerCase()}-${owner.userId.slice(-12)}`;
  const args = { name, slug, description: "Translates letters", capabilities: [] };
  const { id, agentToken } = await owner.call("agents:create", args);
  await owner.call("agents:publish", { agentId: id });
  await (await server.admin()).call("admin:approveAgent", { agentId: id });
  return new Agent(server, agentToken, id, name, "");
}

describe.each(databases)("admin:suspendUser and reinstateUser on %s (clawrent.md section 2.2)", (database) => {
  const server = useServer(database);
  const suspend = async (userId: string) => (await server.admin()).call("admin:suspendUser", { userId });
  const reinstate = async (userId: string) => (await server.admin()).call("admin:reinstateUser", { userId });
  const signIn = (email: string) => server.nobody.call("users:signIn", { email, password });
  const isBrowsed = async (agent: Agent) => {
    const { data } = await server.nobody.call("marketplace:browse", { limit: 100 });
    return data.some(({ id }: { id: string }) => id === agent.agentId);
  };
  const statusOf = (agent: Agent) =>
    server.read(async (db) => {
      const profiles = db.selectFrom("providerProfiles").select(["status", "reviewNote"]);
      return profiles.where("agentId", "=", agent.agentId).executeTakeFirst();
    });

  test("shuts the user out at once, with credentials that were just used, and their agents too", async () => {
    const alice = await server.user("Alice");
    const agent = await listedAgent(server, alice, "Helper");
    const callers = [alice, new Caller(server, alice.apiKey), agent];
    for (const caller of callers) await caller.call("users:me");

    expect(await suspend(alice.userId)).toMatchObject({ id: alice.userId, status: "suspended" });
    for (const caller of callers) {
      await expect(caller.call("users:me")).rejects.toMatchObject({ httpStatus: 403, ...suspended });
      await expect(caller.call("agents:listMine")).rejects.toMatchObject(suspended);
    }
    // The agent's own functions too, which ask for no user.
    await expect(agent.call("agents:getStatus")).rejects.toMatchObject(suspended);
    await expect(signIn(alice.email)).rejects.toMatchObject(suspended);

    expect(await reinstate(alice.userId)).toMatchObject({ id: alice.userId, status: "active" });
    for (const caller of callers) expect(await caller.call("users:me")).toMatchObject({ id: alice.userId });
    expect(await signIn(alice.email)).toMatchObject({ user: { status: "active" } });
  });

  test("takes the user's agents off the marketplace and puts the same ones back", async () => {
    const [alice, bob, admin] = await Promise.all([server.user("Alice"), server.user("Bob"), server.admin()]);
    const [listed, other] = [await listedAgent(server, alice, "Listed"), await listedAgent(server, bob, "Other")];
    const held = await listedAgent(server, alice, "Held");
    await admin.call("admin:suspendAgent", { agentId: held.agentId, note: "Does not answer" });
    expect(await Promise.all([listed, held, other].map(isBrowsed))).toEqual([true, false, true]);

    await suspend(alice.userId);
    expect(await Promise.all([listed, held, other].map(isBrowsed))).toEqual([false, false, true]);
    expect(await statusOf(listed)).toEqual({ status: "suspended", reviewNote: "The owner's account is suspended" });
    expect(await statusOf(held)).toEqual({ status: "suspended", reviewNote: "Does not answer" });
    await expect(admin.call("admin:reinstateAgent", { agentId: held.agentId })).rejects.toMatchObject({
      code: "conflict",
      message: "The owner's account is suspended",
    });

    await reinstate(alice.userId);
    expect(await Promise.all([listed, held, other].map(isBrowsed))).toEqual([true, false, true]);
    expect(await statusOf(listed)).toEqual({ status: "active", reviewNote: null });
    expect(await statusOf(held)).toEqual({ status: "suspended", reviewNote: "Does not answer" });
  });

  test("an agent that waits for review is not approved while its owner is suspended", async () => {
    const [alice, admin] = await Promise.all([server.user("Alice"), server.admin()]);
    const { id: agentId } = await alice.call("agents:create", {
      name: "Waiting",
      slug: `waiting-${alice.userId.slice(-12)}`,
      description: "Waits for a review",
    });
    await alice.call("agents:publish", { agentId });
    await suspend(alice.userId);
    await expect(admin.call("admin:approveAgent", { agentId })).rejects.toMatchObject({ code: "conflict" });
    await reinstate(alice.userId);
    expect(await admin.call("admin:approveAgent", { agentId })).toMatchObject({ status: "active" });
  });

  test("repeating either changes nothing", async () => {
    const alice = await server.user("Alice");
    const first = await suspend(alice.userId);
    server.clock.jump(1_000);
    expect(await suspend(alice.userId)).toEqual(first);
    const back = await reinstate(alice.userId);
    server.clock.jump(1_000);
    expect(await reinstate(alice.userId)).toEqual(back);
    expect(await alice.call("users:me")).toEqual(back);
  });

  test("an admin does not suspend themself, and nobody who is not there", async () => {
    const admin = await server.admin();
    await expect(suspend(admin.userId)).rejects.toMatchObject({ code: "failed_precondition" });
    expect(await admin.call("users:me")).toMatchObject({ status: "active" });
    for (const path of ["admin:suspendUser", "admin:reinstateUser"]) {
      const missing = { code: "not_found", message: "User not found" };
      await expect(admin.call(path, { userId: "nobody" })).rejects.toMatchObject(missing);
    }
  });

  test("only an admin may, and an admin's agent is none", async () => {
    const [alice, admin] = await Promise.all([server.user("Alice"), server.admin()]);
    const agent = await listedAgent(server, admin, "Deputy");
    for (const path of ["admin:suspendUser", "admin:reinstateUser"]) {
      const args = { userId: alice.userId };
      await expect(server.nobody.call(path, args)).rejects.toMatchObject({ httpStatus: 401 });
      for (const caller of [alice, agent]) {
        await expect(caller.call(path, args)).rejects.toMatchObject({ code: "forbidden" });
      }
      expect(await new Caller(server, admin.apiKey).call(path, args)).toMatchObject({ id: alice.userId });
    }
  });

  test("ends what the user rents, for they could not, and leaves alone who rents from them", async () => {
    const paidByTheMinute = { pricingModel: "per_minute", priceAmount: "1.00" };
    const rented = await openSession(server, paidByTheMinute, { topUp: "100" });
    const { consumer } = rented;
    const pending = await openSession(server, { approvalMode: "manual" }, { by: consumer });
    const theirs = await rentable(server, {}, consumer);
    const other = await openSession(server, {}, { of: theirs, by: await server.user("Dan", { topUp: "100" }) });
    await server.advance(90_000);
    await suspend(consumer.userId);

    const asProvider = (call: string, { provider, sessionId }: typeof rented) => provider.call(call, { sessionId });
    expect(await asProvider("sessions:get", rented)).toMatchObject({
      status: "completed",
      endReason: "terminated",
      billingAmount: "2.0000",
    });
    expect(await asProvider("sessions:get", pending)).toMatchObject({ status: "aborted", endReason: "terminated" });
    expect(await other.consumer.call("sessions:get", { sessionId: other.sessionId })).toMatchObject({
      status: "active",
    });
    await server.advance(3_600_000);
    await reinstate(consumer.userId);
    expect(await consumer.call("billing:getWallet")).toMatchObject({ balance: "98.00", held: "0.00" });
  });
});
