/** Being at an event (claw-to-claw.md section 3, events: checkIn, checkOut, "First check-in", "Renewal", "The value"). */
import { beforeEach, describe, expect, test } from "vitest";
import { hashSecret } from "../../../runtime/ids.js";
import {
  type Agent,
  Caller,
  databases,
  hour,
  minute,
  startServer,
  type TestServer,
  useServer,
} from "../../support/harness.js";
import { databaseBefore } from "../../support/older-database.js";
import { expectInvalid, expectRefusal, wave } from "../../support/refusals.js";
import {
  acceptedIntro,
  arrive,
  confirmedIntro,
  guests,
  introOf,
  kmPerDegree,
  liveEvent,
  proposedIntro,
  startedAt,
  venue,
} from "./support.js";

const command =
  "python3 scripts/event_heartbeat.py --state-path ~/.c2c/active_event.json --credentials-path ~/.c2c/credentials.json";

const tokenRequired = {
  code: "invalid_args",
  message: "locationShareToken is required for initial check-in. Use events:requestLocationShare first.",
  data: { issues: [{ path: "locationShareToken", message: "Required for initial check-in" }] },
};

const checkinsOf = (server: TestServer, agent: Agent) =>
  server.read((db) =>
    db.selectFrom("checkins").selectAll().where("agentId", "=", agent.agentId).orderBy("checkinId").execute(),
  );

