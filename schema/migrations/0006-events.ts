/**
 * Events that are cancelled or cut short, and that are found without reading those that are over; location shares whose
 * coordinates only the holder of the link can read.
 */
import { type Kysely, sql } from "kysely";
import { cellOfCode, geoCellLevel, placeCode } from "../place-code.js";
import type { MigrationTarget } from "./target.js";

interface OpenEvent {
  eventId: string;
  locationLat: number;
  locationLng: number;
}

export async function up(db: Kysely<never>, _target: MigrationTarget): Promise<void> {
  await changeEvents(db);
  await sealLocationShares(db);

  const run = (statement: string) => sql.raw(statement).execute(db);
  await run(`create index "checkinsOf" on checkins ("agentId", "expiresAt") where status = 'active'`);
  await run(
    `create index "introsEnding" on intros ("eventId", "expiresAt") where status in ('proposed', 'accepted', 'confirmed')`,
  );
}

async function changeEvents(db: Kysely<never>): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);
  for (const column of [
    `"cancelledAt" bigint`,
    `"trimAt" bigint`,
    `turn integer not null default 0`,
    `"placeCode" bigint`,
  ]) {
    await run(`alter table events add column ${column}`);
  }
  await run(`drop index "eventsByStart"`);
  await run(`drop index "eventsByCell"`);

  // Squares of another kind; what is over is in no index, so it needs none.
  await run(`update events set "geoCell" = null`);
  let after = "";
  for (;;) {
    const { rows } = await sql<OpenEvent>`
      select "eventId", "locationLat", "locationLng" from events
      where "endedAt" is null and "locationLat" is not null and "eventId" > ${after}
      order by "eventId" limit 1000`.execute(db);
    for (const { eventId, locationLat: lat, locationLng: lng } of rows) {
      const code = placeCode({ lat, lng });
      await sql`
        update events set "placeCode" = ${code}, "geoCell" = ${cellOfCode(code, geoCellLevel)}
        where "eventId" = ${eventId}`.execute(db);
    }
    const last = rows.at(-1);
    if (!last) break;
    after = last.eventId;
  }
  // Three of a creator's open events to a turn, the first to start in the first one; the last turn takes all the rest.
  await run(`
    update events set turn = case when ranked.place < 18 then ranked.place / 3 else 6 end
    from (
      select "eventId" as id, row_number() over (partition by "createdBy" order by "startAt", "eventId") - 1 as place
      from events where "endedAt" is null
    ) as ranked
    where events."eventId" = ranked.id`);

  await run(`create index "eventsListed" on events (turn, "startAt", "eventId") where "endedAt" is null`);
  await run(`create index "eventsOf" on events ("createdBy", "endAt") where "endedAt" is null`);
  await run(`create index "eventsAround" on events ("geoCell", "placeCode") where "endedAt" is null`);
  await run(`create index "eventsAroundByTurn" on events ("geoCell", turn, "placeCode") where "endedAt" is null`);
  await run(`create index "eventsToTrim" on events ("trimAt") where "trimAt" is not null`);
}

/**
 * Coordinates that were submitted before are not carried over: only their token, which is not stored, could seal them.
 * Their shares, which last an hour, read as expired, and the table is made anew so that none of the old bytes stay.
 */
async function sealLocationShares(db: Kysely<never>): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);
  await db.schema
    .createTable("sealedShares")
    .addColumn("shareId", "text", (column) => column.primaryKey())
    .addColumn("shareTokenHash", "text", (column) => column.notNull().unique())
    .addColumn("agentId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("label", "text")
    .addColumn("status", "text", (column) => column.notNull().check(sql`status in ('pending', 'completed', 'spent')`))
    .addColumn("sealedPlace", "text")
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("sharedAt", "bigint")
    .addColumn("expiresAt", "bigint", (column) => column.notNull())
    .addCheckConstraint("sealedSharesPlace", sql`(status = 'completed') = ("sealedPlace" is not null)`)
    .execute();
  const kept = `"shareId", "shareTokenHash", "agentId", label`;
  await run(`
    insert into "sealedShares" (${kept}, status, "createdAt", "sharedAt", "expiresAt")
    select ${kept}, case status when 'completed' then 'spent' else status end, "createdAt", "sharedAt",
      case status when 'completed' then "sharedAt" else "expiresAt" end
    from "locationShares"`);
  await run(`drop table "locationShares"`);
  await run(`alter table "sealedShares" rename to "locationShares"`);

  const open = `where status in ('pending', 'completed')`;
  await run(`create index "locationSharesOpen" on "locationShares" ("expiresAt") ${open}`);
  await run(`create index "locationSharesOf" on "locationShares" ("agentId", "expiresAt") ${open}`);
  await run(`create index "locationSharesByExpiry" on "locationShares" ("expiresAt")`);
}
