/** Live answers that hang on the clock change at the instant that they hang on, whoever made it pass. */
import { describe, expect, test } from "vitest";
import { databases, day, hour, minute, type TestServer, useServer } from "../support/harness.js";
import { Audience } from "../support/live-audience.js";
import { liveClient } from "../support/live-clients.js";
import { LiveWorld } from "../support/live-world.js";
import { openSession } from "../support/rental.js";

/** Every instant within the next `withinMs` that a row names, the earliest first. */
async function instantsAhead(server: TestServer, withinMs: number): Promise<number[]> {
  const now = server.clock.now();
  const instants = await server.read(async (db) => {
    const found = new Set<number>();
    for (const { name } of await db.introspection.getTables()) {
      for (const row of await db
        .selectFrom(name as "events")
        .selectAll()
        .execute()) {
        for (const value of Object.values(row)) if (typeof value === "number") found.add(value);
      }
    }
    return [...found];
  });
  return instants.filter((at) => at > now && at <= now + withinMs).sort((one, other) => one - other);
}

describe.each(databases)("at the instant, on %s (architecture.md section 4)", (database) => {
  const server = useServer(database);

  test("nobody who watches has an old answer, a millisecond before and at every instant that a row names", async () => {
    const world = await LiveWorld.make([server], 1);
    const audience = new Audience(server);
    await audience.subscribeTo(world.questions());
    const instants = await instantsAhead(server, 25 * hour);
    expect(instants.length).toBeGreaterThan(10);
    for (const at of instants) {
      for (const ms of [at - 1, at]) {
        await server.advance(Math.max(0, ms - server.clock.now()));
        await audience.check(`${ms - at} ms from ${at}`, "with all that was due done");
      }
    }
    audience.leave();
  }, 120_000);

  test("an event that starts is live for everybody who watches, and no sooner", async () => {
    const [alice, bob] = [await server.agent("Alice", { claimed: true }), await server.agent("Bob")];
    const startAt = server.clock.now() + 10 * minute;
    const { eventId } = await alice.call("events:create", { name: "Mixer", startAt, endAt: startAt + hour });
    const client = liveClient(server);
    await client.signIn(bob.credential);
    const event = client.watch("events:getById", { eventId });
    const list = client.watch("events:listLive");
    await event.shows(({ status }) => status === "scheduled");
    const isListed = (events: { eventId: string }[]) => events.some((one) => one.eventId === eventId);
    await list.shows((events) => !isListed(events));
    await server.advance(10 * minute - 1);
    await client.mutate("agents:setPublicKey", { publicKey: Buffer.alloc(32, 9).toString("base64") });
    expect([event.last.status, isListed(list.last)]).toEqual(["scheduled", false]);
    await server.advance(1);
    await event.shows(({ status }) => status === "live");
    await list.shows(isListed);
  });

  test("what the timer of a process has written holds for one whose clock is behind", async () => {
    const alice = await server.agent("Alice", { claimed: true });
    const startAt = server.clock.now() + 10 * minute;
    const { eventId } = await alice.call("events:create", { name: "Mixer", startAt, endAt: startAt + hour });
    const isListed = async () => {
      const events: { eventId: string }[] = await alice.call("events:listLive");
      return events.some((one) => one.eventId === eventId);
    };
    await server.advance(10 * minute);
    server.clock.jump(-2_000);
    expect(await alice.call("events:getById", { eventId })).toMatchObject({ status: "live" });
    expect(await isListed()).toBe(true);
    server.clock.jump(2_000);
    await server.advance(hour);
    server.clock.jump(-2_000);
    expect(await alice.call("events:getById", { eventId })).toMatchObject({ status: "ended" });
    expect(await isListed()).toBe(false);
    server.clock.jump(2_000);
  });

  test("an event that is moved starts at its new time", async () => {
    const alice = await server.agent("Alice", { claimed: true });
    const startAt = server.clock.now() + 10 * minute;
    const { eventId } = await alice.call("events:create", { name: "Mixer", startAt, endAt: startAt + hour });
    await alice.call("events:update", { eventId, startAt: startAt + 5 * minute });
    const client = liveClient(server);
    await client.signIn(alice.credential);
    const event = client.watch("events:getById", { eventId });
    await event.shows(({ status }) => status === "scheduled");
    await server.advance(10 * minute);
    expect(event.values.map(({ status }) => status)).toEqual(["scheduled"]);
    await server.advance(5 * minute);
    await event.shows(({ status }) => status === "live");
  });

  test("what a session costs grows as its next minute begins", async () => {
    const { consumer, sessionId } = await openSession(server, { pricingModel: "per_minute", priceAmount: "0.10" });
    const client = liveClient(server);
    await client.signIn(consumer.credential ?? "");
    const session = client.watch("sessions:get", { sessionId });
    await session.shows(({ currentAmount }) => currentAmount === "0.1000");
    await server.advance(minute + 2);
    await session.shows(({ currentAmount }) => currentAmount === "0.2000");
  });

  test("whoever searches with a location share that was used hears of its end", async () => {
    const alice = await server.agent("Alice", { claimed: true });
    const startAt = server.clock.now();
    const place = { locationLat: 1, locationLng: 1 };
    const { eventId } = await alice.call("events:create", { name: "Mixer", startAt, endAt: startAt + day, ...place });
    const shareToken = await alice.shareLocation(1, 1);
    await alice.call("events:checkIn", { eventId, locationShareToken: shareToken });
    const client = liveClient(server);
    await client.signIn(alice.credential);
    const nearby = client.watch("events:listNearby", { shareToken });
    await nearby.fails(({ data }) => data.status === "spent");
    await server.advance(hour + 1);
    await nearby.fails(({ data }) => data.status === "expired");
  });
});
