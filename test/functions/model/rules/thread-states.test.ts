/**
 * The thread's life (claw-to-claw.md section 3, messages): every state against everything that can be sent, by the
 * specification's table as it is written out here; then long random lives, compared step by step with a model that
 * knows only the specification.
 */
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { JsonText } from "../../../../runtime/call/define.js";
import { type Agent, databases, hour, type TestServer, useServer } from "../../../support/harness.js";
import { amount } from "../../../support/long.js";
import { expectRefusal } from "../../../support/refusals.js";

const statuses = ["negotiating", "awaiting_approval", "confirmed", "rejected", "expired"] as const;
const types = ["proposal", "counter", "accept", "reject", "info"] as const;
type Status = (typeof statuses)[number];
type MessageType = (typeof types)[number];

const no = (status: Status) => `Cannot send messages to thread with status: ${status}`;

/** State × message: the state after it, or the refusal. The accept is of the other agent's current proposal. */
const table: Record<Status, Record<MessageType, string>> = {
  negotiating: {
    proposal: "negotiating",
    counter: "negotiating",
    accept: "awaiting_approval",
    reject: "rejected",
    info: "negotiating",
  },
  awaiting_approval: {
    proposal: no("awaiting_approval"),
    counter: no("awaiting_approval"),
    accept: no("awaiting_approval"),
    reject: "rejected",
    info: "awaiting_approval",
  },
  confirmed: {
    proposal: no("confirmed"),
    counter: no("confirmed"),
    accept: no("confirmed"),
    reject: no("confirmed"),
    info: "confirmed",
  },
  rejected: {
    proposal: no("rejected"),
    counter: no("rejected"),
    accept: no("rejected"),
    reject: no("rejected"),
    info: no("rejected"),
  },
  expired: {
    proposal: no("expired"),
    counter: no("expired"),
    accept: no("expired"),
    reject: no("expired"),
    info: no("expired"),
  },
};

/** State × a human's decision: the state after it, or the refusal with its code. */
const decisions: Record<Status, { approved: string; declined: string; code?: string }> = {
  negotiating: refusedDecision("negotiating"),
  awaiting_approval: { approved: "awaiting_approval", declined: "rejected" },
  confirmed: refusedDecision("confirmed"),
  rejected: refusedDecision("rejected"),
  expired: { approved: "Approval deadline has passed", declined: "Approval deadline has passed", code: "expired" },
};

function refusedDecision(status: Status) {
  const message = `Cannot approve thread with status: ${status}`;
  return { approved: message, declined: message, code: "conflict" };
}

const isStatus = (text: string): text is Status => (statuses as readonly string[]).includes(text);

/** A thread on which Alice's proposal is the current one, brought into `status`. */
async function threadIn(server: TestServer, status: Status, settled = true) {
  const pair =
    status === "awaiting_approval" || status === "confirmed" || status === "expired"
      ? await server.awaitingPair()
      : { ...(await server.negotiatingPair()), proposalId: "" };
  const { alice, bob, threadId } = pair;
  if (status === "negotiating" || status === "rejected") {
    pair.proposalId = (await alice.send(threadId, "proposal")).messageId;
  }
  if (status === "rejected") await bob.send(threadId, "reject");
  if (status === "confirmed") {
    for (const agent of [alice, bob]) await agent.call("approvals:submit", { threadId, approved: true });
  }
  if (status === "expired") {
    server.clock.jump(48 * hour);
    if (settled) await server.settle();
  }
  return pair;
}

async function statusSeenBy(agent: Agent, threadId: string): Promise<string> {
  const threads = await agent.call("messages:getThreadsForAgent");
  return threads.find((thread: { threadId: string }) => thread.threadId === threadId).status;
}

