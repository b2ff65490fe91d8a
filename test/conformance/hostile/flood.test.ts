/**
 * Nobody floods the others: what one caller can pile up has a stated cap (functions/model/caps.ts). The last place can be
 * taken, one more is refused with the cap and what there is, two at the same moment cannot both have the last place, and
 * what is above a cap from before stays and goes on working.
 */
import { randomUUID } from "node:crypto";
import type { Kysely } from "kysely";
import { beforeAll, describe, expect, test } from "vitest";
import { caps } from "../../../functions/model/caps.js";
import { mostBlocked } from "../../../functions/model/session/session-gateway.js";
import type { Database } from "../../../schema/index.js";
import { type Agent, databases, day, type TestServer, useServer } from "../../support/harness.js";
import { description, draft, freshSlug, listed } from "../../support/market.js";
import { openSession, rentable, task, write } from "../../support/rental.js";

// biome-ignore lint/suspicious/noExplicitAny: what a function answers is what the tests look at.
type Value = any;

interface Flood {
  /** Brings what counts to `have`, past every function. */
  fill(have: number): Promise<void>;
  /** Adds one more, as different callers may at the same moment. */
  add: (() => Promise<Value>)[];
  /** Makes room for one, as its owner would; absent where nothing does. */
  makeRoom?(): Promise<unknown>;
}

const idle = { longDescription: null, publishDefaults: null, serveRules: null, updatedAt: null, publicKey: null };

function agentRows(server: TestServer, ownerId: string | null, count: number) {
  return Array.from({ length: count }, () => ({
    ...idle,
    agentId: randomUUID(),
    name: "One of many",
    description: "One of many",
    claimTokenHash: randomUUID(),
    claimedAt: null,
    createdAt: server.clock.now(),
    ownerId,
    slug: null,
  }));
}

async function addAgents(server: TestServer, count: number): Promise<string[]> {
  const rows = agentRows(server, null, count);
  await write(server, (db) => db.insertInto("agents").values(rows).execute());
  return rows.map(({ agentId }) => agentId);
}

type Rows = (db: Kysely<Database>, missing: number) => Promise<unknown>;

/** Brings a count to what is wanted by adding rows. */
function filler(server: TestServer, rows: Rows): (have: number) => Promise<void> {
  let had = 0;
  return async (have) => {
    const missing = have - had;
    had = have;
    if (missing > 0) await write(server, (db) => rows(db, missing));
  };
}

/** Those of events have a file of their own (events.test.ts). */
type OfEvents = "openEvents" | "openEventsAtPlace" | "eventsAtPlace" | "openShares" | "checkins" | "pendingIntros";
type Cap = Exclude<keyof typeof caps, OfEvents>;

