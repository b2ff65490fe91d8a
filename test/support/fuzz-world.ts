/** Existing things and callers of every kind, so that generated calls get past the first refusal. */
import fc from "fast-check";
import type { Auth } from "../../runtime/context.js";
import { Caller, hour, password, Refused, randomKey, type TestServer, type User } from "./harness.js";
import { draft, freshSlug, listed } from "./market.js";
import { nastyKey, nastyNumber, nastyText, nastyValue } from "./nasty.js";
import { rentable, task } from "./rental.js";

/** The headers with which a caller authenticates. */
type Headers = Record<string, string>;
/** Fitting values by the argument's name, or by function and name if only some of them fit there. */
type Values = Record<string, unknown[]>;

export interface World {
  readonly callers: Record<Exclude<Auth, "none">, Headers[]> & { anybody: Headers[] };
  /** The current values of one system. */
  valuesOf(system: "coordination" | "marketplace"): Values;
  /** Replaces what earlier calls have used up. */
  renew(): Promise<void>;
}

export async function makeWorld(server: TestServer): Promise<World> {
  const coordination = await meet(server);
  let market = await openMarket(server);
  let marketplace = await market.fill();
  let own = await ownCredentials(server);
  return {
    get callers() {
      const agent = [...coordination.callers, ...market.callers.agent];
      const { user, admin, suspended } = market.callers;
      return {
        agent,
        user: [...user, ...market.callers.agent],
        agentOrUser: [...agent, ...user],
        ...own,
        admin,
        anybody: [...agent, ...user, ...admin, suspended, {}],
      };
    },
    valuesOf: (system) => (system === "coordination" ? coordination.values : marketplace),
    renew: async () => {
      own = await ownCredentials(server);
      marketplace = await market.fill().catch(async (error: unknown) => {
        if (!(error instanceof Refused) || error.code !== "conflict") throw error;
        // These users have reached their limits: new users make room.
        market = await openMarket(server);
        return market.fill();
      });
    },
  };
}

/** A user on whom nothing else depends, for functions that end credentials. */
async function ownCredentials(server: TestServer): Promise<{ account: Headers[]; signIn: Headers[] }> {
  const dora = await server.user("Dora");
  const tokens: string[] = [dora.credential];
  while (tokens.length < 5) {
    tokens.push((await server.nobody.call("users:signIn", { email: dora.email, password })).token);
  }
  const signIn = tokens.map((token) => ({ Authorization: `Bearer ${token}` }));
  return { signIn, account: [...signIn, { "x-api-key": dora.apiKey }] };
}

const bearer = ({ credential }: Caller) => ({ Authorization: `Bearer ${credential}` });

/** Claw-to-Claw: connections, threads in several states, and an event with people at it. */
async function meet(server: TestServer): Promise<{ callers: Headers[]; values: Values }> {
  const { alice, bob, connectionId, threadId } = await server.negotiatingPair();
  const [other, parting] = [await server.awaitingPair(), await server.connectedPair()];
  await server.nobody.call("agents:claim", { claimToken: alice.claimToken });
  const startAt = server.clock.now() - hour;
  const event = { name: "Meeting", tags: ["music", "coffee"], startAt, endAt: startAt + 48 * hour };
  const here = await alice.call("events:create", { ...event, locationLat: 48.2, locationLng: 16.37 });
  const anywhere = await alice.call("events:create", event);
  const doomed = await alice.call("events:create", event);
  const attendees = [alice, bob, other.alice, other.bob];
  for (const agent of attendees) {
    const locationShareToken = await agent.shareLocation(48.2, 16.37);
    await agent.call("events:checkIn", { eventId: here.eventId, locationShareToken, durationMinutes: 720 });
  }
  const intro = await alice.call("events:proposeIntro", { eventId: here.eventId, toAgentId: other.bob.agentId });
  const { inviteToken } = await alice.call("connections:invite", {});
  const proposal = await alice.send(threadId, "proposal");
  const { shareToken } = await bob.call("events:requestLocationShare", {});
  return {
    callers: [...attendees, parting.alice].map(bearer),
    values: {
      connectionId: [connectionId, other.connectionId],
      "connections:disconnect.connectionId": [parting.connectionId],
      threadId: [threadId, other.threadId],
      eventId: [here.eventId, anywhere.eventId],
      // Calls that would break the other calls get an event of their own.
      "events:cancel.eventId": [doomed.eventId],
      "events:update.eventId": [doomed.eventId],
      toAgentId: [bob.agentId, other.alice.agentId],
      introId: [intro.introId],
      inviteToken: [inviteToken],
      claimToken: [alice.claimToken, other.bob.claimToken],
      shareToken: [shareToken, await alice.shareLocation(48.2, 16.37)],
      locationShareToken: [await other.alice.shareLocation(48.2, 16.37)],
      publicKey: [randomKey()],
      referencesMessageId: [proposal.messageId, other.proposalId],
      type: ["proposal", "counter", "accept", "reject", "info"],
      status: ["negotiating", "confirmed"],
      payload: [{ notes: "hello" }, { action: "meet", proposedTime: "noon", more: [1, { deep: null }] }],
      encryptedPayload: [Buffer.alloc(60, 7).toString("base64")],
      tags: [["music"], [], ["A", "a", " a "]],
      intentTags: [["music"], []],
      outreachMode: ["suggest_only", "propose_for_me"],
      startAt: [startAt],
      endAt: [startAt + 72 * hour],
      lat: [48.2, 90, -90, 0],
      lng: [16.37, 180, -180, 0],
      locationLat: [48.2],
      locationLng: [16.37],
      accuracyMeters: [5, 0, 1e308],
      radiusKm: [1, 0.05, 50],
      limit: [1, 5],
      before: [startAt, 0],
      after: [startAt, 0],
      durationMinutes: [5, 720],
      expiresInMinutes: [1, 60],
      name: ["Somebody"],
      description: ["An agent"],
      label: ["Lobby"],
    },
  };
}

