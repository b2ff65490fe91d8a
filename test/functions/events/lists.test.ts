/** The lists of events page by page (claw-to-claw.md section 3: listLive by start, listNearby nearest first; `cursor` in each row). */
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { caps } from "../../../functions/model/caps.js";
import type { EventRow } from "../../../functions/model/events/event.js";
import { distanceKm } from "../../../functions/model/rules/geo.js";
import { storeEvents } from "../../support/crowd.js";
import { type Agent, databases, hour, startServer, useServer } from "../../support/harness.js";
import { amount } from "../../support/long.js";

interface Listed {
  eventId: string;
  createdBy: string;
  startAt: number;
  distanceKm?: number;
  cursor: string;
}

/** All pages, to the empty one behind the last. */
async function pagesOf(agent: Agent, path: string, args: Record<string, unknown>): Promise<Listed[][]> {
  const pages: Listed[][] = [];
  let cursor: string | undefined;
  for (;;) {
    const page: Listed[] = await agent.call(path, { ...args, cursor: cursor ?? null });
    if (page.length === 0) return pages;
    pages.push(page);
    cursor = page.at(-1)?.cursor;
  }
}

/** A page holds at most three of a creator, unless nobody else's come on a later one. */
function expectFair(pages: Listed[][]): void {
  for (const [index, page] of pages.entries()) {
    const creators = new Set(page.map(({ createdBy }) => createdBy));
    for (const creator of creators) {
      const count = page.filter(({ createdBy }) => createdBy === creator).length;
      const later = pages.slice(index + 1).flat();
      if (count > 3) expect(later.filter(({ createdBy }) => createdBy !== creator)).toEqual([]);
    }
  }
}

describe.each(databases)("pages of events on %s", (database) => {
  const server = useServer(database);
  let hosts: Agent[];
  let reader: Agent;
  beforeAll(async () => {
    hosts = [];
    for (let made = 0; made < 7; made += 1) hosts.push(await server.agent(`Host ${made}`, { claimed: true }));
    reader = await server.agent("Reader");
    const now = server.clock.now();
    const counts = [caps.openEvents.most, caps.openEvents.most, 5, 4, 3, 1, 1];
    for (const [index, host] of hosts.entries()) {
      for (let made = 0; made < (counts[index] ?? 0); made += 1) {
        // Who makes many is first in both orders.
        const locationLat = 10 + (index * 20 + made) / 100_000;
        const startAt = now - hour + index * 20 + made;
        const times = { startAt: made === 3 ? now + startAt - (now - hour) + 1 : startAt, endAt: now + 2 * hour };
        await host.call("events:create", { name: "E", locationLat, locationLng: 20, ...times });
      }
    }
  });

  test.each([1, 2, 3, 7, 20, 60, 100])(
    "listLive by %d: fair, by start on each page, nothing lost or twice",
    async (limit) => {
      for (const includeScheduled of [true, false]) {
        const pages = await pagesOf(reader, "events:listLive", { limit, includeScheduled });
        const all = pages.flat();
        expect(new Set(all.map(({ eventId }) => eventId)).size).toBe(all.length);
        expect(all).toHaveLength(includeScheduled ? 54 : 50);
        for (const page of pages) {
          expect(page.length).toBeLessThanOrEqual(limit);
          expect(page.map(({ startAt }) => startAt)).toEqual(page.map(({ startAt }) => startAt).sort((a, b) => a - b));
        }
        expectFair(pages);
        if (limit === 7) {
          // The two who made the most do not keep the others from the first page.
          expect(new Set(pages[0]?.map(({ createdBy }) => createdBy)).size).toBeGreaterThanOrEqual(3);
        }
        if (limit === 60) expect(pages).toHaveLength(1);
      }
    },
  );

  test.each([1, 3, 7, 20, 100])(
    "listNearby by %d: fair, nearest first on each page, nothing lost or twice",
    async (limit) => {
      const shareToken = await reader.shareLocation(10, 20);
      const args = { shareToken, limit, includeScheduled: true };
      const pages = await pagesOf(reader, "events:listNearby", args);
      const all = pages.flat();
      expect(new Set(all.map(({ eventId }) => eventId)).size).toBe(all.length);
      expect(all).toHaveLength(54);
      for (const page of pages) {
        const away = page.map(({ distanceKm: km = 0 }) => km);
        expect(away).toEqual([...away].sort((a, b) => a - b));
      }
      expectFair(pages);
    },
  );

  test("a cursor is of its list and its filters, and anything else is refused", async () => {
    const [one, two] = [await reader.shareLocation(10, 20), await reader.shareLocation(10, 20)];
    const [row] = (await reader.call("events:listNearby", { shareToken: one, limit: 1 })) as Listed[];
    const cursor = row?.cursor ?? "";
    await reader.call("events:listNearby", { shareToken: one, cursor });
    const wrong: [string, Record<string, unknown>][] = [
      ["events:listNearby", { shareToken: two, cursor }],
      ["events:listNearby", { shareToken: one, radiusKm: 2, cursor }],
      ["events:listNearby", { shareToken: one, includeScheduled: true, cursor }],
      ["events:listNearby", { shareToken: one, cursor: `${cursor}~1` }],
      ["events:listLive", { cursor }],
      ["events:listLive", { cursor: "" }],
      ["events:listLive", { cursor: "x" }],
    ];
    for (const [path, args] of wrong) {
      await expect(reader.call(path, args)).rejects.toMatchObject({ code: "invalid_args" });
    }
    // A row that went does not take the place of the next page with it.
    const [first, ...others] = (await reader.call("events:listLive", { limit: 3 })) as Listed[];
    const creator = hosts.find(({ agentId }) => agentId === first?.createdBy);
    await creator?.call("events:cancel", { eventId: first?.eventId });
    const next: Listed[] = await reader.call("events:listLive", { limit: 100, cursor: first?.cursor });
    expect(next.map(({ eventId }) => eventId)).toEqual(expect.arrayContaining(others.map(({ eventId }) => eventId)));
  });
});

