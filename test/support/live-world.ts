/** A small world in which random things happen, and all the questions that its people could be subscribed to. */
import { randomUUID } from "node:crypto";
import type { AgentCaller, Caller as RuntimeCaller } from "../../runtime/context.js";
import type { Call, Outcome } from "../../runtime/dispatch.js";
import { hashSecret } from "../../runtime/ids.js";
import { Caller, day, hour, minute, password, type RestReply, randomKey, type TestServer } from "./harness.js";
import { task } from "./rental.js";
import { openAgent, openSession, type TestSocket } from "./sockets.js";

/** Somebody with a credential that no jump of the clock ends. */
export interface Person {
  caller: RuntimeCaller;
  credential: string | undefined;
  /** The agent's or the user's. */
  id: string;
}

/** A question of somebody's. */
export interface Question {
  who: Person;
  path: string;
  args: Record<string, unknown>;
}

/** Random numbers that a seed repeats. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed * 2_654_435_761 + 1;
  }

  below(limit: number): number {
    this.#state = (Math.imul(this.#state ^ (this.#state >>> 15), 2_246_822_519) + 3_266_489_917) >>> 0;
    return this.#state % limit;
  }

  one<T>(of: readonly T[]): T {
    return of[this.below(of.length)] as T;
  }

  shuffled<T>(of: readonly T[]): T[] {
    const left = [...of];
    return of.map(() => left.splice(this.below(left.length), 1)[0] as T);
  }
}

/** Of whom and by which server it is asked, and what came of it. */
export type Reached = Map<string, number>;

// biome-ignore lint/suspicious/noExplicitAny: what comes back is what the world goes on with.
type Value = any;
type Act = [name: string, act: () => Promise<unknown>];

const nobody: Person = { caller: { kind: "anonymous" }, credential: undefined, id: "" };

/** The id of a credential (runtime/context.ts). */
function idOf(kind: "agent" | "key", secret: string): string {
  return `${kind}_${hashSecret(secret)}`;
}

function agentOf({ agentId, apiKey }: { agentId: string; apiKey: string }): Person {
  const caller = { kind: "agent" as const, agentId, credentialId: idOf("agent", apiKey), owner: null, ownerId: null };
  return { caller, credential: apiKey, id: agentId };
}

export class LiveWorld {
  readonly agents: Person[] = [];
  readonly users: Person[] = [];
  /** Agents on the marketplace, with tokens of theirs: the first is rented at once, the second by approval. */
  readonly listed: Person[] = [];
  admin: Person = nobody;
  readonly #slugs: string[] = [];
  readonly #threads: string[] = [];
  readonly #connections: string[] = [];
  readonly #intros: string[] = [];
  readonly #sessions: Value[] = [];
  readonly #orders: string[] = [];
  readonly #events: string[] = [];
  readonly #claimTokens: string[] = [];
  readonly #docs: string[] = [];
  readonly #shares: string[] = [];
  readonly #sockets: TestSocket[] = [];
  #invite = "";
  #docPath = "";
  #step = 0;
  #deck: string[] = [];

  private constructor(
    /** It happens on any of them. */
    readonly servers: readonly TestServer[],
    readonly seed: number,
    readonly dice: Dice,
    /** How often each mutation had success. */
    readonly reached: Reached,
    /** Resolves once each server has heard of what the others did. */
    readonly allHeard: () => Promise<void>,
  ) {}

  /** A world with something of everything in it. */
  static async make(
    servers: readonly TestServer[],
    seed: number,
    reached: Reached = new Map(),
    allHeard = async () => {},
  ): Promise<LiveWorld> {
    const world = new LiveWorld(servers, seed, new Dice(seed), reached, allHeard);
    await world.#open();
    return world;
  }

  async call(who: Person, path: string, args: object = {}): Promise<Value> {
    const value = await this.#on(who).call(path, args);
    this.reached.set(path, (this.reached.get(path) ?? 0) + 1);
    return value;
  }

