/**
 * Lists that the database itself turns into JSON. A list query spends most of its time on turning rows into objects:
 * building 50 rows in JavaScript takes several times as long as reading them. A handler that returns the list untouched
 * does not need the objects.
 */
import { type Expression, type RawBuilder, sql } from "kysely";

/**
 * How a column is written: `plain` is text that never needs escaping (ids, base64, names from a fixed set); `json` is
 * already JSON text. With `?`, the key is left out if the column is null.
 */
export type JsonColumn = "plain" | "number" | "json" | "plain?" | "number?" | "json?";

/**
 * The rows as one JSON array, in the order in which `rows` returns them. That must be the order of an index, because
 * sorting them here would move all of their text. The first column must not be an optional one.
 */
export function jsonList<Row>(
  rows: Expression<Row>,
  columns: Record<keyof Row & string, JsonColumn>,
): RawBuilder<{ json: string }> {
  const parts = (Object.entries(columns) as [string, JsonColumn][]).flatMap(([column, kind], index) => {
    const quote = kind.startsWith("plain") ? '"' : "";
    const before = sql.lit(`${index === 0 ? "{" : ","}"${column}":${quote}`);
    const reference = sql.ref(column);
    // `concat` skips null, while `||` with a null makes the whole expression null.
    return kind.endsWith("?")
      ? [sql`${before} || ${reference} || ${sql.lit(quote)}`]
      : [before, reference, sql.lit(quote)];
  });
  return sql`select '[' || coalesce(string_agg(concat(${sql.join(parts)}, '}'), ','), '') || ']' as json from ${rows} as rows`;
}
