/**
 * Nobody makes a call that reads more than it shows (architecture.md section 6, bounds): lists read their page, and what has to
 * read everything reads it in parts, between which others are served.
 */
import { statSync } from "node:fs";
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { caps } from "../../../functions/model/caps.js";
import { findNearest } from "../../../functions/model/events/nearby.js";
import { findListed, listingSorts } from "../../../functions/model/listings/listed-agents.js";
import { rowsPerPart } from "../../../functions/model/money/audit.js";
import type { QueryContext } from "../../../runtime/context.js";
import { up as orderStates } from "../../../schema/migrations/0012-order-states.js";
import { orderStatuses, type SessionStatus } from "../../../schema/sessions.js";
import { copyRow, storeEvents } from "../../support/crowd.js";
import { type Caller, databases, day, hour, type TestServer, type User, useServer } from "../../support/harness.js";
import { Ledger } from "../../support/ledger.js";
import { amount, isLong, longestTurn } from "../../support/long.js";
import { listed } from "../../support/market.js";
import { type Rentable, rentable, write } from "../../support/rental.js";

interface Order {
  id: string;
  status: string;
  items: { sessionId: string; sessionStatus: SessionStatus }[];
}

describe.each(databases)("orders:list on %s", (database) => {
  const server = useServer(database);
  const free = (approvalMode: "auto" | "manual") =>
    rentable(server, { priceAmount: "0", maxConcurrentSessions: 1_000, approvalMode });
  const order = (by: User, of: Rentable[]): Promise<Order> =>
    by.call("orders:create", {
      items: of.map(({ agentId }) => ({ providerAgentId: agentId, taskDescription: "Task" })),
    });
  const end = (by: Caller, { items }: Order, index: number) =>
    by.call("sessions:end", { sessionId: items[index]?.sessionId });

  /** What an order is by the sessions that it shows (clawrent.md section 5). */
  function statusBySessions({ items }: Order): string {
    const has = (status: SessionStatus) => items.some(({ sessionStatus }) => sessionStatus === status);
    if (has("active")) return "active";
    if (has("pending_approval")) return has("completed") ? "active" : "pending";
    return has("completed") ? "completed" : "cancelled";
  }

  test("finds by each status what the sessions say, by the clock, before the timer and after it", async () => {
    const [auto, manual] = [await free("auto"), await free("manual")];
    const alice = await server.user("Alice");
    const cancelled = new Set<string>();
    const story = async () => {
      await order(alice, [manual, manual]);
      await order(alice, [auto, manual]);
      // One that only waits, beside what was completed.
      await end(alice, await order(alice, [auto, manual]), 0);
      await end(alice, await order(alice, [manual, auto]), 0);
      await end(alice, await order(alice, [auto]), 0);
      await end(manual.provider, await order(alice, [manual]), 0);
      const approved = await order(alice, [manual, manual]);
      await manual.provider.call("sessions:approve", { sessionId: approved.items[0]?.sessionId });
      const over = await order(alice, [auto, manual]);
      await alice.call("orders:cancel", { orderId: over.id });
      cancelled.add(over.id);
    };
    const expectRight = async () => {
      const { data: all, total } = (await alice.call("orders:list", { limit: 100 })) as {
        data: Order[];
        total: number;
      };
      expect(total).toBe(all.length);
      for (const one of all) expect(one.status).toBe(cancelled.has(one.id) ? "cancelled" : statusBySessions(one));
      for (const status of orderStatuses) {
        const wanted = all.filter((one) => one.status === status);
        expect(wanted.length).toBeGreaterThan(0);
        expect(await alice.call("orders:list", { status, limit: 100 })).toMatchObject({
          data: wanted,
          total: wanted.length,
        });
        const paged: Order[] = [];
        for (let page = 1; page <= wanted.length; page += 1) {
          paged.push(...(await alice.call("orders:list", { status, page, limit: 1 })).data);
        }
        expect(paged).toEqual(wanted);
      }
    };
    await story();
    server.clock.jump(12 * hour);
    await story();
    await expectRight();
    server.clock.jump(12 * hour);
    await expectRight();
    await server.settle();
    await expectRight();

    // The same is made of the rows of an earlier schema.
    const stored = () => server.read((db) => db.selectFrom("orders").selectAll().orderBy("orderId").execute());
    const before = await stored();
    await write(server, async (db) => {
      await sql`drop index "ordersByState"`.execute(db);
      await sql`alter table orders drop column "awaitsApproval"`.execute(db);
      await sql`create index "ordersByUserStatus" on orders ("userId", status, "createdAt")`.execute(db);
      await orderStates(db as never);
    });
    expect(await stored()).toEqual(before);
  });

  test("reads the sessions of its page and no others", async () => {
    const auto = await free("auto");
    const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
    for (let made = 0; made < 12; made += 1) await order(made % 2 ? alice : bob, [auto]);
    for (const status of [undefined, ...orderStatuses]) {
      const seen = server.server.watches.begin();
      const outcome = await server.server.dispatcher.dispatch(
        {
          path: "orders:list",
          kind: "query",
          args: { status, limit: 2 },
          authorization: `Bearer ${alice.credential}`,
          idempotencyKey: undefined,
          address: "127.0.0.1",
          requestId: "0",
        },
        seen,
      );
      seen.end();
      expect(outcome.status).toBe("success");
      const shown = (outcome as { value: { data: Order[] } }).value.data.map(({ id }) => id);
      expect(shown).toHaveLength(status === undefined || status === "active" ? 2 : 0);
      const { sessions = new Map(), orders = new Map() } = Object.fromEntries(seen.reads.slices);
      expect([...sessions].map(([column, values]) => [column, [...values].sort()])).toEqual(
        shown.length > 0 ? [["orderId", [...shown].sort()]] : [],
      );
      expect([...(orders.get("userId") ?? [])]).toEqual([alice.userId]);
    }
  });

  test("stops counting and paging at 10,000, and is no slower for the orders of others", async () => {
    const [auto, manual] = [await free("auto"), await free("manual")];
    const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
    const copies = async (of: Order, name: string, count: number) => {
      const [orderId, createdAt] = [`'${name}' || i`, 'row."createdAt" - i'];
      await copyRow(server, "orders", ["orderId", of.id], count, { orderId, createdAt });
      await copyRow(server, "sessions", ["orderId", of.id], count, { sessionId: orderId, orderId });
    };
    const [theirs, pending, active] = [
      await order(bob, [auto]),
      await order(alice, [manual]),
      await order(alice, [auto]),
    ];
    await copies(theirs, "t", amount(1_000, 100_000));
    await copies(pending, "p", 10_050);
    await copies(active, "a", amount(10, 10_000));

    const list = (args: object) => alice.call("orders:list", args) as Promise<{ data: Order[]; total: number }>;
    const expected = { pending: 10_000, active: amount(11, 10_000), completed: 0, cancelled: 0 };
    for (const status of orderStatuses) expect((await list({ status })).total).toBe(expected[status]);
    expect((await list({})).total).toBe(10_000);
    expect((await list({ status: "pending", page: 100, limit: 100 })).data).toHaveLength(100);
    expect((await list({ status: "pending", page: 101, limit: 100 })).data).toEqual([]);
    expect((await list({ status: "pending", page: 2 ** 40, limit: 99 })).data).toEqual([]);

    if (!isLong) return;
    for (const clock of ["before", "after"]) {
      for (const status of [undefined, ...orderStatuses]) {
        for (const page of [1, 500]) {
          const what = `${database}: orders:list ${status ?? "all"}, page ${page}, ${clock} they ran out`;
          await expectShortTurns(what, () => list({ status, page }));
        }
      }
      server.clock.jump(day);
    }
  });
});

