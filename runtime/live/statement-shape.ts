/**
 * What a statement reads and what it writes, taken from its own tree (architecture.md section 4). A read is a table, or of a
 * table with partition columns (schema/partitions.ts) the rows of one value; a write says for each such column which
 * values it touches, or all. Where a tree says too little, more counts as touched: that costs a re-run whose equal
 * result is not sent, while too little would be a change that nobody hears of.
 *
 * Two things only the rows say that come back. A change that returns a partition column (`returning`) touches the values
 * in its rows, and nothing where there are none. And a left join along a key of the joined table neither adds nor drops a
 * row: as long as nothing but the selection speaks of that table, which rows come back does not hang on it, so of it
 * were read the slices that the rows name, also those in which nothing was found.
 */
import type { OperationNode } from "kysely";
import { keys, partitions } from "../../schema/partitions.js";
import {
  type Bound,
  columnOf,
  constantOf,
  contains,
  Equalities,
  isTable,
  type Node,
  nameOf,
  namesOf,
  outputsOf,
  referenceOf,
  type Table,
  tableOf,
  type Values,
} from "./statement-tree.js";

interface Read {
  table: Table;
  /** Null: the whole table. */
  column: string | null;
  values: readonly Bound[];
}
/** A read of the slices that a column of the result names. */
interface JoinedRead {
  table: Table;
  column: string;
  output: string;
}
export interface Write {
  table: Table;
  columns: ReadonlyMap<string, Values>;
  /** Which columns of the result hold the values of partition columns; undefined where no rows come back. */
  returned?: ReadonlyMap<string, string> | undefined;
  /** Partition columns that the change sets: their rows were in other slices before. */
  replaced?: ReadonlySet<string>;
}
interface Shape {
  reads: readonly Read[];
  joined: readonly JoinedRead[];
  writes: readonly Write[];
}

/** Prepared statements keep their tree, and with it what was made of it. */
const shapes = new WeakMap<OperationNode, Shape>();

export function shapeOf(root: OperationNode): Shape {
  let shape = shapes.get(root);
  if (!shape) {
    const analysis = new Analysis();
    analysis.visit(root);
    shape = analysis;
    shapes.set(root, shape);
  }
  return shape;
}

/** Walks a statement's tree once. */
class Analysis implements Shape {
  readonly reads: Read[] = [];
  readonly joined: JoinedRead[] = [];
  readonly writes: Write[] = [];

  /** `isRoot`: what this node selects are the rows that come back. */
  visit(node: Node, isRoot = true): void {
    if (Array.isArray(node)) {
      for (const item of node) this.visit(item, false);
      return;
    }
    if (typeof node !== "object" || node === null || !("kind" in node)) return;
    if (node.kind === "SelectQueryNode") this.#select(node, isRoot);
    else if (node.kind === "InsertQueryNode") this.#insert(node);
    else if (node.kind === "UpdateQueryNode") this.#change(node, node.table, node.updates ?? [], isRoot);
    else if (node.kind === "DeleteQueryNode") this.#change(node, node.from?.froms?.[0], [], isRoot);
    else if (node.kind === "RawNode") this.#raw(node);
    for (const [name, child] of Object.entries(node)) if (name !== "kind") this.visit(child, false);
  }

  #select(node: Node, isRoot: boolean): void {
    const joins: Node[] = node.joins ?? [];
    const sources = [...(node.from?.froms ?? []), ...joins.map((join: Node) => join.table)];
    const named = namesOf(sources);
    const equalities = new Equalities(sources.length === 1 ? [...named.keys()][0] : undefined);
    equalities.addAll(node.where?.where);
    for (const join of joins) {
      if (join.joinType === "InnerJoin") equalities.addAll(join.on?.on);
      // A row without a partner stays, so the condition says nothing of it, only of its partners.
      else if (join.joinType === "LeftJoin") equalities.addAll(join.on?.on, nameOf(join.table));
    }
    for (const [name, table] of named) {
      const joined = isRoot ? joinedAlongKey(node, name, table) : undefined;
      this.#read(table, (column) => equalities.valuesOf(name, column), joined);
    }
  }

  #read(table: Table, valuesOf: (column: string) => readonly Bound[] | undefined, joined?: JoinedRead): void {
    for (const column of partitions[table]) {
      const values = valuesOf(column);
      if (values) {
        this.reads.push({ table, column, values });
        return;
      }
    }
    if (joined) this.joined.push(joined);
    else this.reads.push({ table, column: null, values: [] });
  }

  #insert(node: Node): void {
    const table = tableOf(node.into);
    if (!table) return;
    const names: string[] = (node.columns ?? []).map((column: Node) => column.column.name);
    const rows: Node[] | undefined = node.values?.kind === "ValuesNode" ? node.values.values : undefined;
    const mayReplace = node.replace === true || node.orAction !== undefined;
    const columns = new Map<string, Values>();
    for (const column of partitions[table]) {
      const position = names.indexOf(column);
      const values = rows?.map((row) => {
        if (position < 0) return null;
        const value = row.kind === "PrimitiveValueListNode" ? row.values[position] : constantOf(row.values[position]);
        return value;
      });
      const known = values?.every((value) => value !== undefined) && !mayReplace && isKept(node.onConflict, column);
      columns.set(column, known && values ? values : "all");
    }
    this.writes.push({ table, columns });
  }

  #change(node: Node, target: Node, updates: Node[], isRoot: boolean): void {
    const [[name, table] = [undefined, undefined]] = namesOf(Array.isArray(target) ? target : [target]);
    if (table === undefined || name === undefined) return;
    const equalities = new Equalities(name);
    equalities.addAll(node.where?.where, undefined, true);
    const outputs = isRoot && node.returning ? outputsOf(node.returning.selections, name) : undefined;
    const returned = outputs && new Map<string, string>();
    const replaced = new Set<string>();
    const columns = new Map<string, Values>();
    for (const column of partitions[table]) {
      const before = equalities.valuesOf(name, column);
      const update = updates.find(({ column: target }) => columnOf(target) === column);
      const after = update === undefined ? [] : [constantOf(update.value)];
      columns.set(column, before && !after.includes(undefined) ? [...before, ...after] : "all");
      // What comes back is the row as it is now.
      const output = outputs?.(`${name}.${column}`);
      if (output !== undefined) returned?.set(column, output);
      if (update !== undefined) replaced.add(column);
    }
    this.writes.push({ table, columns, returned, replaced });
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

