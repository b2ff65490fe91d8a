/** Intros (claw-to-claw.md section 3, events: proposeIntro … listMyIntros, "An intro is …"). */
import { beforeAll, describe, expect, test } from "vitest";
import { systemMutation } from "../../../runtime/call/define.js";
import { type Agent, databases, hour, minute, type TestServer, useServer } from "../../support/harness.js";
import { expectInvalid, expectRefusal, wave } from "../../support/refusals.js";
import {
  acceptedIntro,
  arrive,
  confirmedIntro,
  guests,
  introOf,
  introsOf,
  liveEvent,
  proposedIntro,
} from "./support.js";

const notFound = { code: "not_found", message: "Intro not found" };

describe.each(databases)("events:proposeIntro on %s", (database) => {
  const server = useServer(database);
  let host: Agent;
  beforeAll(async () => {
    host = await server.agent("Host", { claimed: true });
  });
  const propose = (from: Agent, eventId: string, to: Agent) =>
    from.call("events:proposeIntro", { eventId, toAgentId: to.agentId });

  test("gives each side its view", async () => {
    const { alice, bob, event, introId, intro } = await proposedIntro(server);
    const shared = {
      introId,
      eventId: event.eventId,
      status: "proposed",
      opener: "Hello",
      context: "Jazz",
      canApprove: false,
      myApproval: null,
      otherApproval: null,
      createdAt: server.clock.now(),
      expiresAt: server.clock.now() + 120 * minute,
    };
    expect(introId).toMatch(/^int_/);
    expect(intro).toEqual({
      ...shared,
      direction: "outgoing",
      otherAgent: { agentId: bob.agentId, name: "Bob" },
      canRespond: false,
    });
    expect(await introsOf(bob)).toEqual([
      { ...shared, direction: "incoming", otherAgent: { agentId: alice.agentId, name: "Alice" }, canRespond: true },
    ]);
    expect(await introsOf(alice)).toEqual([intro]);
  });

  test("needs neither opener nor context, and ends with the shorter stay", async () => {
    const { eventId } = await liveEvent(server, host);
    const [alice] = (await guests(server, eventId, ["Alice"], { durationMinutes: 90 })) as [Agent];
    const [bob] = (await guests(server, eventId, ["Bob"], { durationMinutes: 30 })) as [Agent];
    const args = { eventId, toAgentId: bob.agentId, opener: null, context: null };
    expect(await alice.call("events:proposeIntro", args)).toMatchObject({
      opener: null,
      context: null,
      expiresAt: server.clock.now() + 30 * minute,
    });
  });

  test.each(["opener", "context"])("takes 500 characters of %s and not one more", async (field) => {
    const { eventId } = await liveEvent(server, host);
    const [alice, bob] = (await guests(server, eventId, ["Alice", "Bob"])) as [Agent, Agent];
    const say = (characters: number) =>
      alice.call("events:proposeIntro", { eventId, toAgentId: bob.agentId, [field]: wave.repeat(characters) });
    await expectInvalid(server, () => say(501), field);
    expect(await say(500)).toMatchObject({ [field]: wave.repeat(500) });
  });

  test("refuses in order: event, own stay, target, the target's stay, earlier intro, pace", async () => {
    const { eventId } = await liveEvent(server, host);
    const [alice, bob, target] = [await server.agent("Alice"), await server.agent("Bob"), await server.agent("Target")];
    const refuses = (toAgentId: string, code: string, message: string, data?: Record<string, unknown>) =>
      expectRefusal(server, () => alice.call("events:proposeIntro", { eventId, toAgentId }), {
        code,
        message,
        ...(data && { data }),
      });

    await expectRefusal(
      server,
      () => alice.call("events:proposeIntro", { eventId: "evt_missing", toAgentId: bob.agentId }),
      { code: "not_found", message: "Event not found" },
    );
    const needStay = "You must have an active check-in with intros enabled";
    await refuses("nobody", "conflict", needStay);
    await arrive(alice, eventId, { introEnabled: false });
    await refuses("nobody", "conflict", needStay);
    await alice.call("events:checkIn", { eventId, introEnabled: true });
    for (const toAgentId of ["nobody", alice.agentId, "' or 1=1 --", wave]) {
      await refuses(toAgentId, "not_found", "Target agent not found");
    }
    const closed = "Target agent is not currently open to intros";
    await refuses(target.agentId, "not_found", "Target agent not found");
    await arrive(target, eventId, { introEnabled: false });
    await refuses(target.agentId, "conflict", closed);
    await target.call("events:checkIn", { eventId, introEnabled: true });

    const crowd = await guests(server, eventId, ["One", "Two"]);
    for (const agent of [target, ...crowd]) await propose(alice, eventId, agent);
    const already = "There is already an active intro flow with this agent";
    await refuses(target.agentId, "conflict", already, { status: "proposed" });
    await arrive(bob, eventId);
    await refuses(bob.agentId, "rate_limited", "Please wait a bit before sending another intro", {
      retryAfterMs: minute,
    });
  });

  test("knows stays that have run out before the timer does", async () => {
    const { eventId } = await liveEvent(server, host);
    const [alice] = (await guests(server, eventId, ["Alice"], { durationMinutes: 10 })) as [Agent];
    const [bob] = (await guests(server, eventId, ["Bob"], { durationMinutes: 5 })) as [Agent];
    server.clock.jump(5 * minute);
    await expectRefusal(server, () => propose(alice, eventId, bob), {
      code: "not_found",
      message: "Target agent not found",
    });
    await arrive(bob, eventId);
    server.clock.jump(5 * minute);
    await expectRefusal(server, () => propose(alice, eventId, bob), {
      code: "conflict",
      message: "You must have an active check-in with intros enabled",
    });
  });

  test.each([
    ["proposed", proposedIntro],
    ["accepted", acceptedIntro],
    ["confirmed", confirmedIntro],
  ] as const)("refuses a second one, in either direction, while one is %s", async (status, prepare) => {
    const { alice, bob, event } = await prepare(server);
    for (const [from, to] of [
      [alice, bob],
      [bob, alice],
    ] as const) {
      await expectRefusal(server, () => propose(from, event.eventId, to), {
        code: "conflict",
        message: "There is already an active intro flow with this agent",
        data: { status },
      });
    }
  });

  test("may come again after a no, after a stay ended, and at another event", async () => {
    const { alice, bob, event, introId } = await proposedIntro(server);
    const { eventId } = event;
    await bob.call("events:respondIntro", { introId, accept: false });
    const second = await propose(bob, eventId, alice);
    await alice.call("events:checkOut", { eventId });
    await arrive(alice, eventId);
    const third = await propose(alice, eventId, bob);
    const other = await liveEvent(server, host);
    for (const agent of [alice, bob]) await arrive(agent, other.eventId);
    const fourth = await propose(alice, other.eventId, bob);
    expect(new Set([introId, second.introId, third.introId, fourth.introId]).size).toBe(4);
  });

  test("finds a lapsed intro that the timer has not come to yet, and closes it", async () => {
    const { eventId } = await liveEvent(server, host);
    const [alice] = (await guests(server, eventId, ["Alice"], { durationMinutes: 60 })) as [Agent];
    const [bob] = (await guests(server, eventId, ["Bob"], { durationMinutes: 5 })) as [Agent];
    const { introId } = await propose(alice, eventId, bob);
    server.clock.jump(5 * minute);
    // The timer works in batches: it may have closed the check-in and not the intro.
    const closeCheckin = systemMutation("test: closes Bob's check-in", async (ctx) => {
      await ctx.db.updateTable("checkins").set({ status: "expired" }).where("agentId", "=", bob.agentId).execute();
    });
    await server.server.dispatcher.runSystem(closeCheckin);
    await arrive(bob, eventId);
    const again = await propose(alice, eventId, bob);
    expect(again.introId).not.toBe(introId);
    const stored = await server.read((db) =>
      db.selectFrom("intros").select("status").where("introId", "=", introId).executeTakeFirstOrThrow(),
    );
    expect(stored.status).toBe("expired");
  });
});

