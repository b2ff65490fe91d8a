import { describe, expect, test } from "vitest";
import { hashSecret } from "../../../runtime/ids.js";
import { databases, randomKey, useServer } from "../../support/harness.js";
import { asAgent, connect, description, draft, freshSlug, listed } from "../../support/market.js";
import { heard } from "../../support/notices.js";
import { expectInvalid, expectRefusal } from "../../support/refusals.js";
import { rentable, task } from "../../support/rental.js";

const notFound = { code: "not_found", message: "Agent not found" };

describe.each(databases)("agents:create on %s (clawrent.md section 2.4)", (database) => {
  const server = useServer(database);

  test("makes a private agent of the caller's, with its token", async () => {
    const alice = await server.user("Alice");
    const slug = freshSlug();
    const made = await alice.call("agents:create", {
      name: "Reader",
      slug,
      description,
      longDescription: "More of it",
      capabilities: [{ category: " law ", name: "Contracts", description: "Any", tags: ["a"] }],
      requiredPermissions: ["file.read"],
    });
    expect(made).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      ownerId: alice.userId,
      name: "Reader",
      slug,
      description,
      longDescription: "More of it",
      roles: "consumer",
      status: "draft",
      onlineStatus: "offline",
      hasAgentToken: true,
      capabilities: [
        {
          id: expect.any(String),
          agentId: made.id,
          category: "law",
          name: "Contracts",
          description: "Any",
          tags: ["a"],
        },
      ],
      requiredPermissions: ["file.read"],
      providerProfile: null,
      pendingChanges: null,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      updatedAt: made.createdAt,
      agentToken: expect.stringMatching(/^agt_clawrent_[A-Za-z0-9_-]{32,}$/),
    });
    expect(await alice.call("agents:get", { agentId: made.id })).toEqual({ ...made, agentToken: undefined });
    const stored = await server.read((db) =>
      db.selectFrom("agentCredentials").selectAll().where("agentId", "=", made.id).execute(),
    );
    expect(JSON.stringify(stored)).not.toContain(made.agentToken);
  });

  test("takes null for an optional field that is not there", async () => {
    const alice = await server.user("Alice");
    const made = await draft(alice, {
      longDescription: null,
      capabilities: null,
      requiredPermissions: null,
      pricingModel: null,
      priceAmount: null,
      endpoint: null,
    });
    expect(made).toMatchObject({ longDescription: null, capabilities: [], requiredPermissions: [] });
  });

  test("its token works on the Claw-to-Claw functions, for an agent that a human owns", async () => {
    const alice = await server.user("Alice");
    const agent = asAgent(server, await draft(alice));
    expect(await agent.call("agents:getStatus")).toMatchObject({ agentId: agent.agentId, claimed: true });
    await agent.call("agents:setPublicKey", { publicKey: randomKey() });
    const bob = await server.agent("Bob");
    const { inviteToken } = await agent.call("connections:invite");
    await bob.call("connections:accept", { inviteToken });
    expect(await bob.call("connections:list")).toHaveLength(1);
  });

  test.each([
    ["name", { name: "" }],
    ["name", { name: "x".repeat(101) }],
    ["slug", { slug: "ab" }],
    ["slug", { slug: "x".repeat(51) }],
    ["slug", { slug: "Upper" }],
    ["slug", { slug: "a_b_c" }],
    ["slug", { slug: "abc\n" }],
    ["description", { description: "too short" }],
    ["description", { description: "x".repeat(501) }],
    ["longDescription", { longDescription: "x".repeat(5_001) }],
    ["capabilities", { capabilities: Array(51).fill({ category: "a", name: "b" }) }],
    ["capabilities.0.category", { capabilities: [{ category: "  ", name: "b" }] }],
    ["capabilities.0.tags.0", { capabilities: [{ category: "a", name: "b", tags: ["x".repeat(51)] }] }],
    ["requiredPermissions", { requiredPermissions: Array(101).fill("file.read") }],
    ["priceAmount", { priceAmount: "1e3" }],
    ["priceAmount", { priceAmount: "-1" }],
    ["priceAmount", { priceAmount: "0.00001" }],
    ["pricingModel", { pricingModel: "per_hour" }],
    ["maxConcurrentSessions", { maxConcurrentSessions: 0 }],
    ["maxConsumerSlots", { maxConsumerSlots: 101 }],
    ["endpoint", { endpoint: "javascript:alert(1)" }],
    ["healthCheckUrl", { healthCheckUrl: "ftp://example.com" }],
  ])("refuses a bad %s", async (field, fields) => {
    const alice = await server.user("Alice");
    await expectInvalid(server, () => draft(alice, fields), field);
  });

  test("refuses a slug that is taken, whoever has it", async () => {
    const [alice, bob] = await Promise.all([server.user("Alice"), server.user("Bob")]);
    const { slug } = await draft(alice);
    await expectRefusal(server, () => draft(bob, { slug }), { code: "conflict", message: "Slug is already taken" });
  });

  test("gives a slug that many want at once to one of them", async () => {
    const alice = await server.user("Alice");
    const slug = freshSlug();
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => draft(alice, { slug })));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "conflict" });
    }
  });
});

