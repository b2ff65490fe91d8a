/** Whom to meet (claw-to-claw.md section 3, events: getSuggestions, "Score"). How a score is made up: model/rules/matching.test.ts. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Agent, databases, hour, minute, useServer } from "../../support/harness.js";
import { expectInvalid, expectRefusal } from "../../support/refusals.js";
import { arrive, guests, liveEvent } from "./support.js";

const notThere = { code: "conflict", message: "Check in to this event before requesting suggestions" };

describe.each(databases)("events:getSuggestions on %s", (database) => {
  const server = useServer(database);
  let host: Agent;
  beforeAll(async () => {
    host = await server.agent("Host", { claimed: true });
  });
  const suggested = async (agent: Agent, eventId: string, args: Record<string, unknown> = {}) =>
    (await agent.call("events:getSuggestions", { eventId, ...args })).map(
      ({ toAgent }: { toAgent: { name: string } }) => toAgent.name,
    );

  test("says who, how well, and why; nothing else of the other's brief", async () => {
    const { eventId } = await liveEvent(server, host, { tags: ["ai", "jazz", "food"] });
    const [bob] = await guests(server, eventId, ["Bob"], {
      intentTags: ["jazz", "ai"],
      eventGoal: "quiet funding",
      introNote: "Plays bass, 聊爵士",
      introConstraints: "secret constraint",
    });
    const alice = await server.agent("Alice");
    await arrive(alice, eventId, { intentTags: ["ai", "jazz"], eventGoal: "Find bass players", introNote: "爵士" });
    expect(await alice.call("events:getSuggestions", { eventId })).toEqual([
      {
        toAgent: { agentId: bob?.agentId, name: "Bob" },
        score: 45 + 2 * 6 + 10,
        sharedTags: ["jazz", "ai"],
        introNote: "Plays bass, 聊爵士",
        reasons: ["You are both here for jazz and ai", "You both mention bass and 爵士", "Checked in just now"],
      },
    ]);
  });

  test("asking word by word, with goal, note and tags, tells nothing of what the other keeps to itself", async () => {
    const { eventId } = await liveEvent(server, host, { tags: ["ai"] });
    const hidden = { eventGoal: "secretly seeking funding", introConstraints: "no lawyers, 不要律师" };
    await guests(server, eventId, ["Bob"], { ...hidden, introNote: "Plays bass" });
    const [alice] = (await guests(server, eventId, ["Alice"])) as [Agent];
    const answers = new Set<string>();
    for (const guess of ["secretly", "seeking", "funding", "lawyers", "律师", "nothing of it"]) {
      for (const field of ["eventGoal", "introNote", "introConstraints"]) {
        await alice.call("events:checkIn", {
          eventId,
          eventGoal: "",
          introNote: "",
          introConstraints: "",
          [field]: guess,
        });
        answers.add(JSON.stringify(await alice.call("events:getSuggestions", { eventId })));
      }
    }
    expect(answers.size).toBe(1);
  });

  test("the best match comes first; of equal ones who came last, then by id", async () => {
    const { eventId } = await liveEvent(server, host, { tags: ["a", "b", "c"] });
    const early = await guests(server, eventId, ["early"], { intentTags: ["c"] });
    server.clock.jump(minute);
    const same = await guests(server, eventId, ["one", "two", "three"], { intentTags: ["c"] });
    const [best] = await guests(server, eventId, ["best"], { intentTags: ["a", "b"] });
    const [alice] = (await guests(server, eventId, ["Alice"], { intentTags: ["a", "b"] })) as [Agent];
    const byId = [...same].sort((a, b) => (a.agentId < b.agentId ? -1 : 1)).map(({ name }) => name);
    const expected = [best?.name, ...byId, early[0]?.name];
    expect(await suggested(alice, eventId)).toEqual(expected);
    expect(await suggested(alice, eventId)).toEqual(expected);
    expect(await suggested(alice, eventId, { limit: 2 })).toEqual(expected.slice(0, 2));
  });

  test("leaves out oneself, who does not want intros, who left, and who is elsewhere", async () => {
    const [here, there] = [await liveEvent(server, host), await liveEvent(server, host)];
    const { eventId } = here;
    const [alice, , , gone] = (await guests(server, eventId, ["Alice", "Open", "Shy", "Gone", "Lapsed"])) as Agent[];
    const lapsed = await server.agent("Short");
    await arrive(lapsed, eventId, { durationMinutes: 5 });
    await guests(server, there.eventId, ["Elsewhere"]);
    const shy = await server.agent("Closed");
    await arrive(shy, eventId, { introEnabled: false });
    await gone?.call("events:checkOut", { eventId });
    server.clock.jump(5 * minute);
    expect((await suggested(alice as Agent, eventId)).sort()).toEqual(["Lapsed", "Open", "Shy"]);
    await shy.call("events:checkIn", { eventId, introEnabled: true });
    expect(await suggested(alice as Agent, eventId)).toContain("Closed");
  });

  test("leaves out a pair that has an intro, whatever became of it, on both sides; at another event it counts no more", async () => {
    const { eventId } = await liveEvent(server, host);
    const [alice, rejected, withdrawn, incoming] = (await guests(server, eventId, [
      "Alice",
      "Rejected",
      "Withdrawn",
      "Incoming",
      "Fresh",
    ])) as [Agent, Agent, Agent, Agent, Agent];
    const propose = async (from: Agent, to: Agent) =>
      (await from.call("events:proposeIntro", { eventId, toAgentId: to.agentId })).introId;
    await rejected.call("events:respondIntro", { introId: await propose(alice, rejected), accept: false });
    await propose(alice, withdrawn);
    await propose(incoming, alice);
    expect(await suggested(alice, eventId)).toEqual(["Fresh"]);
    for (const other of [rejected, withdrawn, incoming]) expect(await suggested(other, eventId)).not.toContain("Alice");

    // An expired intro is an intro too.
    await withdrawn.call("events:checkOut", { eventId });
    await arrive(withdrawn, eventId);
    expect(await suggested(alice, eventId)).toEqual(["Fresh"]);

    const next = await liveEvent(server, host);
    await arrive(alice, next.eventId);
    await arrive(rejected, next.eventId);
    expect(await suggested(alice, next.eventId)).toEqual(["Rejected"]);
  });

  test("gives 8 unless told otherwise, and at most 50", async () => {
    const { eventId } = await liveEvent(server, host);
    const [alice] = (await guests(server, eventId, ["Alice", ..."abcdefghi"])) as [Agent];
    expect(await suggested(alice, eventId)).toHaveLength(8);
    expect(await suggested(alice, eventId, { limit: null })).toHaveLength(8);
    expect(await suggested(alice, eventId, { limit: 50 })).toHaveLength(9);
    expect(await suggested(alice, eventId, { limit: 1 })).toHaveLength(1);
    for (const limit of [0, 51, 1.5]) {
      await expectInvalid(server, () => suggested(alice, eventId, { limit }), "limit");
    }
  });

  test("is for who is there", async () => {
    const { eventId } = await liveEvent(server, host);
    const agent = await server.agent();
    const ask = () => agent.call("events:getSuggestions", { eventId });
    await expectRefusal(server, ask, notThere);
    await arrive(agent, eventId, { durationMinutes: 5 });
    expect(await ask()).toEqual([]);
    server.clock.jump(5 * minute);
    await expectRefusal(server, ask, notThere);
    await server.settle();
    await expectRefusal(server, ask, notThere);
    server.clock.jump(hour);
    await expectRefusal(server, () => agent.call("events:getSuggestions", { eventId: "evt_missing" }), {
      code: "not_found",
      message: "Event not found",
    });
  });

  test("works for an agent that wants no intros itself", async () => {
    const { eventId } = await liveEvent(server, host);
    await guests(server, eventId, ["Bob"]);
    const [alice] = (await guests(server, eventId, ["Alice"], { introEnabled: false })) as [Agent];
    expect(await suggested(alice, eventId)).toEqual(["Bob"]);
  });
});