describe.each(databases)("the pace of intros on %s", (database) => {
  const server = useServer(database);
  const wait = "Please wait a bit before sending another intro";

  test("three at once, then one a minute, and twelve in any hour", async () => {
    const host = await server.agent("Host", { claimed: true });
    const { eventId } = await liveEvent(server, host);
    const alice = await server.agent("Alice");
    await arrive(alice, eventId, { durationMinutes: 240 });
    const crowd = await guests(
      server,
      eventId,
      Array.from({ length: 14 }, (_, index) => `Guest ${index}`),
      { durationMinutes: 240 },
    );
    const start = server.clock.now();
    const next = () => {
      const toAgentId = crowd[0]?.agentId;
      return alice.call("events:proposeIntro", { eventId, toAgentId });
    };
    const succeed = async () => {
      await next();
      crowd.shift();
    };

    for (let count = 1; count <= 3; count += 1) await succeed();
    await expectRefusal(server, next, { code: "rate_limited", message: wait, data: { retryAfterMs: minute } });
    server.clock.jump(minute - 1);
    await expectRefusal(server, next, { code: "rate_limited", message: wait, data: { retryAfterMs: 1 } });
    server.clock.jump(1);
    await succeed();
    await expectRefusal(server, next, { code: "rate_limited", message: wait, data: { retryAfterMs: minute } });
    for (let count = 5; count <= 12; count += 1) {
      server.clock.jump(minute);
      await succeed();
    }

    server.clock.jump(minute);
    const hourly = "Hourly intro limit reached for this check-in";
    const retryAfterMs = start + hour - server.clock.now();
    await expectRefusal(server, next, { code: "rate_limited", message: hourly, data: { retryAfterMs } });
    server.clock.jump(retryAfterMs - 1);
    await expectRefusal(server, next, { code: "rate_limited", message: hourly, data: { retryAfterMs: 1 } });
    server.clock.jump(1);
    await succeed();
    // The others of the first three are an hour old as well.
    await succeed();
  });

  test("is each check-in's own", async () => {
    const host = await server.agent("Host", { claimed: true });
    const [one, two] = [await liveEvent(server, host), await liveEvent(server, host)];
    const names = ["Alice", "Carol", "B", "C", "D", "E"];
    const [alice, carol, ...others] = (await guests(server, one.eventId, names)) as [Agent, Agent, ...Agent[]];
    await arrive(alice, two.eventId);
    const [last, ...first] = others as [Agent, ...Agent[]];
    await arrive(last, two.eventId);
    for (const to of first) await alice.call("events:proposeIntro", { eventId: one.eventId, toAgentId: to.agentId });
    const toLast = { eventId: one.eventId, toAgentId: last.agentId };
    await expectRefusal(server, () => alice.call("events:proposeIntro", toLast), {
      code: "rate_limited",
      message: wait,
    });
    await carol.call("events:proposeIntro", toLast);
    await alice.call("events:proposeIntro", { ...toLast, eventId: two.eventId });
    // A refusal does not count, and a renewal does not start afresh.
    await alice.call("events:checkIn", { eventId: one.eventId });
    await expectRefusal(server, () => alice.call("events:proposeIntro", toLast), {
      code: "rate_limited",
      message: wait,
    });
  });
});

