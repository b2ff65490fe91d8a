/** A check-in may leave open how its agent reaches out: the column takes null. SQLite cannot change one in place. */
import { type Kysely, sql } from "kysely";

export async function up(db: Kysely<never>): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);

  await run(`alter table checkins add column "chosenMode" text
    check ("chosenMode" in ('suggest_only', 'propose_for_me'))`);
  // Whether a stored 'suggest_only' was chosen is not known: an agent that was told to wait goes on waiting.
  await run('update checkins set "chosenMode" = "outreachMode"');
  await run('alter table checkins drop column "outreachMode"');
  await run('alter table checkins rename column "chosenMode" to "outreachMode"');
}