describe.each(databases)("the search for what is near on %s", (database) => {
  test("finds what a look at every event finds, among many and few, in the same order, page by page", async () => {
    const server = await startServer(database);
    try {
      const creators: Agent[] = [];
      for (let made = 0; made < 4; made += 1) creators.push(await server.agent("Host", { claimed: true }));
      const seams = [
        [0, 180],
        [90, 0],
        [-90, 12],
        [45, 45],
        [35.2643897, 45],
        [37.76, -122.41],
      ] as const;
      let dice = 7;
      const random = () => {
        dice = (dice * 48_271) % 2_147_483_647;
        return dice / 2_147_483_647;
      };
      const rows: EventRow[] = [];
      for (const [lat, lng] of seams) {
        // Dense in the middle, thin outside, many on one spot.
        const events = Array.from({ length: 900 }, (_, index) => {
          const spread = index % 3 === 0 ? 0.4 : index % 3 === 1 ? 0.01 : 0;
          const at = lat + (random() - 0.5) * spread;
          const along = lng + ((random() - 0.5) * spread) / Math.max(Math.cos((lat * Math.PI) / 180), 0.001);
          return {
            lat: Math.abs(at) > 90 ? Math.sign(at) * 180 - at : at,
            lng: ((((along + 180) % 360) + 360) % 360) - 180,
            createdBy: creators[index % 4]?.agentId ?? "",
            turn: Math.floor(random() * 7),
            startAt: server.clock.now() - hour + Math.floor(random() * 1_000),
          };
        });
        rows.push(...((await storeEvents(server, events)) as unknown as EventRow[]));
      }
      const tried = fc.record({
        seam: fc.constantFrom(...seams),
        off: fc.double({ min: -0.02, max: 0.02, noNaN: true }),
        radiusKm: fc.constantFrom(0.05, 1, 5, 50),
        limit: fc.constantFrom(3, 20, 100),
      });
      await fc.assert(
        fc.asyncProperty(tried, async ({ seam: [lat, lng], off, radiusKm, limit }) => {
          const centre = { lat: Math.min(Math.max(lat + off, -90), 90), lng };
          const reader = await server.agent("Reader");
          const shareToken = await reader.shareLocation(centre.lat, centre.lng);
          const expected = rows
            .map((row) => ({
              ...row,
              km: distanceKm(centre, { lat: row.locationLat ?? 0, lng: row.locationLng ?? 0 }),
            }))
            .filter(({ km }) => km <= radiusKm)
            .sort((a, b) => a.turn - b.turn || a.km - b.km || a.startAt - b.startAt || (a.eventId < b.eventId ? -1 : 1))
            .map(({ eventId }) => eventId);
          let seen: string[] = [];
          let cursor: string | null = null;
          for (let page = 0; page < 3; page += 1) {
            const found: Listed[] = await reader.call("events:listNearby", { shareToken, radiusKm, limit, cursor });
            if (found.length === 0) {
              expect(seen.length).toBe(expected.length);
              break;
            }
            seen = [...seen, ...found.map(({ eventId }) => eventId)];
            // Each page is a stretch of the sequence.
            expect(new Set(seen)).toEqual(new Set(expected.slice(0, seen.length)));
            cursor = found.at(-1)?.cursor ?? null;
          }
          server.clock.jump(1);
        }),
        { numRuns: amount(12, 200) },
      );
    } finally {
      await server.close();
    }
  }, 120_000);
});