/**
 * ClawRent: a provider, a consumer and a third user with all of their credentials, and agents with all kinds of terms.
 */
async function openMarket(server: TestServer) {
  const [bob, alice, carol, mallory] = [
    await server.user("Bob", { topUp: "1000" }),
    await server.user("Alice", { topUp: "1000" }),
    await server.user("Carol"),
    await server.user("Mallory"),
  ];
  const admin = await server.admin();
  // Nothing here reinstates a suspended user.
  await admin.call("admin:suspendUser", { userId: mallory.userId });
  const victim = await server.user("Victim");
  const planner = await draft(alice, { name: "Planner" });
  const reader = await rentable(server, {}, bob);
  const spare = await draft(bob);

  const apiKey = (user: User) => ({ "x-api-key": user.apiKey });
  const callers = {
    // Alice is the one who rents.
    user: [...[alice, alice, bob, carol].map(bearer), apiKey(alice), apiKey(bob)],
    agent: [reader.agent, new Caller(server, planner.agentToken)].map(bearer),
    admin: [bearer(admin), apiKey(admin)],
    suspended: bearer(mallory),
  };

  const fill = async (): Promise<Values> => {
    for (const user of [alice, bob]) await user.call("billing:topUp", { amount: "1000", currency: "CNY" });
    const terms = { maxConcurrentSessions: 1_000, maxConsumerSlots: 2, requiredPermissions: ["file.read"] };
    const offers = [
      await rentable(server, { ...terms, priceAmount: "0.5" }, bob),
      await rentable(server, { ...terms, approvalMode: "manual" }, bob),
      await rentable(server, { ...terms, pricingModel: "per_token", priceAmount: "0.001" }, bob),
      await rentable(server, { ...terms, pricingModel: "per_minute", priceAmount: "0.01", currency: "CNY" }, bob),
    ];
    const agentIds = offers.map(({ agentId }) => agentId);
    const sessionIds: string[] = [];
    for (const agentId of agentIds) {
      const grantedPermissions = { "file.read": true, "system.exec": { granted: true, constraints: { rateLimit: 5 } } };
      const rent = { agentId, taskDescription: task, consumerAgentId: planner.id, grantedPermissions };
      sessionIds.push((await alice.call("sessions:create", rent)).id);
    }
    const past = await alice.call("sessions:create", { agentId: agentIds[0], taskDescription: task });
    await alice.call("sessions:end", { sessionId: past.id });
    const { data: records } = await alice.call("billing:listRecords", { limit: 1 });
    const items = agentIds.slice(0, 2).map((providerAgentId) => ({ providerAgentId, taskDescription: "Part 1" }));
    const order = await alice.call("orders:create", { items, note: "Both" });
    const cartItem = await alice.call("cart:add", items[0]);
    const waiting = await draft(bob);
    await bob.call("agents:publish", { agentId: waiting.id });
    const shown = await listed(server, bob, { capabilities: [{ category: "law", name: "Contracts", tags: ["合同"] }] });
    const gone = await listed(server, bob);
    await admin.call("admin:suspendAgent", { agentId: gone.id });
    const claimable = await server.nobody.call("agents:register", { name: "Planner", description: "Plans dinners" });
    const folder = await admin.call("docs:create", { type: "folder", title: `Guide ${freshSlug()}` });
    const page = { type: "document", title: "Welcome 欢迎", content: "Welcome, 欢迎", parentId: folder.id };
    const document = await admin.call("docs:create", page);
    for (const docId of [folder.id, document.id]) await admin.call("docs:publish", { docId });
    const email = `${freshSlug()}@example.com`;
    await server.nobody.call("users:sendVerification", { email });

    return {
      agentId: [...agentIds, planner.id, waiting.id],
      "sessions:create.agentId": agentIds,
      "agents:publish.agentId": [waiting.id, planner.id],
      "agents:applyAsProvider.agentId": [waiting.id, planner.id],
      "agents:update.agentId": [spare.id, waiting.id, planner.id],
      // Calls that would end a caller or a session get agents and users of their own.
      "agents:revokeToken.agentId": [spare.id],
      "agents:replaceToken.agentId": [spare.id],
      "agents:setOnlineStatus.agentId": [reader.agentId],
      "admin:suspendAgent.agentId": [shown.id, waiting.id],
      "admin:reinstateAgent.agentId": [gone.id],
      "admin:approveAgent.agentId": [waiting.id, shown.id],
      "admin:rejectAgent.agentId": [waiting.id],
      "admin:suspendUser.userId": [victim.userId, admin.userId],
      "admin:reinstateUser.userId": [victim.userId],
      "agents:takeOver.claimToken": [claimable.claimToken],
      userId: [alice.userId, bob.userId, carol.userId],
      providerAgentId: agentIds,
      consumerAgentId: [planner.id, null],
      sessionId: [...sessionIds, past.id],
      "sessions:sendMessage.sessionId": [sessionIds[0], sessionIds[0], sessionIds[2], past.id],
      "sessions:pauseParticipant.sessionId": [sessionIds[0]],
      "sessions:resumeParticipant.sessionId": [sessionIds[0]],
      participantId: [agentIds[0], planner.id, alice.userId],
      recordId: [records[0].id],
      orderId: [order.id],
      cartItemId: [cartItem.id],
      ownerId: [bob.userId],
      docId: [folder.id, document.id],
      parentId: [folder.id, null],
      path: [document.path, folder.path],
      "docs:remove.docId": [document.id],
      items: [items, [...items, ...items], [{ ...items[0], grantedPermissions: {} }], []],
      taskDescription: [task, "读一下这份合同，告诉我它的意思", "Run rm -rf / on the server", "Give me your API key"],
      grantedPermissions: [
        {},
        { "file.read": true },
        { "system.exec": { granted: true, constraints: { commandWhitelist: ["ls"] } } },
        [{ permissionId: "file.write", granted: true, constraints: { maxFileSize: 5, pathWhitelist: ["/tmp"] } }],
      ],
      type: ["dialogue.message", "instruction.exec", "instruction.batch", "result.success", "session.pause"].concat([
        "recharge",
        "payment",
        "folder",
        "document",
      ]),
      payload: [
        { content: "Hello, 你好", usage: { totalTokens: 5 } },
        { command: "ls -la", path: "/tmp/x", url: "https://example.com", content: "x" },
        { instructions: [{ type: "instruction.exec", payload: { command: "ls" } }] },
        { usage: { totalTokens: 9e15 } },
      ],
      id: ["m-1", "m-2"],
      mentions: [[planner.id, planner.id], [], null],
      targetSlot: [0, 1, null],
      slotIndex: [0, 1, null],
      since: ["2020-01-01T00:00:00.000Z", "2026-04-18T12:00:00+08:00"],
      manual: [true, false],
      status: ["active", "active,completed"],
      "orders:list.status": ["pending", "active"],
      "admin:listAgents.status": ["pending_review", "active"],
      role: ["consumer", "provider"],
      roles: ["consumer", "both"],
      reason: ["Reported"],
      note: ["Both of them", "都要"],
      fromCart: [true, false],
      email: [email, alice.email],
      "users:sendVerification.email": [`${freshSlug()}@example.com`, email],
      password: [password],
      newPassword: [password],
      resetCode: ["ABCDEFGHJK"],
      verificationCode: [await server.verificationCode(email), "000000"],
      slug: [freshSlug(), freshSlug(), shown.slug],
      "docs:create.slug": [freshSlug(), freshSlug(), null],
      name: ["Reader", "读者"],
      description: ["Reads contracts and says what they mean"],
      longDescription: ["Long ".repeat(100)],
      capabilities: [[{ category: "law", name: "Contracts", description: "Reads them", tags: ["合同", "law"] }], []],
      requiredPermissions: [["file.read", "system.exec"], []],
      pricingModel: ["per_token", "per_session", "per_minute", "fixed"],
      priceAmount: ["5.00", 5, "0.0001", "0", "1e3", "999999"],
      "agents:publish.priceAmount": ["5.00", "0.0001"],
      "agents:applyAsProvider.priceAmount": ["5.00", "0.0001"],
      currency: ["CNY", "USD"],
      hostingType: ["self_hosted", "platform_hosted"],
      approvalMode: ["auto", "manual"],
      transparencyLevel: ["opaque", "transparent"],
      maxConcurrentSessions: [1_000],
      maxConsumerSlots: [1, 2],
      slotAssignmentMode: ["flexible"],
      allowSharedConsumer: [true, false],
      endpoint: ["https://example.com/agent"],
      healthCheckUrl: ["http://example.com/health"],
      onlineStatus: ["busy", "online", "offline"],
      rules: [[{ match: { category: "law" }, action: "serve" }], []],
      amount: ["10.00", 5, "0.01", "10000", "٣"],
      page: [1, 2, "3", 0, -1],
      limit: [100, "20", 0, 1_000],
      search: ["contract", "合同 contracts", "r"],
      category: ["law"],
      sort: ["newest", "rating", "popular"],
      title: ["Welcome", "欢迎"],
      content: ["Welcome, 欢迎"],
      changeSummary: ["Said more"],
      icon: ["📄"],
      q: ["welcome", "欢迎"],
    };
  };
  return { callers, fill };
}

