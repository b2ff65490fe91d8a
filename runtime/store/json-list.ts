/**
 * Lists that the database serialises itself. Making objects of rows is most of what a list query costs (building 50
 * rows in JavaScript takes several times as long as reading them), and a list that a handler returns untouched never
 * needs them.
 */
import { type Expression, type RawBuilder, sql } from "kysely";

/**
 * How a column is written: `plain` is text that is known to need no escape (ids, base64, names from a fixed set);
 * `json` is JSON text already; with `?`, the key is left out where the column is null.
 */
export type JsonColumn = "plain" | "number" | "json" | "plain?" | "number?" | "json?";

/**
 * The rows as one JSON array, in their own order, which must be that of an index: sorting them here would move all of
 * their text. The first column may not be an optional one.
 */
export function jsonList<Row>(
  rows: Expression<Row>,
  columns: Record<keyof Row & string, JsonColumn>,
): RawBuilder<{ json: string }> {
  const parts = (Object.entries(columns) as [string, JsonColumn][]).flatMap(([column, kind], index) => {
    const quote = kind.startsWith("plain") ? '"' : "";
    const before = sql.lit(`${index === 0 ? "{" : ","}"${column}":${quote}`);
    const reference = sql.ref(column);
    // `concat` takes null for nothing, and `||` makes null of all that it joins.
    return kind.endsWith("?")
      ? [sql`${before} || ${reference} || ${sql.lit(quote)}`]
      : [before, reference, sql.lit(quote)];
  });
  return sql`select '[' || coalesce(string_agg(concat(${sql.join(parts)}, '}'), ','), '') || ']' as json from ${rows} as rows`;
}