describe.each(databases)("an owner's agents on %s", (database) => {
  const server = useServer(database);

  test("are listed newest first, page by page, and by role", async () => {
    const [alice, bob] = await Promise.all([server.user("Alice"), server.user("Bob")]);
    const ids: string[] = [];
    for (let index = 0; index < 5; index += 1) {
      ids.unshift((await draft(alice)).id);
      await server.advance(1);
    }
    await draft(bob);
    const page = async (args: object) => {
      const { data, nextCursor: _, ...counts } = await alice.call("agents:listMine", args);
      return { ids: data.map(({ id }: { id: string }) => id), ...counts };
    };
    expect(await page({})).toEqual({ ids, total: 5, page: 1, limit: 20 });
    expect(await page({ page: 2, limit: 2 })).toEqual({ ids: ids.slice(2, 4), total: 5, page: 2, limit: 2 });
    expect(await page({ page: 9 })).toEqual({ ids: [], total: 5, page: 9, limit: 20 });
    expect(await page({ roles: "both" })).toMatchObject({ ids: [], total: 0 });
    const both = await listed(server, alice);
    expect(await page({ roles: "both" })).toMatchObject({ ids: [both.id], total: 1 });
    expect(await page({ roles: "consumer" })).toMatchObject({ ids, total: 5 });
  });

  test("are nobody else's: a stranger's agent reads exactly like one that is not there", async () => {
    const [alice, bob] = await Promise.all([server.user("Alice"), server.user("Bob")]);
    const { id } = await draft(alice);
    const ownerless = await server.agent("Carol");
    const calls: [string, object][] = [
      ["agents:get", {}],
      ["agents:update", { name: "Mine" }],
      ["agents:publish", {}],
      ["agents:applyAsProvider", {}],
      ["agents:activate", {}],
      ["agents:setOnlineStatus", { onlineStatus: "busy" }],
      ["agents:replaceToken", {}],
      ["agents:revokeToken", {}],
    ];
    for (const [path, args] of calls) {
      for (const agentId of [id, ownerless.agentId, "no such agent"]) {
        await expectRefusal(server, () => bob.call(path, { agentId, ...args }), notFound);
      }
    }
  });

  test("obey an agent of the same owner as they obey the owner", async () => {
    const alice = await server.user("Alice");
    const agent = asAgent(server, await draft(alice));
    const other = await draft(alice);
    expect(await agent.call("agents:get", { agentId: other.id })).toMatchObject({ id: other.id });
    await agent.call("agents:publish", { agentId: other.id });
    expect(await agent.call("agents:listMine")).toMatchObject({ total: 2 });
    const made = await agent.call("agents:create", { name: "Child", slug: freshSlug(), description });
    expect(made.ownerId).toBe(alice.userId);
  });

  test("are closed to an agent without an owner", async () => {
    const carol = await server.agent("Carol");
    await expect(carol.call("agents:listMine")).rejects.toMatchObject({ code: "forbidden" });
  });
});