const floods: Record<Cap, (server: TestServer) => Promise<Flood>> = {
  openInvites: (server) => floodOfInvites(server, { status: "pending", age: 2 * day }),
  invitesPerDay: (server) => floodOfInvites(server, { status: "disconnected", age: 0 }),
  openThreads: (server) => floodOfThreads(server, { status: "negotiating", age: 2 * day }),
  threadsPerDay: (server) => floodOfThreads(server, { status: "rejected", age: 0 }),
  proposals: (server) => floodOfMessages(server, "proposalCount", "counter"),
  messages: (server) => floodOfMessages(server, "messageCount", "info"),
  agents: async (server) => {
    const user = await server.user("Eager");
    return {
      fill: filler(server, (db, missing) =>
        db
          .insertInto("agents")
          .values(agentRows(server, user.userId, missing))
          .execute(),
      ),
      add: [
        () => draft(user),
        async () => {
          const { claimToken } = await server.nobody.call("agents:register", { name: "Own" });
          return user.call("agents:takeOver", { claimToken, slug: freshSlug(), description });
        },
      ],
    };
  },
  cartItems: async (server) => {
    const [user, one, other] = [await server.user("Eager"), await rentable(server), await rentable(server)];
    const add = (providerAgentId: string) => () =>
      user.call("cart:add", { providerAgentId, taskDescription: "Read it" });
    return {
      fill: async (have) => {
        const ids = await addAgents(server, have);
        const at = { createdAt: server.clock.now(), updatedAt: server.clock.now() };
        await write(server, async (db) => {
          await db.deleteFrom("cartItems").where("userId", "=", user.userId).execute();
          const items = ids.map((providerAgentId) => ({
            cartItemId: randomUUID(),
            userId: user.userId,
            providerAgentId,
          }));
          await db
            .insertInto("cartItems")
            .values(items.map((item) => ({ ...item, taskDescription: "x", ...at })))
            .execute();
        });
      },
      add: [add(one.agentId), add(other.agentId)],
    };
  },
  favorites: async (server) => {
    const [user, one, other] = [await server.user("Eager"), await rentable(server), await rentable(server)];
    return {
      fill: async (have) => {
        const ids = await addAgents(server, have);
        await write(server, async (db) => {
          await db.deleteFrom("favorites").where("userId", "=", user.userId).execute();
          const rows = ids.map((agentId) => ({ userId: user.userId, agentId, createdAt: server.clock.now() }));
          await db.insertInto("favorites").values(rows).execute();
        });
      },
      add: [one, other].map(
        ({ agentId }) =>
          () =>
            user.call("favorites:add", { agentId }),
      ),
    };
  },
  follows: async (server) => {
    const [user, one, other] = [await server.user("Eager"), await server.user("One"), await server.user("Other")];
    return {
      fill: async (have) => {
        const at = { createdAt: server.clock.now(), updatedAt: server.clock.now() };
        const users = Array.from({ length: have }, () => ({
          userId: randomUUID(),
          email: `${randomUUID()}@example.com`,
          name: "One of many",
          passwordHash: "",
          apiKeyHash: randomUUID(),
          role: "consumer" as const,
          status: "active" as const,
          avatarUrl: null,
          ...at,
        }));
        await write(server, async (db) => {
          await db.deleteFrom("follows").where("followerId", "=", user.userId).execute();
          await db
            .insertInto("users")
            .values(users as never)
            .execute();
          const rows = users.map(({ userId }) => ({ followerId: user.userId, userId, createdAt: server.clock.now() }));
          await db.insertInto("follows").values(rows).execute();
        });
      },
      add: [one, other].map(
        ({ userId }) =>
          () =>
            user.call("follows:add", { userId }),
      ),
    };
  },
  openSessions: (server) => floodOfSessions(server, "auto"),
  pendingAtProvider: (server) => floodOfSessions(server, "manual"),
};

async function floodOfInvites(
  server: TestServer,
  { status, age }: { status: "pending" | "disconnected"; age: number },
) {
  const eager = await server.agent("Eager");
  const at = server.clock.now();
  const fill = filler(server, (db, missing) =>
    db
      .insertInto("connections")
      .values(
        Array.from({ length: missing }, () => ({
          connectionId: `conn_${randomUUID()}`,
          inviterAgentId: eager.agentId,
          accepterAgentId: null,
          pairKey: null,
          inviteTokenHash: randomUUID(),
          status,
          createdAt: at - age,
          expiresAt: at + day,
          acceptedAt: null,
        })),
      )
      .execute(),
  );
  const add = () => eager.call("connections:invite");
  const makeRoom = async () => {
    const open = (await eager.call("connections:list")).find((row: Value) => row.status === "pending");
    await eager.call("connections:disconnect", { connectionId: open.connectionId });
  };
  return { fill, add: [add, add], ...(status === "pending" ? { makeRoom } : {}) };
}

async function floodOfThreads(
  server: TestServer,
  { status, age }: { status: "negotiating" | "rejected"; age: number },
) {
  const { alice, bob, connectionId } = await server.connectedPair();
  const at = server.clock.now();
  const fill = filler(server, (db, missing) =>
    db
      .insertInto("threads")
      .values(
        Array.from({ length: missing }, () => ({
          threadId: `thr_${randomUUID()}`,
          connectionId,
          agentAId: alice.agentId,
          agentBId: bob.agentId,
          status,
          proposalMessageId: null,
          proposalAgentId: null,
          proposalCount: 0,
          approvalDeadline: null,
          closesAt: null,
          messageCount: 1,
          lastMessageAt: at,
          activeHour: Math.floor(at / 3_600_000),
          supersededAt: 1,
          createdAt: at - age,
        })),
      )
      .execute(),
  );
  const add = (agent: Agent) => () => agent.call("messages:startThread", { connectionId });
  const makeRoom = async () => {
    const [open] = await bob.call("messages:getThreadsForAgent", { status: "negotiating", limit: 1 });
    await bob.send(open.threadId, "reject");
  };
  return { fill, add: [add(alice), add(bob)], ...(status === "negotiating" ? { makeRoom } : {}) };
}

