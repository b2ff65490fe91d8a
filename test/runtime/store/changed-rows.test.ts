/** What the database is asked of the rows that a change touches (runtime/store/changed-rows.ts). */
import { describe, expect, test } from "vitest";
import { ReadSet, WriteSet } from "../../../runtime/live/read-and-write-sets.js";
import { prepared } from "../../../runtime/store/prepared.js";
import { databases, useServer } from "../../support/harness.js";

describe.each(databases)("a change on %s", (database) => {
  const server = useServer(database);

  async function written(change: Parameters<typeof server.server.store.write>[0]) {
    const writes = new WriteSet();
    await server.server.store.write(change, (query) => writes.add(query));
    return Object.fromEntries(writes.toJson().map(([table, columns]) => [table, Object.fromEntries(columns)]));
  }

  test("touches the slices of its rows alone, though its handler names none and is given what it asked for", async () => {
    const { agentId } = await server.agent();
    const rename = prepared(["agentId", "name"], (db, { agentId, name }) =>
      db.updateTable("agents").set({ name }).where("agentId", "=", agentId),
    );
    const [{ claimTokenHash }] = (await server.read((db) =>
      db.selectFrom("agents").select("claimTokenHash").where("agentId", "=", agentId).execute(),
    )) as [{ claimTokenHash: string }];
    const touched = {
      agents: { agentId: [agentId], slug: ["null"], claimTokenHash: [claimTokenHash], ownerId: ["null"] },
    };
    expect(
      await written(async ({ db }) => {
        const changed = await db.updateTable("agents").set({ name: "Ann" }).where("agentId", "=", agentId).execute();
        expect(changed.map(({ numUpdatedRows }) => numUpdatedRows)).toEqual([1n]);
      }),
    ).toEqual(touched);
    expect(await written(({ db }) => rename({ db }, { agentId, name: "Bob" }))).toEqual(touched);
    expect(await written(({ db }) => rename({ db }, { agentId: "nobody", name: "Bob" }))).toEqual({});
    expect(
      await written(async ({ db }) => {
        const gone = await db.deleteFrom("agentCredentials").where("agentId", "=", agentId).returning("kind").execute();
        expect(gone).toMatchObject([{ kind: "apiKey" }]);
      }),
    ).toMatchObject({ agentCredentials: { agentId: [agentId] } });
  });

  test("that moves rows touches the slices that they left and those that they came to, and no other", async () => {
    const alice = await server.agent();
    const moved = (slug: string) =>
      written(({ db }) =>
        db.updateTable("agents").set({ slug }).where("agentId", "in", [alice.agentId]).executeTakeFirstOrThrow(),
      );
    expect(await moved("one")).toMatchObject({ agents: { slug: ["one", "null"], agentId: [alice.agentId] } });
    expect(await moved("two")).toMatchObject({ agents: { slug: ["two", "one"] } });

    const take = prepared(["agentId", "slug"], (db, { agentId, slug }) =>
      db.updateTable("agents").set({ slug }).where("agentId", "=", agentId),
    );
    const writes = new WriteSet();
    const readers = ["two", "three", "four"].map((slug) => {
      const reads = new ReadSet();
      return server.server.store
        .read(
          async (db) => db.selectFrom("agents").select("name").where("slug", "=", slug).execute(),
          (query) => reads.add(query),
        )
        .then(() => reads);
    });
    const watched = await Promise.all(readers);
    await server.server.store.write(
      ({ db }) => take({ db }, { agentId: alice.agentId, slug: "three" }),
      (query) => writes.add(query),
    );
    expect(watched.map((reads) => reads.touchedBy(writes))).toEqual([true, true, false]);
  });
});
