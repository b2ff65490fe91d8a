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

export type Table = keyof typeof partitions;

/** A value in a statement's tree, or the parameter of a prepared one that will have it. */
export type Bound = unknown;
export type Values = readonly Bound[] | "all";

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

// The tree's nodes are plain objects; only what is used of them is named here.
// biome-ignore lint/suspicious/noExplicitAny: each kind of node has properties of its own.
type Node = any;

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

/** Whether something in the tree is so. */
function contains(node: Node, isSo: (node: Node) => boolean): boolean {
  if (Array.isArray(node)) return node.some((item) => contains(item, isSo));
  if (typeof node !== "object" || node === null) return false;
  if ("kind" in node && isSo(node)) return true;
  return Object.entries(node).some(([name, child]) => name !== "kind" && contains(child, isSo));
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

/**
 * Under which name the result holds a column, given as `table.column`; undefined where it does not, or where another
 * one may have the same name. A column without its table belongs to `only`.
 */
function outputsOf(selections: readonly Node[] | undefined, only: string): (reference: string) => string | undefined {
  const nodes: Node[] = (selections ?? []).map(({ selection }) => selection);
  const isAll = (node: Node) => node.kind === "SelectAllNode" || node.column?.kind === "SelectAllNode";
  const whole = nodes.filter(isAll).map((node) => (node.table?.table?.identifier?.name ?? only) as string);
  const named = nodes
    .filter((node) => !isAll(node))
    .map((node) =>
      node.kind === "AliasNode"
        ? { reference: referenceOf(node.node, only), output: node.alias?.name as string | undefined }
        : { reference: referenceOf(node, only), output: columnOf(node) },
    );
  return (reference) => {
    const [table = "", column = ""] = reference.split(".");
    if (whole.some((other) => other !== table)) return undefined;
    const found = named.find((one) => one.reference === reference)?.output;
    const output = found ?? (whole.includes(table) ? column : undefined);
    // The last one of a name would be the one that is seen.
    const others = named.filter((one) => one.output === undefined || one.output === output);
    return others.every((one) => one.reference === reference) ? output : undefined;
  };
}

/** Which columns a condition ties to values; also through other columns that they equal. */
class Equalities {
  readonly #values = new Map<string, readonly Bound[]>();
  /** The first has no other values than the second. */
  readonly #within: [string, string][] = [];

  /** `only`: the one source that there is, whose columns may stand without their table. */
  constructor(readonly only: string | undefined) {}

  /** What all of it has to hold. `about`: only for the table of this name. `nulls`: `is null` counts as a value. */
  addAll(node: Node, about?: string, nulls = false): void {
    if (node?.kind === "AndNode") {
      this.addAll(node.left, about, nulls);
      this.addAll(node.right, about, nulls);
    } else if (node?.kind === "ParensNode") this.addAll(node.node, about, nulls);
    else if (node?.kind === "BinaryOperationNode") this.#add(node, about, nulls);
  }

  #add({ leftOperand, operator, rightOperand }: Node, about: string | undefined, nulls: boolean): void {
    const left = referenceOf(leftOperand, this.only);
    if (left === undefined) return;
    const isMeant = (reference: string) => about === undefined || reference.startsWith(`${about}.`);
    const tie = (values: readonly Bound[]) => {
      if (isMeant(left) && !values.includes(undefined)) this.#values.set(left, values);
    };
    if (operator?.operator === "in" && rightOperand?.kind === "PrimitiveValueListNode") tie(rightOperand.values);
    else if (operator?.operator === "in" && rightOperand?.kind === "ValueListNode") {
      tie(rightOperand.values.map(constantOf));
    } else if (operator?.operator === "is" && nulls && constantOf(rightOperand) === null) tie([null]);
    else if (operator?.operator === "=") {
      const right = referenceOf(rightOperand, this.only);
      if (right === undefined) tie([constantOf(rightOperand)]);
      else {
        if (isMeant(left)) this.#within.push([left, right]);
        if (isMeant(right)) this.#within.push([right, left]);
      }
    }
  }

  valuesOf(name: string, column: string): readonly Bound[] | undefined {
    const asked = `${name}.${column}`;
    const known = this.#values.get(asked);
    if (known) return known;
    for (const [one, other] of this.#within) {
      const values = one === asked ? this.#values.get(other) : undefined;
      if (values) return values;
    }
    return undefined;
  }
}

/** A column as `table.column`; one without its table belongs to `only`. */
function referenceOf(node: Node, only?: string): string | undefined {
  if (node?.kind !== "ReferenceNode" || node.column?.kind !== "ColumnNode") return undefined;
  const name = (node.table?.table?.identifier?.name as string | undefined) ?? only;
  return name === undefined ? undefined : `${name}.${node.column.column.name}`;
}

/** The tables among the sources, by the names under which the statement speaks of them. */
function namesOf(sources: Node[]): Map<string, Table> {
  const named = new Map<string, Table>();
  for (const source of sources) {
    const table = tableOf(source?.kind === "AliasNode" ? source.node : source);
    if (table) named.set(nameOf(source) ?? table, table);
  }
  return named;
}

/** The name under which a statement speaks of a source. */
function nameOf(source: Node): string | undefined {
  return source?.kind === "AliasNode" ? source.alias?.name : source?.table?.identifier?.name;
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
