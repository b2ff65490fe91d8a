/**
 * One agent, or a crowd that acts as one, tries to fill what everybody sees of events: the lists, a place, other agents'
 * intros. Caps hold at n and n + 1, also for calls of the same moment; what was above a cap before it came stays.
 */
import { describe, expect, test } from "vitest";
import { caps, countedOfOwner } from "../../../functions/model/caps.js";
import {
  type Agent,
  type DatabaseName,
  databases,
  day,
  hour,
  minute,
  type TestServer,
  useServer,
} from "../../support/harness.js";
import { asAgent, draft } from "../../support/market.js";

const mostOpenEvents = caps.openEvents.most;
const mostOpenShares = caps.openShares.most;
const mostCheckins = caps.checkins.most;
const mostPendingIntros = caps.pendingIntros.most;

const venue = { locationLat: 37.7597, locationLng: -122.4148 };

const hostOn = (server: TestServer) => server.agent("Host", { claimed: true });

function create(host: Agent, more: Record<string, unknown> = {}) {
  const startAt = host.on.clock.now();
  return host.call("events:create", { name: "E", startAt, endAt: startAt + hour, ...more });
}

async function crowd(server: TestServer, count: number): Promise<Agent[]> {
  const agents: Agent[] = [];
  while (agents.length < count) agents.push(await hostOn(server));
  return agents;
}

/** Refused because of a cap: the message says which, the data how many. */
const full = (limit: number, have = limit) => ({ code: "conflict", data: { limit, have } });

/** All at the same moment: how many went through, and what the others were told. */
async function together(calls: Promise<unknown>[]) {
  const outcomes = await Promise.allSettled(calls);
  return {
    done: outcomes.filter(({ status }) => status === "fulfilled").length,
    refusals: outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as unknown] : [])),
  };
}

