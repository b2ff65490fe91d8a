/** A small world in which random things happen, and all the questions that its people could be subscribed to. */
import type { Call, Outcome } from "../../runtime/dispatch.js";
import { type Caller, hour, minute, randomKey, type TestServer } from "./harness.js";
import { connect } from "./market.js";
import { task } from "./rental.js";

/** A question of somebody's. */
export interface Question {
  who: Caller;
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
}

export class LiveWorld {
  readonly #threads: string[] = [];
  readonly #connections: string[] = [];
  readonly #intros: string[] = [];
  readonly #sessions: string[] = [];
  readonly #orders: string[] = [];
  #invite: string | undefined;
  #share: string | undefined;
  #step = 0;

  private constructor(
    readonly server: TestServer,
    readonly dice: Dice,
    readonly agents: (Caller & { agentId: string })[],
    readonly users: (Caller & { userId: string })[],
    readonly admin: Caller,
    readonly listed: string[],
    readonly eventId: string,
  ) {}

  static async make(server: TestServer, seed: number): Promise<LiveWorld> {
    const agents = [];
    for (const name of ["Alice's agent", "Bob's agent", "Carol's agent"]) {
      agents.push(await server.agent(name, { claimed: true }));
    }
    const users = [];
    for (const name of ["Alice", "Bob"]) users.push(await server.user(name, { topUp: "1000" }));
    const [alice, bob] = users as [(typeof users)[number], (typeof users)[number]];
    const admin = await server.admin();
    const listed: string[] = [];
    for (const [owner, name] of [
      [alice, "Reader"],
      [bob, "Writer"],
    ] as const) {
      const slug = `live-${seed}-${name.toLowerCase()}`;
      const capabilities = [{ category: "text", name: "Texts", description: "All kinds", tags: [] }];
      const made = await owner.call("agents:create", {
        name,
        slug,
        description: `${name} of long texts`,
        capabilities,
      });
      await owner.call("agents:publish", { agentId: made.id, pricingModel: "per_session", approvalMode: "auto" });
      await admin.call("admin:approveAgent", { agentId: made.id });
      await connect(server, made.id);
      await owner.call("agents:activate", { agentId: made.id });
      listed.push(made.id);
    }
    const now = server.clock.now();
    const [creator] = agents as [(typeof agents)[number]];
    const place = { locationLat: 1, locationLng: 1 };
    const { eventId } = await creator.call("events:create", {
      name: "Mixer",
      ...place,
      startAt: now - minute,
      endAt: now + 10 * hour,
    });
    return new LiveWorld(server, new Dice(seed), agents, users, admin, listed, eventId);
  }

