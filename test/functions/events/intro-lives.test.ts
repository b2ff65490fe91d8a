/**
 * The intro's life (claw-to-claw.md section 3, events): long random lives of two agents at events, from check-in to check-out,
 * compared step by step with a model that knows only the specification. What the specification leaves open and marks as
 * a choice, such as the pace of intros, the model takes from there as well.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { JsonText } from "../../../runtime/call/define.js";
import { type Agent, type Caller, databases, hour, minute, type TestServer, useServer } from "../../support/harness.js";
import { amount } from "../../support/long.js";
import { venue } from "./support.js";

describe.each(databases)("the intro's life on %s", (database) => {
  const server = useServer(database);
  const runs = amount(40, 1_000);
  const stepsPerRun = 50;

  test(
    `${runs} lives of ${stepsPerRun} steps go as claw-to-claw.md section 3, events, says`,
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(anyStep, { minLength: stepsPerRun, maxLength: stepsPerRun }), async (steps) => {
          const life = await Life.begin(server);
          for (const step of steps) await life.take(step);
          await life.end();
        }),
        { numRuns: runs, endOnFailure: false, interruptAfterTimeLimit: 12 * 60_000, markInterruptAsFailure: true },
      );
    },
    15 * 60_000,
  );
});

type Side = "alice" | "bob";
const sides = ["alice", "bob"] as const;
const other = { alice: "bob", bob: "alice" } as const;

type Status = "proposed" | "accepted" | "confirmed" | "rejected" | "expired";
type Decision = "approved" | "declined" | null;

/** Events and intros are counted from the newest, which most steps are about. */
type Step =
  | { do: "nothing" }
  | { do: "propose"; who: Side; to: "other" | "self" | "stranger" | "nobody"; event: number }
  | { do: "respond"; who: Side; accept: boolean; intro: number }
  | { do: "decide"; who: Side; approved: boolean; intro: number }
  | { do: "checkIn"; who: Side; share: boolean; minutes?: number; introEnabled?: boolean; event: number }
  | { do: "checkOut"; who: Side; event: number }
  | { do: "pass"; ms: number; sweep: Sweep }
  | { do: "reach"; what: Side | "intro" | "event"; offBy: number; sweep: Sweep }
  | { do: "create"; hours: number }
  | { do: "meet"; who: Side }
  | { do: "list"; event: number | "all" | "missing"; includeResolved: boolean | null }
  | { do: "intrude"; intro: number; yes: boolean }
  | { do: "insist"; who: Side; times: number; gapMs: number };

/** Who sees to the deadlines after time has passed: nobody yet, the server's timer, an agent's call. */
type Sweep = "nobody" | "timer" | "call";

const side = fc.constantFrom<Side>(...sides);
const anySweep = fc.constantFrom<Sweep>("nobody", "nobody", "timer", "call");
const fromNewest = fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(3) });
const mostly = (value: boolean) =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: fc.constant(!value) });

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  // First, so that a failing life shrinks to the steps that matter.
  { withCrossShrink: true },
  { weight: 1, arbitrary: fc.constant<Step>({ do: "nothing" }) },
  {
    weight: 20,
    arbitrary: fc.record({
      do: fc.constant("propose" as const),
      who: side,
      to: fc.oneof(
        { weight: 12, arbitrary: fc.constant("other" as const) },
        { weight: 1, arbitrary: fc.constantFrom("self" as const, "stranger" as const, "nobody" as const) },
      ),
      event: fromNewest,
    }),
  },
  {
    weight: 24,
    arbitrary: fc.record({ do: fc.constant("respond" as const), who: side, accept: mostly(true), intro: fromNewest }),
  },
  {
    weight: 34,
    arbitrary: fc.record({ do: fc.constant("decide" as const), who: side, approved: mostly(true), intro: fromNewest }),
  },
  {
    weight: 14,
    arbitrary: fc.record(
      {
        do: fc.constant("checkIn" as const),
        who: side,
        share: mostly(true),
        minutes: fc.constantFrom(5, 60, 240, 720),
        introEnabled: fc.boolean(),
        event: fromNewest,
      },
      { requiredKeys: ["do", "who", "share", "event"] },
    ),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("checkOut" as const), who: side, event: fromNewest }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("pass" as const),
      ms: fc.oneof(fc.constantFrom(1, minute - 1, minute, 5 * minute), fc.nat(hour)),
      sweep: anySweep,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("reach" as const),
      what: fc.oneof(
        { weight: 6, arbitrary: fc.constantFrom("alice" as const, "bob" as const, "intro" as const) },
        { weight: 1, arbitrary: fc.constant("event" as const) },
      ),
      offBy: fc.constantFrom(-1, 0, 0, 1),
      sweep: anySweep,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("create" as const), hours: fc.constantFrom(1, 2, 6) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("meet" as const), who: side }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("list" as const),
      event: fc.oneof(fc.constant("all" as const), fc.constant("missing" as const), fromNewest, fromNewest),
      includeResolved: fc.constantFrom(false, false, true, null),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("intrude" as const), intro: fromNewest, yes: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("insist" as const),
      who: side,
      times: fc.constantFrom(4, 4, 4, 14),
      gapMs: fc.constantFrom(0, 20_000, minute - 1, minute, minute),
    }),
  },
);

