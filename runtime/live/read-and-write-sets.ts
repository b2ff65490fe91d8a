/**
 * Collects what a query has read and what a transaction has written, and finds out whether a write touches a read.
 * Which rows a single statement reads or writes is worked out in statement-shape.ts.
 */
import type { CompiledQuery, OperationNode } from "kysely";
import { isChange } from "../store/changed-rows.js";
import type { HearRows } from "../store/lent-connection.js";
import { type Bindable, Placeholder } from "../store/prepared.js";
import { shapeOf, type Write } from "./statement-shape.js";
import type { Bound, Table, Values } from "./statement-tree.js";

type Row = Readonly<Record<string, unknown>>;

/** A compiled query. A prepared one has its parameters by name in `bindings`. */
export type ObservedQuery = CompiledQuery & { bindings?: Record<string, Bindable> };

/** The tree of the statement that really runs. */
function treeOf(query: ObservedQuery): OperationNode {
  return isChange(query) ? query.asked : query.query;
}

function resolve(value: Bound, { bindings }: ObservedQuery): string {
  return String(value instanceof Placeholder ? bindings?.[value.name] : value);
}

/**
 * A table, or one slice of it, as the text under which its watches are found. A slice is all rows with one value in a
 * partition column.
 */
export function sliceKey(table: string, column: string | null, value: string): string {
  return column === null ? table : `${table} ${column} ${value}`;
}

/** What a query has read. */
export class ReadSet {
  /** By table and partition column; under null if the whole table was read. */
  readonly slices = new Map<Table, Map<string | null, Set<string>>>();

  /** Notes a statement. If what it reads depends on its rows, returns a function that must be called with them. */
  add(query: ObservedQuery): HearRows | undefined {
    const { reads, joined } = shapeOf(treeOf(query));
    for (const { table, column, values } of reads) {
      const slices = this.#slicesOf(table, column);
      for (const value of values) slices.add(resolve(value, query));
    }
    if (joined.length === 0) return undefined;
    // Every row that an answer depends on comes back before the handler answers. Rows that the handler did not wait for
    // cannot affect it.
    return (rows) => {
      for (const { table, column, output } of joined) {
        for (const row of rows as readonly Row[]) {
          const value = row[output];
          // Null equals nothing, so such a row joins nothing.
          if (value !== null) this.#slicesOf(table, column).add(String(value));
        }
      }
    };
  }

  #slicesOf(table: Table, column: string | null): Set<string> {
    let columns = this.slices.get(table);
    if (!columns) {
      columns = new Map();
      this.slices.set(table, columns);
    }
    let slices = columns.get(column);
    if (!slices) {
      slices = new Set();
      columns.set(column, slices);
    }
    return slices;
  }

  /** Whether these writes may change what was read. */
  touchedBy(writes: WriteSet): boolean {
    for (const [table, written] of writes.tables) {
      const columns = this.slices.get(table);
      if (!columns) continue;
      for (const [column, slices] of columns) {
        const values = column === null ? "all" : (written.get(column) ?? "all");
        if (values === "all") return true;
        for (const value of values) if (slices.has(value)) return true;
      }
    }
    return false;
  }
}

/** What a transaction has written: for each table and partition column, the values that it touched, or all of them. */
export class WriteSet {
  readonly tables = new Map<Table, Map<string, Set<string> | "all">>();

  get isEmpty(): boolean {
    return this.tables.size === 0;
  }

  clear(): void {
    this.tables.clear();
  }

  /** Notes a statement. If its rows say what it touched, returns a function that must be called with them. */
  add(query: ObservedQuery): HearRows | undefined {
    const returning: Write[] = [];
    for (const write of shapeOf(treeOf(query)).writes) {
      if (write.returned) returning.push(write);
      else this.#note(write.table, write.columns, query);
    }
    if (returning.length === 0) return undefined;
    return (rows, before) => {
      if (rows.length === 0) return;
      for (const { table, columns, returned, replaced } of returning) {
        const known = new Map(columns);
        for (const [column, output] of returned ?? []) {
          if (known.get(column) !== "all") continue;
          const after = (rows as readonly Row[]).map((row) => row[output]);
          if (!replaced?.has(column)) known.set(column, after);
          else if (before) known.set(column, [...after, ...(before as readonly Row[]).map((row) => row[column])]);
        }
        this.#note(table, known, query);
      }
    };
  }

  #note(table: Table, columns: ReadonlyMap<string, Values>, query: ObservedQuery): void {
    let written = this.tables.get(table);
    if (!written) {
      written = new Map();
      this.tables.set(table, written);
    }
    for (const [column, values] of columns) {
      const before = written.get(column);
      if (before === "all") continue;
      if (values === "all") written.set(column, "all");
      else {
        const all = before ?? new Set<string>();
        for (const value of values) all.add(resolve(value, query));
        written.set(column, all);
      }
    }
  }

  /** Adds what another transaction has written. */
  merge(other: WriteSet): void {
    for (const [table, columns] of other.tables) {
      const written = this.tables.get(table);
      if (!written) {
        this.tables.set(table, new Map([...columns].map(([column, values]) => [column, copyOf(values)])));
        continue;
      }
      for (const [column, values] of columns) {
        const before = written.get(column);
        if (before === "all") continue;
        if (values === "all" || before === undefined) written.set(column, copyOf(values));
        else for (const value of values) before.add(value);
      }
    }
  }

  /**
   * As JSON, table by table, for other processes. Anybody who can connect to the database can listen to it, so it
   * contains no e-mail address: to other processes, a write to the row of one address counts as a write to all of them.
   */
  toJson(): [table: string, columns: [column: string, values: string[] | null][]][] {
    return [...this.tables].map(([table, columns]) => [
      table,
      [...columns].map(([column, values]) => [column, values === "all" || column === "email" ? null : [...values]]),
    ]);
  }

  static fromJson(json: unknown): WriteSet {
    const writes = new WriteSet();
    for (const [table, columns] of json as [Table, [string, string[] | null][]][]) {
      writes.tables.set(table, new Map(columns.map(([column, values]) => [column, values ? new Set(values) : "all"])));
    }
    return writes;
  }
}

function copyOf(values: Set<string> | "all"): Set<string> | "all" {
  return values === "all" ? values : new Set(values);
}