async function floodOfMessages(server: TestServer, counted: "proposalCount" | "messageCount", type: string) {
  const { alice, bob, threadId } = await server.negotiatingPair();
  await alice.send(threadId, "proposal");
  const fill = (have: number) =>
    write(server, (db) =>
      db
        .updateTable("threads")
        .set({ [counted]: have })
        .where("threadId", "=", threadId)
        .execute(),
    );
  return { fill, add: [alice, bob].map((agent) => () => agent.send(threadId, type)) };
}

async function floodOfSessions(server: TestServer, approvalMode: "auto" | "manual") {
  const rented = await rentable(server, { approvalMode, priceAmount: "0.00", maxConcurrentSessions: 100 });
  const { consumer, sessionId } = await openSession(server, {}, { of: rented });
  const other = await rentable(server, { approvalMode, priceAmount: "0.00" }, rented.provider);
  const elsewhere = await rentable(server, {}, undefined);
  let had = 1;
  const session = await server.read((db) =>
    db.selectFrom("sessions").selectAll().where("sessionId", "=", sessionId).executeTakeFirstOrThrow(),
  );
  const fill = async (have: number) => {
    const missing = have - had;
    had = have;
    const of = approvalMode === "auto" ? elsewhere : rented;
    const parties = { providerAgentId: of.agentId, providerUserId: of.provider.userId };
    const copies = Array.from({ length: missing }, () => ({ ...session, ...parties, sessionId: randomUUID() }));
    if (missing > 0) await write(server, (db) => db.insertInto("sessions").values(copies).execute());
  };
  const add = (agentId: string) => () => consumer.call("sessions:create", { agentId, taskDescription: task });
  const makeRoom = () => consumer.call("sessions:end", { sessionId });
  return { fill, add: [add(rented.agentId), add(other.agentId)], makeRoom };
}