/** How many rows come back from the database while `work` reads. */
async function rowsOf(server: TestServer, work: (ctx: QueryContext) => Promise<unknown>): Promise<number> {
  let count = 0;
  const derive = () => "of one list";
  await server.server.store.read(
    (db) => work({ db, now: server.clock.now(), derive } as unknown as QueryContext),
    () => (rows) => {
      count += rows.length;
    },
  );
  return count;
}

/** What one turn of the event loop may take (ms), in the long form only. */
const turnMs = 50;

async function expectShortTurns(what: string, work: (tries: number) => Promise<unknown>, tries = 5): Promise<void> {
  const { ms, told } = await longestTurn(work, tries);
  console.log(`${what}: ${told}`);
  expect(ms, what).toBeLessThan(turnMs);
}

describe.each(databases)("lists of events among a crowd's on %s", (database) => {
  const server = useServer(database);
  const count = amount(6_000, 100_000);
  const here = { lat: 37.76, lng: -122.41 };

  test.each([
    ["in one region", 0.4, 0],
    ["in one district", 0.004, 0],
    ["on one spot", 0, 0],
    ["to come in one district", 0.004, hour],
  ])("%s: a page reads a part of what is there, and keeps nobody waiting", async (layout, degrees, startsInMs) => {
    const reader = await server.agent("Reader");
    const { agentId } = await server.agent("Crowd", { claimed: true });
    const name = (number: number | string) => `${agentId}-${number}`;
    const copy = `'${name("")}' || i`;
    await copyRow(server, "agents", ["agentId", agentId], count / 20, { agentId: copy, claimTokenHash: copy });
    await write(server, (db) => db.deleteFrom("events").execute());
    const startAt = server.clock.now() - hour + startsInMs;
    const around = (middle: number, index: number) => middle + degrees * (((index * 7_919) % 1_000) / 1_000 - 0.5);
    await storeEvents(
      server,
      Array.from({ length: count }, (_, index) => ({
        lat: around(here.lat, index),
        lng: around(here.lng, Math.floor(index / 1_000) + 13 * index),
        startAt: startAt + index,
        endAt: startAt + 10 * hour,
        turn: Math.floor((index % 20) / 3),
        createdBy: name(Math.floor(index / 20) + 1),
      })),
    );
    if (database === "postgres") await write(server, (db) => sql`analyze`.execute(db));
    const shareToken = await reader.shareLocation(here.lat, here.lng);
    for (const radiusKm of [0.05, 1, 50]) {
      const search = { centre: here, radiusKm, startsUntil: server.clock.now(), after: undefined, count: 121 };
      expect(await rowsOf(server, (ctx) => findNearest(ctx, search))).toBeLessThan(4_500);
      if (!isLong) continue;
      let cursor: string | undefined;
      for (const page of ["first page", "second page"]) {
        const args = { shareToken, radiusKm, limit: 100, includeScheduled: page === "second page", cursor };
        const what = `${database}: events:listNearby, ${count} ${layout}, ${radiusKm} km, ${page}`;
        await expectShortTurns(what, () => reader.call("events:listNearby", args));
        const [last] = await reader.call("events:listNearby", { ...args, cursor: null, includeScheduled: true });
        cursor = last?.cursor;
      }
    }
    if (!isLong) return;
    for (const includeScheduled of [false, true]) {
      await expectShortTurns(`${database}: events:listLive, ${count} ${layout}`, () =>
        reader.call("events:listLive", { limit: 100, includeScheduled }),
      );
    }
  });
});

