/**
 * What was reviewed is what is shown: an owner who changes a listed agent behind the admin's back shows nobody anything
 * that no admin saw (functions/model/listings/pending-changes.ts; clawrent.md sections 2.4, 2.5 and 2.10).
 */
import { afterEach, describe, expect, test } from "vitest";
import { databases, type TestServer, type User, useServer } from "../../support/harness.js";
import { connect, draft, freshSlug } from "../../support/market.js";
import { expectRefusal } from "../../support/refusals.js";
import { rentable, write } from "../../support/rental.js";

// biome-ignore lint/suspicious/noExplicitAny: what comes back is what the tests are about to look at.
type Value = any;

const reviewed = {
  name: "Reader",
  description: "Reads contracts and says what they mean",
  longDescription: "It reads them twice.",
  capabilities: [{ category: "law", name: "Contracts", description: "All kinds", tags: ["contract"] }],
  requiredPermissions: ["file.read"],
};
const wanted = {
  name: "Official Bank Support",
  description: "Send me your bank password please",
  longDescription: "Trust me.",
  capabilities: [{ category: "bank", name: "Passwords", description: "", tags: [] }],
  requiredPermissions: ["system.exec"],
  endpoint: "https://evil.example/run",
  healthCheckUrl: "https://evil.example/health",
};

