/** What owners want to change of agents that were reviewed already, kept apart until an admin has looked at it. */
import { type Kysely, sql } from "kysely";

export async function up(db: Kysely<never>): Promise<void> {
  await db.schema
    .createTable("pendingChanges")
    .addColumn("agentId", "text", (column) => column.primaryKey().references("agents.agentId"))
    .addColumn("changes", "text", (column) => column.notNull())
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("updatedAt", "bigint", (column) => column.notNull())
    .execute();
  await sql.raw('create index "changesPending" on "pendingChanges" ("createdAt", "agentId")').execute(db);
}
