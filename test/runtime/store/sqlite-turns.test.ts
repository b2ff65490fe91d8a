/** SQLite runs calls in groups; a group of long ones does not keep the sockets from their turn until the last is through. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { SqliteStore } from "../../../runtime/store/sqlite.js";

let store: SqliteStore;
/** Turns of the event loop so far. */
let turns = 0;
let isCounting = true;

beforeEach(async () => {
  store = new SqliteStore(":memory:");
  await store.migrate();
  isCounting = true;
  const count = () => {
    turns += 1;
    if (isCounting) setImmediate(count);
  };
  count();
});
afterEach(async () => {
  isCounting = false;
  await store.close();
});

/** Work that keeps the loop for a while, and says in which of its turns. */
async function long(): Promise<number> {
  const endsAt = performance.now() + 12;
  while (performance.now() < endsAt);
  return turns;
}

function mail(mailId: string) {
  return { mailId, recipient: "a", subject: "b", body: "c", attempts: 0, nextAttemptAt: 0, createdAt: 0 } as never;
}

test.each([
  ["reads", () => store.read(long)],
  ["writes", () => store.write(long)],
])("%s that came together are done in several turns, in their order", async (_what, call) => {
  const began = await Promise.all(Array.from({ length: 12 }, call));
  expect(new Set(began).size).toBeGreaterThanOrEqual(4);
  expect(began).toEqual(began.toSorted((one, other) => one - other));
});

test("a read of many statements is done in several turns, of one snapshot, and nothing runs in it once it has ended", async () => {
  const seen = await store.read(async (db) => {
    const counted: { turn: number; mails: number }[] = [];
    for (let statement = 0; statement < 5; statement += 1) {
      if (statement === 2) void store.write(({ db: other }) => other.insertInto("outbox").values(mail("a")).execute());
      const { mails } = await db
        .selectFrom("outbox")
        .select(({ fn }) => fn.countAll<number>().as("mails"))
        .executeTakeFirstOrThrow();
      counted.push({ turn: await long(), mails });
    }
    return counted;
  });
  expect(new Set(seen.map(({ turn }) => turn)).size).toBe(5);
  expect(seen.map(({ mails }) => mails)).toEqual([0, 0, 0, 0, 0]);

  let straggler: Promise<unknown> = Promise.resolve();
  await store.read(async (db) => {
    await long();
    straggler = db.selectFrom("outbox").selectAll().execute();
    straggler.catch(() => {});
  });
  await expect(straggler).rejects.toThrow("The call's transaction has ended");
  expect(await store.read((db) => db.selectFrom("outbox").selectAll().execute())).toHaveLength(1);
});

test("one caller's hundred reads do not come before another's one", async () => {
  const order: string[] = [];
  const read = (who: string) => store.read(async () => order.push(who), undefined, who);
  await Promise.all([...Array.from({ length: 100 }, () => read("alice")), read("bob")]);
  expect(order.indexOf("bob")).toBeLessThanOrEqual(1);
  expect(order).toHaveLength(101);
});

test("a write that fails in a group that was cut undoes itself alone", async () => {
  const write = (mailId: string, fails: boolean) =>
    store.write(async ({ db }) => {
      await db.insertInto("outbox").values(mail(mailId)).execute();
      await long();
      if (fails) throw new Error(`${mailId} fails`);
    });
  const settled = await Promise.allSettled(
    Array.from({ length: 8 }, (_, index) => write(`mail ${index}`, index === 1)),
  );
  expect(settled.filter(({ status }) => status === "rejected")).toHaveLength(1);
  const rows = await store.read((db) => db.selectFrom("outbox").select("mailId").orderBy("mailId").execute());
  expect(rows.map(({ mailId }) => mailId)).toEqual([0, 2, 3, 4, 5, 6, 7].map((index) => `mail ${index}`));
});