/** One stay at an event, from a check-in that needed a location to its end. */
interface ModelStay {
  checkinId: string;
  since: number;
  end: number;
  left: boolean;
  introEnabled: boolean;
  /** When its intros were proposed, those of earlier stays at the event among them. */
  proposedAt: number[];
  /** Intros in hand, in the milliseconds that each takes to come back, and as of when. */
  allowance: { ms: number; at: number };
}

interface ModelEvent {
  eventId: string;
  endAt: number;
  stays: Partial<Record<Side, ModelStay>>;
}

interface ModelIntro {
  introId: string;
  event: ModelEvent;
  from: Side;
  stays: Record<Side, ModelStay>;
  status: Status;
  decisions: Record<Side, Decision>;
  opener: string;
  threadId?: string;
  createdAt: number;
  expiresAt: number;
}

interface Refusal {
  code: string;
  message: string;
  data: Record<string, unknown>;
}

/** What a call came to. */
type Answer = { value: unknown } | Refusal;

const refusal = (code: string, message: string, data: Record<string, unknown> = {}): Refusal => ({
  code,
  message,
  data,
});

/** Two agents, a stranger, and what the specification says of all that they have done. */
class Life {
  readonly #events: ModelEvent[] = [];
  readonly #intros: ModelIntro[] = [];

  private constructor(
    readonly server: TestServer,
    readonly agents: Record<Side, Agent>,
    readonly keys: Record<Side, string | null>,
    readonly stranger: Agent,
  ) {}

