/** Busy is kept with the agent's profile, so that it outlives the socket. Who set it until now is not known: the agent may end it. */
import { type Kysely, sql } from "kysely";

export async function up(db: Kysely<never>): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);

  await run(`alter table "providerProfiles" add column "busySetBy" text check ("busySetBy" in ('owner', 'agent'))`);
  await run(`update "providerProfiles" set "busySetBy" = 'agent'
    where "agentId" in (select "agentId" from "agentSockets" where "onlineStatus" = 'busy')`);
}
