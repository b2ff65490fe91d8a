import { describe, expect, test } from "vitest";
import { Caller, databases, startServer, useServer } from "../../support/harness.js";
import { connect, description, disconnect, draft, freshSlug, listed } from "../../support/market.js";
import { heard } from "../../support/notices.js";
import { databaseBefore } from "../../support/older-database.js";
import { expectInvalid, expectRefusal } from "../../support/refusals.js";
import { rentable, task } from "../../support/rental.js";

const noProfile = { code: "failed_precondition", message: "Agent has no provider profile. Publish it first." };
const notConnected = { code: "failed_precondition", message: "Agent is not connected via WebSocket" };
const statusIs = (status: string) => `Provider profile status is '${status}'`;

const publishDefaults = {
  pricingModel: "per_token",
  priceAmount: "0.05",
  currency: "CNY",
  hostingType: "self_hosted",
  approvalMode: "manual",
  transparencyLevel: "moderate",
  maxConcurrentSessions: 5,
  maxConsumerSlots: 1,
  slotAssignmentMode: "flexible",
  allowSharedConsumer: false,
  endpoint: null,
  healthCheckUrl: null,
};

/** A profile as a release before this one stored it. */
const storedProfile = {
  status: "active",
  pricingModel: "fixed",
  priceMinor: 50_000,
  currency: "CNY",
  hostingType: "self_hosted",
  transparencyLevel: "moderate",
  approvalMode: "auto",
  maxConcurrentSessions: 10,
  maxConsumerSlots: 1,
  slotAssignmentMode: "flexible",
  allowSharedConsumer: 0,
  verificationLevel: "unverified",
  totalSessions: 0,
  endedSessions: 0,
  activatedAt: 1,
};
const applyDefaults = { ...publishDefaults, pricingModel: "per_session", priceAmount: "1.00" };

/** Every field with a value that is no default. */
const chosen = {
  pricingModel: "per_minute",
  priceAmount: "12.3456",
  currency: "USD",
  hostingType: "platform_hosted",
  approvalMode: "auto",
  transparencyLevel: "opaque",
  maxConcurrentSessions: 1_000,
  maxConsumerSlots: 100,
  slotAssignmentMode: "round_robin",
  allowSharedConsumer: true,
  endpoint: "https://example.com/run",
  healthCheckUrl: "http://127.0.0.1:8080/health",
};

