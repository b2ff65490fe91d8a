/** Location shares and the search near one (claw-to-claw.md section 3, events: requestLocationShare … listNearby). */
import { beforeEach, describe, expect, test } from "vitest";
import { type Agent, databases, hour, minute, startServer, useServer } from "../../support/harness.js";
import { expectInvalid, expectRefusal, wave } from "../../support/refusals.js";
import { arrive, kmPerDegree, liveEvent, venue } from "./support.js";

const invalid = { code: "not_found", message: "Invalid location share token" };
const expired = { code: "expired", message: "Location share token has expired", data: { status: "expired" } };
const alreadyShared = { code: "conflict", message: "Location already shared with this link" };
const cursor = expect.any(String);
const place = { lat: venue.lat, lng: venue.lng, accuracyMeters: 12.5 };

describe.each(databases)("location shares on %s", (database) => {
  const server = useServer(database);
  const stored = async (agent: Agent) =>
    server.read((db) => db.selectFrom("locationShares").selectAll().where("agentId", "=", agent.agentId).execute());
  const claimedAt = async (agent: Agent) => (await agent.call("agents:getStatus", {})).claimedAt;

  test("a link is made, opened once, and its answer read by the agent that asked", async () => {
    const agent = await server.agent("Scout");
    const { shareToken, ...link } = await agent.call("events:requestLocationShare", { label: "Find events" });
    const linkEnds = server.clock.now() + 15 * minute;
    expect(shareToken).toMatch(/^loc_[\w-]{32}$/);
    expect(link).toEqual({ shareUrl: `${server.server.publicUrl}/share/${shareToken}`, expiresAt: linkEnds });
    expect(JSON.stringify(await stored(agent))).not.toContain(shareToken);

    expect(await agent.call("events:getLocationShare", { shareToken })).toEqual({
      status: "pending",
      label: "Find events",
      expiresAt: linkEnds,
    });
    expect(await server.nobody.call("events:getShareRequest", { shareToken })).toEqual({
      agentName: "Scout",
      label: "Find events",
      status: "pending",
      expiresAt: linkEnds,
    });

    server.clock.jump(minute);
    const sharedAt = server.clock.now();
    expect(await server.nobody.call("events:submitLocationShare", { shareToken, ...place })).toEqual({
      status: "completed",
      claimed: true,
    });
    expect(await claimedAt(agent)).toBe(sharedAt);
    expect(await agent.call("events:getLocationShare", { shareToken })).toEqual({
      status: "completed",
      label: "Find events",
      lat: venue.lat,
      lng: venue.lng,
      sharedAt,
      expiresAt: sharedAt + hour,
    });
    expect(await server.nobody.call("events:getShareRequest", { shareToken })).toEqual({
      agentName: "Scout",
      label: "Find events",
      status: "completed",
      expiresAt: sharedAt + hour,
    });
    await expectRefusal(server, () => server.nobody.call("events:submitLocationShare", { shareToken, ...place }), {
      ...alreadyShared,
      data: { status: "completed" },
    });
  });

  test("sharing again does not move the moment of the claim", async () => {
    const agent = await server.agent("Claimed", { claimed: true });
    const first = await claimedAt(agent);
    server.clock.jump(minute);
    await agent.shareLocation(1, 1);
    expect(await claimedAt(agent)).toBe(first);
  });

  test("a link without a label lasts as long as asked, and null is absent", async () => {
    const agent = await server.agent();
    for (const [expiresInMinutes, lasts] of [
      [1, 1],
      [60, 60],
      [null, 15],
    ]) {
      const asked = await agent.call("events:requestLocationShare", { expiresInMinutes, label: null });
      expect(asked.expiresAt).toBe(server.clock.now() + (lasts ?? 0) * minute);
      expect((await agent.call("events:getLocationShare", { shareToken: asked.shareToken })).label).toBeNull();
    }
  });

  test.each([
    ["a label of 120 characters", { label: wave.repeat(120) }, null],
    ["a label of 121 characters", { label: wave.repeat(121) }, "label"],
    ["0 minutes", { expiresInMinutes: 0 }, "expiresInMinutes"],
    ["61 minutes", { expiresInMinutes: 61 }, "expiresInMinutes"],
    ["a minute and a half", { expiresInMinutes: 1.5 }, "expiresInMinutes"],
    ["an unknown argument", { agentId: "another" }, ""],
  ])("requestLocationShare with %s", async (_name, args, wrong) => {
    const agent = await server.agent();
    const ask = () => agent.call("events:requestLocationShare", args);
    if (wrong === null) await ask();
    else await expectInvalid(server, ask, wrong);
  });

  test.each([
    ["the corners of the map", { lat: -90, lng: 180, accuracyMeters: 0 }, null],
    ["no accuracy", { lat: 0, lng: 0, accuracyMeters: null }, null],
    ["a latitude off the map", { lat: 90.1, lng: 0 }, "lat"],
    ["a longitude off the map", { lat: 0, lng: 180.1 }, "lng"],
    ["half a place", { lat: 0 }, "lng"],
    ["a negative accuracy", { lat: 0, lng: 0, accuracyMeters: -1 }, "accuracyMeters"],
    ["text for a number", { lat: "0", lng: 0 }, "lat"],
  ])("submitLocationShare with %s", async (_name, args, wrong) => {
    const agent = await server.agent();
    const { shareToken } = await agent.call("events:requestLocationShare", {});
    const submit = () => server.nobody.call("events:submitLocationShare", { shareToken, ...args });
    if (wrong === null) expect(await submit()).toEqual({ status: "completed", claimed: true });
    else await expectInvalid(server, submit, wrong);
  });

  test("a link ends to the millisecond, before the timer ran and after it", async () => {
    const agent = await server.agent();
    const [soon, late] = [
      await agent.call("events:requestLocationShare", { expiresInMinutes: 5 }),
      await agent.call("events:requestLocationShare", { expiresInMinutes: 5 }),
    ];
    server.clock.jump(5 * minute - 1);
    await server.nobody.call("events:submitLocationShare", { shareToken: soon.shareToken, ...place });
    server.clock.jump(1);
    const { shareToken } = late;
    const lapsed = async () => {
      await expectRefusal(
        server,
        () => server.nobody.call("events:submitLocationShare", { shareToken, ...place }),
        expired,
      );
      expect(await agent.call("events:getLocationShare", { shareToken })).toMatchObject({ status: "expired" });
      expect(await server.nobody.call("events:getShareRequest", { shareToken })).toMatchObject({ status: "expired" });
      await expectRefusal(server, () => agent.call("events:listNearby", { shareToken }), expired);
    };
    await lapsed();
    await server.settle();
    await lapsed();
  });

  test("a submitted location is good for an hour; then its coordinates are shown to nobody and removed", async () => {
    const agent = await server.agent();
    const shareToken = await agent.shareLocation(venue.lat, venue.lng);
    const sharedAt = server.clock.now();
    server.clock.jump(hour - 1);
    await agent.call("events:listNearby", { shareToken });
    server.clock.jump(1);
    const gone = { status: "expired", label: null, sharedAt, expiresAt: sharedAt + hour };
    expect(await agent.call("events:getLocationShare", { shareToken })).toEqual(gone);
    await expectRefusal(server, () => agent.call("events:listNearby", { shareToken }), expired);

    await server.settle();
    expect(await agent.call("events:getLocationShare", { shareToken })).toEqual(gone);
    expect(await stored(agent)).toMatchObject([{ status: "spent", sealedPlace: null }]);
    await expectRefusal(server, () => server.nobody.call("events:submitLocationShare", { shareToken, ...place }), {
      ...alreadyShared,
      data: { status: "expired" },
    });
  });

  test("a check-in spends it: completed still, but without coordinates anywhere", async () => {
    const host = await server.agent("Host", { claimed: true });
    const agent = await server.agent();
    const { eventId } = await liveEvent(server, host);
    const { shareToken } = await agent.call("events:requestLocationShare", {});
    await server.nobody.call("events:submitLocationShare", { shareToken, ...place });
    const sharedAt = server.clock.now();
    await agent.call("events:checkIn", { eventId, locationShareToken: shareToken });

    expect(await agent.call("events:getLocationShare", { shareToken })).toEqual({
      status: "completed",
      label: null,
      sharedAt,
      expiresAt: sharedAt + hour,
    });
    expect(await stored(agent)).toMatchObject([{ status: "spent", sealedPlace: null }]);
    await expectRefusal(server, () => agent.call("events:listNearby", { shareToken }), {
      code: "conflict",
      message: "Location share token has already been used. Request a new one with events:requestLocationShare.",
      data: { status: "spent" },
    });
    await expectRefusal(
      server,
      () => server.nobody.call("events:submitLocationShare", { shareToken, ...place }),
      alreadyShared,
    );
    server.clock.jump(hour);
    await expectRefusal(server, () => agent.call("events:listNearby", { shareToken }), expired);
  });

  test("another agent's token reads like one that never was", async () => {
    const [agent, other] = [await server.agent(), await server.agent()];
    const shareToken = await agent.shareLocation(venue.lat, venue.lng);
    for (const token of [shareToken, "loc_never", "🎷"]) {
      await expectRefusal(server, () => other.call("events:getLocationShare", { shareToken: token }), invalid);
      await expectRefusal(server, () => other.call("events:listNearby", { shareToken: token }), invalid);
    }
    await expectRefusal(
      server,
      () => server.nobody.call("events:getShareRequest", { shareToken: "loc_never" }),
      invalid,
    );
    await expectRefusal(
      server,
      () => server.nobody.call("events:submitLocationShare", { shareToken: "loc_never", ...place }),
      invalid,
    );
  });
});