describe.each(databases)("changes of a listed agent on %s", (database) => {
  const server = useServer(database);
  const nobody = () => server.nobody;
  // The queue is everybody's.
  afterEach(() => write(server, (db) => db.deleteFrom("pendingChanges").execute()));

  async function reader(owner: User): Promise<Value> {
    const { id } = await draft(owner, { ...reviewed, slug: freshSlug() });
    await owner.call("agents:publish", {
      agentId: id,
      pricingModel: "per_session",
      priceAmount: "5",
      endpoint: "https://reader.example/run",
    });
    return (await server.admin()).call("admin:approveAgent", { agentId: id });
  }

  /** Every place in which somebody else meets the agent. */
  async function seenByOthers(on: TestServer, agent: Value, renter: User, sessionId: string): Promise<string> {
    const seen = [
      await on.nobody.call("marketplace:getBySlug", { slug: agent.slug }),
      await on.nobody.call("marketplace:browse", { ownerId: agent.ownerId }),
      await renter.call("sessions:get", { sessionId }),
      await renter.call("sessions:listRentedAgents"),
      await renter.call("favorites:list"),
      await renter.call("cart:list"),
      await renter.call("orders:list"),
    ];
    // Fields that say when and how often are no texts.
    return JSON.stringify(seen).replaceAll(/"(\w+At|totalSessions|sessionCount|timestamp)":[^,}]*/g, "");
  }

  test("show nobody anything new until an admin approves them, all at once then", async () => {
    const [admin, bob] = [await server.admin(), await server.user("Bob")];
    const agent = await reader(bob);
    const { id: agentId, slug } = agent;
    await connect(server, agentId);
    await bob.call("agents:activate", { agentId });
    const alice = await server.user("Alice", { topUp: "1000" });
    const { id: orderId } = await alice.call("orders:create", {
      items: [{ providerAgentId: agentId, taskDescription: "Read this" }],
    });
    const { items } = await alice.call("orders:get", { orderId });
    await alice.call("favorites:add", { agentId });
    await alice.call("cart:add", { providerAgentId: agentId, taskDescription: "Read this too" });
    const seen = () => seenByOthers(server, agent, alice, items[0].sessionId);
    const before = await seen();

    const reply = await bob.call("agents:update", { agentId, ...wanted, priceAmount: "7.5" });
    expect(reply).toMatchObject({ ...reviewed, id: agentId, slug, status: "active", pendingChanges: wanted });
    // Terms are the owner's own.
    expect(reply.providerProfile).toMatchObject({ priceAmount: "7.50", endpoint: "https://reader.example/run" });
    expect(await bob.call("agents:get", { agentId })).toEqual(reply);
    expect((await bob.call("agents:listMine")).data).toEqual([reply]);
    expect((await seen()).replaceAll("7.50", "5.00")).toEqual(before);
    for (const search of ["official", "bank", "password"]) {
      expect((await nobody().call("marketplace:browse", { search })).total).toBe(0);
    }
    expect((await nobody().call("marketplace:browse", { search: "contracts", ownerId: bob.userId })).total).toBe(1);
    const { data: categories } = await nobody().call("marketplace:listCategories");
    expect(categories.map(({ name }: Value) => name)).not.toContain("bank");
    const missing = (await alice.call("sessions:create", { agentId, taskDescription: "Read one more of these" }))
      .missingPermissions;
    expect(missing).toEqual(["file.read"]);

    // The admin sees both, side by side.
    const { data, total } = await admin.call("admin:listAgents", { status: "changed" });
    expect(total).toBe(1);
    expect(data[0]).toMatchObject({ ...reviewed, id: agentId, pendingChanges: wanted, owner: { email: bob.email } });

    const approved = await admin.call("admin:approveAgent", { agentId, note: "Fine", version: data[0].version });
    const { endpoint, healthCheckUrl, ...texts } = wanted;
    expect(approved).toMatchObject({ ...texts, status: "active", pendingChanges: null });
    expect(approved.providerProfile).toMatchObject({
      endpoint,
      healthCheckUrl,
      reviewNote: "Fine",
      priceAmount: "7.50",
    });
    expect(await nobody().call("marketplace:getBySlug", { slug })).toMatchObject(texts);
    expect((await nobody().call("marketplace:browse", { search: "bank password" })).total).toBe(1);
    expect((await nobody().call("marketplace:browse", { search: "contracts", ownerId: bob.userId })).total).toBe(0);
    expect((await admin.call("admin:listAgents", { status: "changed" })).total).toBe(0);
    await expectRefusal(server, () => admin.call("admin:approveAgent", { agentId }), {
      code: "conflict",
      message: "Provider profile status is 'active'",
    });
  });

  test("are dropped by a rejection, whose note the owner reads, and the agent stays listed", async () => {
    const [admin, bob] = [await server.admin(), await server.user("Bob")];
    const agent = await reader(bob);
    const { id: agentId, slug } = agent;
    await bob.call("agents:update", { agentId, ...wanted });
    const rejected = await admin.call("admin:rejectAgent", { agentId, note: "This is no bank." });
    expect(rejected).toMatchObject({ ...reviewed, status: "active", pendingChanges: null });
    expect((await bob.call("agents:get", { agentId })).providerProfile.reviewNote).toBe("This is no bank.");
    expect(await nobody().call("marketplace:getBySlug", { slug })).toMatchObject(reviewed);
    expect((await nobody().call("marketplace:browse", { search: "bank", ownerId: bob.userId })).total).toBe(0);
    await expectRefusal(server, () => admin.call("admin:rejectAgent", { agentId }), {
      code: "conflict",
      message: "Provider profile status is 'active'",
    });
  });

  test("gather in one row, keep their place in the queue, and go when they are taken back", async () => {
    const [admin, bob] = [await server.admin(), await server.user("Bob")];
    const [first, second] = [await reader(bob), await reader(bob)];
    const change = (agent: Value, fields: object) => bob.call("agents:update", { agentId: agent.id, ...fields });
    const queue = async () =>
      (await admin.call("admin:listAgents", { status: "changed" })).data.map(({ id }: Value) => id);
    await change(first, { name: "Writer" });
    server.clock.jump(1_000);
    await change(second, { name: "Speaker" });
    for (let time = 0; time < 20; time += 1) {
      server.clock.jump(1_000);
      await change(first, { description: `Writes contracts, the ${time}th time` });
    }
    expect(await queue()).toEqual([first.id, second.id]);
    expect((await change(first, {})).pendingChanges).toEqual({
      name: "Writer",
      description: "Writes contracts, the 19th time",
    });
    const { data, nextCursor } = await admin.call("admin:listAgents", { status: "changed", limit: 1 });
    expect(data.map(({ id }: Value) => id)).toEqual([first.id]);
    const next = await admin.call("admin:listAgents", { status: "changed", limit: 1, cursor: nextCursor });
    expect(next).toMatchObject({ data: [{ id: second.id }], nextCursor: null, total: 2 });

    const { description, capabilities, longDescription, requiredPermissions } = reviewed;
    const same = { description, capabilities, longDescription, requiredPermissions };
    expect((await change(first, same)).pendingChanges).toEqual({ name: "Writer" });
    expect((await change(first, { name: "Reader", endpoint: "https://reader.example/run" })).pendingChanges).toBeNull();
    expect(await queue()).toEqual([second.id]);
    const rows = await server.read((db) => db.selectFrom("pendingChanges").select("agentId").execute());
    expect(rows).toEqual([{ agentId: second.id }]);
  });

  test("are not approved unseen: what the owner changed after the admin looked is refused", async () => {
    const [admin, bob] = [await server.admin(), await server.user("Bob")];
    const shown = async (agentId: string) => (await admin.call("admin:listAgents", { agentId })).data[0];
    const changedSince = {
      code: "conflict",
      message: "The agent was changed after you looked at it. Look again, then decide.",
    };
    // Of one that nobody has reviewed yet, what is shown is what is judged.
    const { id: fresh } = await draft(bob, reviewed);
    await bob.call("agents:publish", { agentId: fresh });
    const { version: ofFresh } = await shown(fresh);
    expect((await bob.call("agents:update", { agentId: fresh, ...wanted })).pendingChanges).toBeNull();
    await expectRefusal(
      server,
      () => admin.call("admin:approveAgent", { agentId: fresh, version: ofFresh }),
      changedSince,
    );
    await bob.call("agents:update", { agentId: fresh, ...reviewed, endpoint: "https://reader.example/other" });
    await expectRefusal(
      server,
      () => admin.call("admin:approveAgent", { agentId: fresh, version: ofFresh }),
      changedSince,
    );
    await admin.call("admin:approveAgent", { agentId: fresh, version: (await shown(fresh)).version });

    const { id: agentId } = await reader(bob);
    await bob.call("agents:update", { agentId, name: "Writer" });
    const { version } = await shown(agentId);
    await bob.call("agents:update", { agentId, name: wanted.name });
    for (const decide of ["admin:approveAgent", "admin:rejectAgent"]) {
      await expectRefusal(server, () => admin.call(decide, { agentId, version }), changedSince);
    }
    await bob.call("agents:update", { agentId, name: "Writer" });
    expect(await admin.call("admin:approveAgent", { agentId, version })).toMatchObject({ name: "Writer" });
  });

  test("wait through a suspension of the agent or of its owner, and come back with neither", async () => {
    const [admin, bob] = [await server.admin(), await server.user("Bob")];
    const { id: agentId, slug } = await reader(bob);
    await admin.call("admin:suspendAgent", { agentId });
    expect(await bob.call("agents:update", { agentId, ...wanted })).toMatchObject({
      ...reviewed,
      pendingChanges: wanted,
    });
    expect((await admin.call("admin:listAgents", { status: "changed" })).total).toBe(0);
    for (const decide of ["admin:approveAgent", "admin:rejectAgent"]) {
      await expectRefusal(server, () => admin.call(decide, { agentId }), {
        code: "conflict",
        message: "Provider profile status is 'suspended'",
      });
    }
    const expectAsReviewed = async () => {
      expect(await nobody().call("marketplace:getBySlug", { slug })).toMatchObject(reviewed);
      expect((await admin.call("admin:listAgents", { status: "changed" })).total).toBe(1);
    };
    await admin.call("admin:reinstateAgent", { agentId });
    await expectAsReviewed();
    await admin.call("admin:suspendUser", { userId: bob.userId });
    expect((await admin.call("admin:listAgents", { status: "changed" })).total).toBe(0);
    await admin.call("admin:reinstateUser", { userId: bob.userId });
    await expectAsReviewed();
    expect(await admin.call("admin:approveAgent", { agentId })).toMatchObject({ name: wanted.name });
  });

  test("of a draft, one that waits and one that was rejected are made at once", async () => {
    const [admin, bob] = [await server.admin(), await server.user("Bob")];
    const { id: agentId } = await draft(bob, reviewed);
    const change = (name: string) => bob.call("agents:update", { agentId, name });
    expect(await change("Draft")).toMatchObject({ name: "Draft", pendingChanges: null, status: "draft" });
    await bob.call("agents:publish", { agentId });
    expect(await change("Waiting")).toMatchObject({ name: "Waiting", pendingChanges: null, status: "pending_review" });
    await admin.call("admin:rejectAgent", { agentId });
    expect(await change("Rejected")).toMatchObject({ name: "Rejected", pendingChanges: null, status: "rejected" });
    await bob.call("agents:publish", { agentId });
    expect(await admin.call("admin:approveAgent", { agentId })).toMatchObject({ name: "Rejected" });
  });

  test("are no stranger's to make or to decide, and nobody but the owner and admins sees that they wait", async () => {
    const [bob, eve] = [await server.user("Bob"), await server.user("Eve")];
    const { id: agentId } = await reader(bob);
    await bob.call("agents:update", { agentId, name: "Writer" });
    const notFound = { code: "not_found", message: "Agent not found" };
    await expectRefusal(server, () => eve.call("agents:update", { agentId, name: "Mine" }), notFound);
    await expectRefusal(server, () => eve.call("agents:get", { agentId }), notFound);
    for (const decide of ["admin:approveAgent", "admin:rejectAgent"]) {
      await expect(bob.call(decide, { agentId })).rejects.toMatchObject({ code: "forbidden" });
    }
  });

  test("agents who know the agent itself see the reviewed name too: it has one name for all", async () => {
    const [admin, bob] = [await server.admin(), await server.user("Bob")];
    const { agentId, agent } = await rentable(server, {}, bob);
    const carol = await server.agent("Carol");
    const { inviteToken } = await carol.call("connections:invite", {});
    await agent.call("connections:accept", { inviteToken });
    await bob.call("agents:update", { agentId, name: wanted.name });
    expect(JSON.stringify(await carol.call("connections:list"))).not.toContain(wanted.name);
    expect(await agent.call("agents:getStatus")).toMatchObject({ name: "Reader" });
    await admin.call("admin:approveAgent", { agentId });
    expect(JSON.stringify(await carol.call("connections:list"))).toContain(wanted.name);
  });
});

describe.each(databases)("where the operator approves all, on %s", (database) => {
  const server = useServer(database, { config: { autoApproveProviders: true } });

  test("changes are made at once, and those that waited from before with them", async () => {
    const provider = await server.user("Bob");
    const { id: agentId } = await draft(provider);
    await provider.call("agents:publish", { agentId });
    const changes = JSON.stringify({ name: "Waited", description: wanted.description });
    await write(server, (db) =>
      db.insertInto("pendingChanges").values({ agentId, changes, createdAt: 1, updatedAt: 1 }).execute(),
    );
    const changed = await provider.call("agents:update", { agentId, description: "Reads leases and nothing else" });
    expect(changed).toMatchObject({
      name: "Waited",
      description: "Reads leases and nothing else",
      pendingChanges: null,
    });
    expect((await server.nobody.call("marketplace:browse", { search: "leases waited" })).total).toBe(1);
  });
});