describe.each(databases)("floods on %s", (database) => {
  const server = useServer(database);

  describe.each(Object.keys(floods) as Cap[])("%s", (cap) => {
    const limit = caps[cap].most;
    let flood: Flood;
    beforeAll(async () => {
      flood = await floods[cap](server);
    });

    test("the last place is taken by one of two at the same moment, and one more is refused in words", async () => {
      await flood.fill(limit - 1);
      const outcomes = await Promise.allSettled(flood.add.map((add) => add()));
      const full = { code: "conflict", data: { limit, have: limit }, message: expect.stringContaining(String(limit)) };
      const refused = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
      expect(refused).toEqual([expect.objectContaining(full)]);

      const lost = flood.add[outcomes.findIndex(({ status }) => status === "rejected")];
      await expect(lost?.()).rejects.toMatchObject(full);
      if (flood.makeRoom === undefined) return;
      await flood.makeRoom();
      await lost?.();
      await expect(lost?.()).rejects.toMatchObject(full);
    });

    test("above the cap from before, nothing more comes in, and what is there stays", async () => {
      await flood.fill(limit + 2);
      for (const add of flood.add) {
        const refusal = await add().catch((error) => error);
        expect(refusal).toMatchObject({ code: "conflict", data: { limit, have: expect.any(Number) } });
        expect(refusal.data.have).toBeGreaterThanOrEqual(limit + 2);
      }
    });
  });

  test("a thread full of proposals still takes info, and its end by accept or reject", async () => {
    for (const [end, status] of [
      ["accept", "awaiting_approval"],
      ["reject", "rejected"],
    ]) {
      const { alice, bob, threadId } = await server.negotiatingPair();
      let last = alice;
      for (let made = 0; made < caps.proposals.most; made += 1) {
        last = made % 2 === 0 ? alice : bob;
        await last.send(threadId, made === 0 ? "proposal" : "counter");
      }
      const other = last === alice ? bob : alice;
      await expect(other.send(threadId, "counter")).rejects.toMatchObject({
        code: "conflict",
        message: expect.stringContaining("Only accept, reject and info can follow"),
        data: { limit: 40, have: 40 },
      });
      await other.send(threadId, "info");
      expect(await other.send(threadId, String(end))).toMatchObject({ threadStatus: status });
    }
  });

  test("a negotiation that was silent for 30 days is over, by the clock and then in the database", async () => {
    const { alice, bob, connectionId, threadId } = await server.negotiatingPair();
    await alice.send(threadId, "proposal");
    server.clock.jump(30 * day - 2);
    expect(await bob.send(threadId, "info")).toMatchObject({ threadStatus: "negotiating" });
    server.clock.jump(30 * day);
    const over = { code: "conflict", message: "Cannot send messages to thread with status: expired" };
    await expect(bob.send(threadId, "info")).rejects.toMatchObject(over);
    expect(await alice.call("messages:getThreadsForAgent", { status: "negotiating" })).toEqual([]);
    expect(await alice.call("messages:getThreadsForAgent", { status: "expired" })).toHaveLength(1);
    await server.advance(3_600_001);
    const stored = () =>
      server.read((db) => db.selectFrom("threads").select("status").where("threadId", "=", threadId).execute());
    expect(await stored()).toEqual([{ status: "expired" }]);
    // It no longer counts as open.
    expect(await bob.call("messages:startThread", { connectionId })).toMatchObject({ status: "negotiating" });
  });

  test("an eager peer with hundreds of threads does not push the others off the page", async () => {
    const [alice, eager] = [await server.agent("Alice"), await server.agent("Eager")];
    const connect = async (peer: Agent) => {
      const { inviteToken } = await peer.call("connections:invite");
      return (await alice.call("connections:accept", { inviteToken })).connectionId as string;
    };
    const quiet: string[] = [];
    for (let made = 0; made < 5; made += 1) {
      const peer = await server.agent(`Quiet ${made}`);
      const { threadId } = await peer.call("messages:startThread", { connectionId: await connect(peer) });
      quiet.push(threadId);
    }
    await server.advance(1);
    const connectionId = await connect(eager);
    for (let made = 0; made < 60; made += 1) {
      const { threadId } = await eager.call("messages:startThread", { connectionId });
      if (made % 2 === 0) await eager.send(threadId, "reject");
    }
    const page: Value[] = await alice.call("messages:getThreadsForAgent", { limit: 10 });
    expect(page.map(({ threadId }) => threadId)).toEqual(expect.arrayContaining(quiet));
    const active = page.map(({ lastMessageAt, createdAt }) => lastMessageAt ?? createdAt);
    expect(active).toEqual([...active].sort((one, other) => other - one));

    // Threads that are opened while the pages are read repeat nothing and take nothing away.
    const seen = new Set(page.map(({ threadId }) => threadId));
    let cursor = page.at(-1).cursor;
    while (cursor !== undefined) {
      await eager.send((await eager.call("messages:startThread", { connectionId })).threadId, "reject");
      // Nor does one that goes on: it was read already, and stands at the top from now on.
      await alice.send(quiet[seen.size % quiet.length] ?? "", "info");
      const next: Value[] = await alice.call("messages:getThreadsForAgent", { limit: 10, cursor });
      for (const { threadId } of next) {
        expect(seen.has(threadId)).toBe(false);
        seen.add(threadId);
      }
      cursor = next.at(-1)?.cursor;
    }
    expect(seen.size).toBe(65);
  });

  test("blocked messages are kept up to a number, the first ones whole and the others counted", async () => {
    const { agent, sessionId } = await openSession(server);
    const blocked = () =>
      agent.call("sessions:sendMessage", {
        sessionId,
        type: "instruction.execute",
        payload: { command: "rm -rf /" },
      });
    await expect(blocked()).rejects.toMatchObject({ code: "forbidden" });
    const kept = () =>
      server.read((db) =>
        db.selectFrom("blockedMessages").selectAll().where("sessionId", "=", sessionId).orderBy("createdAt").execute(),
      );
    const [first] = await kept();
    if (!first) throw new Error("Nothing was kept");
    const more = Array.from({ length: mostBlocked - 2 }, () => ({ ...first, messageId: randomUUID() }));
    await write(server, (db) => db.insertInto("blockedMessages").values(more).execute());
    await server.advance(1);
    for (let sent = 0; sent < 4; sent += 1) await expect(blocked()).rejects.toMatchObject({ code: "forbidden" });
    const rows = await kept();
    expect(rows).toHaveLength(mostBlocked);
    expect(rows.at(-1)).toMatchObject({ furtherBlocked: 3 });
    expect(rows.filter(({ messageId }) => messageId === first.messageId)).toHaveLength(1);
  });
});

