/**
 * Cursors: how every list continues after the last row that was read. A cursor names a row's position by the columns
 * that its list is sorted by, so that nothing is lost or repeated while rows come and go. It is no secret and opens
 * nothing: each list looks only among rows that the caller may see. A mark binds it to its list and to the filters that
 * it was made with, since under other filters it would mean another position.
 *
 * A list that answers an array has a `cursor` in each row, and continues after the row whose cursor is passed. A list
 * with `data` has the `nextCursor` of its page, null where the list ends. If both are given, `cursor` counts and `page`
 * does not.
 */
import { type RawBuilder, type SelectQueryBuilder, type SqlBool, sql } from "kysely";
import { invalidArgs } from "../../runtime/call/arguments.js";
import type { QueryContext } from "../../runtime/context.js";
import type { CallError } from "../../runtime/errors.js";

/** The kinds of columns that a list may be sorted by: `id` is text without any character that would need an escape. */
type Kind = "integer" | "real" | "id" | "text";
type Keys = Readonly<Record<string, Kind>>;
/** Where a row stands in its list. */
export type Position<K extends Keys> = { [Name in keyof K]: K[Name] extends "integer" | "real" ? number : string };

/** Characters of a mark: 66 bits. */
const markCharacters = 11;
const separator = "~";

/** The columns of a list's order, the first one first; no two rows are equal in all of them. */
export function cursorsOf<const K extends Keys>(list: string, keys: K): ListCursors<K> {
  return new ListCursors(list, keys);
}

class ListCursors<K extends Keys> {
  constructor(
    readonly list: string,
    readonly keys: K,
  ) {}

  /** The cursors of this list under filters; a filter that is absent, null or empty counts as none. */
  under(ctx: Pick<QueryContext, "derive">, filters: Record<string, unknown> = {}): Cursors<K> {
    const given = Object.entries(filters).filter(([, value]) => value != null && value !== "");
    const mark = ctx.derive(`cursor ${JSON.stringify([this.list, given])}`).slice(0, markCharacters);
    return new Cursors(this.keys, mark);
  }
}

/** The cursors of one list under one set of filters. */
class Cursors<K extends Keys> {
  readonly #keys: [keyof K & string, Kind][];

  constructor(
    keys: K,
    /** What each cursor begins with. */
    readonly mark: string,
  ) {
    this.#keys = Object.entries(keys) as [keyof K & string, Kind][];
  }

  /** The cursor of a row. */
  at(position: Position<K>): string {
    const parts = this.#keys.map(([name, kind]) => {
      const value = String(position[name]);
      return kind === "text" ? Buffer.from(value).toString("base64url") : value;
    });
    return [this.mark, ...parts].join(separator);
  }

  /** The position that the argument names; undefined without one, which means before the first row. */
  read(cursor: string | null | undefined): Position<K> | undefined {
    if (cursor == null) return undefined;
    const [mark, ...parts] = cursor.split(separator);
    if (mark !== this.mark || parts.length !== this.#keys.length) throw notOfThisList();
    const values = this.#keys.map(([name, kind], index) => [name, parsed(kind, parts[index] ?? "")]);
    return Object.fromEntries(values) as Position<K>;
  }

  /** The rows of a query that come after a position, if one is given. */
  behind<DB, TB extends keyof DB, Row>(
    query: SelectQueryBuilder<DB, TB, Row>,
    position: Position<K> | undefined,
    columns: Columns<K>,
    order: Order = "desc",
  ): SelectQueryBuilder<DB, TB, Row> {
    return position === undefined ? query : query.where(this.isBehind(position, columns, order));
  }

  /** Whether a row comes after a position, in the words of an index on the columns of the order. */
  isBehind(position: Position<K>, columns: Columns<K>, order: Order = "desc"): RawBuilder<SqlBool> {
    const names = this.#keys.map(([name]) => {
      const column = columns[name];
      return typeof column === "string" ? sql.ref(column) : column;
    });
    const values = this.#keys.map(([name, kind]) => boundAs(kind, position[name]));
    return sql`(${sql.join(names)}) ${sql.raw(order === "asc" ? ">" : "<")} (${sql.join(values)})`;
  }

  /** Makes a page of `rows`, of which one more was asked for than a page holds, with the cursor of the next page. */
  page<Row>(rows: readonly Row[], limit: number, positionOf: (row: Row) => Position<K>): Page<Row> {
    const last = rows[limit - 1];
    const nextCursor = rows.length > limit && last !== undefined ? this.at(positionOf(last)) : null;
    return { rows: rows.slice(0, limit), nextCursor };
  }
}

type Columns<K extends Keys> = Readonly<Record<keyof K, string | RawBuilder<unknown>>>;
type Order = "asc" | "desc";
interface Page<Row> {
  rows: Row[];
  nextCursor: string | null;
}

/** How many rows a numbered page skips: none behind a cursor. */
export function skippedBy(args: { page: number; limit: number; cursor?: string | null | undefined }): number {
  return args.cursor == null ? (args.page - 1) * args.limit : 0;
}

/** Casts a value to the column's type: a cursor may come back with anything in it. */
function boundAs(kind: Kind, value: unknown): RawBuilder<unknown> {
  if (kind === "integer") return sql`cast(${value} as bigint)`;
  if (kind === "real") return sql`cast(${value} as double precision)`;
  return sql`${value}`;
}

function parsed(kind: Kind, part: string): string | number {
  if (kind === "id") {
    if (!/^[A-Za-z0-9_-]{1,200}$/.test(part)) throw notOfThisList();
    return part;
  }
  if (kind === "text") {
    const bytes = Buffer.from(part, "base64url");
    const value = bytes.toString();
    // No NUL, which no database keeps, and no bytes that are not valid UTF-8.
    if (
      bytes.toString("base64url") !== part ||
      !Buffer.from(value).equals(bytes) ||
      value === "" ||
      value.includes("\0")
    ) {
      throw notOfThisList();
    }
    return value;
  }
  const value = Number(part);
  const fits = kind === "integer" ? Number.isSafeInteger(value) : Number.isFinite(value);
  if (!fits || String(value) !== part) throw notOfThisList();
  return value;
}

export function notOfThisList(): CallError {
  const message =
    "is not a cursor of this list with these arguments. Pass one that the list gave, unchanged and with the same filters, or none to begin anew";
  return invalidArgs([{ path: "cursor", message }]);
}