describe.each(databases)("a first events:checkIn on %s", (database) => {
  const server = useServer(database);
  let host: Agent;
  beforeEach(async () => {
    host = await server.agent("Host", { claimed: true });
  });

  test("gives the stay, the brief, and how to look after it", async () => {
    const { eventId } = await liveEvent(server, host, { tags: ["ai", "jazz"] });
    const agent = await server.agent();
    const expiresAt = server.clock.now() + hour;
    expect(await arrive(agent, eventId)).toEqual({
      checkinId: expect.stringMatching(/^chk_/),
      eventId,
      status: "active",
      checkedInAt: startedAt,
      expiresAt,
      updated: false,
      intentTags: ["ai", "jazz"],
      eventGoal: null,
      introNote: null,
      introConstraints: null,
      introEnabled: true,
      outreachMode: null,
      eventModeHint: {
        mode: "event",
        enabled: true,
        eventId,
        checkinExpiresAt: expiresAt,
        outreachMode: null,
        heartbeat: {
          cadenceMinutes: 15,
          command: `${command} --propose`,
          stateFile: "~/.c2c/active_event.json",
          keepRunningWhileCheckedIn: true,
        },
        reminder:
          "Keep running the event heartbeat (10-20 minute cadence) while checked in; clear state on checkout or expiry.",
      },
    });
  });

  test("takes a whole brief", async () => {
    const { eventId } = await liveEvent(server, host, { tags: ["ai", "jazz"] });
    const brief = {
      intentTags: ["jazz"],
      eventGoal: "Find a pianist",
      introNote: "Plays bass",
      introConstraints: "Not after 22:00",
      introEnabled: false,
      outreachMode: "propose_for_me",
    };
    expect(await arrive(await server.agent(), eventId, { ...brief, durationMinutes: 90 })).toMatchObject({
      ...brief,
      expiresAt: server.clock.now() + 90 * minute,
      eventModeHint: { outreachMode: "propose_for_me", heartbeat: { command: `${command} --propose` } },
    });
  });

  test("is told to propose unless it chose suggest_only, and stays unset until it chooses", async () => {
    const { eventId } = await liveEvent(server, host);
    const agent = await server.agent();
    const hintOf = async (more: object) => {
      const { outreachMode, eventModeHint } = await agent.call("events:checkIn", { eventId, ...more });
      expect(eventModeHint.outreachMode).toBe(outreachMode);
      expect((await agent.call("events:getById", { eventId })).myCheckin.outreachMode).toBe(outreachMode);
      return [outreachMode, eventModeHint.heartbeat.command];
    };
    await arrive(agent, eventId);
    expect(await hintOf({})).toEqual([null, `${command} --propose`]);
    expect(await hintOf({ outreachMode: null })).toEqual([null, `${command} --propose`]);
    expect(await hintOf({ outreachMode: "suggest_only" })).toEqual(["suggest_only", command]);
    expect(await hintOf({})).toEqual(["suggest_only", command]);
    expect(await hintOf({ outreachMode: "propose_for_me" })).toEqual(["propose_for_me", `${command} --propose`]);
    // A new stay begins without a choice again.
    await agent.call("events:checkOut", { eventId });
    expect(await arrive(agent, eventId)).toMatchObject({ outreachMode: null });
  });

  test("never lasts longer than the event", async () => {
    const endAt = server.clock.now() + 30 * minute;
    const { eventId } = await liveEvent(server, host, { endAt });
    const agent = await server.agent();
    expect(await arrive(agent, eventId)).toMatchObject({
      expiresAt: endAt,
      eventModeHint: { checkinExpiresAt: endAt },
    });
    expect((await agent.call("events:checkIn", { eventId, durationMinutes: 720 })).expiresAt).toBe(endAt);
  });

  test("refuses in order: event, live, token, its state, distance, tags", async () => {
    const agent = await server.agent();
    const now = server.clock.now();
    const place = { locationLat: venue.lat, locationLng: venue.lng, tags: ["ai"] };
    const scheduled = await liveEvent(server, host, { startAt: now + hour, ...place });
    const live = await liveEvent(server, host, place);
    const { shareToken: pending } = await agent.call("events:requestLocationShare", {});
    const farAway = await agent.shareLocation(venue.lat + 1, venue.lng);
    const close = await agent.shareLocation(venue.lat, venue.lng);
    const tags = { intentTags: ["a", "ai", "b"] };
    const refuses = (args: Record<string, unknown>, code: string, message: string, data = {}) =>
      expectRefusal(server, () => agent.call("events:checkIn", { ...tags, ...args }), { code, message, data });

    await refuses({ eventId: "evt_missing" }, "not_found", "Event not found");
    await refuses({ eventId: scheduled.eventId }, "conflict", "Event is not live", { status: "scheduled" });
    const { eventId } = live;
    for (const without of [{ eventId }, { eventId, locationShareToken: null }]) {
      await expectRefusal(server, () => agent.call("events:checkIn", { ...tags, ...without }), tokenRequired);
    }
    await refuses({ eventId, locationShareToken: "loc_x" }, "not_found", "Invalid location share token");
    await refuses(
      { eventId, locationShareToken: await host.shareLocation(venue.lat, venue.lng) },
      "not_found",
      "Invalid location share token",
    );
    await refuses(
      { eventId, locationShareToken: pending },
      "conflict",
      "Location has not been shared yet. Ask your human to open the share link.",
      { status: "pending" },
    );
    await refuses(
      { eventId, locationShareToken: farAway },
      "forbidden",
      "You must be within 1km of this event to check in",
    );
    const unknown = "intentTags must match the event tags. Unknown tags: a, b";
    await refuses({ eventId, locationShareToken: close }, "invalid_args", unknown, {
      issues: [{ path: "intentTags", message: unknown }],
    });
    // None of that spent the share.
    await agent.call("events:checkIn", { eventId, locationShareToken: close });
  });

  test("refuses a location that is too old, and one that was used", async () => {
    const [one, two] = [await liveEvent(server, host), await liveEvent(server, host)];
    const agent = await server.agent();
    const locationShareToken = await agent.shareLocation(venue.lat, venue.lng);
    const old = await agent.shareLocation(venue.lat, venue.lng);
    await agent.call("events:checkIn", { eventId: one.eventId, locationShareToken });
    const again = () => agent.call("events:checkIn", { eventId: two.eventId, locationShareToken });
    await expectRefusal(server, again, {
      code: "conflict",
      message: "Location share token has already been used. Request a new one with events:requestLocationShare.",
      data: { status: "spent" },
    });
    server.clock.jump(hour);
    const tooOld = { code: "expired", message: "Location share token has expired" };
    await expectRefusal(server, again, tooOld);
    await expectRefusal(
      server,
      () => agent.call("events:checkIn", { eventId: two.eventId, locationShareToken: old }),
      tooOld,
    );
  });

  test("refuses an event that is over, to the millisecond", async () => {
    const { eventId, endAt } = await liveEvent(server, host, { endAt: server.clock.now() + 30 * minute });
    const [agent, late] = [await server.agent(), await server.agent()];
    const [early, tooLate] = [await agent.shareLocation(1, 1), await late.shareLocation(1, 1)];
    server.clock.jump(endAt - server.clock.now() - 1);
    await agent.call("events:checkIn", { eventId, locationShareToken: early });
    server.clock.jump(1);
    await expectRefusal(server, () => late.call("events:checkIn", { eventId, locationShareToken: tooLate }), {
      code: "conflict",
      message: "Event is not live",
      data: { status: "ended" },
    });
  });

  test.each([
    ["0.999 km", 0.999, true],
    ["1.001 km", 1.001, false],
  ])("from %s away", async (_name, km, near) => {
    const { eventId } = await liveEvent(server, host, { locationLat: 60, locationLng: 180 });
    const agent = await server.agent();
    // East of the antimeridian, where a degree is half as long.
    const locationShareToken = await agent.shareLocation(60, -180 + km / (kmPerDegree / 2));
    const checkIn = () => agent.call("events:checkIn", { eventId, locationShareToken });
    if (near) expect(await checkIn()).toMatchObject({ status: "active" });
    else {
      await expectRefusal(server, checkIn, {
        code: "forbidden",
        message: "You must be within 1km of this event to check in",
      });
    }
  });

  test.each([
    ["omitted: the event's", ["café", "ai"], undefined, ["café", "ai"]],
    ["null: the event's", ["café", "ai"], null, ["café", "ai"]],
    ["empty: the event's", ["café", "ai"], [], ["café", "ai"]],
    ["only blanks: the event's", ["café", "ai"], [" "], ["café", "ai"]],
    ["some of the event's, however they are written", ["caf\u00e9", "ai"], [" CAFE\u0301 "], ["caf\u00e9"]],
    ["any, where the event has none", [], ["Whatever", "爵士"], ["whatever", "爵士"]],
    ["none, where the event has none", [], undefined, []],
  ])("intentTags %s", async (_name, tags, intentTags, kept) => {
    const { eventId } = await liveEvent(server, host, { tags });
    expect((await arrive(await server.agent(), eventId, { intentTags })).intentTags).toEqual(kept);
  });

  test.each([
    ["eventGoal", wave.repeat(500), true],
    ["eventGoal", wave.repeat(501), false],
    ["introNote", wave.repeat(499), true],
    ["introNote", wave.repeat(500), true],
    ["introNote", wave.repeat(501), false],
    ["introConstraints", "x".repeat(500), true],
    ["introConstraints", "x".repeat(501), false],
    ["durationMinutes", 5, true],
    ["durationMinutes", 720, true],
    ["durationMinutes", 4, false],
    ["durationMinutes", 721, false],
    ["durationMinutes", 5.5, false],
    ["introEnabled", 1, false],
    ["outreachMode", "spam", false],
    ["agentId", "another", false],
  ])("limits of %s, case %#", async (field, value, taken) => {
    const { eventId } = await liveEvent(server, host);
    const agent = await server.agent();
    const locationShareToken = await agent.shareLocation(1, 1);
    const checkIn = () => agent.call("events:checkIn", { eventId, locationShareToken, [field]: value });
    if (taken) await checkIn();
    else await expectInvalid(server, checkIn, field === "agentId" ? "" : field);
  });
});

