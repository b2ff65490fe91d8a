/**
 * Lists that go on behind a cursor: each order of a list is that of an index, down to the column that tells rows apart.
 * And what caps count: open threads, proposals, messages that were blocked and not kept.
 */
import { type Kysely, sql } from "kysely";

/** Index → its table, columns and condition. Many were there with a column less. */
const orders: Record<string, { on: string; columns: string; where?: string }> = {
  connectionsBy_inviterAgentId: { on: "connections", columns: '"inviterAgentId", "createdAt", "connectionId"' },
  connectionsBy_accepterAgentId: { on: "connections", columns: '"accepterAgentId", "createdAt", "connectionId"' },
  followsByFollower: { on: "follows", columns: '"followerId", "createdAt", "userId"' },
  followsByUser: { on: "follows", columns: '"userId", "createdAt", "followerId"' },
  agentsByOwner: { on: "agents", columns: '"ownerId", "createdAt", "agentId"', where: '"ownerId" is not null' },
  profilesByStatus: { on: '"providerProfiles"', columns: 'status, "createdAt", "profileId"' },
  favoritesByUser: { on: "favorites", columns: '"userId", "createdAt", "agentId"' },
  ordersByUser: { on: "orders", columns: '"userId", "createdAt", "orderId"' },
  sessionsByCreation: { on: "sessions", columns: '"createdAt", "sessionId"' },
  sessionsByStatus: { on: "sessions", columns: 'status, "createdAt", "sessionId"' },
  entriesByUser: {
    on: "entries",
    columns: '"userId", "createdAt", position, "entryId"',
    where: '"userId" is not null',
  },
  entriesByUserType: {
    on: "entries",
    columns: '"userId", type, "createdAt", position, "entryId"',
    where: '"userId" is not null',
  },
  billingRecordsBy_consumerUserId: { on: '"billingRecords"', columns: '"consumerUserId", "createdAt", "recordId"' },
  billingRecordsBy_providerUserId: { on: '"billingRecords"', columns: '"providerUserId", "createdAt", "recordId"' },
  ...Object.fromEntries(
    ["consumerUserId", "providerUserId", "providerAgentId", "consumerAgentId"].flatMap((side) => [
      [`sessionsBy_${side}`, { on: "sessions", columns: `"${side}", "createdAt", "sessionId"` }],
      [`sessionsByStatus_${side}`, { on: "sessions", columns: `"${side}", status, "createdAt", "sessionId"` }],
    ]),
  ),
  cartItemsByUser: { on: '"cartItems"', columns: '"userId", "cartItemId"' },
  threadsOpen: { on: "threads", columns: '"connectionId"', where: "status in ('negotiating', 'awaiting_approval')" },
  threadsByConnection: { on: "threads", columns: '"connectionId", "createdAt"' },
  threadsSilentToExpire: { on: "threads", columns: '"activeHour"', where: "status = 'negotiating'" },
  threadsNewestOfPair: { on: "threads", columns: '"agentAId", "agentBId"', where: '"supersededAt" is null' },
  ...Object.fromEntries(
    ["agentAId", "agentBId"].flatMap((side) => [
      [`threadsNewest_${side}`, { on: "threads", columns: `"${side}", "activeHour"`, where: '"supersededAt" is null' }],
      [`threadsSuperseded_${side}`, { on: "threads", columns: `"${side}", "supersededAt"` }],
    ]),
  ),
  listingCountsFullest: { on: '"listingCounts"', columns: "(-listed), category" },
  sessionsByRentedAgent: { on: "sessions", columns: '"consumerUserId", "providerAgentId", "createdAt"' },
};

export async function up(db: Kysely<never>): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);
  await run('alter table threads add column "proposalCount" integer not null default 0');
  await run(`update threads set "proposalCount" = (select count(*) from messages
    where messages."threadId" = threads."threadId" and messages.type in ('proposal', 'counter'))`);
  await run('alter table threads add column "supersededAt" bigint');
  await supersedeThreads(run);
  await run('alter table "blockedMessages" add column "furtherBlocked" bigint not null default 0');
  for (const [index, { on, columns, where }] of Object.entries(orders)) {
    await run(`drop index if exists "${index}"`);
    await run(`create index "${index}" on ${on} (${columns})${where === undefined ? "" : ` where ${where}`}`);
  }
}

/** Of each two agents, all threads are superseded but the one in which they were active last. */
async function supersedeThreads(run: (statement: string) => Promise<unknown>): Promise<void> {
  await run('create index "threadsOfPair" on threads ("agentAId", "agentBId")');
  const place = (table: string) => `coalesce(${table}."lastMessageAt", ${table}."createdAt"), ${table}."threadId"`;
  const later = (agentA: string, agentB: string) => `exists (select 1 from threads as later
    where later."agentAId" = threads."${agentA}" and later."agentBId" = threads."${agentB}"
      and (${place("later")}) > (${place("threads")}))`;
  await run(`update threads set "supersededAt" = coalesce("lastMessageAt", "createdAt")
    where ${later("agentAId", "agentBId")} or ${later("agentBId", "agentAId")}`);
  await run('drop index "threadsOfPair"');
}