describe.each(databases)("agents:publish and agents:applyAsProvider on %s (clawrent.md section 2.4)", (database) => {
  const server = useServer(database);

  test("publish submits with its defaults and returns the agent", async () => {
    const alice = await server.user("Alice");
    const { id } = await draft(alice);
    const published = await alice.call("agents:publish", { agentId: id });
    expect(published).toMatchObject({ id, status: "pending_review", roles: "consumer", onlineStatus: "offline" });
    expect(published.providerProfile).toEqual({
      id: expect.any(String),
      agentId: id,
      status: "pending_review",
      ...publishDefaults,
      verificationLevel: "unverified",
      totalSessions: 0,
      avgRating: null,
      completionRate: null,
      reviewNote: null,
      activatedAt: null,
      createdAt: expect.any(String),
      updatedAt: expect.any(String),
    });
    expect(await server.nobody.call("marketplace:browse", { ownerId: alice.userId })).toMatchObject({ total: 0 });
    expect((await alice.call("users:me")).role).toBe("consumer");
  });

  test("applyAsProvider submits with other defaults and returns the profile itself", async () => {
    const alice = await server.user("Alice");
    const { id } = await draft(alice);
    const profile = await alice.call("agents:applyAsProvider", { agentId: id });
    expect(profile).toMatchObject({ agentId: id, status: "pending_review", ...applyDefaults });
    expect((await alice.call("agents:get", { agentId: id })).providerProfile).toEqual(profile);
  });

  test.each(["publish", "applyAsProvider"])("%s takes every field", async (name) => {
    const alice = await server.user("Alice");
    const { id } = await draft(alice);
    await alice.call(`agents:${name}`, { agentId: id, ...chosen });
    expect((await alice.call("agents:get", { agentId: id })).providerProfile).toMatchObject(chosen);
  });

  test("what the registration said stands between the body and the defaults; null says nothing", async () => {
    const alice = await server.user("Alice");
    for (const [name, defaults] of [
      ["publish", publishDefaults],
      ["applyAsProvider", applyDefaults],
    ] as const) {
      const { id } = await draft(alice, { priceAmount: 3, currency: "USD", allowSharedConsumer: false });
      await alice.call(`agents:${name}`, { agentId: id, currency: "CNY", priceAmount: null });
      const { providerProfile } = await alice.call("agents:get", { agentId: id });
      expect(providerProfile).toMatchObject({ ...defaults, priceAmount: "3.00", currency: "CNY" });
    }
  });

  test("again while it waits: the fields that are given change, the others stay", async () => {
    const alice = await server.user("Alice");
    const { id } = await draft(alice);
    await alice.call("agents:publish", { agentId: id, ...chosen });
    const again = await alice.call("agents:publish", { agentId: id, priceAmount: "1" });
    expect(again).toMatchObject({ status: "pending_review", providerProfile: { ...chosen, priceAmount: "1.00" } });
    const applied = await alice.call("agents:applyAsProvider", { agentId: id });
    expect(applied).toMatchObject({ ...chosen, priceAmount: "1.00" });
  });

  test("after a rejection it waits again, and the note is gone", async () => {
    const alice = await server.user("Alice");
    const { id } = await draft(alice);
    await alice.call("agents:publish", { agentId: id, ...chosen });
    await (await server.admin()).call("admin:rejectAgent", { agentId: id, note: "Say more" });
    expect(await alice.call("agents:get", { agentId: id })).toMatchObject({
      status: "rejected",
      providerProfile: { reviewNote: "Say more" },
    });
    expect(await alice.call("agents:publish", { agentId: id, currency: "CNY" })).toMatchObject({
      status: "pending_review",
      providerProfile: { ...chosen, currency: "CNY", reviewNote: null },
    });
  });

  test.each(["publish", "applyAsProvider"])("%s refuses an active and a suspended profile", async (name) => {
    const alice = await server.user("Alice");
    const { id } = await listed(server, alice);
    await expectRefusal(server, () => alice.call(`agents:${name}`, { agentId: id }), {
      code: "conflict",
      message: "Agent already has an active provider profile",
    });
    await (await server.admin()).call("admin:suspendAgent", { agentId: id });
    await expectRefusal(server, () => alice.call(`agents:${name}`, { agentId: id }), {
      code: "forbidden",
      message: statusIs("suspended"),
    });
  });

  test.each([
    ["pricingModel", "per_hour"],
    ["priceAmount", "0.00001"],
    ["priceAmount", -0.5],
    ["currency", "EUR"],
    ["hostingType", "cloud"],
    ["approvalMode", "auto_rules"],
    ["transparencyLevel", "full"],
    ["maxConcurrentSessions", 0],
    ["maxConcurrentSessions", 1_001],
    ["maxConcurrentSessions", 1.5],
    ["maxConsumerSlots", 0],
    ["slotAssignmentMode", ""],
    ["allowSharedConsumer", "yes"],
    ["endpoint", "file:///etc/passwd"],
    ["endpoint", "not a URL"],
    ["healthCheckUrl", `https://example.com/${"x".repeat(2_000)}`],
  ])("refuses %s of %j", async (field, value) => {
    const alice = await server.user("Alice");
    const { id } = await draft(alice);
    await expectInvalid(server, () => alice.call("agents:publish", { agentId: id, [field]: value }), field);
  });
});

