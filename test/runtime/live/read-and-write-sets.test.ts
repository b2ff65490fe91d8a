/** Read and write sets from the statements themselves (architecture.md section 4). */
import { DummyDriver, Kysely, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler, sql } from "kysely";
import { describe, expect, test } from "vitest";
import { type ObservedQuery, ReadSet, WriteSet } from "../../../runtime/live/read-and-write-sets.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { Database } from "../../../schema/index.js";
import { keys, partitions } from "../../../schema/partitions.js";
import { startServer } from "../../support/harness.js";

/** Compiles and runs nothing. */
const db = new Kysely<Database>({
  dialect: {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (kysely) => new SqliteIntrospector(kysely),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  },
});

interface Compilable {
  compile(): unknown;
}

/** Each query, perhaps with the rows that it gave. */
type Ran = Compilable | [Compilable, Record<string, unknown>[]];

function note(into: ReadSet | WriteSet, ran: Ran): void {
  const [query, rows] = Array.isArray(ran) ? ran : [ran, undefined];
  const hearRows = into.add(query.compile() as ObservedQuery);
  // Whoever hangs on rows is told of them, and nobody else asks for them.
  expect(hearRows !== undefined).toBe(rows !== undefined);
  if (rows) hearRows?.(rows);
}

function readSetOf(...queries: Ran[]): ReadSet {
  const reads = new ReadSet();
  for (const query of queries) note(reads, query);
  return reads;
}

function readsOf(...queries: Ran[]) {
  const reads = readSetOf(...queries);
  return Object.fromEntries(
    [...reads.slices].map(([table, columns]) => [
      table,
      Object.fromEntries([...columns].map(([column, values]) => [column ?? "whole", [...values]])),
    ]),
  );
}

function writesOf(...queries: Ran[]): WriteSet {
  const writes = new WriteSet();
  for (const query of queries) note(writes, query);
  return writes;
}

function written(...queries: Ran[]) {
  return Object.fromEntries(
    [...writesOf(...queries).tables].map(([table, columns]) => [
      table,
      Object.fromEntries([...columns].map(([column, values]) => [column, values === "all" ? "all" : [...values]])),
    ]),
  );
}

const message = {
  threadId: "t",
  createdAt: 1,
  messageId: "m",
  fromAgentId: "a",
  type: "info" as const,
  encryptedPayload: null,
  payload: "{}",
  referencesMessageId: null,
};

test("a read is a slice where it names a partition column, and the whole table where it does not", () => {
  expect(readsOf(db.selectFrom("messages").selectAll().where("threadId", "=", "t"))).toEqual({
    messages: { threadId: ["t"] },
  });
  expect(readsOf(db.selectFrom("messages").selectAll().where("createdAt", ">", 3))).toEqual({
    messages: { whole: [] },
  });
  expect(readsOf(db.selectFrom("messages").selectAll().where("threadId", "in", ["t", "u"]))).toEqual({
    messages: { threadId: ["t", "u"] },
  });
  // Either may be it, so neither is.
  const either = db.selectFrom("messages").selectAll();
  expect(readsOf(either.where(({ or, eb }) => or([eb("threadId", "=", "t"), eb("fromAgentId", "=", "a")])))).toEqual({
    messages: { whole: [] },
  });
});

test("joins read both tables, by aliases and through columns that are equal", () => {
  const joined = db
    .selectFrom("checkins as mine")
    .innerJoin("checkins as theirs", "theirs.eventId", "mine.eventId")
    .leftJoin("agents", "agents.agentId", "theirs.agentId")
    .select(["agents.name"])
    .where("mine.eventId", "=", "e")
    .where("mine.agentId", "=", "a");
  expect(readsOf(joined)).toEqual({ checkins: { eventId: ["e"] }, agents: { whole: [] } });
});

test("subqueries, common tables and SQL by hand are read too", () => {
  expect(
    readsOf(
      db
        .selectFrom("agents")
        .selectAll()
        .where("agentId", "=", "a")
        .where(({ exists, selectFrom }) => exists(selectFrom("connections").select("connectionId"))),
    ),
  ).toEqual({ agents: { agentId: ["a"] }, connections: { whole: [] } });
  expect(
    readsOf(
      db
        .with("mine", (query) => query.selectFrom("threads").selectAll().where("agentAId", "=", "a"))
        .selectFrom("mine")
        .selectAll(),
    ),
  ).toEqual({ threads: { agentAId: ["a"] } });
  expect(readsOf({ compile: () => sql`select 1 from entries join "transfers" on true`.compile(db) })).toEqual({
    entries: { whole: [] },
    transfers: { whole: [] },
  });
});

