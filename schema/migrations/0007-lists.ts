/** Lists that go on behind a cursor: each order of a list is that of an index, down to the column that tells rows apart. */
import { type Kysely, sql } from "kysely";

/** Index → its table, columns and condition. All but the last two were there with a column less. */
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
  sessionsByRentedAgent: { on: "sessions", columns: '"consumerUserId", "providerAgentId", "createdAt"' },
};

export async function up(db: Kysely<never>): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);
  for (const [index, { on, columns, where }] of Object.entries(orders)) {
    await run(`drop index if exists "${index}"`);
    await run(`create index "${index}" on ${on} (${columns})${where === undefined ? "" : ` where ${where}`}`);
  }
}