describe.each(databases)("a renewal by events:checkIn on %s", (database) => {
  const server = useServer(database);
  let host: Agent;
  beforeEach(async () => {
    host = await server.agent("Host", { claimed: true });
  });
  const brief = {
    intentTags: ["jazz"],
    eventGoal: "Find a pianist",
    introNote: "Plays bass",
    introConstraints: "Not after 22:00",
    introEnabled: false,
    outreachMode: "propose_for_me",
  };

  test("needs no location and keeps every field it does not name", async () => {
    const { eventId } = await liveEvent(server, host, { tags: ["ai", "jazz"] });
    const agent = await server.agent();
    const first = await arrive(agent, eventId, { ...brief, durationMinutes: 20 });
    server.clock.jump(10 * minute);

    const kept = { ...first, updated: true, expiresAt: server.clock.now() + hour };
    kept.eventModeHint = { ...first.eventModeHint, checkinExpiresAt: kept.expiresAt };
    expect(await agent.call("events:checkIn", { eventId })).toEqual(kept);
    const nulls = Object.fromEntries(Object.keys(brief).map((field) => [field, null]));
    expect(await agent.call("events:checkIn", { eventId, ...nulls, intentTags: [] })).toEqual(kept);
    expect((await agent.call("events:getById", { eventId })).myCheckin).toMatchObject({
      ...brief,
      checkinId: first.checkinId,
      checkedInAt: first.checkedInAt,
    });
    expect(await checkinsOf(server, agent)).toHaveLength(1);
  });

  test.each([
    ["intentTags", ["ai"]],
    ["eventGoal", "Something else"],
    ["eventGoal", ""],
    ["introNote", "New"],
    ["introConstraints", "New"],
    ["introEnabled", true],
    ["outreachMode", "suggest_only"],
  ])("changes only what it names: %s", async (field, value) => {
    const { eventId } = await liveEvent(server, host, { tags: ["ai", "jazz"] });
    const agent = await server.agent();
    await arrive(agent, eventId, brief);
    expect(await agent.call("events:checkIn", { eventId, [field]: value })).toMatchObject({ ...brief, [field]: value });
    expect((await agent.call("events:getById", { eventId })).myCheckin).toMatchObject({ ...brief, [field]: value });
  });

  test("does not look at a location share, and does not spend it", async () => {
    const { eventId } = await liveEvent(server, host, { locationLat: venue.lat, locationLng: venue.lng });
    const agent = await server.agent();
    await arrive(agent, eventId);
    const far = await agent.shareLocation(0, 0);
    expect(await agent.call("events:checkIn", { eventId, locationShareToken: far })).toMatchObject({ updated: true });
    expect(await agent.call("events:checkIn", { eventId, locationShareToken: "loc_x" })).toMatchObject({
      updated: true,
    });
    expect(await agent.call("events:getLocationShare", { shareToken: far })).toMatchObject({ lat: 0, lng: 0 });
  });

  test("refuses tags that the event does not have", async () => {
    const { eventId } = await liveEvent(server, host, { tags: ["ai"] });
    const agent = await server.agent();
    await arrive(agent, eventId);
    await expectRefusal(server, () => agent.call("events:checkIn", { eventId, intentTags: ["x"], introNote: "New" }), {
      code: "invalid_args",
      message: "intentTags must match the event tags. Unknown tags: x",
    });
  });

  test("may end the stay earlier than it did", async () => {
    const { eventId } = await liveEvent(server, host);
    const agent = await server.agent();
    await arrive(agent, eventId, { durationMinutes: 120 });
    expect((await agent.call("events:checkIn", { eventId, durationMinutes: 5 })).expiresAt).toBe(
      server.clock.now() + 5 * minute,
    );
  });

  test.each([
    ["before the timer ran", false],
    ["after the timer ran", true],
  ])("comes too late once the stay has run out, %s", async (_name, settled) => {
    const { eventId } = await liveEvent(server, host);
    const agent = await server.agent();
    const first = await arrive(agent, eventId, { durationMinutes: 5, introNote: "Old" });
    server.clock.jump(5 * minute);
    if (settled) await server.settle();
    await expectRefusal(server, () => agent.call("events:checkIn", { eventId }), tokenRequired);
    const second = await arrive(agent, eventId);
    expect(second).toMatchObject({ updated: false, introNote: null });
    expect(second.checkinId).not.toBe(first.checkinId);
    expect((await checkinsOf(server, agent)).map(({ status }) => status)).toEqual(["expired", "active"]);
  });

  test("moves the end of unresolved intros with both stays", async () => {
    const { alice, bob, event, introId } = await proposedIntro(server);
    const now = server.clock.now();
    const renew = (agent: Agent, durationMinutes: number) =>
      agent.call("events:checkIn", { eventId: event.eventId, durationMinutes });
    const endsIn = async () => ((await introOf(alice, introId)).expiresAt - now) / minute;
    expect(await endsIn()).toBe(120);
    await renew(alice, 180);
    expect(await endsIn()).toBe(120);
    await renew(bob, 150);
    expect(await endsIn()).toBe(150);
    await renew(bob, 200);
    expect(await endsIn()).toBe(180);
    await renew(alice, 5);
    expect(await endsIn()).toBe(5);
    await bob.call("events:respondIntro", { introId, accept: true });
    await renew(alice, 30);
    expect(await endsIn()).toBe(30);
  });

  test("leaves resolved intros alone", async () => {
    const { alice, event, introId, confirmed } = await confirmedIntro(server);
    await alice.call("events:checkIn", { eventId: event.eventId, durationMinutes: 5 });
    expect((await introOf(alice, introId)).expiresAt).toBe(confirmed.expiresAt);
  });

  test("after the stay ran out brings no lapsed intro back", async () => {
    const { alice, bob, event, introId } = await proposedIntro(server);
    server.clock.jump(120 * minute);
    await arrive(alice, event.eventId);
    await arrive(bob, event.eventId);
    expect(await introOf(bob, introId)).toMatchObject({ status: "expired", canRespond: false });
    const { status } = await server.read((db) =>
      db.selectFrom("intros").select("status").where("introId", "=", introId).executeTakeFirstOrThrow(),
    );
    expect(status).toBe("expired");
  });
});