test("an insert touches the slices of its rows", () => {
  expect(written(db.insertInto("messages").values([message, { ...message, messageId: "n", threadId: "u" }]))).toEqual({
    messages: { messageId: ["m", "n"], threadId: ["t", "u"] },
  });
  // The row that was there has the owner by whom they met, and any id.
  const replaced = db
    .insertInto("cartItems")
    .values({ cartItemId: "c", userId: "u", providerAgentId: "p", taskDescription: "", createdAt: 1, updatedAt: 1 })
    .onConflict((conflict) => conflict.columns(["userId", "providerAgentId"]).doUpdateSet({ taskDescription: "x" }));
  expect(written(replaced)).toEqual({ cartItems: { cartItemId: "all", userId: ["u"] } });
});

test("an update and a delete touch the slices that they name, and all of the others", () => {
  expect(written(db.updateTable("threads").set({ status: "expired" }).where("threadId", "=", "t"))).toEqual({
    threads: { threadId: ["t"], connectionId: "all", agentAId: "all", agentBId: "all" },
  });
  expect(written(db.updateTable("agents").set({ ownerId: "new" }).where("ownerId", "=", "old"))).toMatchObject({
    agents: { ownerId: ["old", "new"], agentId: "all" },
  });
  expect(written(db.deleteFrom("favorites").where("userId", "=", "u").where("agentId", "=", "a"))).toEqual({
    favorites: { userId: ["u"], agentId: ["a"] },
  });
  expect(written(db.deleteFrom("idempotency").where("expiresAt", "<", 3))).toEqual({ idempotency: { keyHash: "all" } });
  expect(written({ compile: () => sql`update sessions set status = 'x'`.compile(db) }).sessions?.sessionId).toBe("all");
});

test("a prepared statement has its parameters by name", async () => {
  const find = prepared(["threadId"], (kysely, { threadId }) =>
    kysely.selectFrom("messages").selectAll().where("threadId", "=", threadId),
  );
  const reads = new ReadSet();
  const observed = new Kysely<Database>({
    dialect: {
      createAdapter: () => new SqliteAdapter(),
      createDriver: () =>
        new (class extends DummyDriver {
          override async acquireConnection() {
            const connection = await super.acquireConnection();
            const run = connection.executeQuery.bind(connection);
            connection.executeQuery = (query) => {
              reads.add(query);
              return run(query);
            };
            return connection;
          }
        })(),
      createIntrospector: (kysely) => new SqliteIntrospector(kysely),
      createQueryCompiler: () => new SqliteQueryCompiler(),
    },
  });
  for (const threadId of ["t", "u"]) await find({ db: observed }, { threadId });
  expect([...(reads.slices.get("messages")?.get("threadId") ?? [])]).toEqual(["t", "u"]);
});

test("a change that returns its rows touches the slices in them, and nothing where there are none", () => {
  const moved = db.updateTable("threads").set({ status: "expired" }).where("status", "=", "confirmed");
  const returning = moved.returning(partitions.threads);
  const row = { threadId: "t", connectionId: null, agentAId: "a", agentBId: "b" };
  expect(written([returning, [row, { ...row, threadId: "u", agentBId: "c" }]])).toEqual({
    threads: { threadId: ["t", "u"], connectionId: ["null"], agentAId: ["a"], agentBId: ["b", "c"] },
  });
  expect(written([returning, []])).toEqual({});
  // What is not returned may be anything; names do not matter, but what they stand for.
  expect(written([moved.returning(["agentAId as agentBId", "threadId as it"]), [{ agentBId: "a", it: "t" }]])).toEqual({
    threads: { threadId: ["t"], connectionId: "all", agentAId: ["a"], agentBId: "all" },
  });
  expect(written([db.deleteFrom("agentSockets").where("processId", "=", "p").returningAll(), []])).toEqual({});
  // The rows of a part of a statement do not come back.
  const within = { compile: () => sql`with gone as (${returning}) select 1`.compile(db) };
  expect(written(within)).toMatchObject({ threads: { agentAId: "all" } });
});

