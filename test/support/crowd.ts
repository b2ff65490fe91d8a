/**
 * Writes more rows than a test could make by calls. They are copies of rows that calls have made, written without
 * calling any function.
 */
import { sql } from "kysely";
import { type EventRow, storedPlace } from "../../functions/model/events/event.js";
import type { Database } from "../../schema/index.js";
import { hour, type TestServer } from "./harness.js";

/** PostgreSQL ends statements that take too long. */
const rowsAtOnce = 20_000;

type Table = keyof Database & string;

/**
 * Writes `count` copies of one row, numbered from 1. `changes` gives SQL for the columns that differ, in which `i` is
 * the copy's number. The key columns must be among them.
 */
export async function copyRow(
  server: TestServer,
  table: Table,
  [key, value]: [column: string, value: string],
  count: number,
  changes: Record<string, string>,
): Promise<void> {
  for (let from = 1; from <= count; from += rowsAtOnce) {
    const to = Math.min(count, from + rowsAtOnce - 1);
    await server.server.store.write(async ({ db }) => {
      const found = await sql<Record<string, unknown>>`
        select * from ${sql.table(table)} where ${sql.ref(key)} = ${value}`.execute(db);
      const columns = Object.keys(found.rows[0] ?? {});
      const values = columns.map((column) => (changes[column] ? sql.raw(changes[column]) : sql.ref(`row.${column}`)));
      await sql`
        insert into ${sql.table(table)} (${sql.join(columns.map((column) => sql.ref(column)))})
        with recursive numbers(i) as (select ${sql.lit(from)} union all select i + 1 from numbers where i < ${sql.lit(to)})
        select ${sql.join(values)} from ${sql.table(table)} as row cross join numbers
        where ${sql.ref(`row.${key}`)} = ${value}`.execute(db);
    });
  }
}

let stored = 0;
/** Stores events as many creators would have made them over time. */
export async function storeEvents(server: TestServer, events: (Partial<EventRow> & { lat: number; lng: number })[]) {
  const now = server.clock.now();
  const rows = events.map(({ lat, lng, ...more }) => {
    stored += 1;
    return {
      eventId: `evt_${String(stored).padStart(8, "0")}`,
      name: "E",
      tags: "[]",
      startAt: now - hour,
      endAt: now + hour,
      turn: 0,
      createdAt: now,
      ...storedPlace(lat, lng),
      createdBy: "",
      ...more,
    };
  });
  await server.server.store.write(async ({ db }) => {
    for (let at = 0; at < rows.length; at += 500) {
      await db
        .insertInto("events")
        .values(rows.slice(at, at + 500))
        .execute();
    }
  });
  return rows;
}
