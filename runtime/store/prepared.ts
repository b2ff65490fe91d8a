/**
 * Queries that are built once and only bound at each run. Building and compiling a query costs several times what
 * SQLite takes to answer it, so what runs on every call, or in a call that runs all the time, is prepared.
 */
import { type CompiledQuery, type Expression, type Kysely, type QueryResult, sql } from "kysely";
import type { Database } from "../../schema/index.js";
import { isChange } from "./changed-rows.js";

/** What can be bound. */
export type Bindable = string | number | null;

/** Any of Kysely's finished builders, and `sql`. */
interface Buildable<Row> {
  compile(db: Kysely<Database>): CompiledQuery<Row>;
}

/** Stands for a parameter while the query is built, and in its tree. */
export class Placeholder {
  constructor(readonly name: string) {}
}

/**
 * Declares a query with named parameters. `build` gets an expression for each of them, to be used like a value, and
 * runs once; the returned function binds and runs.
 */
export function prepared<Name extends string, Row>(
  names: readonly Name[],
  build: (db: Kysely<Database>, parameters: Record<Name, Expression<never>>) => Buildable<Row>,
): (ctx: { db: Kysely<Database> }, parameters: Record<Name, Bindable>) => Promise<QueryResult<Row>> {
  const expressions = Object.fromEntries(
    names.map((name) => [name, sql<never>`${new Placeholder(name)}`]),
  ) as unknown as Record<Name, Expression<never>>;
  // The two databases write the same query differently; a process mostly knows one of them.
  const compiled = new WeakMap<object, CompiledQuery<Row>>();

  return ({ db }, parameters) => {
    const { adapter } = db.getExecutor();
    let query = compiled.get(adapter.constructor);
    if (!query) {
      query = build(db, expressions).compile(db);
      compiled.set(adapter.constructor, query);
    }
    const bind = <Q extends CompiledQuery>(compiled: Q): Q => ({
      ...compiled,
      parameters: compiled.parameters.map((parameter) =>
        parameter instanceof Placeholder ? parameters[parameter.name as Name] : parameter,
      ),
    });
    const bound = bind(query);
    const before = isChange(bound) && bound.before ? { before: bind(bound.before) } : {};
    // What watches statements looks into the tree, where the parameters stand by their names.
    return db.executeQuery<Row>(Object.assign(bound, before, { bindings: parameters }));
  };
}