/** An intro in each state that a caller can meet, by the clock or in the table. */
const states = {
  proposed: proposedIntro,
  accepted: acceptedIntro,
  "approved by alice": async (server: TestServer) => {
    const setting = await acceptedIntro(server);
    await setting.alice.call("events:submitIntroApproval", { introId: setting.introId, approved: true });
    return setting;
  },
  "approved by bob": async (server: TestServer) => {
    const setting = await acceptedIntro(server);
    await setting.bob.call("events:submitIntroApproval", { introId: setting.introId, approved: true });
    return setting;
  },
  confirmed: confirmedIntro,
  "rejected by its recipient": async (server: TestServer) => {
    const setting = await proposedIntro(server);
    await setting.bob.call("events:respondIntro", { introId: setting.introId, accept: false });
    return setting;
  },
  "declined by a human": async (server: TestServer) => {
    const setting = await acceptedIntro(server);
    await setting.alice.call("events:submitIntroApproval", { introId: setting.introId, approved: false });
    return setting;
  },
  "lapsed while proposed": async (server: TestServer) => {
    const setting = await proposedIntro(server);
    server.clock.jump(120 * minute);
    return setting;
  },
  "lapsed while accepted": async (server: TestServer) => {
    const setting = await acceptedIntro(server);
    server.clock.jump(120 * minute);
    return setting;
  },
  "lapsed and swept": async (server: TestServer) => {
    const setting = await acceptedIntro(server);
    await server.advance(120 * minute);
    return setting;
  },
  "left by check-out": async (server: TestServer) => {
    const setting = await acceptedIntro(server);
    await setting.bob.call("events:checkOut", { eventId: setting.event.eventId });
    return setting;
  },
  "confirmed, after the event": async (server: TestServer) => {
    const setting = await confirmedIntro(server);
    server.clock.jump(4 * hour);
    return setting;
  },
};
type State = keyof typeof states;

