/**
 * What a change says of the rows that it changes. A handler writes a plain update or delete; the database is asked here, in
 * the same statement, for the partition columns of those rows (schema/partitions.ts), so that whoever watches other rows is
 * not woken. Of a column that an update sets, the values from before are read right before it, where somebody listens.
 */
import {
  ColumnNode,
  type CompiledQuery,
  DeleteQueryNode,
  type OperationNode,
  type QueryCompiler,
  QueryNode,
  ReferenceNode,
  type RootOperationNode,
  SelectionNode,
  SelectQueryNode,
  TableNode,
  UpdateQueryNode,
} from "kysely";
import { partitions } from "../../schema/partitions.js";

/** A compiled change whose statement gives back more than its handler asked for. */
export interface ChangeQuery extends CompiledQuery {
  /** The statement as it runs. `query` stays what the handler wrote, by which Kysely decides what the handler gets. */
  asked: RootOperationNode;
  /** Reads, under their names, the partition columns that the update is about to set. */
  before?: CompiledQuery | undefined;
}

export function isChange(query: CompiledQuery): query is ChangeQuery {
  return "asked" in query;
}

/** A compiler that has every change give back the partition columns of its rows. */
export function askingForPartitions(compiler: QueryCompiler): QueryCompiler {
  return {
    compileQuery(node, queryId) {
      const columns = askedColumns(node);
      if (columns.length === 0) return compiler.compileQuery(node, queryId);
      const asked = QueryNode.cloneWithReturning(node as UpdateQueryNode, columns.map(selectionOf));
      const before = beforeOf(node, columns);
      return {
        ...compiler.compileQuery(asked, queryId),
        query: node,
        asked,
        before: before && compiler.compileQuery(before, queryId),
      } satisfies ChangeQuery;
    },
  };
}

/** The partition columns of the one table that a statement changes; none for any other statement. */
function askedColumns(node: RootOperationNode): readonly string[] {
  if (UpdateQueryNode.is(node)) return node.from || node.joins ? [] : columnsOf(node.table, node);
  if (!DeleteQueryNode.is(node) || node.using || node.joins) return [];
  return columnsOf(node.from.froms[0], node);
}

function columnsOf(table: OperationNode | undefined, { returning }: UpdateQueryNode | DeleteQueryNode): string[] {
  if (!table || !TableNode.is(table)) return [];
  const name = table.table.identifier.name;
  if (!Object.hasOwn(partitions, name)) return [];
  // What the handler asked for under a name of its own choice must not be hidden by ours.
  const taken = (returning?.selections ?? []).map(({ selection }) => selection);
  if (!taken.every((selection) => ReferenceNode.is(selection) && ColumnNode.is(selection.column))) return [];
  return [...partitions[name as keyof typeof partitions]];
}

function beforeOf(node: RootOperationNode, columns: readonly string[]): SelectQueryNode | undefined {
  if (!UpdateQueryNode.is(node) || !node.table || !node.where) return undefined;
  const set = new Set((node.updates ?? []).map(({ column }) => (ColumnNode.is(column) ? column.column.name : "")));
  const replaced = columns.filter((column) => set.has(column));
  if (replaced.length === 0) return undefined;
  return { ...SelectQueryNode.createFrom([node.table]), where: node.where, selections: replaced.map(selectionOf) };
}

function selectionOf(column: string): SelectionNode {
  return SelectionNode.create(ReferenceNode.create(ColumnNode.create(column)));
}
