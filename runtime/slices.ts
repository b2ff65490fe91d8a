/**
 * What a statement reads and what it writes, taken from its own tree (design.md section 4). A read is a table, or of a
 * table with partition columns (schema/partitions.ts) the rows of one value; a write says for each such column which
 * values it touches, or all. Where a tree says too little, more counts as touched: that costs a re-run whose equal
 * result is not sent, while too little would be a change that nobody hears of.
 */
import type { CompiledQuery, OperationNode } from "kysely";
import { partitions } from "../schema/partitions.js";
import { type Bindable, Placeholder } from "./prepared.js";

type Table = keyof typeof partitions;

/** A value in a statement's tree, or the parameter of a prepared one that will have it. */
type Bound = unknown;
type Values = readonly Bound[] | "all";

interface Read {
  table: Table;
  /** Null: the whole table. */
  column: string | null;
  values: readonly Bound[];
}
interface Write {
  table: Table;
  columns: ReadonlyMap<string, Values>;
}
interface Shape {
  reads: readonly Read[];
  writes: readonly Write[];
}

/** Prepared statements keep their tree, and with it what was made of it. */
const shapes = new WeakMap<OperationNode, Shape>();

function shapeOf(root: OperationNode): Shape {
  let shape = shapes.get(root);
  if (!shape) {
    const analysis = new Analysis();
    analysis.visit(root);
    shape = analysis;
    shapes.set(root, shape);
  }
  return shape;
}

/** A compiled query, with the parameters of a prepared one by name. */
export type ObservedQuery = CompiledQuery & { bindings?: Record<string, Bindable> };

function resolve(value: Bound, { bindings }: ObservedQuery): string {
  return String(value instanceof Placeholder ? bindings?.[value.name] : value);
}

/** A table, or one slice of it, as text: what watchers are found by. */
export function sliceKey(table: string, column: string | null, value: string): string {
  return column === null ? table : `${table} ${column} ${value}`;
}

/** What a call has read. */
export class ReadSet {
  /** By the column that the slices are of; null where the whole table was read. */
  readonly slices = new Map<Table, Map<string | null, Set<string>>>();

  add(query: ObservedQuery): void {
    for (const { table, column, values } of shapeOf(query.query).reads) {
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
      for (const value of values) slices.add(resolve(value, query));
    }
  }

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

/** What a transaction has written: by table and partition column the values that it touched, or all. */
export class WriteSet {
  readonly tables = new Map<Table, Map<string, Set<string> | "all">>();

  get isEmpty(): boolean {
    return this.tables.size === 0;
  }

  clear(): void {
    this.tables.clear();
  }

  add(query: ObservedQuery): void {
    for (const { table, columns } of shapeOf(query.query).writes) {
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
  }

  /** Takes in what another transaction has written. */
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
   * As JSON, table by table, for other processes. Whoever may connect to the database can listen to that, so no address
   * is in it: a write to one person's row counts as one to everybody's there.
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

// The tree's nodes are plain objects; only what is used of them is named here.
// biome-ignore lint/suspicious/noExplicitAny: each kind of node has properties of its own.
type Node = any;

/** Walks a statement's tree once. */
class Analysis implements Shape {
  readonly reads: Read[] = [];
  readonly writes: Write[] = [];

  visit(node: Node): void {
    if (Array.isArray(node)) {
      for (const item of node) this.visit(item);
      return;
    }
    if (typeof node !== "object" || node === null || !("kind" in node)) return;
    if (node.kind === "SelectQueryNode") this.#select(node);
    else if (node.kind === "InsertQueryNode") this.#insert(node);
    else if (node.kind === "UpdateQueryNode") this.#change(node, node.table, node.updates ?? []);
    else if (node.kind === "DeleteQueryNode") this.#change(node, node.from?.froms?.[0], []);
    else if (node.kind === "RawNode") this.#raw(node);
    for (const [name, child] of Object.entries(node)) if (name !== "kind") this.visit(child);
  }

  #select(node: Node): void {
    const sources = [...(node.from?.froms ?? []), ...(node.joins ?? []).map((join: Node) => join.table)];
    const named = namesOf(sources);
    const equalities = new Equalities(named);
    equalities.addAll(node.where?.where);
    for (const join of node.joins ?? []) equalities.addAll(join.on?.on);
    for (const [name, table] of named) this.#read(table, (column) => equalities.valuesOf(name, column));
  }

  #read(table: Table, valuesOf: (column: string) => readonly Bound[] | undefined): void {
    for (const column of partitions[table]) {
      const values = valuesOf(column);
      if (values) {
        this.reads.push({ table, column, values });
        return;
      }
    }
    this.reads.push({ table, column: null, values: [] });
  }

  #insert(node: Node): void {
    const table = tableOf(node.into);
    if (!table) return;
    const names: string[] = (node.columns ?? []).map((column: Node) => column.column.name);
    const rows: Node[] | undefined = node.values?.kind === "ValuesNode" ? node.values.values : undefined;
    // A row that was there and is changed instead may have had any other values.
    const changesOthers = node.onConflict !== undefined || node.replace === true || node.orAction !== undefined;
    const columns = new Map<string, Values>();
    for (const column of partitions[table]) {
      const position = names.indexOf(column);
      const values = rows?.map((row) => {
        if (position < 0) return null;
        const value = row.kind === "PrimitiveValueListNode" ? row.values[position] : constantOf(row.values[position]);
        return value;
      });
      const known = values?.every((value) => value !== undefined) && !changesOthers;
      columns.set(column, known && values ? values : "all");
    }
    this.writes.push({ table, columns });
  }

