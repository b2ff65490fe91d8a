/** What a call hears of a change that fails (runtime/store/lent-connection.ts). */
import { type CompiledQuery, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from "kysely";
import pg from "pg";
import { expect, test } from "vitest";
import { WriteSet } from "../../../runtime/live/read-and-write-sets.js";
import { askingForPartitions } from "../../../runtime/store/changed-rows.js";
import { ConnectionDriver } from "../../../runtime/store/connection-driver.js";
import { Lease } from "../../../runtime/store/lent-connection.js";
import type { Database } from "../../../schema/index.js";

/** A PostgreSQL whose transaction lost a race: the next statement is told so, those behind it only that it is void. */
class LostRace extends ConnectionDriver {
  readonly asked: string[] = [];

  override executeQuery({ sql }: CompiledQuery): Promise<never> {
    this.asked.push(sql.split(" ")[0] ?? "");
    const code = this.asked.length === 1 ? "40001" : "25P02";
    return Promise.reject(Object.assign(new pg.DatabaseError("lost", 0, "error"), { code }));
  }

  protected override async control(): Promise<void> {}
}

test("a race that is lost at the look at what a change replaces is a conflict, so that the call runs again", async () => {
  const driver = new LostRace();
  const dialect = {
    createDriver: () => driver,
    createAdapter: () => new PostgresAdapter(),
    createIntrospector: (db: Kysely<unknown>) => new PostgresIntrospector(db),
    createQueryCompiler: () => askingForPartitions(new PostgresQueryCompiler()),
  };
  const executor = new Kysely<Database>({ dialect }).getExecutor();
  const writes = new WriteSet();
  const { db } = new Lease({ config: { dialect }, dialect, driver, executor }, driver, (query) => writes.add(query));
  const taken = db.updateTable("agents").set({ ownerId: "new" }).where("agentId", "=", "a").execute();
  await expect(taken).rejects.toMatchObject({ code: "40001" });
  expect(driver.asked).toEqual(["select", "update"]);
});