describe.each(databases)("agents:update on %s", (database) => {
  const server = useServer(database);

  test("changes what is given and nothing else", async () => {
    const alice = await server.user("Alice");
    const { agentToken: _, ...before } = await draft(alice, {
      longDescription: "Long",
      capabilities: [{ category: "law", name: "Contracts" }],
      requiredPermissions: ["file.read"],
    });
    await server.advance(1_000);
    const renamed = await alice.call("agents:update", { agentId: before.id, name: "Writer", description: null });
    expect(renamed).toEqual({ ...before, name: "Writer", updatedAt: expect.not.stringMatching(before.updatedAt) });
    const emptied = await alice.call("agents:update", { agentId: before.id, capabilities: [], longDescription: "" });
    expect(emptied).toMatchObject({ name: "Writer", capabilities: [], longDescription: "" });
    expect(await alice.call("agents:update", { agentId: before.id })).toEqual(emptied);
  });

  test("keeps terms of an agent that was never published for its first publish", async () => {
    const alice = await server.user("Alice");
    const { id } = await draft(alice, { pricingModel: "fixed", currency: "USD" });
    const updated = await alice.call("agents:update", { agentId: id, priceAmount: "7.5", currency: "CNY" });
    expect(updated.providerProfile).toBeNull();
    const { providerProfile } = await alice.call("agents:publish", { agentId: id });
    expect(providerProfile).toMatchObject({ pricingModel: "fixed", priceAmount: "7.50", currency: "CNY" });
  });

  test("changes the terms of one that was, and leaves its state alone", async () => {
    const alice = await server.user("Alice");
    const agent = await listed(server, alice);
    const { providerProfile } = await alice.call("agents:update", {
      agentId: agent.id,
      priceAmount: 0.0512,
      allowSharedConsumer: true,
    });
    expect(providerProfile).toEqual({
      ...agent.providerProfile,
      priceAmount: "0.0512",
      allowSharedConsumer: true,
    });
  });

  test("does not change a slug", async () => {
    const alice = await server.user("Alice");
    const { id } = await draft(alice);
    await expectInvalid(server, () => alice.call("agents:update", { agentId: id, slug: "other" }), "");
  });
});