  /** Everything that somebody could watch in here, as it stands. */
  questions(): Question[] {
    const { agents, users, admin, listed, eventId } = this;
    const ofAgents = agents.flatMap((who) => [
      { who, path: "agents:getStatus", args: {} },
      { who, path: "connections:list", args: {} },
      { who, path: "messages:getThreadsForAgent", args: {} },
      { who, path: "approvals:getPending", args: {} },
      { who, path: "events:listLive", args: { includeScheduled: true } },
      { who, path: "events:getById", args: { eventId } },
      { who, path: "events:listMyIntros", args: { includeResolved: true } },
      { who, path: "events:getSuggestions", args: { eventId } },
      ...this.#threads.slice(-3).map((threadId) => ({ who, path: "messages:getForThread", args: { threadId } })),
    ]);
    const ofUsers = users.flatMap((who) => [
      { who, path: "users:me", args: {} },
      { who, path: "agents:listMine", args: {} },
      { who, path: "sessions:list", args: {} },
      { who, path: "sessions:list", args: { status: "active" } },
      { who, path: "sessions:listRentedAgents", args: {} },
      { who, path: "billing:getWallet", args: {} },
      { who, path: "billing:listTransactions", args: {} },
      { who, path: "billing:listRecords", args: {} },
      { who, path: "orders:list", args: {} },
      { who, path: "cart:list", args: {} },
      { who, path: "favorites:list", args: {} },
      { who, path: "follows:listFollowers", args: {} },
      { who, path: "marketplace:browse", args: {} },
      { who, path: "marketplace:browse", args: { search: "long texts", sort: "popular" } },
      { who, path: "marketplace:browse", args: { category: "text" } },
      { who, path: "marketplace:listCategories", args: {} },
      ...this.#sessions.slice(-2).flatMap((sessionId) => [
        { who, path: "sessions:get", args: { sessionId } },
        { who, path: "sessions:listMessages", args: { sessionId } },
      ]),
      ...listed.map((agentId) => ({ who, path: "agents:get", args: { agentId } })),
    ]);
    const ofAdmin = [
      { who: admin, path: "admin:listAgents", args: {} },
      { who: admin, path: "admin:listSessions", args: {} },
      { who: admin, path: "docs:getTree", args: {} },
    ];
    return [...ofAgents, ...ofUsers, ...ofAdmin];
  }

  /** One random thing happens, or is refused. */
  async happen(): Promise<string> {
    const { dice, agents, users, admin, listed, eventId } = this;
    this.#step += 1;
    const agent = dice.one(agents);
    const user = dice.one(users);
    const other = users.find((one) => one !== user) as (typeof users)[number];
    const threadId = dice.one(this.#threads) ?? "none";
    const sessionId = dice.one(this.#sessions) ?? "none";
    const agentId = dice.one(listed);
    const acts: [string, () => Promise<unknown>][] = [
      ["invite", async () => (this.#invite = (await agent.call("connections:invite", {})).inviteToken)],
      [
        "accept",
        async () =>
          this.#connections.push(
            (await agent.call("connections:accept", { inviteToken: this.#invite ?? "x" })).connectionId,
          ),
      ],
      [
        "start",
        async () =>
          this.#threads.push(
            (await agent.call("messages:startThread", { connectionId: dice.one(this.#connections) ?? "x" })).threadId,
          ),
      ],
      ...["proposal", "counter", "accept", "info", "info"].map((type): [string, () => Promise<unknown>] => [
        `send ${type}`,
        () => agent.call("messages:send", { threadId, type, payload: { step: this.#step } }),
      ]),
      ["decide", () => agent.call("approvals:submit", { threadId, approved: dice.below(3) > 0 })],
      [
        "disconnect",
        () =>
          agent.call("connections:disconnect", {
            connectionId: dice.below(4) === 0 ? dice.one(this.#connections) : "x",
          }),
      ],
      ["key", () => agent.call("agents:setPublicKey", { publicKey: randomKey() })],
      [
        "share",
        async () => (this.#share = await (agent as never as { shareLocation: typeof share }).shareLocation(1, 1)),
      ],
      [
        "check in",
        () => agent.call("events:checkIn", { eventId, locationShareToken: this.#share, intentTags: ["tea"] }),
      ],
      ["check out", () => agent.call("events:checkOut", { eventId })],
      ["tags", () => agents[0]?.call("events:updateTags", { eventId, tags: [`t${this.#step}`] }) as Promise<unknown>],
      [
        "intro",
        async () =>
          this.#intros.push(
            (await agent.call("events:proposeIntro", { eventId, toAgentId: dice.one(agents).agentId })).introId,
          ),
      ],
      ["respond", () => agent.call("events:respondIntro", { introId: dice.one(this.#intros) ?? "x", accept: true })],
      [
        "approve intro",
        () => agent.call("events:submitIntroApproval", { introId: dice.one(this.#intros) ?? "x", approved: true }),
      ],
      ["top up", () => user.call("billing:topUp", { amount: "1.00" })],
      [
        "rent",
        async () => this.#sessions.push((await user.call("sessions:create", { agentId, taskDescription: task })).id),
      ],
      ...[1, 2].map((): [string, () => Promise<unknown>] => [
        "say",
        () => user.call("sessions:sendMessage", { sessionId, type: "dialogue.message", payload: { step: this.#step } }),
      ]),
      ["approve", () => user.call("sessions:approve", { sessionId })],
      ["end", () => user.call("sessions:end", { sessionId })],
      ["terminate", () => admin.call("admin:terminateSession", { sessionId })],
      [
        "order",
        async () => {
          const items = [{ providerAgentId: agentId, taskDescription: "Part" }];
          this.#orders.push((await user.call("orders:create", { items })).id);
        },
      ],
      ["cancel", () => user.call("orders:cancel", { orderId: dice.one(this.#orders) ?? "x" })],
      ["cart", () => user.call("cart:add", { providerAgentId: agentId, taskDescription: `Step ${this.#step}` })],
      ["clear", () => user.call("cart:clear", {})],
      ["favorite", () => user.call(dice.below(2) === 0 ? "favorites:add" : "favorites:remove", { agentId })],
      ["follow", () => user.call(dice.below(2) === 0 ? "follows:add" : "follows:remove", { userId: other.userId })],
      ["update", () => user.call("agents:update", { agentId, description: `Step ${this.#step} of long texts` })],
      ["mode", () => user.call("agents:update", { agentId, approvalMode: dice.one(["auto", "manual"]) })],
      ["busy", () => user.call("agents:setOnlineStatus", { agentId, onlineStatus: dice.one(["busy", "online"]) })],
      ["suspend", () => admin.call(dice.below(3) === 0 ? "admin:suspendAgent" : "admin:reinstateAgent", { agentId })],
      ["document", () => admin.call("docs:create", { type: "document", title: `Page ${this.#step} of ${eventId}` })],
      ["time", () => this.server.advance(dice.one([minute, 20 * minute, hour]))],
    ];
    const [name, act] = dice.one(acts);
    await act().catch((error: unknown) => {
      if ((error as { code?: string }).code === "internal") throw error;
    });
    return name;
  }
}

declare function share(lat: number, lng: number): Promise<string>;

/** The question as a call. */
export function callOf({ who, path, args }: Question): Call {
  return {
    path,
    kind: "query",
    args,
    authorization: who.credential === undefined ? undefined : `Bearer ${who.credential}`,
    idempotencyKey: undefined,
    address: "127.0.0.1",
    requestId: "0",
  };
}

/** An outcome as text that differs where the outcome does. How long a session has lasted goes on without anybody's act. */
export function asText(outcome: Outcome): string {
  if (outcome.status === "success") {
    const { value } = outcome;
    const text = typeof value === "object" && value !== null && "text" in value ? value.text : JSON.stringify(value);
    return String(text).replaceAll(/"activeDurationMs":\d+/g, "");
  }
  return outcome.status === "fault" ? "fault" : `${outcome.status} ${outcome.error.code} ${outcome.error.message}`;
}
