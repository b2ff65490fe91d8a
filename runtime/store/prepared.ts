/**
 * Queries that are built and compiled once and then only bound. Building and compiling a query takes several times as
 * long as SQLite needs to answer it, so every query that runs on each call, or in a very frequent call, is prepared.
 */
import { type CompiledQuery, type Expression, type Kysely, type QueryResult, sql } from "kysely";
import type { Database } from "../../schema/index.js";
import { isChange } from "./changed-rows.js";

/** A value that a parameter can have. */
export type Bindable = string | number | null;

/** One of Kysely's query builders, or `sql`. */
interface Buildable<Row> {
  compile(db: Kysely<Database>): CompiledQuery<Row>;
}

/** Stands for a parameter in the query's tree. */
export class Placeholder {
  constructor(readonly name: string) {}
}

/**
 * Declares a query with named parameters. `build` runs once per database and gets an expression for each parameter, to
 * be used like a value. The returned function binds the parameters and runs the query.
 */
export function prepared<Name extends string, Row>(
  names: readonly Name[],
  build: (db: Kysely<Database>, parameters: Record<Name, Expression<never>>) => Buildable<Row>,
): (ctx: { db: Kysely<Database> }, parameters: Record<Name, Bindable>) => Promise<QueryResult<Row>> {
  const expressions = Object.fromEntries(
    names.map((name) => [name, sql<never>`${new Placeholder(name)}`]),
  ) as unknown as Record<Name, Expression<never>>;
  // By database, since each compiles the query to different SQL. A process usually uses only one.
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
    // Observers look into the tree, which has the parameters' names; `bindings` gives their values.
    return db.executeQuery<Row>(Object.assign(bound, before, { bindings: parameters }));
  };
}
