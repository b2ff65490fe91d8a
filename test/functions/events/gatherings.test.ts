/** Events themselves (claw-to-claw.md section 3, events: create, updateTags, listLive, getById, "An event is …", "Tags"). */
import { beforeAll, describe, expect, test } from "vitest";
import { type Agent, databases, day, hour, minute, useServer } from "../../support/harness.js";
import { expectInvalid, expectRefusal, wave } from "../../support/refusals.js";
import { arrive, liveEvent, startedAt, venue } from "./support.js";

describe.each(databases)("events:create on %s", (database) => {
  const server = useServer(database);
  let host: Agent;
  beforeAll(async () => {
    host = await server.agent("Host", { claimed: true });
  });
  const times = () => ({ startAt: server.clock.now() + hour, endAt: server.clock.now() + 2 * hour });

  test("gives the event, with only the keys that have a value", async () => {
    const bare = await host.call("events:create", { name: "Mixer", ...times() });
    expect(bare).toEqual({
      eventId: expect.stringMatching(/^evt_/),
      name: "Mixer",
      tags: [],
      ...times(),
      status: "scheduled",
      createdBy: host.agentId,
      checkinCount: 0,
    });

    const args = {
      name: "Friday Rooftop Mixer",
      description: "Bring a coat",
      location: "Mission District",
      locationLat: venue.lat,
      locationLng: venue.lng,
      tags: ["networking", "founders", "ai"],
      startAt: server.clock.now() - hour,
      endAt: server.clock.now() + hour,
    };
    const full = await host.call("events:create", args);
    expect(full).toMatchObject({ ...args, status: "live" });
    expect(await host.call("events:getById", { eventId: full.eventId })).toMatchObject(full);
  });

  test("takes null for every optional argument as absent", async () => {
    const nothing = { description: null, location: null, locationLat: null, locationLng: null, tags: null };
    const event = await host.call("events:create", { name: "Mixer", ...times(), ...nothing });
    expect(Object.keys(event).sort()).toEqual(
      ["checkinCount", "createdBy", "endAt", "eventId", "name", "startAt", "status", "tags"].sort(),
    );
  });

  test("refuses an agent that is not claimed, before anything else is looked at", async () => {
    const unclaimed = await server.agent("Nobody's");
    const refusal = { code: "forbidden", message: "Agent must be claimed before creating events" };
    await expectRefusal(server, () => unclaimed.call("events:create", { name: "Mixer", ...times() }), refusal);
    await expectRefusal(
      server,
      () => unclaimed.call("events:create", { name: "Mixer", startAt: 2, endAt: 1 }),
      refusal,
    );
  });

  test.each([
    ["ends when it starts", 0, "endAt must be greater than startAt"],
    ["ends before it starts", -1, "endAt must be greater than startAt"],
    ["lasts longer than 7 days", 7 * day + 1, "Event duration cannot exceed 7 days"],
  ])("refuses an event that %s", async (_name, lastsMs, message) => {
    const startAt = server.clock.now() + hour;
    await expectRefusal(
      server,
      () => host.call("events:create", { name: "Mixer", startAt, endAt: startAt + lastsMs }),
      {
        code: "invalid_args",
        message,
        data: { issues: [{ path: "endAt", message }] },
      },
    );
  });

  test("takes exactly 7 days, and 1 ms", async () => {
    const startAt = server.clock.now();
    for (const lastsMs of [7 * day, 1]) {
      await host.call("events:create", { name: "Long", startAt, endAt: startAt + lastsMs });
    }
  });

  test("refuses an event that is over already", async () => {
    const now = server.clock.now();
    await expectRefusal(server, () => host.call("events:create", { name: "Mixer", startAt: now - hour, endAt: now }), {
      code: "invalid_args",
      message: "endAt must be in the future",
    });
    await host.call("events:create", { name: "Mixer", startAt: now - hour, endAt: now + 1 });
  });

  test("wants both coordinates or neither", async () => {
    for (const [given, missing] of [
      [{ locationLat: 1 }, "locationLng"],
      [{ locationLng: 1, locationLat: null }, "locationLat"],
    ] as const) {
      await expectRefusal(server, () => host.call("events:create", { name: "Mixer", ...times(), ...given }), {
        code: "invalid_args",
        message: "locationLat and locationLng must be given together",
        data: { issues: [{ path: missing, message: "locationLat and locationLng must be given together" }] },
      });
    }
  });

  test.each([
    ["an empty name", "name", "", "name"],
    ["a name of white space", "name", " \u3000\n", "name"],
    ["a name of 1 character", "name", "x", null],
    ["a name of 120 characters", "name", wave.repeat(120), null],
    ["a name of 121 characters", "name", wave.repeat(121), "name"],
    ["a description of 499 characters", "description", wave.repeat(499), null],
    ["a description of 500 characters", "description", wave.repeat(500), null],
    ["a description of 501 characters", "description", wave.repeat(501), "description"],
    ["a location of 500 characters", "location", "x".repeat(500), null],
    ["a location of 501 characters", "location", "x".repeat(501), "location"],
    ["half a millisecond", "startAt", 1.5, "startAt"],
    ["a time before 1970", "startAt", -1, "startAt"],
    ["a time in words", "endAt", "tomorrow", "endAt"],
    ["tags that are no list", "tags", "ai", "tags"],
    ["a tag that is no text", "tags", ["ai", 1], "tags.1"],
    ["a column that callers do not set", "createdBy", "somebody else", ""],
  ])("%s", async (_name, field, value, wrong) => {
    const create = () => host.call("events:create", { name: "Mixer", ...times(), [field]: value });
    if (wrong === null) expect((await create())[field]).toBe(value);
    else await expectInvalid(server, create, wrong);
  });

  test.each([
    [90, 180, true],
    [-90, -180, true],
    [90.000001, 0, false],
    [0, -180.000001, false],
  ])("latitude %d with longitude %d is taken: %s", async (locationLat, locationLng, taken) => {
    const create = () => host.call("events:create", { name: "Mixer", ...times(), locationLat, locationLng });
    if (taken) expect(await create()).toMatchObject({ locationLat, locationLng });
    else await expectInvalid(server, create, Math.abs(locationLat) > 90 ? "locationLat" : "locationLng");
  });

  test.each([
    ["trimmed, lower-cased, without repeats and empty ones", [" AI ", "ai", "", "  ", "Jazz"], ["ai", "jazz"]],
    ["one, composed or decomposed", ["cafe\u0301", "caf\u00e9", "CAF\u00c9"], ["caf\u00e9"]],
    ["cut to 50 characters", [wave.repeat(51), "é".repeat(51)], [wave.repeat(50), "é".repeat(50)]],
    [
      "the first 10",
      Array.from({ length: 12 }, (_, index) => `t${index}`),
      Array.from({ length: 10 }, (_, index) => `t${index}`),
    ],
    ["any script", ["人工智能", "爵士"], ["人工智能", "爵士"]],
  ])("keeps tags: %s", async (_name, sent, kept) => {
    const event = await host.call("events:create", { name: "Mixer", ...times(), tags: sent });
    expect(event.tags).toEqual(kept);
    expect((await host.call("events:updateTags", { eventId: event.eventId, tags: sent })).tags).toEqual(kept);
  });
});