describe.each(databases)("marketplace:browse among a crowd's on %s", (database) => {
  const server = useServer(database);
  const perOwner = caps.agents.most;
  const count = amount(20 * perOwner, 1_000 * perOwner);

  /** Listings, the newest and the most popular of which are some owners' alone, each with as many as one may have. */
  async function crowd(): Promise<void> {
    const owner = await server.user("Crowd");
    const { id } = await listed(server, owner, {
      name: "Translates texts",
      capabilities: [{ category: "all", name: "x" }],
    });
    const userId = `'u' || (100000 + (i - 1) / ${perOwner})`;
    const nth = "'u' || (99999 + i)";
    await copyRow(server, "users", ["userId", owner.userId], count / perOwner, {
      ...{ userId: nth, email: nth, apiKeyHash: nth },
    });
    const agentId = "'n' || (1000000 + i)";
    await copyRow(server, "agents", ["agentId", id], count, {
      ...{ agentId, claimTokenHash: agentId, slug: agentId, ownerId: userId },
    });
    const totalSessions = `i / ${perOwner}`;
    await copyRow(server, "providerProfiles", ["agentId", id], count, {
      ...{ profileId: agentId, agentId, ownerId: userId, totalSessions },
    });
    for (const table of ["listingWords", "listingCategories"] as const) {
      await copyRow(server, table, ["agentId", id], count, { agentId });
    }
    await write(server, async (db) => {
      await sql`update "listingCounts" set listed = listed + ${count}`.execute(db);
      if (database === "postgres") await sql`analyze`.execute(db);
    });
  }

  test("a page reads a part of what is there, and keeps nobody waiting", async () => {
    await crowd();
    const browse = (args: object) => server.nobody.call("marketplace:browse", args);
    const all = { search: undefined, category: undefined, ownerId: undefined };
    for (const sort of listingSorts) {
      const wanted = { ...all, sort, page: 1, limit: 20, cursor: undefined };
      expect(await rowsOf(server, (ctx) => findListed(ctx, wanted))).toBeLessThan(1_500);
      for (const conditions of [{}, { category: "all" }, { search: "tr te" }, { search: "texts", category: "all" }]) {
        const first = await browse({ sort, ...conditions, limit: 100 });
        expect(first.data).toHaveLength(100);
        if (!isLong) continue;
        // A cursor is no secret: this one says that something waits from the very front, and all was looked at.
        const [mark] = first.nextCursor.split("~");
        const waits = Buffer.from(`nobody ${sort === "newest" ? 0 : 1_000_000} zz`).toString("base64url");
        const written = `${mark}~-1~0~${waits}`;
        const places = [
          { page: 1 },
          { page: 99 },
          { page: 9_999, limit: 1 },
          { cursor: first.nextCursor },
          { cursor: written },
        ];
        for (const place of places) {
          const args = { sort, ...conditions, limit: 100, ...place };
          // The same to the query and another to whatever keeps its answer.
          await expectShortTurns(`${database}: marketplace:browse ${JSON.stringify(args)}`, (tries) =>
            browse({ ...args, ownerId: " ".repeat(tries + 1) }),
          );
        }
      }
    }
  });
});

