/** Read and write sets from the statements themselves (design.md section 4). */
import { DummyDriver, Kysely, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler, sql } from "kysely";
import { expect, test } from "vitest";
import { prepared } from "../../runtime/prepared.js";
import { type ObservedQuery, ReadSet, WriteSet } from "../../runtime/slices.js";
import type { Database } from "../../schema/index.js";

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

function readsOf(...queries: Compilable[]) {
  const reads = new ReadSet();
  for (const query of queries) reads.add(query.compile() as ObservedQuery);
  return Object.fromEntries(
    [...reads.slices].map(([table, columns]) => [
      table,
      Object.fromEntries([...columns].map(([column, values]) => [column ?? "whole", [...values]])),
    ]),
  );
}

function writesOf(...queries: Compilable[]): WriteSet {
  const writes = new WriteSet();
  for (const query of queries) writes.add(query.compile() as ObservedQuery);
  return writes;
}

function written(...queries: Compilable[]) {
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
  // The row that was there may have had another owner.
  const replaced = db
    .insertInto("cartItems")
    .values({ cartItemId: "c", userId: "u", providerAgentId: "p", taskDescription: "", createdAt: 1, updatedAt: 1 })
    .onConflict((conflict) => conflict.columns(["userId", "providerAgentId"]).doUpdateSet({ taskDescription: "x" }));
  expect(written(replaced)).toEqual({ cartItems: { cartItemId: "all", userId: "all" } });
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
