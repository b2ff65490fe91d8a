/**
 * Works out from a statement's tree what the statement reads and writes (architecture.md section 4). A read is a whole
 * table or, for a table with partition columns (schema/partitions.ts), a slice: the rows with one value. A write says
 * for each partition column which values it touches, or all of them. If the tree says too little, more counts as
 * touched. That costs a re-run whose equal result is not sent; to count too little would be a change that a subscriber
 * never hears of.
 *
 * Two things are known only from the returned rows:
 * - An update or delete that returns a partition column (`returning`) touches the values in its rows, and nothing if
 *   there are none.
 * - A left join on the key of the joined table neither adds nor removes rows. If only the selection mentions that
 *   table, it does not affect which rows come back. The statement then reads, of that table, the slices that the rows
 *   name, including those in which nothing was found.
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
  /** Null for the whole table. */
  column: string | null;
  values: readonly Bound[];
}
/** A read of the slices whose values stand in a column of the result. */
interface JoinedRead {
  table: Table;
  column: string;
  output: string;
}
/** What a statement writes to one table. */
export interface Write {
  table: Table;
  columns: ReadonlyMap<string, Values>;
  /** Partition column → column of the result that holds its value; undefined if no rows come back. */
  returned?: ReadonlyMap<string, string> | undefined;
  /** Partition columns that the statement sets: before it, its rows were in other slices. */
  replaced?: ReadonlySet<string>;
}
interface Shape {
  reads: readonly Read[];
  joined: readonly JoinedRead[];
  writes: readonly Write[];
}

/** The shape of each tree that was analysed. A prepared statement keeps its tree, so it is analysed once. */
const shapes = new WeakMap<OperationNode, Shape>();

/** What a statement reads and writes, by the root of its tree. */
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

/** Walks a statement's tree once and collects its shape. */
class Analysis implements Shape {
  readonly reads: Read[] = [];
  readonly joined: JoinedRead[] = [];
  readonly writes: Write[] = [];

  /** `isRoot` says that the rows this node selects are the rows of the result. */
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
      // A left join keeps rows without a partner, so its condition restricts only the joined table.
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
      // The result has the row as it is after the change.
      const output = outputs?.(`${name}.${column}`);
      if (output !== undefined) returned?.set(column, output);
      if (update !== undefined) replaced.add(column);
    }
    this.writes.push({ table, columns, returned, replaced });
    // Which rows change depends on what they contain, so the statement reads them too.
    this.#read(table, (column) => equalities.valuesOf(name, column));
  }

  /** Handwritten SQL: each table that it names counts as read whole and, if the SQL writes, as written whole. */
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

/**
 * For an insert that updates on conflict: whether the existing row is sure to have, in this column, the value that was
 * to be inserted.
 */
function isKept(conflict: Node, column: string): boolean {
  if (conflict === undefined || conflict.doNothing === true) return true;
  const isUpdated = (conflict.updates ?? []).some(({ column: target }: Node) => columnOf(target) === column);
  // The rows are in conflict because they are equal in these columns.
  return !isUpdated && (conflict.columns ?? []).some((target: Node) => columnOf(target) === column);
}

/**
 * The slices of `table` that the rows of the result name, if `table` is only left-joined on its key (see the top of
 * this file).
 */
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

/** SQL words that name no column. */
const harmless = /^(asc|desc|case|when|then|else|end|and|or|not|is|null|in|coalesce)$/i;

/** Whether a node may refer to a column of the table called `name`. */
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

/** The pairs of columns that a condition requires to be equal. */
function equalPairs(node: Node): [string, string][] {
  if (node?.kind === "AndNode") return [...equalPairs(node.left), ...equalPairs(node.right)];
  if (node?.kind === "ParensNode") return equalPairs(node.node);
  if (node?.kind !== "BinaryOperationNode" || node.operator?.operator !== "=") return [];
  const [left, right] = [referenceOf(node.leftOperand), referenceOf(node.rightOperand)];
  return left === undefined || right === undefined ? [] : [[left, right]];
}