describe.each(databases)("check-ins from before one could leave its outreach open, on %s", (database) => {
  test("keep what they say, and renewals keep it", async () => {
    const at = Date.parse(startedAt);
    const agentOf = { suggest_only: "alice", propose_for_me: "bob" };
    const old = await databaseBefore(database, "0015-outreach-mode", {
      agents: Object.values(agentOf).map((agentId) => ({
        agentId,
        name: agentId,
        claimTokenHash: hashSecret(`claim_${agentId}`),
        createdAt: 1,
      })),
      agentCredentials: Object.values(agentOf).map((agentId) => ({
        secretHash: hashSecret(`c2c_${agentId}`),
        agentId,
        kind: "apiKey",
        createdAt: 1,
      })),
      events: [
        {
          eventId: "evt_1",
          name: "Mixer",
          tags: "[]",
          startAt: at,
          endAt: at + hour,
          createdBy: "alice",
          createdAt: at,
        },
      ],
      checkins: Object.entries(agentOf).map(([outreachMode, agentId]) => ({
        checkinId: `chk_${agentId}`,
        eventId: "evt_1",
        agentId,
        status: "active",
        checkedInAt: at,
        expiresAt: at + 50 * minute,
        intentTags: "[]",
        introEnabled: 1,
        introDueAt: at,
        outreachMode,
      })),
    });
    const server = await startServer(database, { databaseUrl: old.url });
    try {
      for (const [outreachMode, agentId] of Object.entries(agentOf)) {
        const agent = new Caller(server, `c2c_${agentId}`);
        const there = { checkinId: `chk_${agentId}`, outreachMode };
        expect((await agent.call("events:getById", { eventId: "evt_1" })).myCheckin).toMatchObject(there);
        expect(await agent.call("events:checkIn", { eventId: "evt_1" })).toMatchObject({ ...there, updated: true });
      }
    } finally {
      await server.close();
      await old.remove();
    }
  });
});