  #change(node: Node, target: Node, updates: Node[]): void {
    const [[name, table] = [undefined, undefined]] = namesOf(Array.isArray(target) ? target : [target]);
    if (table === undefined || name === undefined) return;
    const equalities = new Equalities(new Map([[name, table]]));
    equalities.addAll(node.where?.where);
    const columns = new Map<string, Values>();
    for (const column of partitions[table]) {
      const before = equalities.valuesOf(name, column);
      const update = updates.find(({ column: target }) => columnOf(target) === column);
      const after = update === undefined ? [] : [constantOf(update.value)];
      columns.set(column, before && !after.includes(undefined) ? [...before, ...after] : "all");
    }
    this.writes.push({ table, columns });
    // Which rows change hangs on what they hold.
    this.#read(table, (column) => equalities.valuesOf(name, column));
  }

  /** SQL that was written by hand: the tables that its words name, whole. */
  #raw({ sqlFragments }: Node): void {
    const text = (sqlFragments as string[]).join(" ");
    for (const [, word = "", name = ""] of text.matchAll(/\b(from|join|into|update)\s+"?(\w+)"?/gi)) {
      if (!isTable(name)) continue;
      this.reads.push({ table: name, column: null, values: [] });
      const writes = /^(into|update)$/i.test(word) || /\bdelete\s+from\b/i.test(text);
      if (writes)
        this.writes.push({ table: name, columns: new Map(partitions[name].map((column) => [column, "all"])) });
    }
  }
}

/** Which columns a condition ties to values; also through other columns that they equal. */
class Equalities {
  readonly #values = new Map<string, readonly Bound[]>();
  readonly #same: [string, string][] = [];

  constructor(readonly named: ReadonlyMap<string, Table>) {}

  /** What all of it has to hold. */
  addAll(node: Node): void {
    if (node?.kind === "AndNode") {
      this.addAll(node.left);
      this.addAll(node.right);
    } else if (node?.kind === "ParensNode") this.addAll(node.node);
    else if (node?.kind === "BinaryOperationNode") this.#add(node);
  }

  #add({ leftOperand, operator, rightOperand }: Node): void {
    const left = this.#reference(leftOperand);
    if (left === undefined) return;
    if (operator?.operator === "in" && rightOperand?.kind === "PrimitiveValueListNode") {
      this.#values.set(left, rightOperand.values);
    } else if (operator?.operator === "in" && rightOperand?.kind === "ValueListNode") {
      const values = rightOperand.values.map(constantOf);
      if (!values.includes(undefined)) this.#values.set(left, values);
    } else if (operator?.operator === "=") {
      const right = this.#reference(rightOperand);
      if (right !== undefined) this.#same.push([left, right]);
      else {
        const value = constantOf(rightOperand);
        if (value !== undefined) this.#values.set(left, [value]);
      }
    }
  }

  valuesOf(name: string, column: string): readonly Bound[] | undefined {
    const asked = `${name}.${column}`;
    const known = this.#values.get(asked);
    if (known) return known;
    for (const [one, other] of this.#same) {
      const values = one === asked ? this.#values.get(other) : other === asked ? this.#values.get(one) : undefined;
      if (values) return values;
    }
    return undefined;
  }

  #reference(node: Node): string | undefined {
    if (node?.kind !== "ReferenceNode" || node.column?.kind !== "ColumnNode") return undefined;
    const table = node.table?.table?.identifier?.name as string | undefined;
    // A column without its table belongs to the only one there is.
    const name = table ?? (this.named.size === 1 ? [...this.named.keys()][0] : undefined);
    return name === undefined ? undefined : `${name}.${node.column.column.name}`;
  }
}

/** The tables among the sources, by the names under which the statement speaks of them. */
function namesOf(sources: Node[]): Map<string, Table> {
  const named = new Map<string, Table>();
  for (const source of sources) {
    const aliased = source?.kind === "AliasNode";
    const table = tableOf(aliased ? source.node : source);
    if (!table) continue;
    named.set((aliased && source.alias?.name) || table, table);
  }
  return named;
}

function tableOf(node: Node): Table | undefined {
  const name = node?.kind === "TableNode" ? (node.table.identifier.name as string) : undefined;
  return name !== undefined && isTable(name) ? name : undefined;
}

function isTable(name: string): name is Table {
  return Object.hasOwn(partitions, name);
}

function columnOf(node: Node): string | undefined {
  return node?.column?.name ?? node?.column?.column?.name;
}

/** The value that a node stands for; undefined where it is worked out by the database. */
function constantOf(node: Node): Bound | undefined {
  if (node?.kind === "ValueNode") return node.value;
  if (node?.kind === "RawNode" && node.parameters.length === 1 && node.sqlFragments.join("") === "") {
    return constantOf(node.parameters[0]);
  }
  return undefined;
}
