/** Changing an event and calling it off: `events:update`, `events:cancel` and what admins do (model/events/event-changes.ts). */
import { describe, expect, test } from "vitest";
import { type Agent, databases, day, hour, minute, type User, useServer } from "../../support/harness.js";
import { expectInvalid, expectRefusal } from "../../support/refusals.js";
import { acceptedIntro, arrive, confirmedIntro, introOf, liveEvent, proposedIntro, venue } from "./support.js";

const hasEnded = { code: "conflict", message: "Event has ended", data: { status: "ended" } };
const place = { locationLat: venue.lat, locationLng: venue.lng };

describe.each(databases)("events:update on %s", (database) => {
  const server = useServer(database);
  const scheduled = async (host: Agent) => {
    const startAt = server.clock.now() + hour;
    return host.call("events:create", { name: "Talk", ...place, tags: ["ai"], startAt, endAt: startAt + hour });
  };
  const hostOf = () => server.agent("Host", { claimed: true });

  test("changes what is given, keeps the rest, and shows it everywhere", async () => {
    const host = await hostOf();
    const event = await scheduled(host);
    const { eventId } = event;
    const changes = {
      name: "Evening talk",
      description: "With tea",
      location: "Second floor",
      locationLat: 10.5,
      locationLng: 179.999,
      tags: ["AI", "tea "],
      startAt: event.startAt + hour,
      endAt: event.endAt + 2 * hour,
    };
    const expected = { ...event, ...changes, tags: ["ai", "tea"] };
    expect(await host.call("events:update", { eventId, ...changes })).toEqual(expected);
    expect(await host.call("events:update", { eventId, name: null })).toEqual(expected);
    const reader = await server.agent();
    expect(await reader.call("events:getById", { eventId })).toMatchObject(expected);
    const near = async (lat: number, lng: number) =>
      (
        await host.call("events:listNearby", { shareToken: await host.shareLocation(lat, lng), includeScheduled: true })
      ).map(({ eventId: id }: { eventId: string }) => id);
    expect(await near(10.5, -180)).toContain(eventId);
    expect(await near(venue.lat, venue.lng)).not.toContain(eventId);
  });

  test("takes times and places as a new event does", async () => {
    const host = await hostOf();
    const { eventId, startAt, endAt } = await scheduled(host);
    const wrong: [Record<string, unknown>, string][] = [
      [{ endAt: startAt }, "endAt"],
      [{ endAt: startAt + 7 * day + 1 }, "endAt"],
      [{ startAt: endAt }, "endAt"],
      [{ startAt: 1, endAt: 2 }, "endAt"],
      [{ locationLat: 1 }, "locationLng"],
      [{ locationLng: 1 }, "locationLat"],
      [{ name: " " }, "name"],
      [{ description: "x".repeat(501) }, "description"],
      [{ locationLat: 91, locationLng: 0 }, "locationLat"],
      [{ createdBy: "me" }, ""],
    ];
    for (const [args, field] of wrong) {
      await expectInvalid(server, () => host.call("events:update", { eventId, ...args }), field);
    }
  });

  test("is the creator's: others are refused, and one that is over is over", async () => {
    const host = await hostOf();
    const { eventId } = await scheduled(host);
    const other = await server.agent("Other", { claimed: true });
    await expectRefusal(server, () => other.call("events:update", { eventId, name: "Mine" }), {
      code: "forbidden",
      message: "Only the event creator can update the event",
    });
    await expectRefusal(server, () => host.call("events:update", { eventId: "evt_missing" }), {
      code: "not_found",
      message: "Event not found",
    });
    server.clock.jump(2 * hour);
    await expectRefusal(server, () => host.call("events:update", { eventId, name: "Late" }), hasEnded);
  });

  test("once it is live its start stays, and its coordinates while somebody is there", async () => {
    const host = await hostOf();
    const event = await liveEvent(server, host, place);
    const { eventId } = event;
    await expectRefusal(server, () => host.call("events:update", { eventId, startAt: event.startAt + 1 }), {
      code: "conflict",
      message: "Event has started, so startAt cannot change",
      data: { status: "live" },
    });
    await host.call("events:update", { eventId, startAt: event.startAt, locationLat: 37.76, locationLng: -122.41 });
    const guest = await server.agent("Guest");
    await arrive(guest, eventId);
    await expectRefusal(server, () => host.call("events:update", { eventId, ...place }), {
      code: "conflict",
      message: "Somebody is checked in, so the coordinates cannot change. The location's text can.",
      data: { status: "live" },
    });
    const moved = { locationLat: 37.76, locationLng: -122.41, location: "The garden" };
    expect(await host.call("events:update", { eventId, ...moved })).toMatchObject({ ...moved, checkinCount: 1 });
    await guest.call("events:checkOut", { eventId });
    expect(await host.call("events:update", { eventId, ...place })).toMatchObject(place);
  });

  test("a nearer end cuts stays and intros; confirmed ones and their threads follow the end both ways", async () => {
    const { host, event, alice, bob, introId, confirmed } = await confirmedIntro(server);
    const { eventId } = event;
    const [carol, dave] = [await server.agent("Carol"), await server.agent("Dave")];
    for (const agent of [carol, dave]) await arrive(agent, eventId, { durationMinutes: 100 });
    const { introId: open } = await carol.call("events:proposeIntro", { eventId, toAgentId: dave.agentId });

    const sooner = server.clock.now() + 20 * minute;
    await host.call("events:update", { eventId, endAt: sooner });
    expect((await carol.call("events:getById", { eventId })).myCheckin.expiresAt).toBe(sooner);
    expect((await introOf(carol, open)).expiresAt).toBe(sooner);
    expect((await introOf(alice, introId)).expiresAt).toBe(sooner);

    const later = server.clock.now() + 3 * hour;
    await host.call("events:update", { eventId, endAt: later });
    expect((await introOf(alice, introId)).expiresAt).toBe(later);
    expect((await carol.call("events:getById", { eventId })).myCheckin.expiresAt).toBe(sooner);
    await server.advance(20 * minute);
    expect((await introOf(carol, open)).status).toBe("expired");
    expect((await alice.call("events:getById", { eventId })).myCheckin).toBeNull();
    await alice.send(confirmed.threadId, "info");
    await server.advance(3 * hour);
    await expect(bob.send(confirmed.threadId, "info")).rejects.toThrow("status: expired");
  });
});