describe.each(databases)("events:listNearby on %s", (database) => {
  const server = useServer(database);
  let host: Agent;
  beforeEach(async () => {
    host = await server.agent("Host", { claimed: true });
  });
  const eventAt = (name: string, lat: number, lng: number, more: Record<string, unknown> = {}) =>
    liveEvent(server, host, { name, locationLat: lat, locationLng: lng, ...more });
  const found = async (lat: number, lng: number, args: Record<string, unknown> = {}) => {
    const shareToken = await host.shareLocation(lat, lng);
    const events = await host.call("events:listNearby", { shareToken, ...args });
    return events.map(({ name, distanceKm }: { name: string; distanceKm: number }) => [name, distanceKm]);
  };

  test("gives events with their distance, nearest first, and does not spend the share", async () => {
    const [lat, lng] = [37.5, -122.5];
    const far = await eventAt("far", lat + 0.9 / kmPerDegree, lng);
    const near = await eventAt("near", lat - 0.1 / kmPerDegree, lng, { tags: ["ai"], location: "Here" });
    await liveEvent(server, host, { name: "nowhere" });
    const shareToken = await host.shareLocation(lat, lng);
    for (let time = 0; time < 2; time += 1) {
      expect(await host.call("events:listNearby", { shareToken })).toEqual([
        { ...near, distanceKm: 0.1, cursor },
        { ...far, distanceKm: 0.9, cursor },
      ]);
    }
    expect(await host.call("events:listNearby", { shareToken, limit: 1 })).toEqual([
      { ...near, distanceKm: 0.1, cursor },
    ]);

    await arrive(host, (await eventAt("venue", venue.lat, venue.lng)).eventId);
    expect(
      (await host.call("events:listNearby", { shareToken: await host.shareLocation(venue.lat, venue.lng) }))[0],
    ).toMatchObject({
      name: "venue",
      checkinCount: 1,
    });
  });

  test("ends at the radius: 1 km unless told otherwise, 50 km at most", async () => {
    const [lat, lng] = [10.5, 20.5];
    for (const km of [0.049, 0.051, 0.999, 1.001, 49.99, 50.01]) await eventAt(`${km}`, lat + km / kmPerDegree, lng);
    const names = async (args: Record<string, unknown>) =>
      (await found(lat, lng, args)).map(([name]: [string]) => name);
    expect(await names({})).toEqual(["0.049", "0.051", "0.999"]);
    expect(await names({ radiusKm: null })).toEqual(["0.049", "0.051", "0.999"]);
    expect(await names({ radiusKm: 0.05 })).toEqual(["0.049"]);
    expect(await names({ radiusKm: 50 })).toEqual(["0.049", "0.051", "0.999", "1.001", "49.99"]);
    for (const wrong of [{ radiusKm: 0.049 }, { radiusKm: 50.001 }, { limit: 0 }, { limit: 101 }]) {
      const shareToken = await host.shareLocation(lat, lng);
      const [field = ""] = Object.keys(wrong);
      await expectInvalid(server, () => host.call("events:listNearby", { shareToken, ...wrong }), field);
    }
  });

  test("sees across the antimeridian, from both sides and on it", async () => {
    const east = 0.3 / kmPerDegree;
    await eventAt("east", 0, -180 + east);
    await eventAt("west", 0, 180 - east);
    await eventAt("on it", 0, 180);
    expect(await found(0, 180 - east)).toEqual([
      ["west", 0],
      ["on it", 0.3],
      ["east", 0.6],
    ]);
    expect(await found(0, -180 + east)).toEqual([
      ["east", 0],
      ["on it", 0.3],
      ["west", 0.6],
    ]);
    for (const lng of [180, -180]) {
      expect(new Set(await found(0, lng))).toEqual(
        new Set([
          ["on it", 0],
          ["east", 0.3],
          ["west", 0.3],
        ]),
      );
    }
  });

  test.each([
    ["north", 1],
    ["south", -1],
  ])("sees all round the %s pole", async (_name, sign) => {
    const off = (km: number) => sign * (90 - km / kmPerDegree);
    await eventAt("pole", sign * 90, 77);
    await eventAt("beyond", off(0.4), -100);
    expect(await found(off(0.4), 80)).toEqual([
      ["pole", 0.4],
      ["beyond", 0.8],
    ]);
    expect(await found(sign * 90, -3)).toEqual([
      ["pole", 0],
      ["beyond", 0.4],
    ]);
  });

  test("leaves out what is over, and what is to come unless asked", async () => {
    const [lat, lng] = [-33.4, -70.6];
    const now = server.clock.now();
    await eventAt("to come", lat, lng, { startAt: now + 1 });
    await eventAt("ending", lat, lng, { endAt: now + minute });
    await eventAt("live", lat, lng, { startAt: now });
    const names = async (args: Record<string, unknown> = {}) =>
      (await found(lat, lng, args)).map(([name]: [string]) => name);
    expect(await names()).toEqual(["ending", "live"]);
    // Equally far: in the order of their starts.
    expect(await names({ includeScheduled: true })).toEqual(["ending", "live", "to come"]);
    server.clock.jump(minute);
    expect(await names()).toEqual(["live", "to come"]);
  });

  test("refuses a share that nobody has answered", async () => {
    const { shareToken } = await host.call("events:requestLocationShare", {});
    await expectRefusal(server, () => host.call("events:listNearby", { shareToken }), {
      code: "conflict",
      message: "Location has not been shared yet. Ask your human to open the share link.",
      data: { status: "pending" },
    });
  });
});

test("share links begin with the public URL that is configured", async () => {
  const server = await startServer("sqlite", { config: { publicUrl: "https://tide.example" } });
  try {
    const { shareToken, shareUrl } = await (await server.agent()).call("events:requestLocationShare", {});
    expect(shareUrl).toBe(`https://tide.example/share/${shareToken}`);
  } finally {
    await server.close();
  }
});