describe.each(databases)("an owner with 30 listings on %s", (database) => {
  const server = useServer(database);
  const owners: string[] = [];
  const all: string[] = [];
  beforeAll(async () => {
    const [flooder, ...quiet] = await Promise.all(["Flooder", "Ann", "Ben", "Cem"].map((name) => server.user(name)));
    if (!flooder) throw new Error("Nobody floods");
    const makers = [...quiet.flatMap((owner) => [owner, owner, owner, owner]), ...Array(30).fill(flooder)];
    for (const maker of makers) {
      all.push((await listed(server, maker, { name: "Fair pages" })).id);
      server.clock.jump(1);
    }
    owners.push(flooder.userId, ...quiet.map(({ userId }) => userId));
    await write(server, async (db) => {
      for (const [index, agentId] of all.entries()) {
        const counts = { totalSessions: index % 5, completionRate: index % 4 === 0 ? null : (index % 4) / 3 };
        await db.updateTable("providerProfiles").set(counts).where("agentId", "=", agentId).execute();
      }
    });
  });
  const browse = (args: object): Promise<Value> => server.nobody.call("marketplace:browse", args);
  const isOurs = ({ owner }: Value) => owners.includes(owner.id);

  /** What a page shows beyond three of one owner may be there only when everything of the others was shown. */
  function expectFair(pages: Value[][], limit: number) {
    for (const [index, page] of pages.entries()) {
      for (const owner of owners) {
        if (page.filter((card) => card.owner.id === owner).length <= 3) continue;
        const later = pages.slice(index + 1).flat();
        const others = later.filter((card) => card.owner.id !== owner);
        // Four owners cannot fill a page with three each: then each has three more.
        const most = limit > 3 * owners.length && others.length > 0 ? 6 : 3;
        if (others.length > 0) {
          expect(page.filter((card) => card.owner.id === owner).length, `page ${index}`).toBeLessThanOrEqual(most);
        }
      }
    }
  }

  test.each(
    ["newest", "rating", "popular"].flatMap((sort) =>
      [{}, { search: "fair pages" }].flatMap((more) => [4, 10, 20].map((limit) => ({ sort, limit, ...more }))),
    ),
  )("is on a page with three of them while others' remain, by cursor and by number (%j)", async (args) => {
    const { data: whole, total } = await browse({ ...args, ownerId: owners[0], limit: 100 });
    expect(total).toBe(30);
    const byCursor: Value[][] = [];
    const byNumber: Value[][] = [];
    let cursor: string | null | undefined;
    for (let page = 1; cursor !== null; page += 1) {
      const answer = await browse({ ...args, ...(cursor === undefined ? {} : { cursor }) });
      const numbered = await browse({ ...args, page });
      expect(answer.data).toHaveLength(Math.min(args.limit, answer.total - args.limit * (page - 1)));
      cursor = answer.nextCursor;
      byCursor.push(answer.data.filter(isOurs));
      byNumber.push(numbered.data.filter(isOurs));
    }
    expect(byNumber).toEqual(byCursor);
    expectFair(byCursor, args.limit);
    const shown = byCursor.flat();
    expect(shown.map(({ id }) => id).sort()).toEqual([...all].sort());
    // Of one owner's, the contract's order is that of the pages.
    const theirs = shown.filter(({ owner }) => owner.id === owners[0]);
    expect(theirs.map(({ id }) => id)).toEqual(whole.map(({ id }: Value) => id));
  });

  test("a crowd that comes between two pages takes nothing away and repeats nothing", async () => {
    const crowd = await server.user("Crowd");
    const seen: string[] = [];
    let cursor: string | null | undefined;
    while (cursor !== null) {
      const answer = await browse({ limit: 7, ...(cursor === undefined ? {} : { cursor }) });
      seen.push(...answer.data.map(({ id }: Value) => id));
      cursor = answer.nextCursor;
      for (let made = 0; made < 4; made += 1) await listed(server, crowd, { name: "Of the crowd" });
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen).toEqual(expect.arrayContaining(all));
  });

  test("a cursor that somebody wrote is a place in the list or refused, and nothing breaks", async () => {
    for (const sort of ["newest", "rating", "popular"]) {
      const { nextCursor } = await browse({ sort, limit: 10 });
      const [mark, sortKey, agentId] = nextCursor.split("~");
      const waits = (text: string) => [mark, sortKey, agentId, Buffer.from(text).toString("base64url")].join("~");
      const refused = ["x", "a 1", "a 1e999 b", "a 01 b", "a NaN b", "a 1 '", "- -", "a 1 b\n", "a 1 b\n".repeat(101)];
      if (sort !== "rating") refused.push("a 0.5 b", "a 9007199254740993 b");
      for (const text of refused) {
        await expect(browse({ sort, cursor: waits(text) }), text).rejects.toMatchObject({ code: "invalid_args" });
      }
      for (const number of ["0", "-1", "9007199254740991", "-9007199254740991"]) {
        await browse({ sort, cursor: waits(`${owners[0]?.slice(-12)} ${number} zzz`) });
        await browse({ sort, cursor: [mark, number, "zzz", nextCursor.split("~")[3]].join("~") });
      }
    }
  });
});
