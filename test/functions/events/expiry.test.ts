/** Deadlines by the caller and by the timer (claw-to-claw.md section 3, `events:expireStale`; architecture.md section 2, promise 5). */
import { describe, expect, test } from "vitest";
import { caps } from "../../../functions/model/caps.js";
import { batchSize } from "../../../functions/model/expiry.js";
import { expireDueRows } from "../../../functions/system/deadlines.js";
import { type Agent, databases, day, hour, minute, startServer, type TestServer } from "../../support/harness.js";
import { everything } from "../../support/refusals.js";
import { arrive, confirmedIntro, guests, liveEvent, venue } from "./support.js";

const nothing = { events: 0, checkins: 0, intros: 0, threads: 0, invites: 0, locationShares: 0 };

interface Swept {
  changed: number;
  more: boolean;
  nextDeadlineAt: number | null;
}
const sweep = async (server: TestServer) => (await server.server.dispatcher.runSystem(expireDueRows)) as Swept;

/** Each test counts what is due on a server of its own. */
async function alone(database: (typeof databases)[number], work: (server: TestServer) => Promise<void>) {
  const server = await startServer(database);
  try {
    await work(server);
  } finally {
    await server.close();
  }
}

/** Links that run out in a minute, of as many agents as it takes; gives back the last of these. */
async function openShares(server: TestServer, count: number): Promise<Agent> {
  let agent = await server.agent();
  for (let made = 0; made < count; made += caps.openShares.most) {
    if (made > 0) agent = await server.agent();
    const length = Math.min(caps.openShares.most, count - made);
    const ask = () => agent.call("events:requestLocationShare", { expiresInMinutes: 1 });
    await Promise.all(Array.from({ length }, ask));
  }
  return agent;
}

describe.each(databases)("events:expireStale on %s", (database) => {
  test("expires every kind at its instant, once, and says how many", () =>
    alone(database, async (server) => {
      const host = await server.agent("Host", { claimed: true });
      // Due after 10 minutes: a stay and the intro that rests on it, a share that was used, and one that was not.
      const { eventId } = await liveEvent(server, host, { endAt: server.clock.now() + 2 * hour });
      const [alice] = (await guests(server, eventId, ["Alice"], { durationMinutes: 120 })) as [Agent];
      const [bob] = (await guests(server, eventId, ["Bob"], { durationMinutes: 10 })) as [Agent];
      await alice.call("events:proposeIntro", { eventId, toAgentId: bob.agentId });
      await host.call("events:requestLocationShare", { expiresInMinutes: 10 });
      const call = () => host.call("events:expireStale", {});

      server.clock.jump(10 * minute - 1);
      const before = await everything(server);
      expect(await call()).toEqual(nothing);
      expect(await everything(server)).toEqual(before);
      server.clock.jump(1);
      expect(await call()).toEqual({ ...nothing, checkins: 1, intros: 1, locationShares: 1 });
      const after = await everything(server);
      expect(await call()).toEqual(nothing);
      expect(await everything(server)).toEqual(after);

      // Then the event with the last stay in it, a submitted location, and an invite and an approval far later.
      await host.shareLocation(venue.lat, venue.lng);
      const pair = await server.awaitingPair();
      await pair.alice.call("connections:invite", {});
      server.clock.jump(2 * hour - 10 * minute);
      expect(await call()).toEqual({ ...nothing, events: 1, checkins: 1, locationShares: 1 });
      server.clock.jump(46 * hour + 10 * minute);
      expect(await call()).toEqual({ ...nothing, threads: 1 });
      server.clock.jump(5 * day);
      expect(await call()).toEqual({ ...nothing, invites: 1 });
      expect(await sweep(server)).toEqual({ changed: 0, more: false, nextDeadlineAt: null });
    }));

  test("ends the thread of a confirmed intro with its event, and keeps the intro", () =>
    alone(database, async (server) => {
      const { alice, introId } = await confirmedIntro(server);
      server.clock.jump(4 * hour);
      expect(await alice.call("events:expireStale", {})).toEqual({ ...nothing, events: 1, checkins: 2, threads: 1 });
      const stored = await server.read(async (db) => ({
        intros: await db.selectFrom("intros").select(["introId", "status"]).execute(),
        threads: await db.selectFrom("threads").select("status").execute(),
        events: await db.selectFrom("events").select("endedAt").execute(),
      }));
      expect(stored).toEqual({
        intros: [{ introId, status: "confirmed" }],
        threads: [{ status: "expired" }],
        events: [{ endedAt: server.clock.now() }],
      });
    }));

  test("does a bounded amount and leaves the rest to the timer", () =>
    alone(database, async (server) => {
      const agent = await openShares(server, batchSize + 1);
      server.clock.jump(minute);
      expect(await agent.call("events:expireStale", {})).toEqual({ ...nothing, locationShares: batchSize });
      await server.settle();
      expect(await agent.call("events:expireStale", {})).toEqual(nothing);
    }));
});