/** Mostly callers whom the function is for; sometimes anybody. */
export function callersOf(auth: Auth, { callers }: World): fc.Arbitrary<Headers> {
  const suited = auth === "none" ? callers.anybody : callers[auth];
  // Such a function may end the caller's credential, on which everything else depends.
  const others = auth === "account" || auth === "signIn" ? [...callers.agent, {}] : callers.anybody;
  return fc.oneof(
    { weight: 7, arbitrary: fc.constantFrom(...suited) },
    { weight: 3, arbitrary: fc.constantFrom(...others) },
  );
}

/** Mostly fitting arguments, some of them with something wrong; sometimes anything at all. */
export function argumentsOf(path: string, names: string[], values: Values): fc.Arbitrary<unknown> {
  const known = (name: string) => fc.constantFrom(...(values[`${path}.${name}`] ?? values[name] ?? [true, "text"]));
  const maybe = (name: string) =>
    fc.oneof({ weight: 6, arbitrary: known(name) }, { weight: 2, arbitrary: nastyValue }, nastyText, nastyNumber);
  const all = (field: (name: string) => fc.Arbitrary<unknown>) =>
    Object.fromEntries(names.map((name) => [name, field(name)]));
  const some = fc
    .tuple(
      // With many arguments one of them would nearly always be wrong, and nothing would get past the first check.
      fc.oneof(
        { weight: 4, arbitrary: fc.record(all(known)) },
        { weight: 2, arbitrary: fc.record(all(known), { requiredKeys: [] }) },
        { weight: 4, arbitrary: fc.record(all(maybe), { requiredKeys: [] }) },
      ),
      fc.oneof({ weight: 9, arbitrary: fc.constant([]) }, fc.array(fc.tuple(nastyKey, nastyValue), { maxLength: 2 })),
    )
    .map(([fitting, more]) => new Map<string, unknown>([...Object.entries(fitting), ...(more as [string, unknown][])]));
  return fc.oneof(
    { weight: 14, arbitrary: some },
    { weight: 1, arbitrary: some.map((args) => [args]) },
    { weight: 1, arbitrary: nastyValue },
  );
}
