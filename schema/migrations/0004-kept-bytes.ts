/**
 * What is kept on somebody's behalf, in bytes: the results of writes, and which of them a live client has shown that it
 * has; and the payloads of a session's messages, by the side that sent them.
 */
import { type Kysely, sql } from "kysely";

export async function up(db: Kysely<never>): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);
  // What was kept before counts for nobody, and goes when its time is over.
  await run('alter table "idempotency" add column "holder" text');
  await run('alter table "idempotency" add column "bytes" integer not null default 0');
  await run('alter table "idempotency" add column "sessionHash" text');
  await run('alter table "idempotency" add column "requestId" bigint');
  await run(
    'create index "idempotencyByHolder" on "idempotency" ("holder", "expiresAt", "bytes") where "holder" is not null',
  );
  await run(
    'create index "idempotencyBySession" on "idempotency" ("sessionHash", "requestId") where "sessionHash" is not null',
  );

  for (const side of ["provider", "consumer"]) {
    await run(`alter table "sessions" add column "${side}PayloadBytes" bigint not null default 0`);
    await run(`update "sessions" set "${side}PayloadBytes" = coalesce((
      select sum(octet_length(payload)) from "sessionMessages"
      where "sessionMessages"."sessionId" = "sessions"."sessionId" and "senderSide" = '${side}'), 0)`);
  }
}