describe.each(databases)("the timer's sweep on %s", (database) => {
  test("always names the earliest deadline still to come", () =>
    alone(database, async (server) => {
      const start = server.clock.now();
      expect(await sweep(server)).toEqual({ changed: 0, more: false, nextDeadlineAt: null });
      const host = await server.agent("Host", { claimed: true });
      await host.call("connections:invite", {});
      const next = async () => ((await sweep(server)).nextDeadlineAt ?? Number.NaN) - start;
      expect(await next()).toBe(7 * day);
      await server.awaitingPair();
      expect(await next()).toBe(48 * hour);
      const { eventId } = await liveEvent(server, host, { endAt: start + 5 * hour });
      expect(await next()).toBe(5 * hour);
      await arrive(host, eventId, { durationMinutes: 240 });
      expect(await next()).toBe(4 * hour);
      await host.call("events:requestLocationShare", { expiresInMinutes: 60 });
      expect(await next()).toBe(hour);

      server.clock.jump(hour);
      expect(await sweep(server)).toEqual({ changed: 1, more: false, nextDeadlineAt: start + 4 * hour });
      await host.call("events:checkOut", { eventId });
      expect(await next()).toBe(5 * hour);
    }));

  test("names the end of an intro's thread", () =>
    alone(database, async (server) => {
      const { alice, bob, event } = await confirmedIntro(server);
      for (const agent of [alice, bob]) await agent.call("events:checkOut", { eventId: event.eventId });
      await server.advance(4 * hour - 1);
      expect((await sweep(server)).nextDeadlineAt).toBe(event.endAt);
    }));

  test("says that there is more while batches are full", () =>
    alone(database, async (server) => {
      await openShares(server, batchSize + 1);
      server.clock.jump(minute);
      expect(await sweep(server)).toMatchObject({ changed: batchSize, more: true });
      expect(await sweep(server)).toEqual({ changed: 1, more: false, nextDeadlineAt: null });
    }));

  test("forgets the answers of old calls after 24 hours, and no sooner", () =>
    alone(database, async (server) => {
      const agent = await server.agent();
      await agent.call("events:requestLocationShare", {}, { "Idempotency-Key": "once" });
      const kept = async () =>
        (await server.read((db) => db.selectFrom("idempotency").select("keyHash").execute())).length;
      server.clock.jump(day - 1);
      await sweep(server);
      expect(await kept()).toBe(1);
      server.clock.jump(1);
      await sweep(server);
      expect(await kept()).toBe(0);
    }));

  test("stores what callers already see, for every kind of deadline", () =>
    alone(database, async (server) => {
      const host = await server.agent("Host", { claimed: true });
      const { eventId } = await liveEvent(server, host, { endAt: server.clock.now() + 30 * minute });
      const [alice, bob] = (await guests(server, eventId, ["Alice", "Bob"])) as [Agent, Agent];
      await alice.call("events:proposeIntro", { eventId, toAgentId: bob.agentId });
      server.clock.jump(30 * minute);
      const seen = async () => [
        await alice.call("events:getById", { eventId }),
        await alice.call("events:listMyIntros", { includeResolved: true }),
      ];
      const byTheClock = await seen();
      expect(byTheClock).toMatchObject([
        { status: "ended", checkinCount: 0, myCheckin: null },
        [{ status: "expired" }],
      ]);
      await server.settle();
      expect(await seen()).toEqual(byTheClock);
      const stored = await server.read(async (db) => [
        ...(await db.selectFrom("checkins").select("status").execute()),
        ...(await db.selectFrom("intros").select("status").execute()),
      ]);
      expect(stored).toEqual([{ status: "expired" }, { status: "expired" }, { status: "expired" }]);
    }));
});