describe.each(databases)("an agent's token on %s (clawrent.md section 1)", (database) => {
  const server = useServer(database);

  test("is replaced: the new one works at once, the old one no longer", async () => {
    const alice = await server.user("Alice");
    const made = await draft(alice);
    const agent = asAgent(server, made);
    await agent.call("agents:getMine");
    const notices = heard("credentialEnded");
    const replaced = await alice.call("agents:replaceToken", { agentId: made.id });
    expect(replaced).toEqual({
      agentId: made.id,
      token: expect.stringMatching(/^agt_clawrent_[A-Za-z0-9_-]{32,}$/),
      createdAt: expect.any(String),
      warning: expect.any(String),
    });
    expect(replaced.token).not.toBe(made.agentToken);
    expect(notices).toEqual([{ kind: "credentialEnded", credentialId: `agent_${hashSecret(made.agentToken)}` }]);
    await expect(agent.call("agents:getMine")).rejects.toMatchObject({ code: "unauthenticated" });
    const renewed = asAgent(server, { ...made, agentToken: replaced.token });
    expect(await renewed.call("agents:getMine")).toMatchObject({ id: made.id, hasAgentToken: true });
  });

  test("is revoked, and revoked again", async () => {
    const alice = await server.user("Alice");
    const made = await draft(alice);
    const agent = asAgent(server, made);
    await agent.call("agents:getMine");
    const notices = heard("credentialEnded");
    expect(await alice.call("agents:revokeToken", { agentId: made.id })).toEqual({ message: "Agent token revoked" });
    expect(notices).toHaveLength(1);
    await expect(agent.call("agents:getMine")).rejects.toMatchObject({ code: "unauthenticated" });
    expect(await alice.call("agents:get", { agentId: made.id })).toMatchObject({ hasAgentToken: false });
    await alice.call("agents:revokeToken", { agentId: made.id });
    await alice.call("agents:replaceToken", { agentId: made.id });
    expect(await alice.call("agents:get", { agentId: made.id })).toMatchObject({ hasAgentToken: true });
  });

  test("is one, however many are asked for at once", async () => {
    const alice = await server.user("Alice");
    const made = await draft(alice);
    const replaced = await Promise.all(
      Array.from({ length: 20 }, () => alice.call("agents:replaceToken", { agentId: made.id })),
    );
    const works = await Promise.allSettled(
      replaced.map(({ token }) => asAgent(server, { ...made, agentToken: token }).call("agents:getMine")),
    );
    expect(works.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  test("leaves the Claw-to-Claw key of the same agent alone", async () => {
    const [alice, carol] = [await server.user("Alice"), await server.agent("Carol")];
    await alice.call("agents:takeOver", { claimToken: carol.claimToken, slug: freshSlug(), description });
    await alice.call("agents:replaceToken", { agentId: carol.agentId });
    await alice.call("agents:revokeToken", { agentId: carol.agentId });
    expect(await carol.call("agents:getStatus")).toMatchObject({ agentId: carol.agentId });
  });
});

describe.each(databases)("what an agent asks about itself on %s", (database) => {
  const server = useServer(database);

  test("is who it is, also without an owner", async () => {
    const alice = await server.user("Alice");
    const made = await draft(alice);
    const { agentToken: _, ...view } = made;
    expect(await asAgent(server, made).call("agents:getMine")).toEqual(view);
    const carol = await server.agent("Carol");
    expect(await carol.call("agents:getMine")).toMatchObject({ id: carol.agentId, ownerId: null, slug: null });
  });

  test.each(["agents:getMine", "agents:listMySessions", "agents:getServeRules"])("%s wants an agent", async (path) => {
    const alice = await server.user("Alice");
    await expect(alice.call(path)).rejects.toMatchObject({ code: "forbidden", message: "Agent token required" });
  });

  test("are its serve rules, which it replaces as a whole", async () => {
    const agent = asAgent(server, await draft(await server.user("Alice")));
    expect(await agent.call("agents:getServeRules")).toEqual({ rules: null });
    const rules = [
      { match: { tags: ["a"], sessionType: "task" }, action: "serve" },
      { match: {}, action: "skip" },
    ];
    const notices = heard("serveRulesChanged");
    expect(await agent.call("agents:setServeRules", { rules })).toEqual({ rules });
    expect(notices).toEqual([{ kind: "serveRulesChanged", agentId: agent.agentId }]);
    expect(await agent.call("agents:getServeRules")).toEqual({ rules });
    expect(await agent.call("agents:setServeRules", { rules: [] })).toEqual({ rules: [] });
    expect(await agent.call("agents:getServeRules")).toEqual({ rules: [] });
  });

  test.each([
    ["rules", Array(101).fill({ match: {}, action: "serve" })],
    ["rules", [{ match: { text: "x".repeat(70_000) }, action: "serve" }]],
    ["rules.0.action", [{ match: {}, action: "maybe" }]],
    ["rules.0.match", [{ match: "all", action: "serve" }]],
  ])("are no bad %s", async (field, rules) => {
    const agent = asAgent(server, await draft(await server.user("Alice")));
    await expectInvalid(server, () => agent.call("agents:setServeRules", { rules }), field);
  });

  test("are the active sessions in which it acts for the consumer, and no others", async () => {
    const rented = await rentable(server, { approvalMode: "auto" });
    const consumer = await server.user("Alice", { topUp: "100.00" });
    const agent = asAgent(server, await draft(consumer));
    expect(await agent.call("agents:listMySessions")).toEqual({ sessions: [], nextCursor: null });
    const rent = (more: object) =>
      consumer.call("sessions:create", { agentId: rented.agentId, taskDescription: task, ...more });
    await rent({});
    const { id: sessionId } = await rent({ consumerAgentId: agent.agentId });
    expect(await agent.call("agents:listMySessions")).toEqual({
      sessions: [
        {
          sessionId,
          status: "active",
          taskDescription: task,
          sessionType: "task",
          peerAgentIds: [rented.agentId],
          peerParticipantTypes: ["agent"],
        },
      ],
      nextCursor: null,
    });
    expect(await rented.agent.call("agents:listMySessions")).toEqual({ sessions: [], nextCursor: null });
    await consumer.call("sessions:end", { sessionId });
    expect(await agent.call("agents:listMySessions")).toEqual({ sessions: [], nextCursor: null });
  });
});

describe.each(databases)("agents:takeOver on %s", (database) => {
  const server = useServer(database);
  const wrong = { code: "not_found", message: "Invalid claim token" };

  test("makes a Claw-to-Claw agent the caller's, which may then be published", async () => {
    const [alice, carol] = [await server.user("Alice"), await server.agent("Carol")];
    await expect(carol.call("agents:listMine")).rejects.toMatchObject({ code: "forbidden" });
    const notices = heard("agentOwnerChanged");
    const slug = freshSlug();
    const taken = await alice.call("agents:takeOver", { claimToken: carol.claimToken, slug, description });
    expect(taken).toMatchObject({
      id: carol.agentId,
      ownerId: alice.userId,
      slug,
      description,
      status: "draft",
      hasAgentToken: false,
    });
    expect(notices).toEqual([{ kind: "agentOwnerChanged", agentId: carol.agentId }]);
    // Its key from before is still its own, and opens nothing of the owner's, who could not take it back.
    await expect(carol.call("agents:listMine")).rejects.toMatchObject({ code: "forbidden" });
    await expect(carol.call("agents:replaceToken", { agentId: carol.agentId })).rejects.toMatchObject({
      code: "forbidden",
    });
    expect(await (await server.withOwnToken(alice, carol.agentId)).call("agents:listMine")).toMatchObject({ total: 1 });
    expect(await carol.call("agents:getStatus")).toMatchObject({ claimed: true });
    await alice.call("agents:publish", { agentId: carol.agentId });
    await (await server.admin()).call("admin:approveAgent", { agentId: carol.agentId });
    expect(await server.nobody.call("marketplace:getBySlug", { slug })).toMatchObject({ id: carol.agentId });
  });

  test("is the same success for the same user, whatever else is asked", async () => {
    const [alice, carol] = [await server.user("Alice"), await server.agent("Carol")];
    const { claimToken } = carol;
    const taken = await alice.call("agents:takeOver", { claimToken, slug: freshSlug(), description });
    expect(await alice.call("agents:takeOver", { claimToken, slug: taken.slug })).toEqual(taken);
    expect(await alice.call("agents:takeOver", { claimToken, slug: freshSlug() })).toEqual(taken);
  });

  test("reads as a wrong token for anybody else, and for a token of nobody", async () => {
    const [alice, bob, carol] = [await server.user("Alice"), await server.user("Bob"), await server.agent("Carol")];
    const { claimToken } = carol;
    await alice.call("agents:takeOver", { claimToken, slug: freshSlug(), description });
    for (const token of [claimToken, "claim_nobodys"]) {
      const call = () => bob.call("agents:takeOver", { claimToken: token, slug: freshSlug(), description });
      await expectRefusal(server, call, wrong);
    }
  });

  test("keeps the description that the agent gave itself, unless a new one comes", async () => {
    const alice = await server.user("Alice");
    const register = () => server.nobody.call("agents:register", { name: "Carol", description: "Short" });
    const [kept, renewed] = [await register(), await register()];
    const takeOver = (claimToken: string, more: object) =>
      alice.call("agents:takeOver", { claimToken, slug: freshSlug(), ...more });
    expect(await takeOver(kept.claimToken, {})).toMatchObject({ description: "Short" });
    expect(await takeOver(renewed.claimToken, { description })).toMatchObject({ description });
  });

  test("wants a description of an agent that has none, and a free slug", async () => {
    const [alice, carol] = [await server.user("Alice"), await server.agent("Carol")];
    const { claimToken } = carol;
    await expectInvalid(server, () => alice.call("agents:takeOver", { claimToken, slug: freshSlug() }), "description");
    const { slug } = await draft(alice);
    await expectRefusal(server, () => alice.call("agents:takeOver", { claimToken, slug, description }), {
      code: "conflict",
      message: "Slug is already taken",
    });
  });

  test("keeps the moment of an earlier claim", async () => {
    const [alice, carol] = [await server.user("Alice"), await server.agent("Carol", { claimed: true })];
    const { claimedAt } = await carol.call("agents:getStatus");
    await server.advance(5_000);
    const { claimToken } = await carol.call("agents:renewClaim");
    await alice.call("agents:takeOver", { claimToken, slug: freshSlug(), description });
    expect(await carol.call("agents:getStatus")).toMatchObject({ claimedAt });
  });

  test("goes to one of many who try at once", async () => {
    const users = await Promise.all(Array.from({ length: 12 }, (_, index) => server.user(`User${index}`)));
    for (let round = 0; round < 3; round += 1) {
      const carol = await server.agent("Carol");
      const outcomes = await Promise.allSettled(
        users.map((user) =>
          user.call("agents:takeOver", { claimToken: carol.claimToken, slug: freshSlug(), description }),
        ),
      );
      const won = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? outcome.value : []));
      expect(won).toHaveLength(1);
      for (const outcome of outcomes) if (outcome.status === "rejected") expect(outcome.reason).toMatchObject(wrong);
      expect(await carol.call("agents:getMine")).toMatchObject({ ownerId: won[0].ownerId, slug: won[0].slug });
    }
  });

  test("cannot take an agent that was made for its owner", async () => {
    const [alice, bob] = await Promise.all([server.user("Alice"), server.user("Bob")]);
    const { id } = await draft(alice);
    await connect(server, id);
    const { claimTokenHash } = await server.read((db) =>
      db.selectFrom("agents").select("claimTokenHash").where("agentId", "=", id).executeTakeFirstOrThrow(),
    );
    for (const token of [claimTokenHash, id, "claim_"]) {
      const call = () => bob.call("agents:takeOver", { claimToken: token, slug: freshSlug(), description });
      await expectRefusal(server, call, wrong);
    }
  });
});
