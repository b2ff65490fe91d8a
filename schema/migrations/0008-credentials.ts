/** What made a credential and how long it is good, what hangs below an agent token, and which claim links are spent. */
import { type Kysely, sql } from "kysely";

export async function up(db: Kysely<never>): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);

  await run('alter table agents add column "claimSpentAt" bigint');
  await run('alter table agents add column "claimedBy" text references users ("userId")');
  await run('alter table agents add column "parentTokenHash" text');
  await run('update agents set "claimSpentAt" = "claimedAt"');
  await run('create index "agentsByParentToken" on agents ("parentTokenHash")');

  await run(
    `alter table "agentCredentials" add column "madeBy" text not null default 'owner'
      check ("madeBy" in ('registration', 'agent', 'owner', 'agentToken'))`,
  );
  await run('alter table "agentCredentials" add column "madeByAgentId" text references agents ("agentId")');
  await run('alter table "agentCredentials" add column "expiresAt" bigint');
  await run(
    'alter table "agentCredentials" add column "isUnused" integer not null default 0 check ("isUnused" in (0, 1))',
  );
  await run(`update "agentCredentials" set "madeBy" = 'registration' where kind = 'apiKey'`);
  // One of each kind that stays, and one key that is still good for a while after its rotation.
  await run('drop index "agentCredentialsByAgent"');
  await run(
    'create unique index "agentCredentialsByAgent" on "agentCredentials" ("agentId", kind) where "expiresAt" is null',
  );
  await run(
    'create unique index "agentCredentialsToExpire" on "agentCredentials" ("agentId") where "expiresAt" is not null',
  );
  await run('create index "agentCredentialsOfAgent" on "agentCredentials" ("agentId")');
  await run(
    'create index "agentCredentialsDeadline" on "agentCredentials" ("expiresAt") where "expiresAt" is not null',
  );
}