describe.each(databases)("events:checkOut on %s", (database) => {
  const server = useServer(database);

  test("ends the stay; a second call, or one without a stay, is the same success", async () => {
    const host = await server.agent("Host", { claimed: true });
    const { eventId } = await liveEvent(server, host);
    const agent = await server.agent();
    const out = { eventId, status: "checked_out" };
    await arrive(agent, eventId);
    expect(await agent.call("events:checkOut", { eventId })).toEqual(out);
    expect(await agent.call("events:getById", { eventId })).toMatchObject({
      myCheckin: null,
      myRole: "none",
      checkinCount: 0,
    });
    expect(await agent.call("events:checkOut", { eventId })).toEqual(out);
    expect(await host.call("events:checkOut", { eventId })).toEqual(out);
    expect((await checkinsOf(server, agent)).map(({ status }) => status)).toEqual(["checked_out"]);

    // Coming back is a first check-in again.
    await expectRefusal(server, () => agent.call("events:checkIn", { eventId }), tokenRequired);
    expect(await arrive(agent, eventId)).toMatchObject({ updated: false });
  });

  test("leaves everybody else where they are", async () => {
    const host = await server.agent("Host", { claimed: true });
    const [one, two] = [await liveEvent(server, host), await liveEvent(server, host)];
    const [alice, bob] = (await guests(server, one.eventId, ["Alice", "Bob"])) as [Agent, Agent];
    await arrive(alice, two.eventId);
    await alice.call("events:checkOut", { eventId: one.eventId });
    expect(await alice.call("events:getById", { eventId: two.eventId })).toMatchObject({ myRole: "attendee" });
    expect(await bob.call("events:getById", { eventId: one.eventId })).toMatchObject({ myRole: "attendee" });
  });

  test.each([
    ["a proposed intro, by its proposer", proposedIntro, "alice"],
    ["a proposed intro, by its recipient", proposedIntro, "bob"],
    ["an accepted intro, by its proposer", acceptedIntro, "alice"],
    ["an accepted intro, by its recipient", acceptedIntro, "bob"],
  ] as const)("expires %s", async (_name, prepare, leaver) => {
    const setting = await prepare(server);
    await setting[leaver].call("events:checkOut", { eventId: setting.event.eventId });
    for (const agent of [setting.alice, setting.bob]) {
      expect(await introOf(agent, setting.introId)).toMatchObject({
        status: "expired",
        canRespond: false,
        canApprove: false,
      });
      expect(await agent.call("events:listMyIntros", {})).toEqual([]);
    }
  });

  test("of both sides keeps a confirmed intro and its thread until the event ends", async () => {
    const { alice, bob, event, introId, confirmed } = await confirmedIntro(server);
    for (const agent of [alice, bob]) await agent.call("events:checkOut", { eventId: event.eventId });
    expect(await introOf(alice, introId)).toMatchObject({ status: "confirmed", expiresAt: event.endAt });
    expect(await bob.send(confirmed.threadId, "info")).toMatchObject({ threadStatus: "confirmed" });
  });

  test("refuses an event that is not there", async () => {
    const agent = await server.agent();
    await expectRefusal(server, () => agent.call("events:checkOut", { eventId: "evt_missing" }), {
      code: "not_found",
      message: "Event not found",
    });
  });
});