describe.each(databases)("events:updateTags on %s", (database) => {
  const server = useServer(database);

  test("replaces the tags; an empty list clears them; check-ins keep their own", async () => {
    const host = await server.agent("Host", { claimed: true });
    const { eventId } = await liveEvent(server, host, { tags: ["ai"] });
    await arrive(host, eventId);
    expect(await host.call("events:updateTags", { eventId, tags: ["Art", "food"] })).toEqual({
      eventId,
      tags: ["art", "food"],
    });
    expect((await host.call("events:getById", { eventId })).tags).toEqual(["art", "food"]);
    expect(await host.call("events:updateTags", { eventId, tags: [] })).toEqual({ eventId, tags: [] });
    const event = await host.call("events:getById", { eventId });
    expect(event.tags).toEqual([]);
    expect(event.myCheckin.intentTags).toEqual(["ai"]);
  });

  test("is the creator's alone", async () => {
    const [host, guest] = [
      await server.agent("Host", { claimed: true }),
      await server.agent("Guest", { claimed: true }),
    ];
    const { eventId } = await liveEvent(server, host, { tags: ["ai"] });
    await arrive(guest, eventId);
    await expectRefusal(server, () => guest.call("events:updateTags", { eventId, tags: [] }), {
      code: "forbidden",
      message: "Only the event creator can update tags",
    });
  });

  test.each(["evt_missing", "chk_1", "' or 1=1 --", "🎷"])("refuses the id %j", async (eventId) => {
    const host = await server.agent("Host", { claimed: true });
    await expectRefusal(server, () => host.call("events:updateTags", { eventId, tags: [] }), {
      code: "not_found",
      message: "Event not found",
    });
  });

  test("refuses a call without tags", async () => {
    const host = await server.agent("Host", { claimed: true });
    const { eventId } = await liveEvent(server, host, { tags: ["ai"] });
    for (const args of [{ eventId }, { eventId, tags: null }]) {
      await expectInvalid(server, () => host.call("events:updateTags", args), "tags");
    }
  });
});

