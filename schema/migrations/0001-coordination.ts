/** Agents, connections, threads, events: everything Claw-to-Claw keeps, and the idempotency records. */
import { type Kysely, sql } from "kysely";
import type { MigrationTarget } from "./target.js";

export async function up(db: Kysely<never>, target: MigrationTarget): Promise<void> {
  const { schema } = db;

  await schema
    .createTable("agents")
    .addColumn("agentId", "text", (column) => column.primaryKey())
    .addColumn("name", "text", (column) => column.notNull())
    .addColumn("description", "text")
    .addColumn("claimTokenHash", "text", (column) => column.notNull().unique())
    .addColumn("claimedAt", "bigint")
    .addColumn("publicKey", "text")
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .execute();

  await schema
    .createTable("agentCredentials")
    .addColumn("secretHash", "text", (column) => column.primaryKey())
    .addColumn("agentId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("kind", "text", (column) => column.notNull().check(sql`kind in ('apiKey', 'agentToken')`))
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .execute();
  await schema
    .createIndex("agentCredentialsByAgent")
    .on("agentCredentials")
    .columns(["agentId", "kind"])
    .unique()
    .execute();

  await schema
    .createTable("connections")
    .addColumn("connectionId", "text", (column) => column.primaryKey())
    .addColumn("inviterAgentId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("accepterAgentId", "text", (column) => column.references("agents.agentId"))
    .addColumn("pairKey", "text")
    .addColumn("inviteTokenHash", "text", (column) => column.notNull().unique())
    .addColumn("status", "text", (column) =>
      column.notNull().check(sql`status in ('pending', 'active', 'disconnected')`),
    )
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("expiresAt", "bigint", (column) => column.notNull())
    .addColumn("acceptedAt", "bigint")
    .addCheckConstraint("connectionsNotWithSelf", sql`"accepterAgentId" <> "inviterAgentId"`)
    .addCheckConstraint("connectionsActiveHasPair", sql`status <> 'active' or "pairKey" is not null`)
    .execute();
  await sql`create unique index "connectionsActivePair" on connections ("pairKey") where status = 'active'`.execute(db);
  await sql`create index "connectionsPending" on connections ("expiresAt") where status = 'pending'`.execute(db);
  for (const side of ["inviterAgentId", "accepterAgentId"]) {
    await schema.createIndex(`connectionsBy_${side}`).on("connections").columns([side, "createdAt"]).execute();
    await schema.createIndex(`connectionsByStatus_${side}`).on("connections").columns([side, "status"]).execute();
  }

  await schema
    .createTable("threads")
    .addColumn("threadId", "text", (column) => column.primaryKey())
    .addColumn("connectionId", "text", (column) => column.references("connections.connectionId"))
    .addColumn("agentAId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("agentBId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("status", "text", (column) =>
      column.notNull().check(sql`status in ('negotiating', 'awaiting_approval', 'confirmed', 'rejected', 'expired')`),
    )
    .addColumn("proposalMessageId", "text")
    .addColumn("proposalAgentId", "text")
    .addColumn("approvalDeadline", "bigint")
    .addColumn("closesAt", "bigint")
    .addColumn("messageCount", "integer", (column) => column.notNull())
    .addColumn("lastMessageAt", "bigint")
    .addColumn("activeHour", "integer", (column) => column.notNull())
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addCheckConstraint(
      "threadsAwaitingHasDeadline",
      sql`status <> 'awaiting_approval' or "approvalDeadline" is not null`,
    )
    // Every message updates its thread: room on the page keeps that update there.
    .$call((table) => (target.fillFactor ? table.modifyEnd(sql`with (fillfactor = 50)`) : table))
    .execute();
  for (const side of ["agentAId", "agentBId"]) {
    await schema.createIndex(`threadsBy_${side}`).on("threads").columns([side, "activeHour"]).execute();
    await sql`create index ${sql.id(`threadsAwaiting_${side}`)} on threads (${sql.id(side)}) where status = 'awaiting_approval'`.execute(
      db,
    );
  }
  await sql`create index "threadsDeadline" on threads ("approvalDeadline") where status = 'awaiting_approval'`.execute(
    db,
  );
  await sql`create index "threadsClosing" on threads ("closesAt") where status = 'confirmed' and "closesAt" is not null`.execute(
    db,
  );

  await schema
    .createTable("messages")
    .addColumn("threadId", "text", (column) => column.notNull().references("threads.threadId"))
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("messageId", "text", (column) => column.notNull().unique())
    .addColumn("fromAgentId", "text", (column) => column.notNull())
    .addColumn("type", "text", (column) =>
      column.notNull().check(sql`type in ('proposal', 'counter', 'accept', 'reject', 'info')`),
    )
    .addColumn("encryptedPayload", "text")
    .addColumn("payload", "text")
    .addColumn("referencesMessageId", "text")
    .addPrimaryKeyConstraint("messagesKey", ["threadId", "createdAt"] as never[])
    .addCheckConstraint("messagesOnePayload", sql`("encryptedPayload" is null) <> (payload is null)`)
    .$call((table) => (target.clusteredTables ? table.modifyEnd(sql`without rowid`) : table))
    .execute();

  await schema
    .createTable("approvals")
    .addColumn("threadId", "text", (column) => column.notNull().references("threads.threadId"))
    .addColumn("agentId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("decision", "text", (column) => column.notNull().check(sql`decision in ('approved', 'declined')`))
    .addColumn("note", "text")
    .addColumn("attestedBy", "text", (column) => column.notNull().check(sql`"attestedBy" in ('agent', 'human')`))
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addPrimaryKeyConstraint("approvalsKey", ["threadId", "agentId"] as never[])
    .execute();

  await schema
    .createTable("events")
    .addColumn("eventId", "text", (column) => column.primaryKey())
    .addColumn("name", "text", (column) => column.notNull())
    .addColumn("description", "text")
    .addColumn("location", "text")
    .addColumn("locationLat", "double precision")
    .addColumn("locationLng", "double precision")
    .addColumn("geoCell", "integer")
    .addColumn("tags", "text", (column) => column.notNull())
    .addColumn("startAt", "bigint", (column) => column.notNull())
    .addColumn("endAt", "bigint", (column) => column.notNull())
    .addColumn("endedAt", "bigint")
    .addColumn("createdBy", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addCheckConstraint("eventsEndAfterStart", sql`"endAt" > "startAt"`)
    .addCheckConstraint("eventsBothCoordinates", sql`("locationLat" is null) = ("locationLng" is null)`)
    .execute();
  await schema.createIndex("eventsByStart").on("events").columns(["startAt"]).execute();
  await schema.createIndex("eventsByCell").on("events").columns(["geoCell", "endAt"]).execute();
  await sql`create index "eventsToEnd" on events ("endAt") where "endedAt" is null`.execute(db);

  await schema
    .createTable("checkins")
    .addColumn("checkinId", "text", (column) => column.primaryKey())
    .addColumn("eventId", "text", (column) => column.notNull().references("events.eventId"))
    .addColumn("agentId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("status", "text", (column) =>
      column.notNull().check(sql`status in ('active', 'checked_out', 'expired')`),
    )
    .addColumn("checkedInAt", "bigint", (column) => column.notNull())
    .addColumn("expiresAt", "bigint", (column) => column.notNull())
    .addColumn("intentTags", "text", (column) => column.notNull())
    .addColumn("eventGoal", "text")
    .addColumn("introNote", "text")
    .addColumn("introConstraints", "text")
    .addColumn("introEnabled", "integer", (column) => column.notNull().check(sql`"introEnabled" in (0, 1)`))
    .addColumn("outreachMode", "text", (column) =>
      column.notNull().check(sql`"outreachMode" in ('suggest_only', 'propose_for_me')`),
    )
    .addColumn("introDueAt", "bigint", (column) => column.notNull())
    .execute();
  await sql`create unique index "checkinsActive" on checkins ("eventId", "agentId") where status = 'active'`.execute(
    db,
  );
  await sql`create index "checkinsPresent" on checkins ("eventId", "expiresAt") where status = 'active'`.execute(db);
  await sql`create index "checkinsLatest" on checkins ("eventId", "checkedInAt") where status = 'active'`.execute(db);
  await sql`create index "checkinsToExpire" on checkins ("expiresAt") where status = 'active'`.execute(db);

  await schema
    .createTable("intros")
    .addColumn("introId", "text", (column) => column.primaryKey())
    .addColumn("eventId", "text", (column) => column.notNull().references("events.eventId"))
    .addColumn("fromAgentId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("toAgentId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("fromCheckinId", "text", (column) => column.notNull().references("checkins.checkinId"))
    .addColumn("toCheckinId", "text", (column) => column.notNull().references("checkins.checkinId"))
    .addColumn("pairKey", "text", (column) => column.notNull())
    .addColumn("status", "text", (column) =>
      column.notNull().check(sql`status in ('proposed', 'accepted', 'confirmed', 'rejected', 'expired')`),
    )
    .addColumn("opener", "text")
    .addColumn("context", "text")
    .addColumn("fromDecision", "text", (column) => column.check(sql`"fromDecision" in ('approved', 'declined')`))
    .addColumn("toDecision", "text", (column) => column.check(sql`"toDecision" in ('approved', 'declined')`))
    .addColumn("threadId", "text", (column) => column.references("threads.threadId"))
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("expiresAt", "bigint", (column) => column.notNull())
    .addCheckConstraint("introsNotWithSelf", sql`"fromAgentId" <> "toAgentId"`)
    .execute();
  await sql`create unique index "introsOpenPair" on intros ("eventId", "pairKey") where status in ('proposed', 'accepted', 'confirmed')`.execute(
    db,
  );
  await sql`create index "introsToExpire" on intros ("expiresAt") where status in ('proposed', 'accepted')`.execute(db);
  for (const side of ["from", "to"]) {
    await schema
      .createIndex(`introsBy_${side}AgentId`)
      .on("intros")
      .columns([`${side}AgentId`, "createdAt"])
      .execute();
    await schema
      .createIndex(`introsBy_${side}CheckinId`)
      .on("intros")
      .columns([`${side}CheckinId`, "createdAt"])
      .execute();
    await schema
      .createIndex(`introsAtEvent_${side}AgentId`)
      .on("intros")
      .columns([`${side}AgentId`, "eventId", "createdAt"])
      .execute();
    await sql`create index ${sql.id(`introsOpen_${side}AgentId`)} on intros (${sql.id(`${side}AgentId`)}, "expiresAt") where status in ('proposed', 'accepted', 'confirmed')`.execute(
      db,
    );
  }

  await schema
    .createTable("locationShares")
    .addColumn("shareId", "text", (column) => column.primaryKey())
    .addColumn("shareTokenHash", "text", (column) => column.notNull().unique())
    .addColumn("agentId", "text", (column) => column.notNull().references("agents.agentId"))
    .addColumn("label", "text")
    .addColumn("status", "text", (column) => column.notNull().check(sql`status in ('pending', 'completed', 'spent')`))
    .addColumn("lat", "double precision")
    .addColumn("lng", "double precision")
    .addColumn("accuracyMeters", "double precision")
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("sharedAt", "bigint")
    .addColumn("expiresAt", "bigint", (column) => column.notNull())
    .addCheckConstraint(
      "locationSharesCoordinates",
      sql`(status = 'completed') = (lat is not null and lng is not null)`,
    )
    .execute();
  await sql`create index "locationSharesOpen" on "locationShares" ("expiresAt") where status in ('pending', 'completed')`.execute(
    db,
  );

  await schema
    .createTable("idempotency")
    .addColumn("keyHash", "text", (column) => column.primaryKey())
    .addColumn("requestHash", "text", (column) => column.notNull())
    .addColumn("outcome", "text", (column) => column.notNull())
    .addColumn("expiresAt", "bigint", (column) => column.notNull())
    .execute();
  await schema.createIndex("idempotencyByExpiry").on("idempotency").columns(["expiresAt"]).execute();
}
