/** Prepared queries about a handful of agents, by their ids: a page of cards asks them on every call. */
import type { Expression, Kysely } from "kysely";
import type { QueryContext } from "../../../runtime/context.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { Database } from "../../../schema/index.js";

/** The numbers of ids that a query is prepared for: one agent, a page, the longest page. */
const places = [1, 20, 100];

/** Declares a query about agents. Parameters that a call does not need hold an id that no agent has. */
export function aboutAgents<Row>(
  build: (
    db: Kysely<Database>,
    agentIds: Expression<never>[],
  ) => ReturnType<Parameters<typeof prepared<string, Row>>[1]>,
): (ctx: QueryContext, agentIds: readonly string[]) => Promise<Row[]> {
  const queries = places.map((count) => {
    const names = Array.from({ length: count }, (_, index) => `agent${index}`);
    const run = prepared<string, Row>(names, (db, parameters) => build(db, Object.values(parameters)));
    return { count, names, run };
  });
  return async (ctx, agentIds) => {
    if (agentIds.length === 0) return [];
    const query = queries.find(({ count }) => count >= agentIds.length);
    if (!query) throw new Error(`A query about ${agentIds.length} agents at once`);
    const bound = Object.fromEntries(query.names.map((name, index) => [name, agentIds[index] ?? ""]));
    return (await query.run(ctx, bound)).rows;
  };
}