  async #rest(who: Person, method: string, path: string, body?: object): Promise<RestReply> {
    const reply = await this.#on(who).rest(method, path, body);
    const call = `${method} ${path.replaceAll(/[0-9a-f-]{36}/g, ":id")}`;
    if (reply.status < 300) this.reached.set(call, (this.reached.get(call) ?? 0) + 1);
    return reply;
  }

  #on(who: Person): Caller {
    return new Caller(this.dice.one(this.servers), who.credential);
  }

  get #server(): TestServer {
    return this.servers[0] as TestServer;
  }

  async #user(name: string, email = `${name.toLowerCase()}-${randomUUID()}@example.com`): Promise<Person> {
    await this.call(nobody, "users:sendVerification", { email });
    const codes = await Promise.all(
      this.servers.map((server) => server.verificationCode(email).catch(() => undefined)),
    );
    const verificationCode = codes.find((code) => code !== undefined);
    const { user, apiKey } = await this.call(nobody, "users:register", { email, password, name, verificationCode });
    await this.call(nobody, "users:signIn", { email, password });
    const credentialId = idOf("key", apiKey);
    const { id: userId, isAdmin } = user;
    const caller: RuntimeCaller = { kind: "user", userId, credentialId, email, isAdmin, agentId: null };
    return { caller, credential: apiKey, id: user.id };
  }

  async #open(): Promise<void> {
    const { agents, users, listed } = this;
    for (const name of ["Alice's agent", "Bob's agent", "Carol's agent"]) {
      const registered = await this.call(nobody, "agents:register", { name });
      agents.push(agentOf(registered));
      this.#claimTokens.push(registered.claimToken);
      await this.call(nobody, "agents:claim", { claimToken: registered.claimToken });
      await this.call(agentOf(registered), "agents:setPublicKey", { publicKey: randomKey() });
    }
    for (const name of ["Alice", "Bob"]) users.push(await this.#user(name));
    const admin = await this.#server.admin();
    this.admin = {
      caller: {
        kind: "user",
        userId: admin.userId,
        credentialId: idOf("key", admin.apiKey),
        email: admin.email,
        isAdmin: true,
        agentId: null,
      },
      credential: admin.apiKey,
      id: admin.userId,
    };
    for (const user of users) {
      await this.call(user, "billing:topUp", { amount: "1000" });
      await this.call(this.admin, "admin:suspendUser", { userId: user.id });
      await this.call(this.admin, "admin:reinstateUser", { userId: user.id });
    }
    await this.allHeard();
    for (const [index, approvalMode] of (["auto", "manual"] as const).entries()) {
      await this.#list(users[index] as Person, approvalMode);
    }
    const [reader] = listed as [Person, Person];
    await this.call(this.admin, "admin:suspendAgent", { agentId: reader.id });
    await this.call(this.admin, "admin:reinstateAgent", { agentId: reader.id });
    await this.#connectAgent(reader);
    const [alice, bob] = agents as [Person, Person];
    const [consumer, provider] = users as [Person, Person];
    await this.#connect(alice, bob);
    await this.call(alice, "connections:disconnect", { connectionId: this.#connections.pop() });
    await this.#connect(alice, bob);
    for (const type of ["info", "proposal"]) await this.#send(alice, type);
    await this.#send(bob, "accept");
    await this.#startThread(alice);
    await this.#createEvent(alice, 0, 3 * day);
    await this.#createEvent(alice, 2 * hour, 4 * hour);
    await this.call(alice, "events:update", { eventId: this.#events[0], description: "Talks about long texts" });
    await this.call(alice, "events:updateTags", { eventId: this.#events[0], tags: ["tea", "texts"] });
    await this.call(alice, "events:expireStale");
    await this.#checkIn(alice);
    await this.call(alice, "events:checkOut", { eventId: this.#events[0] });
    for (const agent of agents) await this.#checkIn(agent);
    await this.#propose(alice, bob);
    await this.call(bob, "approvals:submit", { threadId: this.#threads[0], approved: true });
    await this.call(bob, "events:respondIntro", { introId: this.#intros[0], accept: true });
    await this.call(bob, "events:submitIntroApproval", { introId: this.#intros[0], approved: true });
    await this.#share(alice);
    await this.call(alice, "connections:invite").then(({ inviteToken }) => (this.#invite = inviteToken));
    await this.#rent(provider, listed[0] as Person, { consumerAgentId: listed[1]?.id });
    for (let count = 0; count < 2; count += 1) await this.#rent(consumer, listed[1] as Person);
    await this.call(provider, "sessions:approve", { sessionId: this.#sessions[1]?.id });
    await this.#rent(provider, listed[0] as Person);
    await this.call(provider, "sessions:end", { sessionId: this.#sessions[3]?.id });
    await this.#rent(provider, listed[0] as Person);
    await this.call(this.admin, "admin:terminateSession", { sessionId: this.#sessions.at(-1)?.id });
    for (let count = 0; count < 2; count += 1) await this.#order(provider, listed[0] as Person);
    await this.call(provider, "orders:cancel", { orderId: this.#orders.shift() });
    await this.call(consumer, "cart:clear");
    await this.call(consumer, "cart:add", { providerAgentId: listed[1]?.id, taskDescription: "Write it" });
    await this.#changeCart(consumer, "cart:remove");
    const said = { sessionId: this.#sessions[0]?.id, type: "dialogue.message", payload: { step: 0 } };
    await this.call(provider, "sessions:sendMessage", said);
    await this.#sayOverSocket(provider);
    const paused = { sessionId: said.sessionId, participantId: listed[0]?.id };
    await this.call(provider, "sessions:pauseParticipant", paused);
    await this.call(provider, "sessions:resumeParticipant", paused);
    await this.call(consumer, "cart:add", { providerAgentId: listed[1]?.id, taskDescription: "Write it" });
    await this.#changeCart(consumer, "cart:update", { taskDescription: "Write it well" });
    for (const path of ["favorites:add", "favorites:remove", "favorites:add"]) {
      await this.call(consumer, path, { agentId: listed[1]?.id });
    }
    for (const user of users) {
      for (const path of ["follows:add", "follows:remove", "follows:add"]) {
        await this.call(user, path, { userId: this.#other(user).id });
      }
    }
    await this.call(this.admin, "admin:refund", {
      recordId: (await this.call(provider, "billing:listRecords")).data[0].id,
    });
    for (let count = 0; count < 2; count += 1) await this.#document();
    await this.call(this.admin, "docs:update", { docId: this.#docs[0], content: "Longer texts" });
    await this.call(this.admin, "docs:unpublish", { docId: this.#docs[0] });
    await this.call(this.admin, "docs:remove", { docId: this.#docs.shift() });
    await this.call(users[0] as Person, "agents:update", {
      agentId: listed[0]?.id,
      description: "Reader of all texts",
    });
    await this.call(listed[0] as Person, "agents:setServeRules", { rules: [{ match: {}, action: "serve" }] });
  }

  #other(user: Person): Person {
    return this.users.find((one) => one !== user) as Person;
  }

  async #list(owner: Person, approvalMode: string): Promise<void> {
    const slug = `live-${randomUUID()}`;
    const capabilities = [{ category: "text", name: "Texts", description: "All kinds", tags: [] }];
    const described = { name: "Reader", slug, description: "Reader of long texts", capabilities };
    const { id } = await this.call(owner, "agents:create", described);
    this.#slugs.push(slug);
    const terms = { pricingModel: "per_minute", priceAmount: "0.10", approvalMode, maxConcurrentSessions: 20 };
    await this.call(owner, "agents:applyAsProvider", { agentId: id });
    await this.call(this.admin, "admin:rejectAgent", { agentId: id });
    await this.call(owner, "agents:publish", { agentId: id, ...terms });
    await this.call(this.admin, "admin:approveAgent", { agentId: id });
    await this.call(owner, "agents:revokeToken", { agentId: id });
    const { token } = await this.call(owner, "agents:replaceToken", { agentId: id });
    const { userId, email } = owner.caller as { userId: string; email: string };
    const credentialId = idOf("agent", token);
    const caller = { kind: "agent" as const, agentId: id, credentialId, owner: { userId, email }, ownerId: userId };
    this.listed.push({ caller, credential: token, id });
    await this.#connectAgent(this.listed.at(-1) as Person);
    await this.call(owner, "agents:activate", { agentId: id });
    await this.call(owner, "agents:setOnlineStatus", { agentId: id, onlineStatus: "online" });
  }

  /** Opens the agent's control channel, which closes the one before. */
  async #connectAgent(agent: Person): Promise<void> {
    // Another server would take a token that was replaced just now for the older one.
    await this.allHeard();
    this.#sockets.push(await openAgent(this.dice.one(this.servers), agent.credential ?? ""));
    this.reached.set("/ws/agent", (this.reached.get("/ws/agent") ?? 0) + 1);
  }

  async #connect(one: Person, other: Person): Promise<void> {
    const { inviteToken } = await this.call(one, "connections:invite");
    this.#connections.push((await this.call(other, "connections:accept", { inviteToken })).connectionId);
  }

  async #startThread(agent: Person): Promise<void> {
    const connectionId = this.dice.one(this.#connections);
    this.#threads.push((await this.call(agent, "messages:startThread", { connectionId })).threadId);
  }

  async #send(agent: Person, type: string): Promise<void> {
    if (this.#threads.length === 0) await this.#startThread(agent);
    const threadId = this.dice.one(this.#threads.slice(-4));
    await this.call(agent, "messages:send", { threadId, type, payload: { step: this.#step } });
  }

  async #createEvent(agent: Person, inMs: number, forMs: number): Promise<void> {
    const startAt = this.#server.clock.now() + inMs;
    const event = { name: "Mixer", locationLat: 1, locationLng: 1, tags: ["tea"], startAt, endAt: startAt + forMs };
    this.#events.push((await this.call(agent, "events:create", event)).eventId);
  }

  async #share(agent: Person): Promise<string> {
    const { shareToken } = await this.call(agent, "events:requestLocationShare", {});
    this.#shares.push(shareToken);
    await this.call(nobody, "events:submitLocationShare", { shareToken, lat: 1, lng: 1 });
    return shareToken;
  }

  async #checkIn(agent: Person): Promise<void> {
    const locationShareToken = await this.#share(agent);
    const [eventId] = this.#events;
    await this.call(agent, "events:checkIn", { eventId, locationShareToken, durationMinutes: 90 });
  }

  async #propose(agent: Person, other: Person): Promise<void> {
    const [eventId] = this.#events;
    this.#intros.push((await this.call(agent, "events:proposeIntro", { eventId, toAgentId: other.id })).introId);
  }

  async #rent(user: Person, agent: Person, more: object = {}): Promise<void> {
    this.#sessions.push(
      await this.call(user, "sessions:create", { agentId: agent.id, taskDescription: task, ...more }),
    );
  }

  async #order(user: Person, agent: Person): Promise<void> {
    const items = [{ providerAgentId: agent.id, taskDescription: "Part" }];
    this.#orders.push((await this.call(user, "orders:create", { items })).id);
  }

  async #document(): Promise<void> {
    const title = `Page ${this.#step} ${randomUUID()}`;
    const { id } = await this.call(this.admin, "docs:create", { type: "document", title, content: "Long texts" });
    this.#docs.push(id);
    this.#docPath = (await this.call(this.admin, "docs:publish", { docId: id })).path;
  }

  /** Everything that somebody could watch in here, as it stands. */
  questions(): Question[] {
    const { agents, users, admin, listed } = this;
    const eventIds = this.#events.slice(0, 2);
    const [event] = eventIds;
    const ask = (who: Person, path: string, args: Record<string, unknown> = {}) => ({ who, path, args });
    const ofAgents = agents.flatMap((who) => [
      ask(who, "agents:getStatus"),
      ask(who, "connections:list"),
      ask(who, "messages:getThreadsForAgent"),
      ask(who, "messages:getThreadsForAgent", { status: "awaiting_approval" }),
      ask(who, "approvals:getPending"),
      ask(who, "events:listMyIntros", { includeResolved: true }),
      ask(who, "events:listMyIntros"),
      ask(who, "events:getSuggestions", { eventId: event }),
      ask(who, "events:getById", { eventId: event }),
      ...this.#threads.slice(-3).map((threadId) => ask(who, "messages:getForThread", { threadId })),
      ...this.#shares.slice(-2).map((shareToken) => ask(who, "events:getLocationShare", { shareToken })),
      ...this.#shares.slice(-1).map((shareToken) => ask(who, "events:listNearby", { shareToken })),
    ]);
    const [someAgent] = agents as [Person];
    const ofOneAgent = [
      ask(someAgent, "events:listLive"),
      ask(someAgent, "events:listLive", { includeScheduled: true }),
      ask(someAgent, "events:getById", { eventId: eventIds[1] }),
    ];
    const ofListed = listed.flatMap((who) => [
      ask(who, "agents:getMine"),
      ask(who, "agents:getServeRules"),
      ask(who, "agents:listMySessions"),
      ask(who, "agents:getStatus"),
      ask(who, "sessions:list", { role: "provider", status: "active,pending_approval" }),
    ]);
    const ofUsers = users.flatMap((who) => [
      ask(who, "users:me"),
      ask(who, "agents:listMine"),
      ask(who, "sessions:list"),
      ask(who, "sessions:list", { status: "active" }),
      ask(who, "sessions:listRentedAgents"),
      ask(who, "billing:getWallet"),
      ask(who, "billing:listTransactions"),
      ask(who, "billing:listTransactions", { limit: 2, page: 2 }),
      ask(who, "billing:listRecords"),
      ask(who, "orders:list"),
      ask(who, "cart:list"),
      ask(who, "favorites:list"),
      ask(who, "follows:listFollowers"),
      ask(who, "follows:listFollowing"),
      ...[...this.#sessions.slice(0, 1), ...this.#sessions.slice(-2)].flatMap(({ id }) => [
        ask(who, "sessions:get", { sessionId: id }),
        ask(who, "sessions:listMessages", { sessionId: id }),
      ]),
      ...this.#orders.slice(-2).map((orderId) => ask(who, "orders:get", { orderId })),
      ...listed.flatMap(({ id }) => [
        ask(who, "agents:get", { agentId: id }),
        ask(who, "favorites:check", { agentId: id }),
      ]),
    ]);
    const ofAnybody = [
      ask(nobody, "marketplace:browse"),
      ask(nobody, "marketplace:browse", { search: "long texts", sort: "popular" }),
      ask(nobody, "marketplace:browse", { category: "text", ownerId: users[0]?.id }),
      ask(nobody, "marketplace:listCategories"),
      ...this.#slugs.map((slug) => ask(nobody, "marketplace:getBySlug", { slug })),
      ask(nobody, "connections:getInvite", { inviteToken: this.#invite }),
      ...this.#claimTokens.slice(-1).map((claimToken) => ask(nobody, "agents:getClaim", { claimToken })),
      ...this.#shares.slice(-1).map((shareToken) => ask(nobody, "events:getShareRequest", { shareToken })),
      ...this.#docs.slice(-1).map((docId) => ask(nobody, "docs:get", { docId })),
      ask(nobody, "docs:getByPath", { path: this.#docPath }),
      ask(nobody, "docs:search", { q: "long texts" }),
      ask(nobody, "docs:getTree"),
    ];
    const ofAdmin = [
      ask(admin, "admin:listAgents"),
      ask(admin, "admin:listSessions"),
      ask(admin, "admin:audit"),
      ask(admin, "docs:getTree"),
    ];
    return [...ofAgents, ...ofOneAgent, ...ofListed, ...ofUsers, ...ofAnybody, ...ofAdmin];
  }

  /** One random thing happens, or is refused. Each comes once before one comes again. `still`: time stands still. */
  async happen(still = false): Promise<string> {
    this.#step += 1;
    const acts = new Map(this.#acts());
    if (this.#deck.length === 0) {
      const names = [...acts.keys()].filter((name) => !still || !/^(a second|time|days)/.test(name));
      this.#deck = this.dice.shuffled(names);
    }
    const name = this.#deck.pop() ?? "";
    await acts
      .get(name)?.()
      .catch((error: unknown) => {
        if (!("code" in (error as object)) || (error as { code: string }).code === "internal") throw error;
      });
    return name;
  }

  /** Lets timers that are due by now do their work. */
  async settle(): Promise<void> {
    for (const server of this.servers) await server.settle();
  }

  #acts(): Act[] {
    const { dice, agents, users, admin, listed } = this;
    const agent = dice.one(agents);
    const user = dice.one(users);
    const threadId = dice.one(this.#threads.slice(-4));
    const session = dice.one(this.#sessions.slice(-3));
    const sessionId = session.id as string;
    const provider = users.find(({ id }) => id === session.providerUserId) as Person;
    const consumer = this.#other(provider);
    const rented = dice.one(listed);
    const agentId = rented.id;
    const owner = users[listed.indexOf(rented)] as Person;
    const orderId = dice.one(this.#orders);
    const introId = dice.one(this.#intros);
    const docId = dice.one(this.#docs);
    const [eventId] = this.#events;
    const as = (who: Person, path: string, args: object = {}) => this.call(who, path, args);
    const act = (who: Person, path: string, args: object = {}): Act => [path, () => as(who, path, args)];
    const of = (number: number, ...named: Act): Act[] =>
      Array.from({ length: number }, (_, index) => [`${named[0]} ${index}`, named[1]]);
    return [
      ["invite", async () => (this.#invite = (await as(agent, "connections:invite")).inviteToken)],
      [
        "accept an invite",
        async () =>
          this.#connections.push((await as(agent, "connections:accept", { inviteToken: this.#invite })).connectionId),
      ],
      ...of(2, "start a thread", () => this.#startThread(agent)),
      ...["proposal", "proposal", "accept", "accept", "counter", "reject", "info"].map(
        (type, index): Act => [`send ${type} ${index}`, () => this.#send(agent, type)],
      ),
      ...of(3, "decide", () => as(agent, "approvals:submit", { threadId, approved: dice.below(3) > 0 })),
      [
        "disconnect",
        () =>
          dice.below(3) === 0
            ? as(agent, "connections:disconnect", { connectionId: dice.one(this.#connections) })
            : this.#connect(agent, dice.one(agents)),
      ],
      act(agent, "agents:setPublicKey", { publicKey: randomKey() }),
      [
        "register",
        async () => {
          const { claimToken } = await as(nobody, "agents:register", { name: "Dave's agent" });
          this.#claimTokens.push(claimToken);
        },
      ],
      act(nobody, "agents:claim", { claimToken: this.#claimTokens.at(-1) }),
      [
        "take over",
        () =>
          as(user, "agents:takeOver", {
            claimToken: this.#claimTokens.at(-1),
            slug: `taken-${randomUUID()}`,
            description: "Taken over by a user",
          }),
      ],
      ...of(2, "check in", () => this.#checkIn(agent)),
      ["renew", () => as(agent, "events:checkIn", { eventId, introNote: `Step ${this.#step} of long texts` })],
      act(agent, "events:checkOut", { eventId }),
      act(agents[0] as Person, "events:update", { eventId, description: `Step ${this.#step}` }),
      act(agents[0] as Person, "events:updateTags", { eventId, tags: ["tea", `t${this.#step}`] }),
      ["event", () => this.#createEvent(agents[0] as Person, dice.one([0, 10 * minute, hour]), 2 * hour)],
      act(agent, "events:expireStale"),
      [
        "ask for a location",
        async () => this.#shares.push((await as(agent, "events:requestLocationShare")).shareToken),
      ],
      ...of(2, "intro", () => this.#propose(agent, dice.one(agents))),
      ...of(2, "respond", () => as(agent, "events:respondIntro", { introId, accept: dice.below(4) > 0 })),
      ...of(2, "approve intro", () => as(agent, "events:submitIntroApproval", { introId, approved: true })),
      ["top up", () => this.#rest(user, "POST", "/api/billing/wallet/topup", { amount: "1.00" })],
      ...of(3, "rent", () => this.#rent(this.#other(owner), rented)),
      [
        "say over REST",
        () =>
          this.#rest(consumer, "POST", `/api/sessions/${sessionId}/messages`, {
            type: "dialogue.message",
            payload: { step: this.#step },
          }),
      ],
      act(provider, "sessions:sendMessage", { sessionId, type: "dialogue.message", payload: { step: this.#step } }),
      ["say over a socket", () => this.#sayOverSocket(consumer)],
      act(provider, "sessions:approve", { sessionId }),
      ["end over REST", () => this.#rest(user, "POST", `/api/sessions/${sessionId}/end`)],
      act(consumer, "sessions:pauseParticipant", { sessionId, participantId: session.providerAgentId }),
      act(consumer, "sessions:resumeParticipant", { sessionId, participantId: session.providerAgentId }),
      act(admin, "admin:terminateSession", { sessionId }),
      [
        "refund",
        async () => {
          const { data } = await as(user, "billing:listRecords");
          await as(admin, "admin:refund", { recordId: dice.one<Value>(data)?.id ?? "x" });
        },
      ],
      ["order", () => this.#order(this.#other(owner), rented)],
      act(user, "orders:cancel", { orderId }),
      act(this.#other(owner), "cart:add", { providerAgentId: agentId, taskDescription: `Step ${this.#step}` }),
      ["change the cart", () => this.#changeCart(user, "cart:update", { taskDescription: `At ${this.#step}` })],
      ["take from the cart", () => this.#changeCart(user, "cart:remove")],
      act(user, "cart:clear"),
      act(user, "favorites:add", { agentId }),
      act(user, "favorites:remove", { agentId }),
      act(user, "follows:add", { userId: this.#other(user).id }),
      act(user, "follows:remove", { userId: this.#other(user).id }),
      act(owner, "agents:update", { agentId, description: `Step ${this.#step} of long texts` }),
      ["mode", () => as(owner, "agents:update", { agentId, approvalMode: dice.one(["auto", "manual"]) })],
      ["status", () => as(owner, "agents:setOnlineStatus", { agentId, onlineStatus: dice.one(["busy", "online"]) })],
      act(rented, "agents:setServeRules", { rules: [{ match: {}, action: dice.one(["serve", "skip"]) }] }),
      [
        "token",
        async () => {
          if (dice.below(2) === 0) await as(owner, "agents:revokeToken", { agentId });
          const { token } = await as(owner, "agents:replaceToken", { agentId });
          rented.credential = token;
          rented.caller = { ...(rented.caller as AgentCaller), credentialId: idOf("agent", token) };
        },
      ],
      // Refused to an agent whose owner is suspended.
      ["connect", () => this.#connectAgent(rented).catch(() => {})],
      ["lose a socket", async () => dice.one(this.#sockets)?.close()],
      [
        "review",
        async () => {
          const { id } = await as(user, "agents:create", {
            name: "Writer",
            slug: `live-${randomUUID()}`,
            description: "Writer of long texts",
          });
          await as(user, dice.one(["agents:publish", "agents:applyAsProvider"]), { agentId: id });
          if (dice.below(2) === 0) await as(admin, "admin:rejectAgent", { agentId: id });
          else await as(admin, "admin:approveAgent", { agentId: id });
        },
      ],
      act(admin, "admin:suspendAgent", { agentId }),
      act(admin, "admin:reinstateAgent", { agentId }),
      [
        "suspend a user",
        () => (dice.below(4) === 0 ? as(admin, "admin:suspendUser", { userId: user.id }) : this.#pardon()),
      ],
      ...of(2, "reinstate", () => this.#pardon()),
      ["document", () => this.#document()],
      act(admin, "docs:update", { docId, content: `Long texts of step ${this.#step}` }),
      act(admin, "docs:unpublish", { docId }),
      act(admin, "docs:remove", { docId }),
      ["somebody signs up", () => this.#user("Erin")],
      ...of(3, "a second", async () => this.#server.clock.jump(1_000)),
      ...of(4, "time", async () => this.#server.clock.jump(dice.one([minute, 6 * minute, 20 * minute, hour]))),
      ["days", async () => this.#server.clock.jump(dice.below(3) === 0 ? dice.one([day, 2 * day, 8 * day]) : 2 * hour)],
    ];
  }

  async #pardon(): Promise<void> {
    for (const { id } of this.users) await this.call(this.admin, "admin:reinstateUser", { userId: id });
    for (const { id } of this.listed) {
      await this.call(this.admin, "admin:reinstateAgent", { agentId: id }).catch(() => {});
    }
  }

  async #changeCart(user: Person, path: string, more: object = {}): Promise<void> {
    const { data } = await this.call(user, "cart:list");
    await this.call(user, path, { cartItemId: this.dice.one<Value>(data)?.id ?? "x", ...more });
  }

  /** The consumer comes to a session that goes on, if there is one, says something, and goes. */
  async #sayOverSocket(consumer: Person): Promise<void> {
    const { data } = await this.call(consumer, "sessions:list", { role: "consumer", status: "active" });
    if (data.length === 0) return;
    // A session token is of the credential that reads it, and there is one only while the session is open.
    const { id, sessionToken } = await this.call(consumer, "sessions:get", {
      sessionId: this.dice.one<Value>(data).id,
    });
    const socket = await openSession(this.dice.one(this.servers), { sessionId: id, token: sessionToken });
    socket.send({ type: "dialogue.message", id: randomUUID(), payload: { step: this.#step } });
    await socket.settled();
    await socket.close();
    this.reached.set("/ws/session", (this.reached.get("/ws/session") ?? 0) + 1);
  }
}

/** The question as a call. */
export function callOf({ who, path, args }: Question): Call {
  return {
    path,
    kind: "query",
    args,
    caller: who.caller,
    authorization: undefined,
    idempotencyKey: undefined,
    address: "127.0.0.1",
    requestId: "0",
  };
}

/** An outcome as text that differs where the outcome does. */
export function asText(outcome: Outcome): string {
  if (outcome.status === "success") {
    const { value } = outcome;
    return typeof value === "object" && value !== null && "text" in value ? String(value.text) : JSON.stringify(value);
  }
  return outcome.status === "fault" ? "fault" : `${outcome.status} ${outcome.error.code} ${outcome.error.message}`;
}

/** Whether an answer says something. */
export function isFull(text: string): boolean {
  return !/^(refused|rejected|fault)|^\[\]$|^\{("data"|"sessions"):\[\]/.test(text);
}
