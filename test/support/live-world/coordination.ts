/** What agents do with each other in the live world: connections and threads, events and intros. */
import { day, hour, minute } from "../harness.js";
import { type Act, ask, type Ground, nobody, type Part, type Person, type Question, times } from "./ground.js";

export class Coordination implements Part {
  readonly #connections: string[] = [];
  readonly #threads: string[] = [];
  readonly #intros: string[] = [];
  readonly #shares: string[] = [];
  /** Everybody goes to the first one. */
  readonly #events: string[] = [];
  readonly #cancelled: string[] = [];
  #invite = "";

  constructor(readonly ground: Ground) {}

  async open(): Promise<void> {
    const { ground } = this;
    const [alice, bob] = ground.agents as [Person, Person];
    await this.#connect(alice, bob);
    await ground.call(alice, "connections:disconnect", { connectionId: this.#connections.pop() });
    await this.#connect(alice, bob);
    for (const type of ["info", "proposal"]) await this.#send(alice, type);
    await this.#send(bob, "accept");
    await this.#startThread(alice);

    this.#events.push(await this.#createEvent(0, 3 * day), await this.#createEvent(2 * hour, 4 * hour));
    for (const by of [alice, ground.admin]) {
      await this.#update(by);
      await this.#cancel(by);
    }
    await ground.call(alice, "events:updateTags", { eventId: this.#event, tags: ["tea", "texts"] });
    await ground.call(alice, "events:expireStale");
    await ground.call(alice, "events:checkOut", { eventId: this.#event });
    await this.#checkIn(alice);
    await this.#propose(alice, bob);
    await ground.call(bob, "approvals:submit", { threadId: this.#threads[0], approved: true });
    await ground.call(bob, "events:respondIntro", { introId: this.#intros[0], accept: true });
    await ground.call(bob, "events:submitIntroApproval", { introId: this.#intros[0], approved: true });
    await this.#share(alice);
    await this.#makeInvite(alice);
  }

  get #event(): string | undefined {
    return this.#events[0];
  }

  questions(): Question[] {
    const { agents } = this.ground;
    const [first] = agents as [Person];
    const shown = [...this.#events.slice(1, 2), ...this.#cancelled.slice(-1)];
    const eventId = this.#event;
    return [
      ...agents.flatMap((who) => [
        ask(who, "agents:getStatus"),
        ask(who, "connections:list"),
        ask(who, "messages:getThreadsForAgent"),
        ask(who, "messages:getThreadsForAgent", { status: "awaiting_approval" }),
        ask(who, "approvals:getPending"),
        ask(who, "events:listMyIntros", { includeResolved: true }),
        ask(who, "events:listMyIntros"),
        ask(who, "events:getSuggestions", { eventId }),
        ask(who, "events:getById", { eventId }),
        ...this.#threads.slice(-3).map((threadId) => ask(who, "messages:getForThread", { threadId })),
        ...this.#shares.slice(-2).map((shareToken) => ask(who, "events:getLocationShare", { shareToken })),
        ...this.#shares.slice(-1).map((shareToken) => ask(who, "events:listNearby", { shareToken })),
      ]),
      ask(first, "events:listLive"),
      ask(first, "events:listLive", { includeScheduled: true }),
      ...shown.map((id) => ask(first, "events:getById", { eventId: id })),
      ask(nobody, "connections:getInvite", { inviteToken: this.#invite }),
      ...this.#shares.slice(-1).map((shareToken) => ask(nobody, "events:getShareRequest", { shareToken })),
    ];
  }

  acts(): Act[] {
    const { ground } = this;
    const { dice, agents, admin } = ground;
    const agent = dice.one(agents);
    const others = agents.filter((other) => other !== agent);
    const [creator] = agents as [Person];
    const threadId = dice.one(this.#threads.slice(-4));
    const introId = dice.one(this.#intros.slice(-3));
    const eventId = this.#event;
    const step = `Step ${ground.step} of long texts`;
    return [
      ["invite", () => this.#makeInvite(agent)],
      ["accept an invite", () => this.#accept(agent, this.#invite)],
      ...times(2, "start a thread", () => this.#startThread(agent)),
      ...["proposal", "proposal", "accept", "accept", "counter", "reject", "info"].map(
        (type, index): Act => [`send ${type} ${index}`, () => this.#send(agent, type)],
      ),
      ...times(3, "decide", () => ground.call(agent, "approvals:submit", { threadId, approved: dice.below(3) > 0 })),
      [
        "disconnect",
        () =>
          dice.below(3) === 0
            ? ground.call(agent, "connections:disconnect", { connectionId: dice.one(this.#connections) })
            : this.#connect(agent, dice.one(others)),
      ],
      ...times(2, "check in", () => this.#checkIn(agent)),
      ["renew", () => ground.call(agent, "events:checkIn", { eventId, introNote: step })],
      ground.act(agent, "events:checkOut", { eventId }),
      ["update an event", () => this.#update(creator)],
      ["update anybody's event", () => this.#update(admin)],
      ground.act(creator, "events:updateTags", { eventId, tags: ["tea", `t${ground.step}`] }),
      ["event", async () => this.#events.push(await this.#createEvent(dice.one([0, 10 * minute, hour]), 2 * hour))],
      ["cancel an event", () => this.#cancel(creator)],
      ["cancel anybody's event", () => this.#cancel(admin)],
      ground.act(agent, "events:expireStale"),
      ["ask for a location", () => this.#askForShare(agent)],
      ...times(2, "intro", () => this.#propose(agent, dice.one(others))),
      ...times(2, "respond", () => ground.call(agent, "events:respondIntro", { introId, accept: dice.below(4) > 0 })),
      ...times(2, "approve intro", () => ground.call(agent, "events:submitIntroApproval", { introId, approved: true })),
    ];
  }

  async #makeInvite(agent: Person): Promise<string> {
    this.#invite = (await this.ground.call(agent, "connections:invite")).inviteToken;
    return this.#invite;
  }

  async #accept(agent: Person, inviteToken: string): Promise<void> {
    this.#connections.push((await this.ground.call(agent, "connections:accept", { inviteToken })).connectionId);
  }

  async #connect(one: Person, other: Person): Promise<void> {
    const { inviteToken } = await this.ground.call(one, "connections:invite");
    await this.#accept(other, inviteToken);
  }

  async #startThread(agent: Person): Promise<void> {
    const connectionId = this.ground.dice.one(this.#connections);
    this.#threads.push((await this.ground.call(agent, "messages:startThread", { connectionId })).threadId);
  }

  async #send(agent: Person, type: string): Promise<void> {
    if (this.#threads.length === 0) await this.#startThread(agent);
    const threadId = this.ground.dice.one(this.#threads.slice(-4));
    await this.ground.call(agent, "messages:send", { threadId, type, payload: { step: this.ground.step } });
  }

  async #createEvent(inMs: number, forMs: number): Promise<string> {
    const [creator] = this.ground.agents as [Person];
    const startAt = this.ground.now + inMs;
    const event = { name: "Mixer", locationLat: 1, locationLng: 1, tags: ["tea"], startAt, endAt: startAt + forMs };
    return (await this.ground.call(creator, "events:create", event)).eventId;
  }

  /** Changes an event; its end may move too. */
  #update(by: Person): Promise<unknown> {
    const { admin, dice, now, step } = this.ground;
    const endAt = dice.one([null, now + hour, now + 2 * day]);
    const path = by === admin ? "admin:updateEvent" : "events:update";
    return this.ground.call(by, path, { eventId: this.#event, description: `Step ${step}`, endAt });
  }

  /** Cancels the event. Everybody then goes to a new one, also if the event was already over. */
  async #cancel(by: Person): Promise<void> {
    const eventId = this.#event as string;
    try {
      await this.ground.call(by, by === this.ground.admin ? "admin:cancelEvent" : "events:cancel", { eventId });
      this.#cancelled.push(eventId);
    } finally {
      this.#events[0] = await this.#createEvent(0, 3 * day);
      for (const agent of this.ground.agents) await this.#checkIn(agent);
    }
  }

  async #askForShare(agent: Person): Promise<string> {
    const { shareToken } = await this.ground.call(agent, "events:requestLocationShare");
    this.#shares.push(shareToken);
    return shareToken;
  }

  async #share(agent: Person): Promise<string> {
    const shareToken = await this.#askForShare(agent);
    await this.ground.call(nobody, "events:submitLocationShare", { shareToken, lat: 1, lng: 1 });
    return shareToken;
  }

  async #checkIn(agent: Person): Promise<void> {
    const locationShareToken = await this.#share(agent);
    const stay = { eventId: this.#event, locationShareToken, durationMinutes: 90 };
    await this.ground.call(agent, "events:checkIn", stay);
  }

  async #propose(agent: Person, other: Person): Promise<void> {
    const proposed = { eventId: this.#event, toAgentId: other.id };
    this.#intros.push((await this.ground.call(agent, "events:proposeIntro", proposed)).introId);
  }
}
