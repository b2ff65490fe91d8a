/** Rows in numbers that no test could make by calls: copies of rows that calls have made, written past every function. */
import { sql } from "kysely";
import type { Database } from "../../schema/index.js";
import type { TestServer } from "./harness.js";

type Table = keyof Database & string;

/**
 * Writes `count` copies of one row, numbered from 1. `changes` gives SQL for the columns that differ, in which `i` is the
 * copy's number; keys have to be among them.
 */
export async function copyRow(
  server: TestServer,
  table: Table,
  [key, value]: [column: string, value: string],
  count: number,
  changes: Record<string, string>,
): Promise<void> {
  await server.server.store.write(async ({ db }) => {
    const found = await sql<Record<string, unknown>>`
      select * from ${sql.table(table)} where ${sql.ref(key)} = ${value}`.execute(db);
    const columns = Object.keys(found.rows[0] ?? {});
    const values = columns.map((column) => (changes[column] ? sql.raw(changes[column]) : sql.ref(`row.${column}`)));
    await sql`
      insert into ${sql.table(table)} (${sql.join(columns.map((column) => sql.ref(column)))})
      with recursive numbers(i) as (select 1 union all select i + 1 from numbers where i < ${sql.lit(count)})
      select ${sql.join(values)} from ${sql.table(table)} as row cross join numbers
      where ${sql.ref(`row.${key}`)} = ${value}`.execute(db);
  });
}