  static async begin(server: TestServer): Promise<Life> {
    const [alice, bob, stranger] = await Promise.all([
      server.agent("Alice", { claimed: true }),
      server.agent("Bob", { publicKey: false }),
      server.agent("Stranger", { publicKey: false }),
    ]);
    const { publicKey } = await alice.call("agents:getStatus", {});
    const life = new Life(server, { alice, bob }, { alice: publicKey, bob: null }, stranger);
    await life.take({ do: "create", hours: 6 });
    await life.take({ do: "meet", who: "alice" });
    await life.take({ do: "propose", who: "alice", to: "other", event: 0 });
    return life;
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case "nothing":
        return;
      case "propose":
        await this.#propose(step.who, step.to, this.#event(step.event));
        break;
      case "respond":
        await this.#respond(step.who, this.#intro(step.intro), step.accept);
        break;
      case "decide":
        await this.#decide(step.who, this.#intro(step.intro), step.approved);
        break;
      case "checkIn":
        await this.#checkIn(step);
        break;
      case "checkOut":
        await this.#checkOut(step.who, this.#event(step.event));
        break;
      case "pass":
        await this.#pass(step.ms, step.sweep);
        break;
      case "reach":
        await this.#pass(Math.max(0, this.#edge(step.what) + step.offBy - this.#now), step.sweep);
        break;
      case "create":
        await this.#create(step.hours);
        break;
      case "list":
        await this.#list(step.event, step.includeResolved);
        break;
      case "intrude":
        await this.#intrude(this.#intro(step.intro), step.yes);
        break;
      case "meet":
        // Both are there from now on, at an event without an intro of theirs that stands in the way of the next.
        if (this.#event(0).endAt <= this.#now || this.#confirmedAt(this.#event(0))) {
          await this.take({ do: "create", hours: 6 });
        }
        for (const who of [step.who, other[step.who]]) {
          await this.#checkIn({
            do: "checkIn",
            who,
            share: !this.#present(this.#event(0), who),
            minutes: 240,
            introEnabled: true,
            event: 0,
          });
        }
        break;
      case "insist":
        await this.take({ do: "create", hours: 6 });
        await this.take({ do: "meet", who: step.who });
        for (let count = 0; count < step.times; count += 1) {
          await this.take({ do: "propose", who: step.who, to: "other", event: 0 });
          await this.take({ do: "respond", who: other[step.who], accept: false, intro: 0 });
          await this.take({ do: "pass", ms: step.gapMs, sweep: "nobody" });
        }
        return;
    }
    await this.#compare({ includeResolved: true }, this.#intros);
  }

  /** The short threads that came of it, and what the database holds once every event is over. */
  async end(): Promise<void> {
    await this.#compareThreads();
    await this.#pass(Math.max(...this.#events.map(({ endAt }) => endAt)) - this.#now, "timer");
    await this.#compare({ includeResolved: true }, this.#intros);
    await this.#compare({}, []);
    await this.#compareThreads();

    const ids = this.#events.map(({ eventId }) => eventId);
    const stored = await this.server.read((db) =>
      db.selectFrom("intros").select(["introId", "status"]).where("eventId", "in", ids).execute(),
    );
    expect(new Map(stored.map(({ introId, status }) => [introId, status]))).toEqual(
      new Map(this.#intros.map(({ introId, status }) => [introId, status])),
    );
    const open = await this.server.read((db) =>
      db
        .selectFrom("checkins")
        .select("checkinId")
        .where("eventId", "in", ids)
        .where("status", "=", "active")
        .execute(),
    );
    expect(open).toEqual([]);
  }

  get #now(): number {
    return this.server.clock.now();
  }

  #event(back: number): ModelEvent {
    return this.#events.at(-1 - (back % this.#events.length)) as ModelEvent;
  }

  #intro(back: number): ModelIntro {
    return this.#intros.at(-1 - (back % this.#intros.length)) as ModelIntro;
  }

  #confirmedAt(event: ModelEvent): boolean {
    return this.#intros.some((intro) => intro.event === event && intro.status === "confirmed");
  }

  /** The next moment at which something ends, if it has not ended. */
  #edge(what: Side | "intro" | "event"): number {
    const event = this.#event(0);
    if (what === "event") return event.endAt;
    if (what === "intro") return this.#intro(0).expiresAt;
    return event.stays[what]?.end ?? this.#now;
  }

  /** The stay of somebody who is at the event now. */
  #present(event: ModelEvent, who: Side): ModelStay | undefined {
    const stay = event.stays[who];
    return stay && !stay.left && stay.end > this.#now ? stay : undefined;
  }

  /** An unresolved intro lasts as long as both of its stays, and no longer. */
  #lapse(): void {
    for (const intro of this.#intros) {
      if (intro.status !== "proposed" && intro.status !== "accepted") continue;
      const { alice, bob } = intro.stays;
      intro.expiresAt = Math.min(alice.end, bob.end);
      if (alice.left || bob.left || intro.expiresAt <= this.#now) intro.status = "expired";
    }
  }

  async #pass(ms: number, sweep: Sweep): Promise<void> {
    if (sweep === "timer") await this.server.advance(ms);
    else this.server.clock.jump(ms);
    if (sweep === "call") {
      expect(await this.#call(this.stranger, "events:expireStale", {})).toHaveProperty("value.intros");
    }
    this.#lapse();
  }

  async #create(hours: number): Promise<void> {
    const endAt = this.#now + hours * hour;
    const event = { name: "Mixer", startAt: this.#now - hour, endAt };
    const answer = await this.#call(this.agents.alice, "events:create", event);
    this.#events.push({ eventId: idIn(answer, "eventId"), endAt, stays: {} });
  }

  async #checkIn(step: Extract<Step, { do: "checkIn" }>): Promise<void> {
    const { who, minutes, introEnabled } = step;
    const agent = this.agents[who];
    const event = this.#event(step.event);
    const locationShareToken = step.share ? await this.#share(agent) : undefined;
    const answer = await this.#call(agent, "events:checkIn", {
      eventId: event.eventId,
      ...(locationShareToken === undefined ? {} : { locationShareToken }),
      ...(minutes === undefined ? {} : { durationMinutes: minutes }),
      ...(introEnabled === undefined ? {} : { introEnabled }),
    });

    if (event.endAt <= this.#now) {
      expect(answer).toEqual(refusal("conflict", "Event is not live", { status: "ended" }));
      return;
    }
    const current = this.#present(event, who);
    if (!current && !step.share) {
      expect(answer).toMatchObject({
        code: "invalid_args",
        message: "locationShareToken is required for initial check-in. Use events:requestLocationShare first.",
      });
      return;
    }
    const stay = current ?? {
      checkinId: idIn(answer, "checkinId"),
      since: this.#now,
      end: 0,
      left: false,
      introEnabled: true,
      proposedAt: [...(event.stays[who]?.proposedAt ?? [])],
      allowance: { ms: 3 * minute, at: this.#now },
    };
    stay.end = Math.min(this.#now + (minutes ?? 60) * minute, event.endAt);
    stay.introEnabled = introEnabled ?? stay.introEnabled;
    expect(answer).toMatchObject({
      value: {
        checkinId: stay.checkinId,
        eventId: event.eventId,
        status: "active",
        checkedInAt: new Date(stay.since).toISOString().replace(/\.\d+Z$/, "Z"),
        expiresAt: stay.end,
        updated: current !== undefined,
        introEnabled: stay.introEnabled,
        eventModeHint: { eventId: event.eventId, checkinExpiresAt: stay.end },
      },
    });
    if (!current) {
      const known = this.#events.flatMap(({ stays }) => sides.map((one) => stays[one]?.checkinId));
      expect(known).not.toContain(stay.checkinId);
    }
    event.stays[who] = stay;
    this.#lapse();
  }

  async #share(agent: Agent): Promise<string> {
    const shareToken = idIn(await this.#call(agent, "events:requestLocationShare", {}), "shareToken");
    const submitted = await this.#call(this.server.nobody, "events:submitLocationShare", { shareToken, ...venue });
    expect(submitted).toEqual({ value: { status: "completed", claimed: true } });
    return shareToken;
  }

  /** The answer is the same for somebody who is not there. */
  async #checkOut(who: Side, event: ModelEvent): Promise<void> {
    const { eventId } = event;
    const answer = await this.#call(this.agents[who], "events:checkOut", { eventId });
    expect(answer).toEqual({ value: { eventId, status: "checked_out" } });
    const stay = this.#present(event, who);
    if (stay) stay.left = true;
    this.#lapse();
  }

  async #propose(who: Side, to: "other" | "self" | "stranger" | "nobody", event: ModelEvent): Promise<void> {
    const toAgentId = {
      other: this.agents[other[who]].agentId,
      self: this.agents[who].agentId,
      stranger: this.stranger.agentId,
      nobody: "nobody",
    }[to];
    const opener = `Hello ${this.#intros.length}`;
    const args = { eventId: event.eventId, toAgentId, opener };
    const answer = await this.#call(this.agents[who], "events:proposeIntro", args);

    const mine = this.#present(event, who);
    const theirs = to === "other" ? this.#present(event, other[who]) : undefined;
    if (!mine?.introEnabled) {
      expect(answer).toEqual(refusal("conflict", "You must have an active check-in with intros enabled"));
      return;
    }
    if (to === "self" || to === "nobody" || !theirs) {
      expect(answer).toEqual(refusal("not_found", "Target agent not found"));
      return;
    }
    if (!theirs.introEnabled) {
      expect(answer).toEqual(refusal("conflict", "Target agent is not currently open to intros"));
      return;
    }
    const earlier = this.#intros.find(
      (intro) => intro.event === event && ["proposed", "accepted", "confirmed"].includes(intro.status),
    );
    if (earlier) {
      const { status } = earlier;
      expect(answer).toEqual(refusal("conflict", "There is already an active intro flow with this agent", { status }));
      return;
    }
    const tooFast = this.#takeTurn(mine);
    if (tooFast) {
      expect(answer).toEqual(tooFast);
      return;
    }

    const intro: ModelIntro = {
      introId: idIn(answer, "introId"),
      event,
      from: who,
      stays: { alice: mine, bob: mine, [other[who]]: theirs },
      status: "proposed",
      decisions: { alice: null, bob: null },
      opener,
      createdAt: this.#now,
      expiresAt: Math.min(mine.end, theirs.end),
    };
    expect(this.#intros.map(({ introId }) => introId)).not.toContain(intro.introId);
    this.#intros.push(intro);
    expect(answer).toEqual({ value: this.#shown(intro, who) });
  }

  /** Three at once, then one a minute, and twelve in any hour at one event. */
  #takeTurn(stay: ModelStay): Refusal | undefined {
    const inHand = Math.min(3 * minute, stay.allowance.ms + this.#now - stay.allowance.at);
    if (inHand < minute) {
      const retryAfterMs = minute - inHand;
      return refusal("rate_limited", "Please wait a bit before sending another intro", { retryAfterMs });
    }
    const recent = stay.proposedAt.filter((at) => at + hour > this.#now);
    if (recent.length >= 12) {
      const retryAfterMs = Math.min(...recent) + hour - this.#now;
      return refusal("rate_limited", "Hourly intro limit reached for this check-in", { retryAfterMs });
    }
    stay.allowance = { ms: inHand - minute, at: this.#now };
    stay.proposedAt.push(this.#now);
    return undefined;
  }

  async #respond(who: Side, intro: ModelIntro, accept: boolean): Promise<void> {
    const { introId, status } = intro;
    const answer = await this.#call(this.agents[who], "events:respondIntro", { introId, accept });
    if (intro.from === who) {
      expect(answer).toEqual(refusal("forbidden", "Only the recipient can respond to this intro"));
    } else if (status !== "proposed") {
      expect(answer).toEqual(refusal("conflict", `Cannot respond to intro with status: ${status}`, { status }));
    } else {
      intro.status = accept ? "accepted" : "rejected";
      expect(answer).toEqual({ value: this.#shown(intro, who) });
    }
  }

  async #decide(who: Side, intro: ModelIntro, approved: boolean): Promise<void> {
    const { introId, status } = intro;
    const answer = await this.#call(this.agents[who], "events:submitIntroApproval", { introId, approved });
    if (status !== "accepted") {
      expect(answer).toEqual(refusal("conflict", `Cannot approve intro with status: ${status}`, { status }));
      return;
    }
    if (intro.decisions[who] !== null) {
      expect(answer).toEqual(refusal("conflict", "Already submitted approval for this intro", { status }));
      return;
    }
    intro.decisions[who] = approved ? "approved" : "declined";
    if (!approved) {
      intro.status = "rejected";
    } else if (intro.decisions[other[who]] === "approved") {
      intro.status = "confirmed";
      intro.threadId = idIn(answer, "threadId");
      intro.expiresAt = intro.event.endAt;
    }
    expect(answer).toEqual({ value: this.#shown(intro, who) });
  }

  /** Nothing of an intro exists for a third agent. */
  async #intrude({ introId }: ModelIntro, yes: boolean): Promise<void> {
    const attempts = [
      this.#call(this.stranger, "events:respondIntro", { introId, accept: yes }),
      this.#call(this.stranger, "events:submitIntroApproval", { introId, approved: yes }),
      this.#call(this.stranger, "events:listMyIntros", { includeResolved: true }),
    ];
    const missing = refusal("not_found", "Intro not found");
    expect(await Promise.all(attempts)).toEqual([missing, missing, { value: [] }]);
  }

  async #list(at: number | "all" | "missing", includeResolved: boolean | null): Promise<void> {
    const event = typeof at === "number" ? this.#event(at) : undefined;
    const eventId = at === "missing" ? "evt_missing" : event?.eventId;
    const asked = this.#intros.filter((intro) => at === "all" || intro.event === event);
    // A confirmed one ends with its event.
    const open = asked.filter(
      ({ status, event: { endAt } }) =>
        status === "proposed" || status === "accepted" || (status === "confirmed" && endAt > this.#now),
    );
    await this.#compare(
      { includeResolved, ...(eventId === undefined ? {} : { eventId }) },
      includeResolved ? asked : open,
    );
  }

  /** What both sides are shown of their intros, newest first. */
  async #compare(args: object, expected: ModelIntro[]): Promise<void> {
    const answers = await Promise.all(sides.map((who) => this.#call(this.agents[who], "events:listMyIntros", args)));
    for (const [index, who] of sides.entries()) {
      const listed = valueIn(answers[index] as Answer) as { introId: string; createdAt: number; cursor: string }[];
      const rows = listed.map(({ cursor: _, ...row }) => row);
      expect(new Map(rows.map((row) => [row.introId, row]))).toEqual(
        new Map(expected.map((intro) => [intro.introId, this.#shown(intro, who)])),
      );
      const createdAt = rows.map((row) => row.createdAt);
      expect(createdAt).toEqual(createdAt.toSorted((one, another) => another - one));
    }
  }

  /** An intro as one of its two sides sees it. */
  #shown(intro: ModelIntro, who: Side) {
    const { introId, event, status, decisions, opener, threadId, createdAt, expiresAt } = intro;
    const they = other[who];
    const { agentId, name } = this.agents[they];
    const incoming = intro.from !== who;
    const confirmed = status === "confirmed";
    return {
      introId,
      eventId: event.eventId,
      status,
      direction: incoming ? "incoming" : "outgoing",
      otherAgent: confirmed ? { agentId, name, publicKey: this.keys[they] } : { agentId, name },
      opener,
      context: null,
      canRespond: incoming && status === "proposed",
      canApprove: status === "accepted" && decisions[who] === null,
      myApproval: decisions[who],
      otherApproval: decisions[they],
      ...(confirmed ? { threadId } : {}),
      createdAt,
      expiresAt,
    };
  }

  /** One short thread for each confirmed intro, as long as its event lasts; never a connection. */
  async #compareThreads(): Promise<void> {
    const confirmed = this.#intros.filter(({ status }) => status === "confirmed");
    for (const who of sides) {
      const answer = await this.#call(this.agents[who], "messages:getThreadsForAgent", { limit: 500 });
      const rows = valueIn(answer) as { threadId: string; status: string; connectionId: string | null }[];
      expect(new Map(rows.map(({ threadId, status, connectionId }) => [threadId, { status, connectionId }]))).toEqual(
        new Map(
          confirmed.map(({ threadId, event }) => [
            threadId,
            { status: event.endAt > this.#now ? "confirmed" : "expired", connectionId: null },
          ]),
        ),
      );
      expect(await this.#call(this.agents[who], "connections:list", {})).toEqual({ value: [] });
    }
  }

  /** Past HTTP, which the other tests go through: here the number of steps counts. */
  async #call(caller: Caller, path: string, args: object): Promise<Answer> {
    const outcome = await this.server.server.dispatcher.dispatch({
      path,
      kind: undefined,
      args,
      authorization: caller.credential === undefined ? undefined : `Bearer ${caller.credential}`,
      idempotencyKey: undefined,
      address: "127.0.0.1",
      requestId: "0",
    });
    if (outcome.status === "fault") throw new Error(`${path} failed`);
    if (outcome.status !== "success") {
      const { code, message, data } = outcome.error;
      return { code, message, data };
    }
    const { value } = outcome;
    return { value: value instanceof JsonText ? JSON.parse(value.text) : value };
  }
}

function valueIn(answer: Answer): unknown {
  if (!("value" in answer)) expect.fail(`refused: ${answer.message}`);
  return (answer as { value: unknown }).value;
}

function idIn(answer: Answer, field: string): string {
  const id = (valueIn(answer) as Record<string, unknown>)[field];
  expect(id, field).toEqual(expect.any(String));
  return String(id);
}
