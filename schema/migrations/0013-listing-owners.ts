/** A profile names its agent's owner, so that a walk along the marketplace sees whose each listing is in the index alone. */
import { type Kysely, sql } from "kysely";

export async function up(db: Kysely<never>): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);

  await run('alter table "providerProfiles" add column "ownerId" text');
  await run(`update "providerProfiles" set "ownerId" = (
    select agents."ownerId" from agents where agents."agentId" = "providerProfiles"."agentId")`);
  for (const [index, key] of [
    ["profilesNewest", ""],
    ["profilesPopular", '"totalSessions", '],
    ["profilesRating", 'coalesce("completionRate", -1), '],
  ]) {
    await run(`drop index "${index}"`);
    await run(`create index "${index}" on "providerProfiles" (status, ${key}"agentId", "ownerId")`);
  }
}
