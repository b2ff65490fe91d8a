/**
 * Reads Kysely's tree of a statement: the tables and their names, the columns, the values, and which columns a
 * condition fixes to which values. What follows from them is for statement-shape.ts.
 */
import { partitions } from "../../schema/partitions.js";

export type Table = keyof typeof partitions;

/** A value in a statement's tree, or the placeholder of a prepared statement's parameter. */
export type Bound = unknown;
export type Values = readonly Bound[] | "all";

// The tree's nodes are plain objects of many kinds.
// biome-ignore lint/suspicious/noExplicitAny: each kind of node has properties of its own.
export type Node = any;

/** Whether `isSo` is true of any node in the tree. */
export function contains(node: Node, isSo: (node: Node) => boolean): boolean {
  if (Array.isArray(node)) return node.some((item) => contains(item, isSo));
  if (typeof node !== "object" || node === null) return false;
  if ("kind" in node && isSo(node)) return true;
  return Object.entries(node).some(([name, child]) => name !== "kind" && contains(child, isSo));
}

/**
 * Says under which name the result has a column that is given as `table.column`. Undefined if the result does not have
 * it, or if another column may have the same name. A column without a table belongs to `only`.
 */
export function outputsOf(
  selections: readonly Node[] | undefined,
  only: string,
): (reference: string) => string | undefined {
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
    // If two columns have the same name, the row has only the last of them.
    const others = named.filter((one) => one.output === undefined || one.output === output);
    return others.every((one) => one.reference === reference) ? output : undefined;
  };
}

/** Which columns a condition fixes to values, directly or through another column that they must equal. */
export class Equalities {
  readonly #values = new Map<string, readonly Bound[]>();
  /** Pairs of columns: the first has no values but those of the second. */
  readonly #within: [string, string][] = [];

  /** `only` is the name of the single source, if there is just one: its columns may appear without their table. */
  constructor(readonly only: string | undefined) {}

  /**
   * Adds a condition that every row has to meet. With `about`, only what it says of that table counts. With `nulls`,
   * `is null` counts as a value.
   */
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

  /** The values that a column can have; undefined if the conditions do not say. */
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

/** A column as `table.column`. A column without a table belongs to `only`. */
export function referenceOf(node: Node, only?: string): string | undefined {
  if (node?.kind !== "ReferenceNode" || node.column?.kind !== "ColumnNode") return undefined;
  const name = (node.table?.table?.identifier?.name as string | undefined) ?? only;
  return name === undefined ? undefined : `${name}.${node.column.column.name}`;
}

/** The tables among the sources, by the names that the statement uses for them. */
export function namesOf(sources: Node[]): Map<string, Table> {
  const named = new Map<string, Table>();
  for (const source of sources) {
    const table = tableOf(source?.kind === "AliasNode" ? source.node : source);
    if (table) named.set(nameOf(source) ?? table, table);
  }
  return named;
}

/** The name that a statement uses for a source. */
export function nameOf(source: Node): string | undefined {
  return source?.kind === "AliasNode" ? source.alias?.name : source?.table?.identifier?.name;
}

export function tableOf(node: Node): Table | undefined {
  const name = node?.kind === "TableNode" ? (node.table.identifier.name as string) : undefined;
  return name !== undefined && isTable(name) ? name : undefined;
}

export function isTable(name: string): name is Table {
  return Object.hasOwn(partitions, name);
}

export function columnOf(node: Node): string | undefined {
  return node?.column?.name ?? node?.column?.column?.name;
}

/** The constant in a node; undefined if the database computes the value. */
export function constantOf(node: Node): Bound | undefined {
  if (node?.kind === "ValueNode") return node.value;
  if (node?.kind === "RawNode" && node.parameters.length === 1 && node.sqlFragments.join("") === "") {
    return constantOf(node.parameters[0]);
  }
  return undefined;
}
