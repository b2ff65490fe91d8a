/**
 * Events note that they have started, so that a start is a commit like an end, and whoever watches sees it at once. Those
 * that are on get their note from the timer.
 */
import { type Kysely, sql } from "kysely";

export async function up(db: Kysely<never>): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);

  await run('alter table events add column "startedAt" bigint');
  await run('create index "eventsToStart" on events ("startAt") where "startedAt" is null and "endedAt" is null');
}