/** Whether a row that an insert met and changed instead keeps in this column the value that was to be inserted. */
function isKept(conflict: Node, column: string): boolean {
  if (conflict === undefined || conflict.doNothing === true) return true;
  const isUpdated = (conflict.updates ?? []).some(({ column: target }: Node) => columnOf(target) === column);
  // They met because they are equal in these.
  return !isUpdated && (conflict.columns ?? []).some((target: Node) => columnOf(target) === column);
}

/** The slices of `table` that the rows name, where it is only joined to each of them along a key (see above). */
function joinedAlongKey(select: Node, name: string, table: Table): JoinedRead | undefined {
  const joins: Node[] = select.joins ?? [];
  const own = joins.find((join) => join.joinType === "LeftJoin" && nameOf(join.table) === name);
  if (!own || select.setOperations || select.groupBy || select.having || select.distinctOn) return undefined;
  if (select.frontModifiers || contains(select.selections, ({ kind }) => kind === "AggregateFunctionNode")) {
    return undefined;
  }
  const { selections, kind: _, ...others } = select;
  const elsewhere = [others.from, others.where, others.orderBy, others.limit, others.offset, others.fetch];
  const otherJoins = joins.filter((join) => join !== own);
  if (contains([...elsewhere, ...otherJoins], (node) => maySpeakOf(node, name))) return undefined;

  const partners = new Map<string, string>();
  for (const [left, right] of equalPairs(own.on?.on)) {
    for (const [mine, theirs] of [
      [left, right],
      [right, left],
    ]) {
      if (mine?.startsWith(`${name}.`) && !theirs?.startsWith(`${name}.`)) {
        partners.set(mine.slice(name.length + 1), theirs ?? "");
      }
    }
  }
  const key: readonly string[] | undefined = keys[table];
  if (!key?.every((column) => partners.has(column))) return undefined;
  for (const column of partitions[table]) {
    const partner = partners.get(column);
    if (partner === undefined) continue;
    const [source = ""] = partner.split(".");
    const output = outputsOf(selections, source)(partner);
    if (output !== undefined) return { table, column, output };
  }
  return undefined;
}

/** Words of SQL that name no column. */
const harmless = /^(asc|desc|case|when|then|else|end|and|or|not|is|null|in|coalesce)$/i;

/** Whether a node may be about a column of the table of this name. */
function maySpeakOf(node: Node, name: string): boolean {
  if (node.kind === "ReferenceNode") {
    const table = node.table?.table?.identifier?.name as string | undefined;
    return table === undefined || table === name;
  }
  if (node.kind === "RawNode") {
    const words = (node.sqlFragments as string[]).join(" ").replaceAll(/'[^']*'/g, " ");
    return (words.match(/\w+/g) ?? []).some((word) => !/^\d/.test(word) && !harmless.test(word));
  }
  return false;
}

/** The pairs of columns that a condition demands to be equal. */
function equalPairs(node: Node): [string, string][] {
  if (node?.kind === "AndNode") return [...equalPairs(node.left), ...equalPairs(node.right)];
  if (node?.kind === "ParensNode") return equalPairs(node.node);
  if (node?.kind !== "BinaryOperationNode" || node.operator?.operator !== "=") return [];
  const [left, right] = [referenceOf(node.leftOperand), referenceOf(node.rightOperand)];
  return left === undefined || right === undefined ? [] : [[left, right]];
}