test("a row that moves touches the slice that it left, which its rows do not show", () => {
  const given = { agentId: "a", slug: "s", claimTokenHash: "h", ownerId: "new" };
  const taken = db.updateTable("agents").set({ ownerId: "new" }).where("agentId", "=", "a");
  expect(written([taken.returning(partitions.agents), [given]])).toEqual({
    agents: { agentId: ["a"], slug: ["s"], claimTokenHash: ["h"], ownerId: "all" },
  });
  // Unless the statement says where it was.
  const claimed = taken.where("ownerId", "is", null).returning(partitions.agents);
  expect(written([claimed, [given]])).toMatchObject({ agents: { ownerId: ["null", "new"] } });
  const sold = taken.where("ownerId", "=", "old").returning(partitions.agents);
  const before = readSetOf(db.selectFrom("agents").selectAll().where("ownerId", "=", "old"));
  const after = readSetOf(db.selectFrom("agents").selectAll().where("ownerId", "=", "new"));
  const other = readSetOf(db.selectFrom("agents").selectAll().where("ownerId", "=", "other"));
  const writes = writesOf([sold, [given]]);
  expect([before, after, other].map((reads) => reads.touchedBy(writes))).toEqual([true, true, false]);
});

test("an insert that may meet a row touches what both have, and all of what they need not share", () => {
  const follow = db.insertInto("follows").values({ followerId: "f", userId: "u", createdAt: 1 });
  const columns = ["followerId", "userId"] as const;
  expect(written(follow.onConflict((met) => met.columns(columns).doNothing()))).toEqual({
    follows: { followerId: ["f"], userId: ["u"] },
  });
  const moved = follow.onConflict((met) => met.column("followerId").doUpdateSet({ userId: "v" }));
  expect(written(moved)).toEqual({ follows: { followerId: ["f"], userId: "all" } });
  const taken = follow.onConflict((met) => met.columns(columns).doUpdateSet({ userId: "v" }));
  expect(written(taken)).toEqual({ follows: { followerId: ["f"], userId: "all" } });
  // The row that it met may be anywhere.
  const somewhere = follow.onConflict((met) => met.constraint("one").doUpdateSet({ createdAt: 2 }));
  expect(written(somewhere)).toEqual({ follows: { followerId: "all", userId: "all" } });
  expect(written(follow.orReplace())).toEqual({ follows: { followerId: "all", userId: "all" } });
});