describe.each(databases)("events:listLive on %s", (database) => {
  const server = useServer(database);
  let agent: Agent;
  const listed = async (args: Record<string, unknown> = {}) =>
    (await agent.call("events:listLive", args)).map(
      ({ name, status }: { name: string; status: string }) => `${name} ${status}`,
    );

  test("follows the clock to the millisecond, in the order of the starts", async () => {
    agent = await server.agent("Agent", { claimed: true });
    const now = server.clock.now();
    const create = (name: string, startAt: number, endAt: number) =>
      agent.call("events:create", { name, startAt, endAt });
    expect(await listed({ includeScheduled: true })).toEqual([]);
    await create("later", now + 2 * hour, now + 3 * hour);
    await create("next", now + hour, now + 2 * hour);
    await create("week", now - 6 * day, now + day);
    await create("now", now, now + hour);

    expect(await listed()).toEqual(["week live", "now live"]);
    expect(await listed({ includeScheduled: true })).toEqual([
      "week live",
      "now live",
      "next scheduled",
      "later scheduled",
    ]);
    expect(await listed({ includeScheduled: true, limit: 3 })).toHaveLength(3);
    expect(await listed({ includeScheduled: null, limit: null })).toEqual(["week live", "now live"]);

    // The timer is not let in: what callers see does not wait for it.
    server.clock.jump(hour - 1);
    expect(await listed()).toEqual(["week live", "now live"]);
    server.clock.jump(1);
    expect(await listed()).toEqual(["week live", "next live"]);
    server.clock.jump(day - hour - 1);
    expect(await listed({ includeScheduled: true })).toEqual(["week live"]);
    server.clock.jump(1);
    expect(await listed({ includeScheduled: true })).toEqual([]);
  });

  test("shows an event of the longest kind to its last millisecond", async () => {
    const startAt = server.clock.now();
    await agent.call("events:create", { name: "longest", startAt, endAt: startAt + 7 * day });
    server.clock.jump(7 * day - 1);
    expect(await listed()).toEqual(["longest live"]);
    server.clock.jump(1);
    expect(await listed()).toEqual([]);
  });

  test("shows 20 unless told otherwise, and at most 100", async () => {
    const now = server.clock.now();
    for (let index = 0; index < 21; index += 1) {
      const host = await server.agent("Host", { claimed: true });
      await host.call("events:create", { name: `${index}`, startAt: now + index, endAt: now + hour });
    }
    expect(await listed({ includeScheduled: true })).toHaveLength(20);
    expect(await listed({ includeScheduled: true, limit: 100 })).toHaveLength(21);
    expect(await listed({ limit: 1 })).toEqual(["0 live"]);
    for (const limit of [0, 101, 1.5, "20"]) {
      await expectInvalid(server, () => listed({ limit }), "limit");
    }
  });

  test("counts who is there by the clock, for each event", async () => {
    const [one, two] = [await liveEvent(server, agent), await liveEvent(server, agent)];
    const [first, second] = [await server.agent("First"), await server.agent("Second")];
    await arrive(first, one.eventId, { durationMinutes: 5 });
    await arrive(second, one.eventId, { durationMinutes: 10 });
    await arrive(second, two.eventId, { durationMinutes: 10 });
    const counts = async () => {
      const events = await agent.call("events:listLive", { limit: 100, includeScheduled: true });
      return [one, two].map(
        ({ eventId }) => events.find((event: { eventId: string }) => event.eventId === eventId).checkinCount,
      );
    };
    expect(await counts()).toEqual([2, 1]);
    server.clock.jump(5 * minute);
    expect(await counts()).toEqual([1, 1]);
    await second.call("events:checkOut", { eventId: two.eventId });
    expect(await counts()).toEqual([1, 0]);
  });
});

