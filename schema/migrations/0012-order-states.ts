/** Orders say themselves what keeps them open, so that a list of one state reads no sessions. */
import { type Kysely, sql } from "kysely";

export async function up(db: Kysely<never>): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);

  await run(`alter table orders add column "awaitsApproval" integer not null default 0
    check ("awaitsApproval" in (0, 1))`);
  await run(`update orders set "awaitsApproval" = 1 where status in ('pending', 'active') and not exists (
    select 1 from sessions where sessions."orderId" = orders."orderId" and sessions.status = 'active')`);
  await run('drop index "ordersByUserStatus"');
  await run('create index "ordersByState" on orders ("userId", status, "awaitsApproval", "createdAt", "orderId")');
}