describe.each(databases)("automatic approval on %s", (database) => {
  const server = useServer(database, { config: { autoApproveProviders: true } });

  test("makes a published agent a listed provider at once", async () => {
    const alice = await server.user("Alice");
    const { id, slug } = await draft(alice);
    expect(await alice.call("agents:publish", { agentId: id })).toMatchObject({ status: "active", roles: "both" });
    expect((await alice.call("users:me")).role).toBe("both");
    expect(await server.nobody.call("marketplace:getBySlug", { slug })).toMatchObject({ id });
    const other = await draft(alice);
    expect(await alice.call("agents:applyAsProvider", { agentId: other.id })).toMatchObject({ status: "active" });
    expect(await server.nobody.call("marketplace:browse")).toMatchObject({ total: 2 });
  });

  test("counts every one of many that are published at once", async () => {
    const alice = await server.user("Alice");
    const before = (await server.nobody.call("marketplace:browse")).total;
    const drafts = await Promise.all(Array.from({ length: 25 }, () => draft(alice)));
    await Promise.all(drafts.map(({ id }) => alice.call("agents:publish", { agentId: id })));
    expect(await server.nobody.call("marketplace:browse")).toMatchObject({ total: before + 25 });
  });
});

describe.each(databases)("agents:activate on %s (clawrent.md section 2.4)", (database) => {
  const server = useServer(database);

  test("names what is missing, one thing after the other", async () => {
    const [alice, admin] = [await server.user("Alice"), await server.admin()];
    const { id: agentId } = await draft(alice);
    const activate = () => alice.call("agents:activate", { agentId });
    const refused = (message: string) => expectRefusal(server, activate, { code: "failed_precondition", message });

    await refused(noProfile.message);
    await connect(server, agentId);
    await refused(noProfile.message);
    await alice.call("agents:publish", { agentId });
    await refused(statusIs("pending_review"));
    await admin.call("admin:rejectAgent", { agentId });
    await refused(statusIs("rejected"));
    await alice.call("agents:publish", { agentId });
    await disconnect(server, agentId);
    await refused(statusIs("pending_review"));
    await admin.call("admin:approveAgent", { agentId });
    await refused(notConnected.message);
    await connect(server, agentId);
    expect(await activate()).toMatchObject({ status: "active", onlineStatus: "online" });
    await admin.call("admin:suspendAgent", { agentId });
    await refused(statusIs("suspended"));
  });

  test("marks the first time, and can be repeated at will", async () => {
    const alice = await server.user("Alice");
    const { id: agentId } = await listed(server, alice);
    await connect(server, agentId);
    const notices = heard("agentStatusChanged");
    const activated = await alice.call("agents:activate", { agentId });
    expect(activated.providerProfile.activatedAt).toBe(new Date(server.clock.now()).toISOString());
    expect(notices).toEqual([{ kind: "agentStatusChanged", agentId, onlineStatus: "online", at: server.clock.now() }]);
    await server.advance(1_000);
    expect(await alice.call("agents:activate", { agentId })).toEqual(activated);
    expect(notices).toHaveLength(1);
    await alice.call("agents:setOnlineStatus", { agentId, onlineStatus: "busy" });
    expect(await alice.call("agents:activate", { agentId })).toEqual({ ...activated, onlineStatus: "busy" });
    await disconnect(server, agentId);
    expect(await alice.call("agents:get", { agentId })).toMatchObject({ onlineStatus: "offline" });
  });
});

