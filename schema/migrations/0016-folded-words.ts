/** Tags, intent tags and the words of listings as they are folded now, so that what was stored goes on being found. */
import { type Kysely, sql } from "kysely";
import { wordsOfListing } from "../search-words.js";
import { normalizeTags } from "../values.js";

const batch = 500;

interface Capability {
  agentId: string;
  category: string;
  name: string;
  tags: string;
  description: string;
}

export async function up(db: Kysely<never>): Promise<void> {
  await foldTags(db, { table: "events", id: "eventId", tags: "tags" });
  await foldTags(db, { table: "checkins", id: "checkinId", tags: "intentTags" });
  await foldListings(db);
}

async function foldTags(db: Kysely<never>, names: { table: string; id: string; tags: string }): Promise<void> {
  const [table, id, tags] = [sql.table(names.table), sql.ref(names.id), sql.ref(names.tags)];
  let after = "";
  for (;;) {
    const { rows } = await sql<{ id: string; tags: string }>`
      select ${id} as id, ${tags} as tags from ${table}
      where ${id} > ${after} and ${tags} <> '[]'
      order by ${id} limit ${batch}`.execute(db);
    for (const row of rows) {
      const folded = JSON.stringify(normalizeTags(JSON.parse(row.tags) as string[]));
      if (folded === row.tags) continue;
      await sql`update ${table} set ${tags} = ${folded} where ${id} = ${row.id}`.execute(db);
    }
    const last = rows.at(-1);
    if (!last) break;
    after = last.id;
  }
}

async function foldListings(db: Kysely<never>): Promise<void> {
  let after = "";
  for (;;) {
    const { rows: agents } = await sql<{ agentId: string; name: string; description: string | null }>`
      select agents."agentId", agents.name, agents.description from "providerProfiles" join agents using ("agentId")
      where "providerProfiles".status = 'active' and "providerProfiles"."agentId" > ${after}
      order by "providerProfiles"."agentId" limit ${batch}`.execute(db);
    const last = agents.at(-1);
    if (!last) break;
    const agentIds = sql.join(agents.map(({ agentId }) => agentId));
    const { rows: capabilities } = await sql<Capability>`
      select "agentId", category, name, tags, description from "agentCapabilities"
      where "agentId" in (${agentIds}) order by "agentId", position`.execute(db);
    const { rows: words } = await sql<{ agentId: string; word: string }>`
      select "agentId", word from "listingWords" where "agentId" in (${agentIds})`.execute(db);
    const capabilitiesOf = grouped(capabilities);
    const wordsOf = grouped(words);
    for (const { agentId, name, description } of agents) {
      const said = (capabilitiesOf.get(agentId) ?? []).flatMap(({ category, name, tags, description }) => [
        category,
        name,
        ...(JSON.parse(tags) as string[]),
        description,
      ]);
      const now = wordsOfListing([name, description ?? "", ...said]);
      const before = new Set((wordsOf.get(agentId) ?? []).map(({ word }) => word));
      for (const word of before) {
        if (now.has(word)) continue;
        await sql`delete from "listingWords" where "agentId" = ${agentId} and word = ${word}`.execute(db);
      }
      for (const word of now) {
        if (before.has(word)) continue;
        await sql`insert into "listingWords" (word, "agentId") values (${word}, ${agentId})`.execute(db);
      }
    }
    after = last.agentId;
  }
}

function grouped<Row extends { agentId: string }>(rows: Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const group = groups.get(row.agentId);
    if (group) group.push(row);
    else groups.set(row.agentId, [row]);
  }
  return groups;
}