describe.each(databases)("caps of events on %s", (database: DatabaseName) => {
  const server = useServer(database);

  test(`${mostOpenEvents} open events of one agent, and room again when one is over or cancelled`, async () => {
    const host = await hostOn(server);
    const { done, refusals } = await together(Array.from({ length: mostOpenEvents + 5 }, () => create(host)));
    expect(done).toBe(mostOpenEvents);
    for (const refusal of refusals) expect(refusal).toMatchObject(full(mostOpenEvents));
    // Scheduled ones count as well.
    const startAt = server.clock.now() + hour;
    await expect(create(host, { startAt, endAt: startAt + hour })).rejects.toMatchObject(full(mostOpenEvents));

    const [mine] = (await host.call("events:listLive", { limit: 100 })) as { eventId: string }[];
    await host.call("events:cancel", { eventId: mine?.eventId });
    await create(host, { endAt: server.clock.now() + 2 * hour });
    await expect(create(host)).rejects.toMatchObject(full(mostOpenEvents));
    // By the clock: the timer is not let in.
    server.clock.jump(hour);
    for (let made = 1; made < mostOpenEvents; made += 1) await create(host);
    await expect(create(host)).rejects.toMatchObject(full(mostOpenEvents));
    await server.settle();
  });

  test("what was above the cap before it came stays, and goes on", async () => {
    const host = await hostOn(server);
    const { eventId } = await create(host);
    const row = await server.read((db) =>
      db.selectFrom("events").selectAll().where("eventId", "=", eventId).executeTakeFirstOrThrow(),
    );
    await server.server.store.write(async ({ db }) => {
      for (let more = 0; more < mostOpenEvents + 4; more += 1) {
        await db
          .insertInto("events")
          .values({ ...row, eventId: `${eventId}x${more}` })
          .execute();
      }
    });
    await expect(create(host)).rejects.toMatchObject(full(mostOpenEvents, mostOpenEvents + 5));
    await host.call("events:update", { eventId, name: "Still mine" });
    expect(await host.call("events:getById", { eventId: `${eventId}x1` })).toMatchObject({ status: "live" });
    await server.advance(hour);
  });

  test("a place takes many owners to fill, whoever makes the events, however they get there", async () => {
    const { most } = caps.eventsAtPlace;
    // Ten that nobody owns fill what they may, far ahead, and so does a user with as many: others still find room.
    const strangers = await crowd(server, 10);
    const farAhead = { startAt: server.clock.now() + 300 * day, endAt: server.clock.now() + 300 * day + hour };
    for (const stranger of strangers) {
      await Promise.all(
        Array.from({ length: caps.openEventsAtPlace.most }, () => create(stranger, { ...venue, ...farAhead })),
      );
    }
    const owner = await server.user("Alice");
    const owned: Agent[] = [];
    while (owned.length < 5) owned.push(asAgent(server, await draft(owner)));
    const { done: hers, refusals: beyond } = await together(
      owned.flatMap((agent) => Array.from({ length: 8 }, () => create(agent, { ...venue, ...farAhead }))),
    );
    expect(hers).toBe(caps.openEventsAtPlace.most);
    for (const refusal of beyond) expect(refusal).toMatchObject(full(caps.openEventsAtPlace.most));
    await create(owned[0] as Agent, farAhead);

    const others = await crowd(server, Math.floor((most - 1) / countedOfOwner) - strangers.length - 1);
    const theirs: { eventId: string }[] = [];
    for (const other of others) {
      theirs.push(...(await Promise.all(Array.from({ length: countedOfOwner }, () => create(other, venue)))));
    }
    // Two are free, and four agents want them at the same moment: two with a new event, two with one that moves.
    const [one, two, three, four] = (await crowd(server, 4)) as [Agent, Agent, Agent, Agent];
    const elsewhere = await Promise.all([create(three), create(four)]);
    const { done, refusals } = await together([
      create(one, venue),
      create(two, venue),
      three.call("events:update", { eventId: elsewhere[0].eventId, ...venue }),
      four.call("events:update", { eventId: elsewhere[1].eventId, ...venue }),
    ]);
    expect(done).toBe(2);
    for (const refusal of refusals) expect(refusal).toMatchObject(full(most));
    const [last] = others as [Agent];
    await expect(create(last, venue)).rejects.toMatchObject(full(most));
    await create(last, { locationLat: venue.locationLat + 0.01, locationLng: venue.locationLng });
    // What is there already may be put right by a metre.
    await last.call("events:update", {
      eventId: theirs[0]?.eventId,
      locationLat: venue.locationLat + 0.000001,
      locationLng: venue.locationLng,
    });
    await server.advance(hour);
  });

  test("an event starts within a year; one from before that starts later may change in all else", async () => {
    const host = await hostOn(server);
    const startAt = server.clock.now() + 365 * day;
    const tooFar = { code: "invalid_args", message: "startAt cannot be more than 365 days ahead" };
    await expect(create(host, { startAt: startAt + 1, endAt: startAt + hour })).rejects.toMatchObject(tooFar);
    const { eventId } = await create(host, { startAt, endAt: startAt + hour });
    await expect(
      host.call("events:update", { eventId, startAt: startAt + 1, endAt: startAt + 2 * hour }),
    ).rejects.toMatchObject(tooFar);
    const later = { startAt: startAt + day, endAt: startAt + day + hour };
    await server.server.store.write(({ db }) =>
      db.updateTable("events").set(later).where("eventId", "=", eventId).execute(),
    );
    expect(await host.call("events:update", { eventId, name: "Next year" })).toMatchObject({
      ...{ name: "Next year", startAt: later.startAt },
    });
  });

  test(`${mostOpenShares} open location shares of one agent`, async () => {
    const agent = await server.agent();
    const ask = () => agent.call("events:requestLocationShare", { expiresInMinutes: 5 });
    const { done, refusals } = await together(Array.from({ length: mostOpenShares + 5 }, ask));
    expect(done).toBe(mostOpenShares);
    for (const refusal of refusals) expect(refusal).toMatchObject(full(mostOpenShares));
    server.clock.jump(5 * minute);
    await ask();
    await server.settle();
  });

  test(`${mostCheckins} events at which one agent is at the same time; renewing goes on`, async () => {
    const [host, guest] = (await crowd(server, 2)) as [Agent, Agent];
    const events: { eventId: string }[] = [];
    for (let made = 0; made < mostCheckins + 3; made += 1) events.push(await create(host));
    const arrive = async ({ eventId }: { eventId: string }) =>
      guest.call("events:checkIn", { eventId, locationShareToken: await guest.shareLocation(1, 1) });
    const { done, refusals } = await together(events.map(arrive));
    expect(done).toBe(mostCheckins);
    for (const refusal of refusals) expect(refusal).toMatchObject(full(mostCheckins));
    const there: string[] = [];
    for (const { eventId } of events) {
      if ((await guest.call("events:getById", { eventId })).myCheckin) there.push(eventId);
    }
    expect(there).toHaveLength(mostCheckins);
    await guest.call("events:checkIn", { eventId: there[0], durationMinutes: 30 });
    await guest.call("events:checkOut", { eventId: there[0] });
    await arrive(events.find(({ eventId }) => !there.includes(eventId)) ?? { eventId: "" });
    await server.advance(hour);
  });

  test(`${mostPendingIntros} proposed intros that nobody answered, at all events together; leaving does not renew the pace`, async () => {
    const [host, eager] = (await crowd(server, 2)) as [Agent, Agent];
    const endAt = server.clock.now() + 20 * hour;
    const { eventId } = await create(host, { endAt });
    const arrive = async (agent: Agent, durationMinutes = 720) =>
      agent.call("events:checkIn", {
        eventId,
        durationMinutes,
        locationShareToken: await agent.shareLocation(1, 1),
      });
    await arrive(eager);
    const guests = await crowd(server, mostPendingIntros + 2);
    for (const guest of guests) await arrive(guest);
    const propose = (index: number) =>
      eager.call("events:proposeIntro", { eventId, toAgentId: guests[index]?.agentId });

    // Twelve an hour, also for who leaves and comes back.
    let proposed = 0;
    for (; proposed < 12; proposed += 1) {
      await propose(proposed);
      server.clock.jump(minute);
    }
    await eager.call("events:checkOut", { eventId });
    await arrive(eager);
    await expect(propose(proposed)).rejects.toMatchObject({ code: "rate_limited" });

    // The first twelve have expired with the stay.
    server.clock.jump(hour);
    for (let pending = 0; pending < mostPendingIntros; pending += 1) {
      server.clock.jump(6 * minute);
      await propose(pending);
    }
    server.clock.jump(hour);
    await expect(propose(mostPendingIntros)).rejects.toMatchObject(full(mostPendingIntros));
    const [first] = guests as [Agent];
    const [intro] = await first.call("events:listMyIntros", {});
    await first.call("events:respondIntro", { introId: intro.introId, accept: false });
    await propose(mostPendingIntros);
  });
});