describe.each(databases)("agents:setOnlineStatus on %s (clawrent.md section 2.4)", (database) => {
  const server = useServer(database);
  const onlyBusy = {
    code: "failed_precondition",
    message: "Only 'busy' can be set; online and offline follow the agent's WebSocket connection",
  };

  /** All that the answer depends on. */
  const profiles = ["none", "pending_review", "rejected", "active", "activated", "suspended"] as const;

  test.each(
    profiles.flatMap((profile) =>
      [true, false].flatMap((connected) =>
        ["busy", "online", "offline", "away"].map((wanted) => ({ profile, connected, wanted })),
      ),
    ),
  )("$wanted for a profile that is $profile, connected: $connected", async ({ profile, connected, wanted }) => {
    const [alice, admin] = [await server.user("Alice"), await server.admin()];
    const { id: agentId } = await alice.call("agents:create", { name: "Reader", slug: freshSlug(), description });
    if (profile !== "none") await alice.call("agents:publish", { agentId });
    if (profile === "rejected") await admin.call("admin:rejectAgent", { agentId });
    if (["active", "activated", "suspended"].includes(profile)) await admin.call("admin:approveAgent", { agentId });
    if (connected || profile === "activated" || profile === "suspended") await connect(server, agentId);
    if (profile === "activated" || profile === "suspended") await alice.call("agents:activate", { agentId });
    if (profile === "suspended") await admin.call("admin:suspendAgent", { agentId });
    if (!connected) await disconnect(server, agentId);

    const set = () => alice.call("agents:setOnlineStatus", { agentId, onlineStatus: wanted });
    const usable = profile === "active" || profile === "activated";
    if (wanted === "busy") {
      if (profile === "none") await expectRefusal(server, set, noProfile);
      else if (!usable) await expectRefusal(server, set, { code: "failed_precondition", message: statusIs(profile) });
      else if (!connected) await expectRefusal(server, set, notConnected);
      else expect(await set()).toMatchObject({ onlineStatus: "busy" });
    } else if (wanted === "online" && profile === "activated" && connected) {
      expect(await set()).toMatchObject({ onlineStatus: "online" });
    } else if (wanted === "offline" && !connected) {
      expect(await set()).toMatchObject({ onlineStatus: "offline" });
    } else {
      await expectRefusal(server, set, onlyBusy);
    }
  });

  test("goes to busy and back, and tells of each change", async () => {
    const alice = await server.user("Alice");
    const { id: agentId } = await listed(server, alice);
    await connect(server, agentId);
    await alice.call("agents:activate", { agentId });
    const notices = heard("agentStatusChanged");
    for (const onlineStatus of ["busy", "busy", "online", "online"]) {
      const set = await alice.call("agents:setOnlineStatus", { agentId, onlineStatus });
      expect(set).toMatchObject({ status: "active", onlineStatus });
    }
    expect(notices).toMatchObject([{ onlineStatus: "busy" }, { onlineStatus: "online" }]);
  });

  const onlyTheOwner = { code: "forbidden", message: "The owner set this agent busy, and only the owner can end that" };

  /** Who said busy, one after the other, and whether an agent token ends it. */
  test.each([
    { by: ["agent"], endedByAgents: true },
    { by: ["sibling"], endedByAgents: true },
    { by: ["owner"], endedByAgents: false },
    { by: ["apiKey"], endedByAgents: false },
    { by: ["owner", "agent"], endedByAgents: false },
    { by: ["agent", "owner"], endedByAgents: false },
  ] as const)("set by $by, an agent token ends it: $endedByAgents", async ({ by, endedByAgents }) => {
    const { agent, agentId, provider: owner } = await rentable(server);
    const { agent: sibling } = await rentable(server, {}, owner);
    const callers = { agent, sibling, owner, apiKey: new Caller(server, owner.apiKey) };
    const set = (who: keyof typeof callers, onlineStatus: string) =>
      callers[who].call("agents:setOnlineStatus", { agentId, onlineStatus });
    const status = async () => (await owner.call("agents:get", { agentId })).onlineStatus;

    for (const ender of ["agent", "sibling", "owner", "apiKey"] as const) {
      for (const who of by) expect(await set(who, "busy")).toMatchObject({ onlineStatus: "busy" });
      for (const who of ["agent", "sibling", "owner"] as const) {
        const activated = await callers[who].rest("POST", `/api/agents/${agentId}/activate`);
        expect(activated).toMatchObject({ status: 200, body: { status: "active", onlineStatus: "busy" } });
      }
      const end = () => set(ender, "online");
      if (endedByAgents || ender === "owner" || ender === "apiKey") {
        expect(await end()).toMatchObject({ onlineStatus: "online" });
      } else {
        await expectRefusal(server, end, onlyTheOwner);
        expect(await status()).toBe("busy");
      }
      await set("owner", "online");
    }
  });

  test("is busy again after a suspension, whoever lifts it, and offline during it", async () => {
    const { agent, agentId, provider: owner } = await rentable(server);
    const admin = await server.admin();
    await agent.call("agents:setOnlineStatus", { agentId, onlineStatus: "busy" });
    const seen = async () =>
      (await admin.call("admin:listAgents", { status: "suspended" })).data.find(
        ({ id }: { id: string }) => id === agentId,
      );
    await admin.call("admin:suspendAgent", { agentId });
    expect(await seen()).toMatchObject({ onlineStatus: "offline" });
    expect(await admin.call("admin:reinstateAgent", { agentId })).toMatchObject({ onlineStatus: "busy" });
    await admin.call("admin:suspendUser", { userId: owner.userId });
    expect(await seen()).toMatchObject({ onlineStatus: "offline" });
    await admin.call("admin:reinstateUser", { userId: owner.userId });
    expect(await agent.call("agents:getMine")).toMatchObject({ onlineStatus: "busy" });
  });
});

