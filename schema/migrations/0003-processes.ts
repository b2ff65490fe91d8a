/** Several processes on one database: what they have to know of each other's sockets, secrets and counts. */
import { type Kysely, sql } from "kysely";
import type { MigrationTarget } from "./target.js";

export async function up(db: Kysely<never>, target: MigrationTarget): Promise<void> {
  const { schema } = db;
  const run = (statement: string) => sql.raw(statement).execute(db);

  await schema
    .createTable("sessionAbsences")
    .addColumn("sessionId", "text", (column) => column.notNull().references("sessions.sessionId"))
    .addColumn("participantId", "text", (column) => column.notNull())
    .addColumn("slotIndex", "integer", (column) => column.notNull())
    .addColumn("next", "text", (column) => column.notNull().check(sql`next in ('disconnected', 'offline')`))
    .addColumn("dueAt", "bigint", (column) => column.notNull())
    .addPrimaryKeyConstraint("sessionAbsencesKey", ["sessionId", "participantId", "slotIndex"] as never[])
    .execute();
  await run('create index "sessionAbsencesByDue" on "sessionAbsences" ("dueAt")');

  await run('alter table "serverProcesses" add column "secretCheck" text');

  // One process counts in its memory. What a crash of the database forgets here is a few minutes of counting.
  if (target.unloggedTables) {
    await run(
      'create unlogged table "rateCounts" (key varchar(255) primary key, points integer not null default 0, expire bigint)',
    );
  }
}
