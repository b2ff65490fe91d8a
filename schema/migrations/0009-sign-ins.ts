/** Sign-ins that can be ended, and mailed codes of which several work at a time and which strangers cannot void. */
import { type Kysely, sql } from "kysely";

export async function up(db: Kysely<never>): Promise<void> {
  const { schema } = db;
  const run = (statement: string) => sql.raw(statement).execute(db);

  await schema
    .createTable("signIns")
    .addColumn("signInId", "text", (column) => column.primaryKey())
    .addColumn("userId", "text", (column) => column.notNull().references("users.userId"))
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("expiresAt", "bigint", (column) => column.notNull())
    .addColumn("endedAt", "bigint")
    .addColumn("lastSeenAt", "bigint", (column) => column.notNull())
    .addColumn("address", "text")
    .addColumn("userAgent", "text")
    .execute();
  await run('create index "signInsByUser" on "signIns" ("userId", "createdAt")');
  await run('create index "signInsByExpiry" on "signIns" ("expiresAt")');
  await run('create index "signInsToEnd" on "signIns" ("expiresAt") where "endedAt" is null');

  await schema
    .createTable("mailedCodes")
    .addColumn("codeId", "text", (column) => column.primaryKey())
    .addColumn("email", "text", (column) => column.notNull())
    .addColumn("purpose", "text", (column) => column.notNull().check(sql`purpose in ('register', 'reset')`))
    .addColumn("codeHash", "text", (column) => column.notNull())
    .addColumn("wrongTries", "integer", (column) => column.notNull())
    .addColumn("expiresAt", "bigint", (column) => column.notNull())
    .execute();
  await run('create index "mailedCodesByEmail" on "mailedCodes" (email, "expiresAt")');
  await run('create index "mailedCodesByExpiry" on "mailedCodes" ("expiresAt")');

  await schema
    .createTable("mailboxes")
    .addColumn("email", "text", (column) => column.primaryKey())
    .addColumn("expiresAt", "bigint", (column) => column.notNull())
    .execute();
  await run('create index "mailboxesByExpiry" on mailboxes ("expiresAt")');

  await schema
    .createTable("codeAskers")
    .addColumn("askerHash", "text", (column) => column.primaryKey())
    .addColumn("wrongTries", "integer", (column) => column.notNull())
    .addColumn("sentAt", "bigint", (column) => column.notNull())
    .addColumn("hourStartedAt", "bigint", (column) => column.notNull())
    .addColumn("sentInHour", "integer", (column) => column.notNull())
    .addColumn("expiresAt", "bigint", (column) => column.notNull())
    .execute();
  await run('create index "codeAskersByExpiry" on "codeAskers" ("expiresAt")');

  // Who was mailed a code a moment ago can still use it, and has had the mails that it had: six minutes each.
  await run(`insert into "mailedCodes" ("codeId", email, purpose, "codeHash", "wrongTries", "expiresAt")
    select "codeHash", email, 'register', "codeHash", "wrongTries", "codeExpiresAt"
    from "emailVerifications" where "codeHash" is not null`);
  await run(`insert into mailboxes (email, "expiresAt")
    select email, "sentAt" + "sentInHour" * 360000 from "emailVerifications"`);
  await run('drop table "emailVerifications"');
}