describe.each(databases)("admin:audit on %s", (database) => {
  const server = useServer(database);

  /** Settled sessions, as far as the ledger can tell, with all that hangs on them. */
  async function settle(count: number): Promise<void> {
    const ledger = new Ledger(server);
    const [alice, bob] = [await ledger.party(), await ledger.party()];
    await ledger.topUp(alice.userId, "10000");
    const sessionId = await ledger.start(alice, bob, { pricingModel: "fixed", priceMinor: 100 });
    await ledger.end(sessionId);
    const { transferId } = await server.read((db) =>
      db.selectFrom("transfers").select("transferId").where("referenceId", "=", sessionId).executeTakeFirstOrThrow(),
    );
    const entries = await server.read((db) =>
      db.selectFrom("entries").selectAll().where("transferId", "=", transferId).execute(),
    );
    const copied = `'s' || i || '-${sessionId}'`;
    await copyRow(server, "sessions", ["sessionId", sessionId], count, { sessionId: copied });
    await copyRow(server, "transfers", ["transferId", transferId], count, { transferId: copied, referenceId: copied });
    for (const { entryId, accountId } of entries) {
      await copyRow(server, "entries", ["entryId", entryId], count, {
        entryId: `'e' || i || '-${entryId}'`,
        transferId: copied,
        position: 'row."position" + i',
        balanceAfterMinor: 'row."balanceAfterMinor" + i * row."amountMinor"',
      });
      await write(server, (db) =>
        sql`update "ledgerAccounts" set "entryCount" = "entryCount" + ${count},
          "pendingMinor" = "pendingMinor" * ${count + 1}, "balanceMinor" = "balanceMinor" + ${count} *
          (select "amountMinor" from entries where "entryId" = ${entryId}) where "accountId" = ${accountId}`.execute(
          db,
        ),
      );
    }
    for (const [table, key] of [
      ["holds", "holdId"],
      ["billingRecords", "recordId"],
    ] as const) {
      await copyRow(server, table, ["sessionId", sessionId], count, { [key]: copied, sessionId: copied });
    }
  }

  test("reads in parts on a connection of its own, and calls are served between them", async () => {
    const admin = await server.admin();
    const alice = await server.user("Alice");
    const count = amount(2 * rowsPerPart, 100_000);
    await settle(count);
    // It looks at one snapshot, so the top-ups in the middle of it break nothing.
    const order: string[] = [];
    let isRunning = true;
    const begun = performance.now();
    const audit = admin.call("admin:audit").finally(() => {
      isRunning = false;
      order.push("audit");
    });
    let longest = 0;
    while (isRunning) {
      const asked = performance.now();
      await alice.call("billing:topUp", { amount: "1" }, { "Idempotency-Key": `top-up-${order.length % 8}` });
      await alice.call("billing:getWallet");
      longest = Math.max(longest, performance.now() - asked);
      order.push("calls");
    }
    const { ok, findings } = await audit;
    expect({ ok, wrong: findings.filter((finding: { ok: boolean }) => !finding.ok) }).toEqual({ ok: true, wrong: [] });
    expect(findings.map(({ detail }: { detail: string }) => detail)).toContain(`${count + 1} sessions`);
    // Were it one turn, nothing but what was asked beforehand could be answered before it.
    expect(order.indexOf("audit")).toBeGreaterThan(2);
    if (isLong) {
      console.log(
        `${database}: audit of ${count} sessions ${(performance.now() - begun).toFixed(0)} ms, longest call ${longest.toFixed(1)} ms`,
      );
      await expectShortTurns(`${database}: audit of ${count} sessions`, () => admin.call("admin:audit"), 2);
      expect(longest).toBeLessThan(250);
    }
  });

  test("every statement looks at one part of a table at most", async () => {
    await settle(3 * rowsPerPart);
    const steps = new Map<string, number>();
    const { store } = server.server;
    await store.readAside(async (db) => {
      const { auditLedger } = await import("../../../functions/model/money/audit.js");
      const counting = db.withPlugin({
        transformQuery: ({ node }) => node,
        transformResult: async ({ result }) => {
          const [row] = result.rows as { last?: string; rows?: number }[];
          if (row?.last !== undefined) {
            expect(Number(row.rows)).toBeLessThanOrEqual(rowsPerPart);
            steps.set("parts", (steps.get("parts") ?? 0) + 1);
          }
          return result;
        },
      });
      expect((await auditLedger({ db: counting })).every(({ ok }) => ok)).toBe(true);
    });
    // Sessions, transfers, three entries each, holds and records.
    expect(steps.get("parts")).toBeGreaterThan(7 * 3);
  });

  test("one at a time: a second waits, a sixth is refused, and both of those that wait are answered", async () => {
    const { store } = server.server;
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const order: number[] = [];
    const first = store.readAside(async () => {
      await held;
      order.push(0);
    });
    const waiting = [1, 2, 3, 4].map((number) => store.readAside(async () => void order.push(number)));
    const admin = await server.admin();
    await expect(admin.call("admin:audit")).rejects.toMatchObject({
      code: "unavailable",
      message: "Others wait for the same already. Try again later.",
    });
    // Who only calls is not held up by any of them.
    expect((await admin.call("admin:listAgents")).total).toBe(0);
    release();
    await Promise.all([first, ...waiting]);
    expect(order).toEqual([0, 1, 2, 3, 4]);
    expect((await admin.call("admin:audit")).ok).toBe(true);
  });

  test("cannot write, and sees nothing of what is written after it began", async () => {
    const { store } = server.server;
    const [before, after] = await store.readAside(async (db) => {
      const count = async () =>
        Number(
          (
            await db
              .selectFrom("users")
              .select(({ fn }) => fn.countAll().as("n"))
              .executeTakeFirstOrThrow()
          ).n,
        );
      const before = await count();
      await server.user("Carol");
      return [before, await count()];
    });
    expect(after).toBe(before);
    await expect(store.readAside((db) => db.deleteFrom("cartItems").execute())).rejects.toThrow();
    // It is free again after a failure.
    expect(await store.readAside((db) => db.selectFrom("users").select("userId").execute())).toHaveLength(before + 1);
  });

  test.runIf(database === "sqlite" && isLong)(
    "ends once 128 MiB were written behind it, and the log of writes shrinks again",
    async () => {
      const { store } = server.server;
      const log = () => statSync(`${server.databaseUrl.slice("sqlite:".length)}-wal`).size;
      const writeMuch = () =>
        write(server, (db) =>
          sql`update users set "avatarUrl" = hex(zeroblob(75000000)) where "userId" = (select min("userId") from users)`.execute(
            db,
          ),
        );
      const reading = store.readAside(async (db) => {
        await db.selectFrom("users").select("userId").execute();
        await writeMuch();
        return db.selectFrom("users").select("userId").execute();
      });
      await expect(reading).rejects.toMatchObject({
        code: "unavailable",
        message: "Too much was written meanwhile. Try again when less is going on.",
      });
      expect(log()).toBeGreaterThan(128 * 1_024 * 1_024);
      await write(server, (db) => sql`update users set "avatarUrl" = null`.execute(db));
      await server.user("Dave");
      expect(log()).toBeLessThan(18 * 1_024 * 1_024);
      expect((await (await server.admin()).call("admin:audit")).ok).toBe(true);
    },
  );
});