describe.each(databases)("events:cancel on %s", (database) => {
  const server = useServer(database);

  test("ends the event with its check-ins, intros and threads, and shows when; twice is the same", async () => {
    const { host, event, alice, bob, introId, confirmed } = await confirmedIntro(server);
    const { eventId } = event;
    const carol = await server.agent("Carol");
    await arrive(carol, eventId, { durationMinutes: 120 });
    const { introId: open } = await carol.call("events:proposeIntro", { eventId, toAgentId: bob.agentId });
    await alice.send(confirmed.threadId, "info");
    const cancelledAt = server.clock.now();
    const cancelled = await host.call("events:cancel", { eventId });
    expect(cancelled).toEqual({ ...event, status: "ended", cancelledAt, checkinCount: 0 });

    const seen = async () => {
      expect(await carol.call("events:getById", { eventId })).toEqual({
        ...cancelled,
        myCheckin: null,
        myRole: "none",
      });
      expect(await carol.call("events:listMyIntros", {})).toEqual([]);
      expect(await introOf(carol, open)).toMatchObject({ status: "expired", canRespond: false });
      expect(await alice.call("events:listMyIntros", {})).toEqual([]);
      expect(await introOf(alice, introId)).toMatchObject({ status: "confirmed", expiresAt: cancelledAt });
      await expect(bob.send(confirmed.threadId, "info")).rejects.toThrow("status: expired");
      await expect(bob.call("events:respondIntro", { introId: open, accept: true })).rejects.toThrow("expired");
      expect(await host.call("events:listLive", { includeScheduled: true })).toEqual([]);
    };
    // Right by the clock, before the timer and after it.
    await seen();
    await server.settle();
    await seen();
    const stored = await server.read((db) =>
      db.selectFrom("checkins").select("status").where("eventId", "=", eventId).execute(),
    );
    expect(new Set(stored.map(({ status }) => status))).toEqual(new Set(["expired"]));

    server.clock.jump(minute);
    expect(await host.call("events:cancel", { eventId })).toEqual(cancelled);
    await expectRefusal(server, () => host.call("events:update", { eventId, name: "Again" }), hasEnded);
    const locationShareToken = await carol.shareLocation(venue.lat, venue.lng);
    await expectRefusal(server, () => carol.call("events:checkIn", { eventId, locationShareToken }), {
      code: "conflict",
      message: "Event is not live",
      data: { status: "ended" },
    });
  });

  test("an intro that is accepted or proposed cannot go on", async () => {
    for (const setting of [await acceptedIntro(server), await proposedIntro(server)]) {
      const { host, event, alice, introId } = setting;
      await host.call("events:cancel", { eventId: event.eventId });
      await expect(alice.call("events:submitIntroApproval", { introId, approved: true })).rejects.toThrow(
        "Cannot approve intro with status: expired",
      );
    }
  });

  test("one that is over cannot be cancelled, nor one of somebody else", async () => {
    const [host, other] = [
      await server.agent("Host", { claimed: true }),
      await server.agent("Other", { claimed: true }),
    ];
    const { eventId } = await liveEvent(server, host);
    await expectRefusal(server, () => other.call("events:cancel", { eventId }), {
      code: "forbidden",
      message: "Only the event creator can cancel the event",
    });
    server.clock.jump(4 * hour);
    await expectRefusal(server, () => host.call("events:cancel", { eventId }), hasEnded);
  });

  test("more people than one transaction takes are all told, by the timer", async () => {
    const host = await server.agent("Host", { claimed: true });
    const { eventId, endAt } = await liveEvent(server, host);
    const now = server.clock.now();
    const agents = Array.from(
      { length: 1_100 },
      (_, index) => `0192f3e4-1111-7000-8000-${String(index).padStart(12, "0")}`,
    );
    await server.server.store.write(async ({ db }) => {
      for (const agentId of agents) {
        await db
          .insertInto("agents")
          .values({ agentId, name: "Crowd", claimTokenHash: agentId, createdAt: now })
          .execute();
      }
      for (const agentId of agents) {
        const stay = { checkinId: `chk_${agentId}`, eventId, agentId, status: "active" as const, checkedInAt: now };
        const brief = { expiresAt: endAt, intentTags: "[]", introEnabled: 1, outreachMode: "suggest_only" as const };
        await db
          .insertInto("checkins")
          .values({ ...stay, ...brief, introDueAt: now })
          .execute();
      }
    });
    expect((await host.call("events:getById", { eventId })).checkinCount).toBe(1_000);
    await host.call("events:cancel", { eventId });
    expect(await host.call("events:getById", { eventId })).toMatchObject({ status: "ended", checkinCount: 0 });
    await server.settle();
    const left = await server.read(async (db) => ({
      stays: await db.selectFrom("checkins").select("checkinId").where("status", "=", "active").execute(),
      event: await db.selectFrom("events").select("trimAt").where("eventId", "=", eventId).execute(),
    }));
    expect(left).toEqual({ stays: [], event: [{ trimAt: null }] });
  });
});

describe.each(databases)("admins and events on %s", (database) => {
  const server = useServer(database);

  test("an admin changes and cancels anybody's event; a user who is none does not", async () => {
    const admin: User = await server.admin();
    const user = await server.user("User");
    const host = await server.agent("Host", { claimed: true });
    const event = await liveEvent(server, host);
    const { eventId } = event;
    for (const path of ["admin:updateEvent", "admin:cancelEvent"]) {
      await expect(user.call(path, { eventId })).rejects.toMatchObject({ code: "forbidden" });
      await expect(admin.call(path, { eventId: "evt_missing" })).rejects.toMatchObject({ code: "not_found" });
    }
    expect(await admin.call("admin:updateEvent", { eventId, name: "Renamed" })).toEqual({ ...event, name: "Renamed" });
    const cancelled = { ...event, name: "Renamed", status: "ended", cancelledAt: server.clock.now() };
    for (let times = 0; times < 2; times += 1) {
      expect(await admin.call("admin:cancelEvent", { eventId, reason: "Reported" })).toEqual(cancelled);
    }
    expect(await host.call("events:getById", { eventId })).toMatchObject(cancelled);
  });
});