describe.each(databases)("agents that were busy before it was kept, on %s", (database) => {
  test("are busy as far as it is known, and may end that themselves", async () => {
    const agents = ["busy", "idle"];
    const made = { createdAt: 1, updatedAt: 1 };
    const old = await databaseBefore(database, "0017-busy-agents", {
      users: [
        {
          userId: "bob",
          email: "bob@example.com",
          name: "Bob",
          passwordHash: "bob",
          apiKeyHash: "bob",
          role: "both",
          status: "active",
          ...made,
        },
      ],
      agents: agents.map((agentId) => ({
        agentId,
        name: agentId,
        claimTokenHash: agentId,
        ownerId: "bob",
        createdAt: 1,
      })),
      providerProfiles: agents.map((agentId) => ({
        ...storedProfile,
        ...made,
        profileId: agentId,
        agentId,
        ownerId: "bob",
      })),
      agentSockets: [
        { agentId: "busy", socketId: "1", processId: "p", onlineStatus: "busy", connectedAt: 1 },
        { agentId: "idle", socketId: "2", processId: "p", onlineStatus: "online", connectedAt: 1 },
      ],
    });
    const upgraded = await startServer(database, { databaseUrl: old.url });
    const kept = await upgraded.read((db) =>
      db.selectFrom("providerProfiles").select(["agentId", "busySetBy"]).orderBy("agentId").execute(),
    );
    expect(kept).toEqual([
      { agentId: "busy", busySetBy: "agent" },
      { agentId: "idle", busySetBy: null },
    ]);
    await upgraded.close();
    await old.remove();
  });
});

describe.each(databases)("a rented agent's terms on %s", (database) => {
  const server = useServer(database);

  test("hold for the sessions that were made under them; new ones for those made afterwards", async () => {
    const rented = await rentable(server, { priceAmount: "5.00" });
    const consumer = await server.user("Alice", { topUp: "100.00" });
    const rent = async () =>
      (await consumer.call("sessions:create", { agentId: rented.agentId, taskDescription: task })).id;
    const priceOf = async (sessionId: string) =>
      (await consumer.call("sessions:get", { sessionId })).pricingSnapshot.amount;
    const before = await rent();
    await rented.provider.call("agents:update", { agentId: rented.agentId, priceAmount: "8" });
    const after = await rent();
    expect([await priceOf(before), await priceOf(after)]).toEqual(["5.00", "8.00"]);
  });

  test("are not taken by anybody while the agent is suspended", async () => {
    const rented = await rentable(server);
    const consumer = await server.user("Alice", { topUp: "100.00" });
    const rent = () => consumer.call("sessions:create", { agentId: rented.agentId, taskDescription: task });
    const admin = await server.admin();
    await admin.call("admin:suspendAgent", { agentId: rented.agentId });
    await expect(rent()).rejects.toMatchObject({ message: "Agent is not available for rent" });
    await admin.call("admin:reinstateAgent", { agentId: rented.agentId });
    await rent();
  });
});
