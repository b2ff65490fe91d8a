/** Users, listings, rentals and money: everything ClawRent keeps, beside what agents already have. */
import { type CreateTableBuilder, type Kysely, sql } from "kysely";
import type { MigrationTarget } from "./target.js";

export async function up(db: Kysely<never>, target: MigrationTarget): Promise<void> {
  const { schema } = db;
  const run = (statement: string) => sql.raw(statement).execute(db);
  // biome-ignore lint/suspicious/noExplicitAny: the builder's type names the columns that were added so far.
  const clustered = (table: CreateTableBuilder<any, any>) =>
    target.clusteredTables ? table.modifyEnd(sql`without rowid`) : table;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  const updatedOften = (table: CreateTableBuilder<any, any>) =>
    target.fillFactor ? table.modifyEnd(sql`with (fillfactor = 50)`) : table;

  await schema
    .createTable("users")
    .addColumn("userId", "text", (column) => column.primaryKey())
    .addColumn("email", "text", (column) => column.notNull().unique())
    .addColumn("name", "text", (column) => column.notNull())
    .addColumn("passwordHash", "text", (column) => column.notNull())
    .addColumn("apiKeyHash", "text", (column) => column.notNull().unique())
    .addColumn("role", "text", (column) => column.notNull().check(sql`role in ('consumer', 'both')`))
    .addColumn("status", "text", (column) => column.notNull().check(sql`status in ('active', 'suspended', 'banned')`))
    .addColumn("avatarUrl", "text")
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("updatedAt", "bigint", (column) => column.notNull())
    .execute();

  await schema
    .createTable("emailVerifications")
    .addColumn("email", "text", (column) => column.primaryKey())
    .addColumn("codeHash", "text")
    .addColumn("codeExpiresAt", "bigint", (column) => column.notNull())
    .addColumn("wrongTries", "integer", (column) => column.notNull())
    .addColumn("sentAt", "bigint", (column) => column.notNull())
    .addColumn("hourStartedAt", "bigint", (column) => column.notNull())
    .addColumn("sentInHour", "integer", (column) => column.notNull())
    .addColumn("expiresAt", "bigint", (column) => column.notNull())
    .execute();
  await run('create index "emailVerificationsByExpiry" on "emailVerifications" ("expiresAt")');

  await schema
    .createTable("outbox")
    .addColumn("mailId", "text", (column) => column.primaryKey())
    .addColumn("recipient", "text", (column) => column.notNull())
    .addColumn("subject", "text", (column) => column.notNull())
    .addColumn("body", "text", (column) => column.notNull())
    .addColumn("attempts", "integer", (column) => column.notNull())
    .addColumn("nextAttemptAt", "bigint", (column) => column.notNull())
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .execute();
  await run('create index "outboxDue" on outbox ("nextAttemptAt")');

  await schema
    .createTable("follows")
    .addColumn("followerId", "text", (column) => column.notNull().references("users.userId"))
    .addColumn("userId", "text", (column) => column.notNull().references("users.userId"))
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addPrimaryKeyConstraint("followsKey", ["followerId", "userId"] as never[])
    .addCheckConstraint("followsNotOneself", sql`"followerId" <> "userId"`)
    .execute();
  await run('create index "followsByFollower" on follows ("followerId", "createdAt")');
  await run('create index "followsByUser" on follows ("userId", "createdAt")');

  const agentColumns = [
    '"ownerId" text references users ("userId")',
    "slug text",
    '"longDescription" text',
    "roles text not null default 'consumer' check (roles in ('consumer', 'both'))",
    `"requiredPermissions" text not null default '[]'`,
    '"publishDefaults" text',
    '"serveRules" text',
    '"updatedAt" bigint',
  ];
  for (const column of agentColumns) await run(`alter table agents add column ${column}`);
  await run('create unique index "agentsSlug" on agents (slug) where slug is not null');
  await run('create index "agentsByOwner" on agents ("ownerId", "createdAt") where "ownerId" is not null');

  await schema
    .createTable("agentCapabilities")
    .addColumn("agentId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("position", "integer", (column) => column.notNull())
    .addColumn("capabilityId", "text", (column) => column.notNull().unique())
    .addColumn("category", "text", (column) => column.notNull())
    .addColumn("name", "text", (column) => column.notNull())
    .addColumn("description", "text", (column) => column.notNull())
    .addColumn("tags", "text", (column) => column.notNull())
    .addPrimaryKeyConstraint("agentCapabilitiesKey", ["agentId", "position"] as never[])
    .$call(clustered)
    .execute();

  await schema
    .createTable("providerProfiles")
    .addColumn("profileId", "text", (column) => column.primaryKey())
    .addColumn("agentId", "text", (column) => column.notNull().unique().references("agents.agentId"))
    .addColumn("status", "text", (column) =>
      column.notNull().check(sql`status in ('pending_review', 'active', 'rejected', 'suspended')`),
    )
    .addColumn("pricingModel", "text", (column) =>
      column.notNull().check(sql`"pricingModel" in ('per_token', 'per_session', 'per_minute', 'fixed')`),
    )
    .addColumn("priceMinor", "bigint", (column) => column.notNull().check(sql`"priceMinor" >= 0`))
    .addColumn("currency", "text", (column) => column.notNull().check(sql`currency in ('CNY', 'USD')`))
    .addColumn("hostingType", "text", (column) =>
      column.notNull().check(sql`"hostingType" in ('self_hosted', 'platform_hosted')`),
    )
    .addColumn("endpoint", "text")
    .addColumn("healthCheckUrl", "text")
    .addColumn("transparencyLevel", "text", (column) =>
      column.notNull().check(sql`"transparencyLevel" in ('opaque', 'moderate', 'transparent')`),
    )
    .addColumn("approvalMode", "text", (column) => column.notNull().check(sql`"approvalMode" in ('manual', 'auto')`))
    .addColumn("maxConcurrentSessions", "integer", (column) => column.notNull())
    .addColumn("maxConsumerSlots", "integer", (column) => column.notNull())
    .addColumn("slotAssignmentMode", "text", (column) => column.notNull())
    .addColumn("allowSharedConsumer", "integer", (column) =>
      column.notNull().check(sql`"allowSharedConsumer" in (0, 1)`),
    )
    .addColumn("verificationLevel", "text", (column) => column.notNull())
    .addColumn("totalSessions", "integer", (column) => column.notNull())
    .addColumn("endedSessions", "integer", (column) => column.notNull())
    .addColumn("completionRate", "double precision")
    .addColumn("reviewNote", "text")
    .addColumn("activatedAt", "bigint")
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("updatedAt", "bigint", (column) => column.notNull())
    .execute();
  await run('create index "profilesByStatus" on "providerProfiles" (status, "createdAt")');
  // The three orders in which the marketplace is browsed. An agent's id rises with the time it was made.
  await run('create index "profilesNewest" on "providerProfiles" (status, "agentId")');
  await run('create index "profilesPopular" on "providerProfiles" (status, "totalSessions", "agentId")');
  await run(`create index "profilesRating" on "providerProfiles" (status, coalesce("completionRate", -1), "agentId")`);

  for (const [table, word] of [
    ["listingWords", "word"],
    ["listingCategories", "category"],
  ] as const) {
    await schema
      .createTable(table)
      // Words are looked for by how they begin, which is a range only where they are sorted by their bytes.
      .addColumn(word, sql.raw(`text ${target.byteOrder}`), (column) => column.notNull())
      .addColumn("agentId", "text", (column) => column.notNull().references("agents.agentId"))
      .addPrimaryKeyConstraint(`${table}Key`, [word, "agentId"] as never[])
      .$call(clustered)
      .execute();
    await run(`create index "${table}ByAgent" on "${table}" ("agentId", "${word}")`);
  }
  await schema
    .createTable("listingCounts")
    .addColumn("category", "text", (column) => column.primaryKey())
    .addColumn("listed", "integer", (column) => column.notNull().check(sql`listed >= 0`))
    .execute();
  await run('create index "listingCountsByListed" on "listingCounts" (listed, category)');

  await schema
    .createTable("favorites")
    .addColumn("userId", "text", (column) => column.notNull().references("users.userId"))
    .addColumn("agentId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addPrimaryKeyConstraint("favoritesKey", ["userId", "agentId"] as never[])
    .execute();
  await run('create index "favoritesByUser" on favorites ("userId", "createdAt")');

  await schema
    .createTable("cartItems")
    .addColumn("cartItemId", "text", (column) => column.primaryKey())
    .addColumn("userId", "text", (column) => column.notNull().references("users.userId"))
    .addColumn("providerAgentId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("taskDescription", "text", (column) => column.notNull())
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("updatedAt", "bigint", (column) => column.notNull())
    .addUniqueConstraint("cartItemsOncePerAgent", ["userId", "providerAgentId"] as never[])
    .execute();

  await schema
    .createTable("orders")
    .addColumn("orderId", "text", (column) => column.primaryKey())
    .addColumn("userId", "text", (column) => column.notNull().references("users.userId"))
    .addColumn("note", "text")
    .addColumn("status", "text", (column) =>
      column.notNull().check(sql`status in ('pending', 'active', 'completed', 'cancelled')`),
    )
    .addColumn("totalMinor", "bigint", (column) => column.notNull())
    .addColumn("currency", "text", (column) => column.notNull())
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("updatedAt", "bigint", (column) => column.notNull())
    .execute();
  await run('create index "ordersByUser" on orders ("userId", "createdAt")');
  await run('create index "ordersByUserStatus" on orders ("userId", status, "createdAt")');

  await schema
    .createTable("sessions")
    .addColumn("sessionId", "text", (column) => column.primaryKey())
    .addColumn("orderId", "text", (column) => column.references("orders.orderId"))
    .addColumn("providerAgentId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("providerUserId", "text", (column) => column.notNull().references("users.userId"))
    .addColumn("consumerUserId", "text", (column) => column.notNull().references("users.userId"))
    .addColumn("consumerAgentId", "text", (column) => column.references("agents.agentId"))
    .addColumn("taskDescription", "text", (column) => column.notNull())
    .addColumn("grantedPermissions", "text", (column) => column.notNull())
    .addColumn("missingPermissions", "text", (column) => column.notNull())
    .addColumn("status", "text", (column) =>
      column.notNull().check(sql`status in ('pending_approval', 'active', 'completed', 'aborted', 'expired')`),
    )
    .addColumn("needsManualReview", "integer", (column) => column.notNull().check(sql`"needsManualReview" in (0, 1)`))
    .addColumn("guardrailDecision", "text")
    .addColumn("maxSlots", "integer", (column) => column.notNull())
    .addColumn("pricingModel", "text", (column) => column.notNull())
    .addColumn("priceMinor", "bigint", (column) => column.notNull().check(sql`"priceMinor" >= 0`))
    .addColumn("currency", "text", (column) => column.notNull())
    .addColumn("totalMessages", "integer", (column) => column.notNull())
    .addColumn("totalInstructions", "integer", (column) => column.notNull())
    .addColumn("totalTokensProvider", "bigint", (column) => column.notNull())
    .addColumn("totalTokensConsumer", "bigint", (column) => column.notNull())
    .addColumn("billingStatus", "text", (column) =>
      column.notNull().check(sql`"billingStatus" in ('pending', 'settled', 'refunded')`),
    )
    .addColumn("billingAmountMinor", "bigint")
    .addColumn("platformFeeMinor", "bigint")
    .addColumn("providerIncomeMinor", "bigint")
    .addColumn("startedAt", "bigint")
    .addColumn("endedAt", "bigint")
    .addColumn("endReason", "text")
    .addColumn("expiresAt", "bigint")
    .addColumn("meterAt", "bigint")
    .addColumn("lastStampAt", "bigint", (column) => column.notNull())
    .addColumn("announced", "text", (column) => column.check(sql`announced in ('pending_approval', 'active')`))
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("updatedAt", "bigint", (column) => column.notNull())
    .addCheckConstraint("sessionsNotWithSelf", sql`"providerUserId" <> "consumerUserId"`)
    .addCheckConstraint("sessionsSettledOnce", sql`("billingStatus" = 'pending') = ("billingAmountMinor" is null)`)
    .addCheckConstraint(
      "sessionsSettledExactly",
      sql`"billingAmountMinor" = "platformFeeMinor" + "providerIncomeMinor"`,
    )
    .$call(updatedOften)
    .execute();
  for (const side of ["consumerUserId", "providerUserId", "providerAgentId", "consumerAgentId"]) {
    await run(`create index "sessionsBy_${side}" on sessions ("${side}", "createdAt")`);
    await run(`create index "sessionsByStatus_${side}" on sessions ("${side}", status, "createdAt")`);
  }
  await run('create index "sessionsByOrder" on sessions ("orderId") where "orderId" is not null');
  await run(`create index "sessionsToExpire" on sessions ("expiresAt") where status = 'pending_approval'`);
  await run(`create index "sessionsToMeter" on sessions ("meterAt") where "meterAt" is not null`);
  await run('create index "sessionsByCreation" on sessions ("createdAt")');
  await run('create index "sessionsByStatus" on sessions (status, "createdAt")');

  await schema
    .createTable("sessionParticipants")
    .addColumn("sessionId", "text", (column) => column.notNull().references("sessions.sessionId"))
    .addColumn("participantId", "text", (column) => column.notNull())
    .addColumn("type", "text", (column) => column.notNull().check(sql`type in ('agent', 'user')`))
    .addColumn("side", "text", (column) => column.notNull().check(sql`side in ('provider', 'consumer')`))
    .addColumn("userId", "text", (column) => column.notNull().references("users.userId"))
    .addColumn("agentId", "text", (column) => column.references("agents.agentId"))
    .addColumn("pausedAt", "bigint")
    .addColumn("confirmedAt", "bigint", (column) => column.notNull())
    .addPrimaryKeyConstraint("sessionParticipantsKey", ["sessionId", "participantId"] as never[])
    .$call(clustered)
    .execute();

  await schema
    .createTable("sessionMessages")
    .addColumn("sessionId", "text", (column) => column.notNull().references("sessions.sessionId"))
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("messageId", "text", (column) => column.notNull().unique())
    .addColumn("clientId", "text")
    .addColumn("type", "text", (column) => column.notNull())
    .addColumn("senderSide", "text", (column) => column.notNull().check(sql`"senderSide" in ('provider', 'consumer')`))
    .addColumn("senderParticipantId", "text", (column) => column.notNull())
    .addColumn("senderUserId", "text", (column) => column.notNull())
    .addColumn("senderAgentId", "text")
    .addColumn("slotIndex", "integer")
    .addColumn("targetSlot", "integer")
    .addColumn("mentions", "text")
    .addColumn("payload", "text", (column) => column.notNull())
    .addColumn("delivered", "integer", (column) => column.notNull().check(sql`delivered in (0, 1)`))
    .addPrimaryKeyConstraint("sessionMessagesKey", ["sessionId", "createdAt"] as never[])
    .$call(clustered)
    .execute();
  await run(
    'create unique index "sessionMessagesByClientId" on "sessionMessages" ("sessionId", "senderSide", "clientId") where "clientId" is not null',
  );

  await schema
    .createTable("blockedMessages")
    .addColumn("messageId", "text", (column) => column.primaryKey())
    .addColumn("sessionId", "text", (column) => column.notNull().references("sessions.sessionId"))
    .addColumn("type", "text", (column) => column.notNull())
    .addColumn("senderSide", "text", (column) => column.notNull())
    .addColumn("senderParticipantId", "text", (column) => column.notNull())
    .addColumn("payload", "text", (column) => column.notNull())
    .addColumn("category", "text", (column) => column.notNull())
    .addColumn("reason", "text", (column) => column.notNull())
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .execute();
  await run('create index "blockedMessagesBySession" on "blockedMessages" ("sessionId", "createdAt")');

  await schema
    .createTable("serverProcesses")
    .addColumn("processId", "text", (column) => column.primaryKey())
    .addColumn("leaseUntil", "bigint", (column) => column.notNull())
    .execute();
  await run('create index "serverProcessesByLease" on "serverProcesses" ("leaseUntil")');

  await schema
    .createTable("agentSockets")
    .addColumn("agentId", "text", (column) => column.primaryKey().references("agents.agentId"))
    .addColumn("socketId", "text", (column) => column.notNull())
    .addColumn("processId", "text", (column) => column.notNull())
    .addColumn("onlineStatus", "text", (column) =>
      column.notNull().check(sql`"onlineStatus" in ('online', 'offline', 'busy')`),
    )
    .addColumn("connectedAt", "bigint", (column) => column.notNull())
    .execute();
  await run('create index "agentSocketsByProcess" on "agentSockets" ("processId")');

  await schema
    .createTable("sessionSockets")
    .addColumn("socketId", "text", (column) => column.primaryKey())
    .addColumn("sessionId", "text", (column) => column.notNull().references("sessions.sessionId"))
    .addColumn("participantId", "text", (column) => column.notNull())
    .addColumn("side", "text", (column) => column.notNull())
    .addColumn("slotIndex", "integer", (column) => column.notNull())
    .addColumn("channel", "text", (column) => column.notNull().check(sql`channel in ('session', 'group')`))
    .addColumn("processId", "text", (column) => column.notNull())
    .addColumn("connectedAt", "bigint", (column) => column.notNull())
    .execute();
  await run('create index "sessionSocketsBySession" on "sessionSockets" ("sessionId", side)');
  await run('create index "sessionSocketsByProcess" on "sessionSockets" ("processId")');

  await schema
    .createTable("ledgerAccounts")
    .addColumn("accountId", "text", (column) => column.primaryKey())
    .addColumn("kind", "text", (column) => column.notNull().check(sql`kind in ('wallet', 'fees', 'outside')`))
    .addColumn("userId", "text", (column) => column.notNull().references("users.userId"))
    .addColumn("currency", "text", (column) => column.notNull().check(sql`currency in ('CNY', 'USD')`))
    .addColumn("balanceMinor", "bigint", (column) => column.notNull())
    .addColumn("heldMinor", "bigint", (column) => column.notNull().check(sql`"heldMinor" >= 0`))
    .addColumn("entryCount", "integer", (column) => column.notNull())
    .addCheckConstraint("ledgerAccountsNotOverspent", sql`kind = 'outside' or "balanceMinor" >= "heldMinor"`)
    .$call(updatedOften)
    .execute();

  await schema
    .createTable("transfers")
    .addColumn("transferId", "text", (column) => column.primaryKey())
    .addColumn("kind", "text", (column) => column.notNull().check(sql`kind in ('recharge', 'payment', 'refund')`))
    .addColumn("currency", "text", (column) => column.notNull())
    .addColumn("referenceType", "text", (column) => column.notNull())
    .addColumn("referenceId", "text", (column) => column.notNull())
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    // A settlement, a top-up or a refund happens once, whatever called for it.
    .addUniqueConstraint("transfersOnce", ["kind", "referenceType", "referenceId"] as never[])
    .execute();

  await schema
    .createTable("entries")
    .addColumn("entryId", "text", (column) => column.primaryKey())
    .addColumn("transferId", "text", (column) => column.notNull().references("transfers.transferId"))
    .addColumn("accountId", "text", (column) => column.notNull().references("ledgerAccounts.accountId"))
    .addColumn("position", "integer", (column) => column.notNull())
    .addColumn("userId", "text")
    .addColumn("type", "text", (column) =>
      column.notNull().check(sql`type in ('recharge', 'payment', 'income', 'refund', 'fee', 'outside')`),
    )
    .addColumn("amountMinor", "bigint", (column) => column.notNull().check(sql`"amountMinor" <> 0`))
    .addColumn("balanceAfterMinor", "bigint", (column) => column.notNull())
    .addColumn("description", "text", (column) => column.notNull())
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addUniqueConstraint("entriesOncePerAccount", ["transferId", "accountId"] as never[])
    .addUniqueConstraint("entriesInOrder", ["accountId", "position"] as never[])
    .execute();
  await run('create index "entriesByUser" on entries ("userId", "createdAt", "position") where "userId" is not null');
  await run(
    'create index "entriesByUserType" on entries ("userId", type, "createdAt", "position") where "userId" is not null',
  );

  for (const journal of ["transfers", "entries"]) {
    for (const statement of target.appendOnly(journal)) await run(statement);
  }

  await schema
    .createTable("holds")
    .addColumn("holdId", "text", (column) => column.primaryKey())
    .addColumn("sessionId", "text", (column) => column.notNull().unique().references("sessions.sessionId"))
    .addColumn("accountId", "text", (column) => column.notNull().references("ledgerAccounts.accountId"))
    .addColumn("amountMinor", "bigint", (column) => column.notNull().check(sql`"amountMinor" >= 0`))
    .addColumn("status", "text", (column) =>
      column.notNull().check(sql`status in ('held', 'captured', 'released', 'expired')`),
    )
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("endedAt", "bigint")
    .addCheckConstraint("holdsEnd", sql`(status = 'held') = ("endedAt" is null)`)
    .execute();
  await run(`create index "holdsOpen" on holds ("accountId") where status = 'held'`);

  await schema
    .createTable("billingRecords")
    .addColumn("recordId", "text", (column) => column.primaryKey())
    .addColumn("sessionId", "text", (column) => column.notNull().unique().references("sessions.sessionId"))
    .addColumn("consumerUserId", "text", (column) => column.notNull())
    .addColumn("providerUserId", "text", (column) => column.notNull())
    .addColumn("amountMinor", "bigint", (column) => column.notNull().check(sql`"amountMinor" >= 0`))
    .addColumn("platformFeeMinor", "bigint", (column) => column.notNull().check(sql`"platformFeeMinor" >= 0`))
    .addColumn("providerIncomeMinor", "bigint", (column) => column.notNull().check(sql`"providerIncomeMinor" >= 0`))
    .addColumn("currency", "text", (column) => column.notNull())
    .addColumn("pricingModel", "text", (column) => column.notNull())
    .addColumn("meteringData", "text", (column) => column.notNull())
    .addColumn("status", "text", (column) => column.notNull().check(sql`status in ('settled', 'refunded')`))
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addCheckConstraint("billingRecordsExact", sql`"amountMinor" = "platformFeeMinor" + "providerIncomeMinor"`)
    .execute();
  for (const side of ["consumerUserId", "providerUserId"]) {
    await run(`create index "billingRecordsBy_${side}" on "billingRecords" ("${side}", "createdAt")`);
  }

  await schema
    .createTable("docs")
    .addColumn("docId", "text", (column) => column.primaryKey())
    .addColumn("type", "text", (column) => column.notNull().check(sql`type in ('folder', 'document')`))
    .addColumn("title", "text", (column) => column.notNull())
    .addColumn("slug", "text", (column) => column.notNull())
    .addColumn("parentId", "text", (column) => column.references("docs.docId"))
    .addColumn("path", sql.raw(`text ${target.byteOrder}`), (column) => column.notNull().unique())
    .addColumn("content", "text", (column) => column.notNull())
    .addColumn("icon", "text")
    .addColumn("status", "text", (column) => column.notNull().check(sql`status in ('draft', 'published')`))
    .addColumn("version", "integer", (column) => column.notNull())
    .addColumn("changeSummary", "text")
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("updatedAt", "bigint", (column) => column.notNull())
    .execute();
  await run('create index "docsByParent" on docs ("parentId")');
}