describe("a left join along a key", () => {
  const connections = db.selectFrom("connections").where("connections.inviterAgentId", "=", "a");
  const joined = connections.leftJoin("agents", "agents.agentId", "connections.accepterAgentId");
  const named = joined.select(["connections.accepterAgentId", "agents.name"]);
  const whole = { connections: { inviterAgentId: ["a"] }, agents: { whole: [] } };

  test("reads the slices that the rows name", () => {
    const rows = [{ accepterAgentId: "b" }, { accepterAgentId: "c" }, { accepterAgentId: null }];
    const mine = { inviterAgentId: ["a"] };
    expect(readsOf([named, rows])).toEqual({ connections: mine, agents: { agentId: ["b", "c"] } });
    expect(readsOf([named.orderBy("connections.createdAt", "desc").limit(5).offset(5), []])).toEqual({
      connections: mine,
    });
    const renamed = joined.selectAll("connections").select(["connections.accepterAgentId as theirs", "agents.name"]);
    expect(readsOf([renamed, [{ accepterAgentId: "b", theirs: "b" }]])).toMatchObject({ agents: { agentId: ["b"] } });
    const aliased = connections
      .leftJoin("agents as peer", "connections.accepterAgentId", "peer.agentId")
      .select(["connections.accepterAgentId as theirs", "peer.name"]);
    expect(readsOf([aliased, [{ theirs: "d" }]])).toMatchObject({ agents: { agentId: ["d"] } });
  });

  test("is touched by a row that newly matches, and by a row that moves, and by no other", () => {
    // Its agent was not there.
    const reads = readSetOf([named, [{ accepterAgentId: "b", name: null }]]);
    const agent = { name: "Bob's agent", claimTokenHash: "h", createdAt: 1 };
    const insert = (agentId: string) => db.insertInto("agents").values({ ...agent, agentId } as never);
    const accept = (inviterAgentId: string): Ran => [
      db
        .updateTable("connections")
        .set({ accepterAgentId: "c" })
        .where("connectionId", "=", "x")
        .where("accepterAgentId", "=", "b")
        .returning(["connectionId", "inviteTokenHash", "pairKey", "inviterAgentId"]),
      [{ connectionId: "x", inviteTokenHash: "h", pairKey: "p", inviterAgentId }],
    ];
    const touched = [insert("b"), insert("c"), accept("a"), accept("z")].map((ran) => reads.touchedBy(writesOf(ran)));
    expect(touched).toEqual([true, false, true, false]);
  });

  test.each<[string, Compilable]>([
    ["where the rows do not say which", joined.select("agents.name")],
    [
      "where the partner is not kept out of the result",
      connections
        .innerJoin("agents", "agents.agentId", "connections.accepterAgentId")
        .select(["connections.accepterAgentId", "agents.name"]),
    ],
    ["where it decides which rows come back", named.where("agents.name", "=", "Bob")],
    ["where its absence does", named.where("agents.agentId", "is", null)],
    ["where it decides their order", named.orderBy("agents.name").limit(1)],
    ["where a column may be one of its", named.orderBy("name")],
    ["where SQL by hand may speak of it", named.where(sql<boolean>`lower("publicKey") = 'x'`)],
    [
      "where it is joined on something else",
      connections
        .leftJoin("agents", "agents.slug", "connections.accepterAgentId")
        .select(["connections.accepterAgentId", "agents.name"]),
    ],
    ["where rows are counted together", named.groupBy(["connections.accepterAgentId", "agents.name"])],
    ["where only what differs comes back", named.distinct()],
    ["where another column has the name", named.select("agents.name as accepterAgentId")],
    ["where all of it has the name too", joined.select("connections.accepterAgentId").selectAll("agents")],
    ["where the rows are counted", db.selectFrom(named.as("all")).select(({ fn }) => fn.countAll().as("count"))],
    ["where other rows come with them", named.unionAll(connections.select(["pairKey", "pairKey as name"]) as never)],
  ])("reads the whole table %s", (_why, query) => {
    expect(readsOf(query)).toMatchObject({ agents: whole.agents });
  });

  test("does not bind the rows that have no partner", () => {
    const constant = db
      .selectFrom("threads")
      .leftJoin("connections", (join) =>
        join.onRef("connections.connectionId", "=", "threads.connectionId").on("threads.agentAId", "=", "a"),
      )
      .select("threads.threadId");
    expect(readsOf(constant)).toMatchObject({ threads: { whole: [] } });
    const throughPartner = db
      .selectFrom("threads")
      .leftJoin("connections", (join) =>
        join.onRef("connections.connectionId", "=", "threads.connectionId").on("connections.connectionId", "=", "c"),
      )
      .select("threads.threadId");
    expect(readsOf(throughPartner)).toEqual({ threads: { whole: [] }, connections: { connectionId: ["c"] } });
  });

  test("takes for keys only what the database holds unique", async () => {
    const server = await startServer("sqlite");
    for (const [table, columns] of Object.entries(keys)) {
      const { rows } = await server.read((file) =>
        sql<{ name: string }>`select name from pragma_table_info(${table}) where pk > 0 order by pk`.execute(file),
      );
      expect([table, rows.map(({ name }) => name)]).toEqual([table, columns]);
    }
    await server.close();
  });
});

test("what touches a slice, touches its readers, and nobody else's", () => {
  const reader = (query: Compilable) => {
    const reads = new ReadSet();
    reads.add(query.compile() as ObservedQuery);
    return reads;
  };
  const ofThread = reader(db.selectFrom("messages").selectAll().where("threadId", "=", "t"));
  const ofAll = reader(db.selectFrom("messages").selectAll());
  const here = writesOf(db.insertInto("messages").values(message));
  const elsewhere = writesOf(db.insertInto("messages").values({ ...message, threadId: "u" }));
  const unknown = writesOf(db.updateTable("messages").set({ type: "info" }).where("messageId", "=", "m"));
  const other = writesOf(db.deleteFrom("docs"));
  expect([here, elsewhere, unknown, other].map((writes) => ofThread.touchedBy(writes))).toEqual([
    true,
    false,
    true,
    false,
  ]);
  expect([here, elsewhere, unknown, other].map((writes) => ofAll.touchedBy(writes))).toEqual([true, true, true, false]);
  // It travels to other processes.
  const travelled = WriteSet.fromJson(JSON.parse(JSON.stringify(elsewhere.toJson())));
  expect([ofThread.touchedBy(travelled), ofAll.touchedBy(travelled)]).toEqual([false, true]);
});
