/** Reads Kysely's tree of a statement: tables and their names, columns, values, and what a condition ties together. */
import { partitions } from "../../schema/partitions.js";

export type Table = keyof typeof partitions;

/** A value in a statement's tree, or the parameter of a prepared one that will have it. */
export type Bound = unknown;
export type Values = readonly Bound[] | "all";

// The tree's nodes are plain objects; only what is used of them is named here.
// biome-ignore lint/suspicious/noExplicitAny: each kind of node has properties of its own.
export type Node = any;

/** Whether something in the tree is so. */
export function contains(node: Node, isSo: (node: Node) => boolean): boolean {
  if (Array.isArray(node)) return node.some((item) => contains(item, isSo));
  if (typeof node !== "object" || node === null) return false;
  if ("kind" in node && isSo(node)) return true;
  return Object.entries(node).some(([name, child]) => name !== "kind" && contains(child, isSo));
}

/**
 * Under which name the result holds a column, given as `table.column`; undefined where it does not, or where another
 * one may have the same name. A column without its table belongs to `only`.
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
    // The last one of a name would be the one that is seen.
    const others = named.filter((one) => one.output === undefined || one.output === output);
    return others.every((one) => one.reference === reference) ? output : undefined;
  };
}

/** Which columns a condition ties to values; also through other columns that they equal. */
export class Equalities {
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
export function referenceOf(node: Node, only?: string): string | undefined {
  if (node?.kind !== "ReferenceNode" || node.column?.kind !== "ColumnNode") return undefined;
  const name = (node.table?.table?.identifier?.name as string | undefined) ?? only;
  return name === undefined ? undefined : `${name}.${node.column.column.name}`;
}

/** The tables among the sources, by the names under which the statement speaks of them. */
export function namesOf(sources: Node[]): Map<string, Table> {
  const named = new Map<string, Table>();
  for (const source of sources) {
    const table = tableOf(source?.kind === "AliasNode" ? source.node : source);
    if (table) named.set(nameOf(source) ?? table, table);
  }
  return named;
}

/** The name under which a statement speaks of a source. */
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

/** The value that a node stands for; undefined where it is worked out by the database. */
export function constantOf(node: Node): Bound | undefined {
  if (node?.kind === "ValueNode") return node.value;
  if (node?.kind === "RawNode" && node.parameters.length === 1 && node.sqlFragments.join("") === "") {
    return constantOf(node.parameters[0]);
  }
  return undefined;
}