const messages = {
  "alice accepts": { by: "alice", path: "events:respondIntro", args: { accept: true } },
  "alice rejects": { by: "alice", path: "events:respondIntro", args: { accept: false } },
  "bob accepts": { by: "bob", path: "events:respondIntro", args: { accept: true } },
  "bob rejects": { by: "bob", path: "events:respondIntro", args: { accept: false } },
  "alice's human approves": { by: "alice", path: "events:submitIntroApproval", args: { approved: true } },
  "alice's human declines": { by: "alice", path: "events:submitIntroApproval", args: { approved: false } },
  "bob's human approves": { by: "bob", path: "events:submitIntroApproval", args: { approved: true } },
  "bob's human declines": { by: "bob", path: "events:submitIntroApproval", args: { approved: false } },
} as const;
type Message = keyof typeof messages;

/** What each state reads as in a refusal. */
const readsAs: Record<State, string> = {
  proposed: "proposed",
  accepted: "accepted",
  "approved by alice": "accepted",
  "approved by bob": "accepted",
  confirmed: "confirmed",
  "rejected by its recipient": "rejected",
  "declined by a human": "rejected",
  "lapsed while proposed": "expired",
  "lapsed while accepted": "expired",
  "lapsed and swept": "expired",
  "left by check-out": "expired",
  "confirmed, after the event": "confirmed",
};

/** The cells that move an intro, with the state after it. Every other cell is a refusal. */
const moves: Partial<Record<State, Partial<Record<Message, string>>>> = {
  proposed: { "bob accepts": "accepted", "bob rejects": "rejected" },
  accepted: {
    "alice's human approves": "accepted",
    "alice's human declines": "rejected",
    "bob's human approves": "accepted",
    "bob's human declines": "rejected",
  },
  "approved by alice": { "bob's human approves": "confirmed", "bob's human declines": "rejected" },
  "approved by bob": { "alice's human approves": "confirmed", "alice's human declines": "rejected" },
};

function refusalOf(state: State, message: Message) {
  const { by, path } = messages[message];
  if (path === "events:respondIntro") {
    if (by === "alice") return { code: "forbidden", message: "Only the recipient can respond to this intro" };
    return { code: "conflict", message: `Cannot respond to intro with status: ${readsAs[state]}` };
  }
  return readsAs[state] === "accepted"
    ? { code: "conflict", message: "Already submitted approval for this intro", data: { status: "accepted" } }
    : { code: "conflict", message: `Cannot approve intro with status: ${readsAs[state]}` };
}

describe.each(databases)("an intro, state × message, on %s", (database) => {
  const server = useServer(database);
  const cells = (Object.keys(states) as State[]).flatMap((state) =>
    (Object.keys(messages) as Message[]).map((message) => ({ state, message })),
  );

  test.each(cells)("$state: $message", async ({ state, message }) => {
    const setting = await states[state](server);
    const { introId } = setting;
    const { by, path, args } = messages[message];
    const me = setting[by];
    const send = () => me.call(path, { introId, ...args });
    const next = moves[state]?.[message];
    if (next === undefined) {
      await expectRefusal(server, send, refusalOf(state, message));
      return;
    }

    const answer = await send();
    expect(answer).toMatchObject({ introId, status: next });
    expect(await introOf(me, introId)).toEqual(answer);
    const other = await introOf(by === "alice" ? setting.bob : setting.alice, introId);
    expect(other).toMatchObject({
      status: next,
      myApproval: answer.otherApproval,
      otherApproval: answer.myApproval,
      canApprove: next === "accepted" && answer.otherApproval === null,
    });
    if (path === "events:submitIntroApproval") {
      expect(answer.myApproval).toBe(args.approved ? "approved" : "declined");
      expect(answer.canApprove).toBe(false);
    }
  });

  test.each(["events:respondIntro", "events:submitIntroApproval"])("%s is for its two agents", async (path) => {
    const { host, introId } = await acceptedIntro(server);
    for (const id of [introId, "int_missing", "' or 1=1 --", wave]) {
      await expectRefusal(server, () => host.call(path, { introId: id, ...anyDecision(path) }), notFound);
    }
    await expectInvalid(server, () => host.call(path, { introId }), path.endsWith("Intro") ? "accept" : "approved");
  });
});

function anyDecision(path: string) {
  return path === "events:respondIntro" ? { accept: true } : { approved: true };
}