describe.each(databases)("events:getById on %s", (database) => {
  const server = useServer(database);

  test("tells each agent its own part", async () => {
    const [host, guest, stranger] = [
      await server.agent("Host", { claimed: true }),
      await server.agent("Guest"),
      await server.agent("Stranger"),
    ];
    const event = await liveEvent(server, host, { tags: ["ai"] });
    const { eventId } = event;
    const checkin = await arrive(guest, eventId, {
      introNote: "Hi",
      introEnabled: false,
      outreachMode: "propose_for_me",
    });

    expect(await stranger.call("events:getById", { eventId })).toEqual({
      ...event,
      checkinCount: 1,
      myCheckin: null,
      myRole: "none",
    });
    expect(await guest.call("events:getById", { eventId })).toEqual({
      ...event,
      checkinCount: 1,
      myRole: "attendee",
      myCheckin: {
        checkinId: checkin.checkinId,
        checkedInAt: startedAt,
        expiresAt: checkin.expiresAt,
        intentTags: ["ai"],
        eventGoal: null,
        introNote: "Hi",
        introConstraints: null,
        introEnabled: false,
        outreachMode: "propose_for_me",
      },
    });
    expect(await host.call("events:getById", { eventId })).toMatchObject({ myRole: "creator", myCheckin: null });
    await arrive(host, eventId);
    expect(await host.call("events:getById", { eventId })).toMatchObject({
      myRole: "creator",
      myCheckin: { introEnabled: true },
    });
  });

  test("knows a check-in that has run out before the timer does, and an event that is over", async () => {
    const host = await server.agent("Host", { claimed: true });
    const guest = await server.agent("Guest");
    const { eventId } = await liveEvent(server, host);
    await arrive(guest, eventId, { durationMinutes: 5 });
    server.clock.jump(5 * minute - 1);
    expect(await guest.call("events:getById", { eventId })).toMatchObject({ myRole: "attendee", checkinCount: 1 });
    server.clock.jump(1);
    expect(await guest.call("events:getById", { eventId })).toMatchObject({
      myRole: "none",
      myCheckin: null,
      checkinCount: 0,
    });
    server.clock.jump(4 * hour);
    expect(await guest.call("events:getById", { eventId })).toMatchObject({ status: "ended" });
  });

  test.each(["evt_missing", "🎷", "' or 1=1 --"])("refuses the id %j", async (eventId) => {
    const agent = await server.agent();
    await expectRefusal(server, () => agent.call("events:getById", { eventId }), {
      code: "not_found",
      message: "Event not found",
    });
  });
});