describe.each(databases)("the thread's life on %s", (database) => {
  const server = useServer(database);

  describe.each(statuses)("%s", (status) => {
    describe.each(types)("%s", (type) => {
      const after = table[status][type];

      test.each(["bob", "alice"] as const)(`from %s → ${after}`, async (who) => {
        const pair = await threadIn(server, status);
        const { threadId, proposalId } = pair;
        const sender = pair[who];
        // Alice made the proposal: the accept is Bob's to send.
        const ownProposal = status === "negotiating" && type === "accept" && who === "alice";
        if (isStatus(after) && !ownProposal) {
          expect(await sender.send(threadId, type)).toMatchObject({ threadStatus: after });
          for (const agent of [pair.alice, pair.bob]) expect(await statusSeenBy(agent, threadId)).toBe(after);
          return;
        }
        const refusal = ownProposal
          ? {
              code: "conflict",
              message: "Cannot accept your own proposal: the other agent must.",
              data: { status, currentProposalId: proposalId },
            }
          : { code: "conflict", message: after, data: { status } };
        await expectRefusal(server, () => sender.send(threadId, type), refusal);
        await expectRefusal(server, () => sender.send(threadId, type, { referencesMessageId: proposalId }), refusal);
        for (const agent of [pair.alice, pair.bob]) expect(await statusSeenBy(agent, threadId)).toBe(status);
      });
    });

    test.each([true, false])("a human's decision, approved: %s", async (approved) => {
      const { alice, bob, threadId } = await threadIn(server, status);
      const { code, ...outcome } = decisions[status];
      const after = approved ? outcome.approved : outcome.declined;
      for (const agent of status === "awaiting_approval" ? [bob] : [alice, bob]) {
        const decide = () => agent.call("approvals:submit", { threadId, approved });
        if (code === undefined) expect(await decide()).toMatchObject({ status: after });
        else await expectRefusal(server, decide, { code, message: after, data: { status } });
      }
      expect(await statusSeenBy(alice, threadId)).toBe(isStatus(after) ? after : status);
    });

    test("another thread can be started, and nothing happens to this one", async () => {
      const { alice, bob, connectionId, threadId } = await threadIn(server, status);
      for (const agent of [alice, bob]) {
        expect(await agent.call("messages:startThread", { connectionId })).toMatchObject({ status: "negotiating" });
        expect(await statusSeenBy(agent, threadId)).toBe(status);
      }
    });

    test("the stored state is the one that is shown, once the timer was there", async () => {
      const { threadId } = await threadIn(server, status);
      const stored = await server.read((db) =>
        db.selectFrom("threads").select("status").where("threadId", "=", threadId).executeTakeFirstOrThrow(),
      );
      expect(stored.status).toBe(status);
    });
  });

  describe("expired by the clock, before the timer has written it", () => {
    test.each(types)("%s is refused", async (type) => {
      const { alice, bob, threadId } = await threadIn(server, "expired", false);
      for (const agent of [alice, bob]) {
        await expectRefusal(server, () => agent.send(threadId, type), {
          code: "conflict",
          message: no("expired"),
          data: { status: "expired" },
        });
        expect(await statusSeenBy(agent, threadId)).toBe("expired");
      }
    });
  });

  describe("the short thread of a confirmed intro", () => {
    const venue = { lat: 37.7597, lng: -122.4148 };
    let alice: Agent;
    let bob: Agent;
    let threadId: string;
    let endAt: number;
    beforeAll(async () => {
      [alice, bob] = [await server.agent("Alice", { claimed: true }), await server.agent("Bob")];
      const now = server.clock.now();
      endAt = now + 2 * hour;
      const { eventId } = await alice.call("events:create", { name: "Mixer", startAt: now - hour, endAt });
      for (const agent of [alice, bob]) {
        const locationShareToken = await agent.shareLocation(venue.lat, venue.lng);
        await agent.call("events:checkIn", { eventId, locationShareToken });
      }
      const { introId } = await alice.call("events:proposeIntro", { eventId, toAgentId: bob.agentId });
      await bob.call("events:respondIntro", { introId, accept: true });
      await alice.call("events:submitIntroApproval", { introId, approved: true });
      threadId = (await bob.call("events:submitIntroApproval", { introId, approved: true })).threadId;
    });

    test("takes info only, from both sides, while the event lasts", async () => {
      for (const agent of [alice, bob]) {
        for (const type of types) {
          if (type === "info") {
            expect(await agent.send(threadId, type)).toMatchObject({ threadStatus: "confirmed" });
          } else {
            const refusal = { code: "conflict", message: no("confirmed"), data: { status: "confirmed" } };
            await expectRefusal(server, () => agent.send(threadId, type), refusal);
          }
        }
        await expectRefusal(server, () => agent.call("approvals:submit", { threadId, approved: true }), {
          code: "conflict",
          message: "Cannot approve thread with status: confirmed",
        });
        expect(await agent.call("messages:getForThread", { threadId })).not.toEqual([]);
        expect(await agent.call("messages:getThreadsForAgent")).toMatchObject([{ threadId, connectionId: null }]);
      }
      const stranger = await server.agent("Stranger");
      await expectRefusal(server, () => stranger.send(threadId, "info"), {
        code: "not_found",
        message: "Thread not found",
        data: {},
      });
    });

    test("closes with the event, before the timer and after it", async () => {
      server.clock.jump(endAt - 1 - server.clock.now());
      expect(await alice.send(threadId, "info")).toMatchObject({ threadStatus: "confirmed" });
      server.clock.jump(1);
      for (const settled of [false, true]) {
        if (settled) await server.settle();
        for (const agent of [alice, bob]) {
          for (const type of types) {
            const refusal = { code: "conflict", message: no("expired"), data: { status: "expired" } };
            await expectRefusal(server, () => agent.send(threadId, type), refusal);
          }
          await expectRefusal(server, () => agent.call("approvals:submit", { threadId, approved: true }), {
            code: "conflict",
            message: "Cannot approve thread with status: expired",
          });
          expect(await statusSeenBy(agent, threadId)).toBe("expired");
        }
      }
    });
  });

  describe("long random lives", () => {
    const runs = amount(40, 1_000);
    const stepsPerRun = 50;

    test(
      `${runs} lives of ${stepsPerRun} steps go as the specification says`,
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
});

type Side = "alice" | "bob";
const other = { alice: "bob", bob: "alice" } as const;

type Step =
  | { do: "nothing" }
  | { do: "start"; who: Side }
  | { do: "send"; who: Side; type: MessageType; thread: number; refers: "none" | "current" | "first" | "foreign" }
  | { do: "decide"; who: Side; approved: boolean; thread: number }
  | { do: "pass"; ms: number; timer: boolean }
  | { do: "disconnect"; who: Side }
  | { do: "connect"; who: Side }
  | { do: "intrude"; thread: number; type: MessageType };

const side = fc.constantFrom<Side>("alice", "bob");
/** Counted from the newest thread, which most steps are about. */
const thread = fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(3) });

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  // First, so that a failing life shrinks to the steps that matter.
  { withCrossShrink: true },
  { weight: 1, arbitrary: fc.constant<Step>({ do: "nothing" }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("start" as const), who: side }) },
  {
    weight: 40,
    arbitrary: fc.record({
      do: fc.constant("send" as const),
      who: side,
      type: fc.oneof(
        { weight: 4, arbitrary: fc.constantFrom<MessageType>("proposal", "counter") },
        { weight: 4, arbitrary: fc.constant<MessageType>("accept") },
        { weight: 2, arbitrary: fc.constant<MessageType>("info") },
        { weight: 1, arbitrary: fc.constant<MessageType>("reject") },
      ),
      thread,
      refers: fc.constantFrom("none", "none", "current", "current", "first", "foreign"),
    }),
  },
  {
    weight: 14,
    arbitrary: fc.record({
      do: fc.constant("decide" as const),
      who: side,
      approved: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
      thread,
    }),
  },
  {
    weight: 14,
    arbitrary: fc.record({
      do: fc.constant("pass" as const),
      // Around the deadline to the millisecond, and anywhere.
      ms: fc.oneof(fc.constantFrom(1, hour, 24 * hour, 48 * hour - 1, 48 * hour, 48 * hour + 1), fc.nat(50 * hour)),
      timer: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("disconnect" as const), who: side }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("connect" as const), who: side }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("intrude" as const), thread, type: fc.constantFrom(...types) }),
  },
);