describe.each(databases)("a confirmed intro on %s", (database) => {
  const server = useServer(database);

  test("gives both the thread and the other's key, which nobody had before", async () => {
    const { alice, bob, event, introId } = await acceptedIntro(server);
    for (const agent of [alice, bob]) {
      expect((await introOf(agent, introId)).otherAgent).not.toHaveProperty("publicKey");
      expect(await introOf(agent, introId)).not.toHaveProperty("threadId");
    }
    await alice.call("events:submitIntroApproval", { introId, approved: true });
    const confirmed = await bob.call("events:submitIntroApproval", { introId, approved: true });
    const { publicKey } = await alice.call("agents:getStatus", {});
    expect(confirmed).toMatchObject({
      status: "confirmed",
      otherAgent: { agentId: alice.agentId, publicKey },
      threadId: expect.stringMatching(/^thr_/),
      expiresAt: event.endAt,
    });
    expect(await introOf(alice, introId)).toMatchObject({ threadId: confirmed.threadId });
    // No lasting connection comes of it.
    for (const agent of [alice, bob]) expect(await agent.call("connections:list", {})).toEqual([]);
  });

  test("says so where the other has no key", async () => {
    const host = await server.agent("Host", { claimed: true });
    const { eventId } = await liveEvent(server, host);
    const [alice, bob] = [await server.agent("Alice", { publicKey: false }), await server.agent("Bob")];
    for (const agent of [alice, bob]) await arrive(agent, eventId);
    const { introId } = await alice.call("events:proposeIntro", { eventId, toAgentId: bob.agentId });
    await bob.call("events:respondIntro", { introId, accept: true });
    await alice.call("events:submitIntroApproval", { introId, approved: true });
    const confirmed = await bob.call("events:submitIntroApproval", { introId, approved: true });
    expect(confirmed.otherAgent.publicKey).toBeNull();
  });

  test("comes of two approvals at once too, with one thread", async () => {
    for (let round = 0; round < 5; round += 1) {
      const { alice, bob, introId } = await acceptedIntro(server);
      const answers = await Promise.all(
        [alice, bob].map((agent) => agent.call("events:submitIntroApproval", { introId, approved: true })),
      );
      expect(answers.map(({ status }) => status).sort()).toEqual(["accepted", "confirmed"]);
      expect(await alice.call("messages:getThreadsForAgent", {})).toHaveLength(1);
    }
  });

  test("stays as a record after its event", async () => {
    const { alice, introId } = await confirmedIntro(server);
    await server.advance(4 * hour);
    expect(await introOf(alice, introId)).toMatchObject({ status: "confirmed", canRespond: false, canApprove: false });
    expect(await alice.call("events:listMyIntros", {})).toEqual([]);
  });
});

describe.each(databases)("events:listMyIntros on %s", (database) => {
  const server = useServer(database);

  test("shows open ones, newest first; the rest where asked; of one event where asked", async () => {
    const host = await server.agent("Host", { claimed: true });
    const [one, two] = [await liveEvent(server, host), await liveEvent(server, host)];
    const [alice, bob, carol] = (await guests(server, one.eventId, ["Alice", "Bob", "Carol"])) as [Agent, Agent, Agent];
    for (const agent of [alice, bob]) await arrive(agent, two.eventId);
    const propose = async (from: Agent, to: Agent, eventId: string) => {
      const { introId } = await from.call("events:proposeIntro", { eventId, toAgentId: to.agentId });
      server.clock.jump(1);
      return introId;
    };
    const toBob = await propose(alice, bob, one.eventId);
    const fromCarol = await propose(carol, alice, one.eventId);
    const elsewhere = await propose(bob, alice, two.eventId);
    const listed = async (agent: Agent, args = {}) =>
      (await agent.call("events:listMyIntros", args)).map(({ introId }: { introId: string }) => introId);

    expect(await listed(alice)).toEqual([elsewhere, fromCarol, toBob]);
    expect(await listed(alice, { eventId: one.eventId })).toEqual([fromCarol, toBob]);
    expect(await listed(alice, { eventId: null, includeResolved: null })).toEqual([elsewhere, fromCarol, toBob]);
    expect(await listed(alice, { eventId: "evt_missing" })).toEqual([]);
    expect(await listed(bob)).toEqual([elsewhere, toBob]);
    expect(await listed(host)).toEqual([]);

    await alice.call("events:respondIntro", { introId: fromCarol, accept: false });
    expect(await listed(alice)).toEqual([elsewhere, toBob]);
    expect(await listed(alice, { includeResolved: true })).toEqual([elsewhere, fromCarol, toBob]);
    expect(await listed(alice, { includeResolved: true, eventId: one.eventId })).toEqual([fromCarol, toBob]);
    // Nobody's timer has run: by the clock they are over.
    server.clock.jump(hour);
    expect(await listed(alice)).toEqual([]);
    expect(await listed(alice, { includeResolved: true })).toEqual([elsewhere, fromCarol, toBob]);
  });
});
