/**
 * Where somebody was is nowhere to be read: not in the database's file, not in its log, not in a backup, at no time
 * (people give it for minutes, a backup is kept for years). The attack has the server's disk, while it runs.
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import SqliteDatabase from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { openPlace } from "../../../functions/model/events/location-share.js";
import { hashSecret } from "../../../runtime/ids.js";
import { Canaries, dump } from "../../support/canaries.js";
import { type Agent, databases, hour, minute, startServer, type TestServer } from "../../support/harness.js";
import { databaseBefore } from "../../support/older-database.js";

/** All bytes that a thief of the disk or of a backup has, taken while the server runs. */
async function stolen(server: TestServer): Promise<Record<string, Buffer>> {
  if (server.database === "postgres") return { rows: await dump(server) };
  const file = server.databaseUrl.slice("sqlite:".length);
  // By another process: closing a descriptor of the file in this one would take SQLite's locks away.
  const bytesOf = (name: string) =>
    existsSync(name) ? execFileSync("cat", [name], { maxBuffer: 2 ** 30 }) : Buffer.alloc(0);
  const copy = new SqliteDatabase(file, { readonly: true });
  await copy.backup(`${file}-backup`);
  copy.close();
  return { file: bytesOf(file), log: bytesOf(`${file}-wal`), backup: bytesOf(`${file}-backup`) };
}

function search(canaries: Canaries, copies: Record<string, Buffer>): Record<string, string[]> {
  return Object.fromEntries(Object.entries(copies).map(([name, bytes]) => [name, canaries.foundIn(bytes)]));
}

async function checkInWith(agent: Agent, eventId: string, locationShareToken: string) {
  await agent.call("events:checkIn", { eventId, locationShareToken }, { "Idempotency-Key": crypto.randomUUID() });
  await agent.call("events:checkOut", { eventId });
}

describe.each(databases)("coordinates of location shares on %s", (database) => {
  test("are readable nowhere: asked for, open, searched with, spent, lapsed, refused", async () => {
    const server = await startServer(database);
    try {
      const canaries = new Canaries();
      let places = 0;
      const place = () => {
        places += 1;
        return {
          lat: canaries.coordinate(`latitude ${places}`, 48.137154 + places / 1_000),
          lng: canaries.coordinate(`longitude ${places}`, 11.576124 + places / 1_000),
          accuracyMeters: canaries.coordinate(`accuracy ${places}`, 5.4321 + places / 100),
        };
      };
      const host = await server.agent("Host", { claimed: true });
      const now = server.clock.now();
      const { eventId } = await host.call("events:create", { name: "E", startAt: now, endAt: now + 5 * hour });
      const agent = await server.agent("Guest");
      const submit = async (shareToken: string) =>
        server.nobody.call(
          "events:submitLocationShare",
          { shareToken, ...place() },
          { "Idempotency-Key": crypto.randomUUID() },
        );
      const share = async () => {
        const { shareToken } = await agent.call("events:requestLocationShare", {});
        await submit(shareToken);
        return shareToken as string;
      };

      const lapsing = await share();
      for (let times = 0; times < 3; times += 1) {
        const spending = await share();
        await agent.call("events:listNearby", { shareToken: spending, radiusKm: 50 });
        await checkInWith(agent, eventId, spending);
        await expect(submit(spending)).rejects.toThrow("already shared");
      }
      const open = await share();
      expect(await agent.call("events:getLocationShare", { shareToken: open })).toMatchObject({ status: "completed" });
      const nothing = { ...(database === "sqlite" ? { file: [], log: [], backup: [] } : { rows: [] }) };
      expect(search(canaries, await stolen(server))).toEqual(nothing);

      await server.advance(61 * minute);
      expect(await agent.call("events:getLocationShare", { shareToken: lapsing })).toMatchObject({ status: "expired" });
      expect(search(canaries, await stolen(server))).toEqual(nothing);

      // What is public is found, so the search would have found the rest.
      const publicPlace = { locationLat: canaries.coordinate("public", -33.456789), locationLng: 20.5 };
      const again = server.clock.now();
      await host.call("events:create", { name: "P", ...publicPlace, startAt: again, endAt: again + hour });
      expect(Object.values(search(canaries, await stolen(server))).flat()).toContain("public");
    } finally {
      await server.close();
    }
  });

  test("open with the link's token alone, not with what the database has of it", async () => {
    const server = await startServer(database);
    try {
      const agent = await server.agent();
      const shareToken = await agent.shareLocation(1.25, 2.5);
      const { sealedPlace, shareTokenHash, shareId } = await server.read((db) =>
        db.selectFrom("locationShares").selectAll().executeTakeFirstOrThrow(),
      );
      expect(openPlace(shareToken, sealedPlace ?? "")).toMatchObject({ lat: 1.25, lng: 2.5 });
      for (const known of [shareTokenHash, shareId, agent.agentId, agent.credential, hashSecret(agent.credential)]) {
        expect(() => openPlace(known, sealedPlace ?? "")).toThrow();
      }
    } finally {
      await server.close();
    }
  });

  test("that an earlier release stored are erased by the migration; open links go on", async () => {
    const canaries = new Canaries();
    const agentId = "0192f3e4-0000-7000-8000-000000000001";
    const now = Date.UTC(2026, 1, 10, 16, 50, 50);
    const share = (name: string, more: object) => ({
      shareId: `shr_${name}`,
      shareTokenHash: hashSecret(`loc_${name}`),
      agentId,
      label: name,
      status: "pending",
      lat: null,
      lng: null,
      accuracyMeters: null,
      createdAt: now - minute,
      sharedAt: null,
      expiresAt: now + 10 * minute,
      ...more,
    });
    const completed = {
      status: "completed",
      sharedAt: now - minute,
      expiresAt: now + 59 * minute,
      lat: canaries.coordinate("latitude", 48.137154),
      lng: canaries.coordinate("longitude", 11.576124),
      accuracyMeters: 5,
    };
    const old = await databaseBefore(database, "0006", {
      agents: [{ agentId, name: "Old", claimTokenHash: "hash", claimedAt: null, publicKey: null, createdAt: now }],
      agentCredentials: [{ secretHash: hashSecret("c2c_old"), agentId, kind: "apiKey", createdAt: now }],
      locationShares: [
        share("open", {}),
        share("answered", completed),
        share("used", { status: "spent", sharedAt: now }),
      ],
    });
    const server = await startServer(database, { databaseUrl: old.url });
    try {
      server.clock.jump(now - server.clock.now());
      expect(Object.values(search(canaries, await stolen(server))).flat()).toEqual([]);

      const agent = Object.assign(await server.agent(), { credential: "c2c_old", agentId });
      const stateOf = async (name: string) =>
        (await agent.call("events:getLocationShare", { shareToken: `loc_${name}` })).status;
      expect(await stateOf("answered")).toBe("expired");
      expect(await stateOf("used")).toBe("completed");
      await expect(agent.call("events:listNearby", { shareToken: "loc_answered" })).rejects.toThrow(
        "Location share token has expired",
      );
      expect(await stateOf("open")).toBe("pending");
      await server.nobody.call("events:submitLocationShare", { shareToken: "loc_open", lat: 1, lng: 2 });
      expect(await agent.call("events:getLocationShare", { shareToken: "loc_open" })).toMatchObject({ lat: 1, lng: 2 });
    } finally {
      await server.close();
      await old.remove();
    }
  });
});