interface ModelMessage {
  messageId: string;
  fromAgentId: string;
  type: MessageType;
  createdAt: number;
  referencesMessageId?: string;
}

interface ModelThread {
  threadId: string;
  connectionId: string;
  status: Status;
  createdAt: number;
  proposal?: { messageId: string; by: Side };
  deadline?: number;
  approved: Record<Side, boolean>;
  messages: ModelMessage[];
}

/** What a call came to. */
type Answer = { value: Record<string, unknown> } | { code: string; message: string };

/** Two agents, a stranger, and what the specification says of all that they have done. */
class Life {
  readonly #connections = new Set<string>();
  #connectionId: string | undefined;
  readonly #threads: ModelThread[] = [];

  private constructor(
    readonly server: TestServer,
    readonly agents: Record<Side, Agent>,
    readonly stranger: Agent,
  ) {}

  static async begin(server: TestServer): Promise<Life> {
    const [alice, bob, stranger] = await Promise.all([
      server.agent("Alice"),
      server.agent("Bob"),
      server.agent("Stranger", { publicKey: false }),
    ]);
    const life = new Life(server, { alice, bob }, stranger);
    await life.take({ do: "connect", who: "alice" });
    await life.take({ do: "start", who: "bob" });
    return life;
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case "nothing":
        return;
      case "start":
        await this.#start(step.who);
        break;
      case "send":
        await this.#send(step.who, this.#pick(step.thread), step.type, step.refers);
        break;
      case "decide":
        await this.#decide(step.who, this.#pick(step.thread), step.approved);
        break;
      case "pass":
        if (step.timer) await this.server.advance(step.ms);
        else this.server.clock.jump(step.ms);
        this.#expire();
        break;
      case "disconnect":
        await this.#disconnect(step.who);
        break;
      case "connect":
        await this.#connect(step.who);
        break;
      case "intrude":
        await this.#intrude(this.#pick(step.thread), step.type);
        break;
    }
    await this.#compare(this.#threads.length % 2 === 0 ? "alice" : "bob");
  }

  /** All that either side can see, and what the database holds once every deadline has passed. */
  async end(): Promise<void> {
    for (const who of ["alice", "bob"] as const) {
      await this.#compare(who);
      for (const { threadId, messages } of this.#threads) {
        const read = await this.#call(this.agents[who], "messages:getForThread", { threadId, limit: 500 });
        expect(read).toEqual({
          value: messages.map((message) => ({
            threadId,
            payload: { notes: message.type },
            cursor: expect.any(String),
            ...message,
          })),
        });
      }
    }
    await this.server.advance(49 * hour);
    this.#expire();
    const stored = await this.server.read((db) =>
      db
        .selectFrom("threads")
        .select(["threadId", "status"])
        .where(
          "threadId",
          "in",
          this.#threads.map(({ threadId }) => threadId),
        )
        .execute(),
    );
    expect(new Map(stored.map(({ threadId, status }) => [threadId, status]))).toEqual(
      new Map(this.#threads.map(({ threadId, status }) => [threadId, status])),
    );
  }

  #pick(fromNewest: number): ModelThread {
    return this.#threads.at(-1 - (fromNewest % this.#threads.length)) as ModelThread;
  }

  #expire(): void {
    for (const known of this.#threads) {
      if (known.status === "awaiting_approval" && (known.deadline ?? 0) <= this.server.clock.now()) {
        known.status = "expired";
      }
    }
  }

  async #start(who: Side): Promise<void> {
    const connectionId = this.#connectionId ?? ([...this.#connections].at(-1) as string);
    const answer = await this.#call(this.agents[who], "messages:startThread", { connectionId });
    if (this.#connectionId === undefined) {
      expect(answer).toEqual({ code: "conflict", message: "Connection is not active" });
      return;
    }
    const createdAt = this.server.clock.now();
    const threadId = idIn(answer, "threadId");
    expect(answer).toEqual({ value: { threadId, connectionId, status: "negotiating", createdAt } });
    const approved = { alice: false, bob: false };
    this.#threads.push({ threadId, connectionId, status: "negotiating", createdAt, approved, messages: [] });
  }

  async #send(who: Side, known: ModelThread, type: MessageType, refers: string): Promise<void> {
    const { threadId, messages, proposal } = known;
    const first = messages[0]?.messageId;
    const foreign = this.#threads.find((one) => one !== known && one.messages.length > 0)?.messages[0]?.messageId;
    const references =
      refers === "current"
        ? proposal?.messageId
        : refers === "first"
          ? first
          : refers === "foreign"
            ? (foreign ?? "msg_missing")
            : undefined;
    const answer = await this.#call(this.agents[who], "messages:send", {
      threadId,
      type,
      payload: { notes: type },
      ...(references === undefined ? {} : { referencesMessageId: references }),
    });

    const refusal = this.#refusalOf(who, known, type, references);
    if (refusal) {
      expect(answer).toEqual(refusal);
      return;
    }
    const now = this.server.clock.now();
    const createdAt = Math.max(now, (messages.at(-1)?.createdAt ?? 0) + 1);
    const messageId = idIn(answer, "messageId");
    const moved = table[known.status][type] as Status;
    expect(answer).toEqual({ value: { messageId, threadId, threadStatus: moved, createdAt } });
    known.status = moved;
    if (type === "proposal" || type === "counter") known.proposal = { messageId, by: who };
    if (type === "accept") known.deadline = now + 48 * hour;
    messages.push({
      messageId,
      fromAgentId: this.agents[who].agentId,
      type,
      createdAt,
      ...(references === undefined ? {} : { referencesMessageId: references }),
    });
  }

  #refusalOf(who: Side, known: ModelThread, type: MessageType, references: string | undefined) {
    const conflict = (message: string) => ({ code: "conflict", message });
    if (known.connectionId !== this.#connectionId) return conflict("Connection is not active");
    const after = table[known.status][type];
    if (!isStatus(after)) return conflict(after);
    if (type === "accept") {
      if (!known.proposal) return conflict("There is no proposal to accept yet. Send a proposal first.");
      if (references !== undefined && references !== known.proposal.messageId) {
        return conflict(
          "referencesMessageId is not the current proposal: it was replaced meanwhile. Read the thread and answer the current one.",
        );
      }
      if (known.proposal.by === who) return conflict("Cannot accept your own proposal: the other agent must.");
      return undefined;
    }
    const said = references === undefined || known.messages.some(({ messageId }) => messageId === references);
    return said ? undefined : { code: "not_found", message: "referencesMessageId is not a message of this thread" };
  }

  async #decide(who: Side, known: ModelThread, approved: boolean): Promise<void> {
    const { threadId } = known;
    const answer = await this.#call(this.agents[who], "approvals:submit", { threadId, approved });
    if (known.status === "expired") {
      expect(answer).toEqual({ code: "expired", message: "Approval deadline has passed" });
    } else if (known.status !== "awaiting_approval") {
      expect(answer).toEqual({ code: "conflict", message: `Cannot approve thread with status: ${known.status}` });
    } else if (known.connectionId !== this.#connectionId) {
      expect(answer).toEqual({ code: "conflict", message: "Connection is not active" });
    } else if (known.approved[who]) {
      expect(answer).toEqual({ code: "conflict", message: "Already submitted approval for this thread" });
    } else {
      const theirs = known.approved[other[who]];
      known.status = !approved ? "rejected" : theirs ? "confirmed" : "awaiting_approval";
      known.approved[who] = approved;
      const approvals = { mine: approved ? "approved" : "declined", other: theirs ? "approved" : null };
      expect(answer).toEqual({ value: { threadId, status: known.status, approvals } });
    }
  }

  async #disconnect(who: Side): Promise<void> {
    const connectionId = this.#connectionId ?? ([...this.#connections].at(-1) as string);
    const answer = await this.#call(this.agents[who], "connections:disconnect", { connectionId });
    expect(answer).toEqual({ value: { connectionId, status: "disconnected" } });
    this.#connectionId = undefined;
  }

  async #connect(who: Side): Promise<void> {
    const invite = await this.#call(this.agents[who], "connections:invite", {});
    if (!("value" in invite)) throw new Error(invite.message);
    const { inviteToken, connectionId } = invite.value as { inviteToken: string; connectionId: string };
    const answer = await this.#call(this.agents[other[who]], "connections:accept", { inviteToken });
    if (this.#connectionId !== undefined) {
      expect(answer).toEqual({ code: "conflict", message: "You are already connected to this agent" });
      return;
    }
    expect(answer).toMatchObject({ value: { connectionId, connectedTo: { agentId: this.agents[who].agentId } } });
    this.#connectionId = connectionId;
    this.#connections.add(connectionId);
  }

  /** Nothing of a thread exists for a third agent. */
  async #intrude({ threadId }: ModelThread, type: MessageType): Promise<void> {
    const missing = { code: "not_found", message: "Thread not found" };
    const attempts = [
      this.#call(this.stranger, "messages:send", { threadId, type, payload: {} }),
      this.#call(this.stranger, "messages:getForThread", { threadId }),
      this.#call(this.stranger, "approvals:submit", { threadId, approved: true }),
    ];
    expect(await Promise.all(attempts)).toEqual([missing, missing, missing]);
  }

  /** What one side is shown now. */
  async #compare(who: Side): Promise<void> {
    const [listed, pending] = await Promise.all([
      this.#call(this.agents[who], "messages:getThreadsForAgent", { limit: 500 }),
      this.#call(this.agents[who], "approvals:getPending", {}),
    ]);
    const rows = (listed as { value: unknown }).value as (Record<string, unknown> & { threadId: string })[];
    const shown = new Map(rows.map((row) => [row.threadId, row]));
    expect(shown.size).toBe(this.#threads.length);
    for (const known of this.#threads) {
      const row = shown.get(known.threadId);
      expect(row).toMatchObject({
        connectionId: known.connectionId,
        status: known.status,
        messageCount: known.messages.length,
        lastMessageAt: known.messages.at(-1)?.createdAt ?? null,
        createdAt: known.createdAt,
      });
      expect(row?.approvalDeadline).toBe(known.deadline);
    }
    const activity = rows.map(({ lastMessageAt, createdAt }) => (lastMessageAt ?? createdAt) as number);
    expect(activity).toEqual(activity.toSorted((one, another) => another - one));

    const waiting = this.#threads.filter(
      (known) =>
        known.status === "awaiting_approval" && known.connectionId === this.#connectionId && !known.approved[who],
    );
    const plans = (pending as { value: unknown }).value as { threadId: string; otherDecision: string | null }[];
    expect(new Map(plans.map((plan) => [plan.threadId, plan.otherDecision]))).toEqual(
      new Map(waiting.map((known) => [known.threadId, known.approved[other[who]] ? "approved" : null])),
    );
  }

  /** Past HTTP, which the other tests go through: here the number of steps counts. */
  async #call(agent: Agent, path: string, args: object): Promise<Answer> {
    const outcome = await this.server.server.dispatcher.dispatch({
      path,
      kind: undefined,
      args,
      authorization: `Bearer ${agent.credential}`,
      idempotencyKey: undefined,
      address: "127.0.0.1",
      requestId: "0",
    });
    if (outcome.status === "fault") throw new Error(`${path} failed`);
    if (outcome.status !== "success") return { code: outcome.error.code, message: outcome.error.message };
    const { value } = outcome;
    return { value: (value instanceof JsonText ? JSON.parse(value.text) : value) as Record<string, unknown> };
  }
}

function idIn(answer: Answer, field: string): string {
  if (!("value" in answer)) expect.fail(`refused: ${answer.message}`);
  return String((answer as { value: Record<string, unknown> }).value[field]);
}
