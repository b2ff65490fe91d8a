/**
 * Finds out which rows an update or delete changes, so that only subscriptions to those rows run again. A handler
 * writes a plain statement; this compiler makes the same statement return the partition columns (schema/partitions.ts)
 * of the changed rows. If an update sets such a column, its old values are read just before the update, provided that
 * somebody is listening.
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

/** A compiled update or delete that returns more columns than its handler asked for. */
export interface ChangeQuery extends CompiledQuery {
  /** The statement that runs. `query` stays what the handler wrote: Kysely decides by it what the handler gets. */
  asked: RootOperationNode;
  /** Reads the old values of the partition columns that the update sets. */
  before?: CompiledQuery | undefined;
}

export function isChange(query: CompiledQuery): query is ChangeQuery {
  return "asked" in query;
}

/** Wraps a compiler so that every update and delete returns the partition columns of its rows. */
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
  // If the handler chose names for its results, our columns could hide them, so we add none.
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
