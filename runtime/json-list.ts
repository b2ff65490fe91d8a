/**
 * Lists that the database serialises itself. Making objects of rows is most of what a list query costs
 * (building 50 rows in JavaScript takes several times as long as reading them), and a list that a handler returns
 * untouched never needs them.
 */
import { type Expression, sql } from "kysely";
import type { QueryContext } from "./context.js";
import { JsonText } from "./define.js";

/**
 * How a column is written: `text` is escaped; `plain` is text that is known to need no escape (ids, base64); `json`
 * is JSON text already; with `?`, the key is left out where the column is null.
 */
export type JsonColumn = "text" | "plain" | "number" | "json" | "text?" | "plain?" | "number?" | "json?";

/** The rows of `rows` as a JSON array, in ascending order of `orderBy`. The first column may not be an optional one. */
export async function jsonList<Row>(
  { db, dialect }: QueryContext,
  rows: Expression<Row>,
  orderBy: keyof Row & string,
  columns: Record<keyof Row & string, JsonColumn>,
): Promise<JsonText<never[]>> {
  const parts = (Object.entries(columns) as [string, JsonColumn][]).map(([column, kind], index) => {
    const reference = sql.ref(column);
    const key = sql.lit(`${index === 0 ? "" : ","}"${column}":`);
    const value = kind.startsWith("text")
      ? dialect.jsonString(reference)
      : kind.startsWith("plain")
        ? sql`'"' || ${reference} || '"'`
        : reference;
    return kind.endsWith("?") ? sql`coalesce(${key} || ${value}, '')` : sql`${key} || ${value}`;
  });
  const object = sql`'{' || ${sql.join(parts, sql` || `)} || '}'`;
  const array = sql`'[' || coalesce(string_agg(${object}, ',' order by ${sql.ref(orderBy)}), '') || ']'`;
  const result = await sql<{ json: string }>`select ${array} as json from ${rows} as rows`.execute(db);
  return new JsonText(result.rows[0]?.json ?? "[]");
}
