/**
 * What a provider says is a claim: spending limits on sessions, token counts as they were reported and as they counted,
 * income that is pending while it can be disputed, disputes, the prices that a cart remembers, and top-up codes.
 */
import { type Kysely, sql } from "kysely";
import type { MigrationTarget } from "./target.js";

const minuteMs = 60_000;
/** How long a session takes for the tokens that one message may report beyond those of its time. */
const burstMs = 10_000;
/** The limit of a session whose consumer set none: so many times what it needed to start, and per token at least 10.00. */
const timesNeeded = { per_token: 2, per_minute: 100, per_session: 1, fixed: 1 };
const leastPerToken = 100_000;
/** How many times its price a session needed to start. */
const unitsToStart = { per_token: 1_000, per_minute: 5, per_session: 1, fixed: 1 };

export async function up(db: Kysely<never>, _target: MigrationTarget): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);

  for (const column of [
    '"servedAt" bigint',
    '"limitAt" bigint',
    '"toldLevel" integer not null default 0 check ("toldLevel" in (0, 50, 80, 100))',
    '"levelAt" bigint',
    '"meterStoppedAt" bigint',
    '"totalTokensReported" bigint not null default 0',
    '"tokensUntil" bigint',
    '"disputedAt" bigint',
    `"maxAmountMinor" bigint constraint "sessionsWithinLimit" check ("maxAmountMinor" >= 0
      and ("billingAmountMinor" is null or "billingAmountMinor" <= "maxAmountMinor"))`,
  ]) {
    await run(`alter table sessions add column ${column}`);
  }
  await run('create index "sessionsToTell" on sessions ("levelAt") where "levelAt" is not null');
  for (const column of ["tokensReported", "tokensCounted"]) {
    await run(`alter table "sessionMessages" add column "${column}" bigint`);
  }

  await run(
    `alter table "ledgerAccounts" add column "pendingMinor" bigint not null default 0
      constraint "ledgerAccountsPendingIsThere" check ("pendingMinor" >= 0
        and (kind = 'outside' or "balanceMinor" >= "heldMinor" + "pendingMinor"))`,
  );

  await run('alter table "billingRecords" add column "refundedMinor" bigint not null default 0');
  await run('alter table "billingRecords" add column "refundedFeeMinor" bigint not null default 0');
  await run('alter table "billingRecords" add column "disputeUntil" bigint');
  await run('alter table "billingRecords" add column "releaseAt" bigint');
  await run(`update "billingRecords" set "refundedMinor" = "amountMinor", "refundedFeeMinor" = "platformFeeMinor"
    where status = 'refunded'`);
  await run(
    `alter table "billingRecords" add column "pendingMinor" bigint not null default 0
      constraint "billingRecordsRefundedExactly" check (
        "pendingMinor" >= 0
        and "refundedMinor" >= "refundedFeeMinor" and "refundedFeeMinor" >= 0
        and "refundedMinor" <= "amountMinor" and "refundedFeeMinor" <= "platformFeeMinor"
        and "pendingMinor" <= "providerIncomeMinor" - ("refundedMinor" - "refundedFeeMinor")
        and case when status = 'refunded' then "refundedMinor" = "amountMinor"
          else "refundedMinor" < "amountMinor" or "amountMinor" = 0 end
        and ("pendingMinor" > 0) = ("releaseAt" is not null))`,
  );
  await run('create index "billingRecordsToRelease" on "billingRecords" ("releaseAt") where "releaseAt" is not null');
  await run(
    'create index "billingRecordsPending" on "billingRecords" ("providerUserId", "releaseAt") where "releaseAt" is not null',
  );

  await db.schema
    .createTable("disputes")
    .addColumn("disputeId", "text", (column) => column.primaryKey())
    .addColumn("sessionId", "text", (column) => column.notNull().unique().references("sessions.sessionId"))
    .addColumn("consumerUserId", "text", (column) => column.notNull().references("users.userId"))
    .addColumn("reason", "text", (column) => column.notNull())
    .addColumn("status", "text", (column) =>
      column.notNull().check(sql`status in ('open', 'withdrawn', 'decided', 'lapsed')`),
    )
    .addColumn("decision", "text", (column) => column.check(sql`decision in ('all', 'part', 'none')`))
    .addColumn("note", "text")
    .addColumn("openedAt", "bigint", (column) => column.notNull())
    .addColumn("decideBy", "bigint", (column) => column.notNull())
    .addColumn("endedAt", "bigint")
    .addCheckConstraint("disputesEnd", sql`(status = 'open') = ("endedAt" is null)`)
    .addCheckConstraint("disputesDecided", sql`(status = 'decided') = (decision is not null)`)
    .execute();
  await run('create index "disputesByOpening" on disputes ("openedAt", "disputeId")');
  await run('create index "disputesByStatus" on disputes (status, "openedAt", "disputeId")');

  for (const column of ['"pricingModel" text', '"priceMinor" bigint', "currency text"]) {
    await run(`alter table "cartItems" add column ${column}`);
  }
  for (const column of ["pricingModel", "priceMinor", "currency"]) {
    await run(`update "cartItems" set "${column}" = (
      select "${column}" from "providerProfiles" where "agentId" = "cartItems"."providerAgentId")`);
  }

  await db.schema
    .createTable("topUpCodes")
    .addColumn("codeId", "text", (column) => column.primaryKey())
    .addColumn("codeHash", "text", (column) => column.notNull().unique())
    .addColumn("amountMinor", "bigint", (column) => column.notNull().check(sql`"amountMinor" > 0`))
    .addColumn("currency", "text", (column) => column.notNull().check(sql`currency in ('CNY', 'USD')`))
    .addColumn("note", "text")
    .addColumn("createdAt", "bigint", (column) => column.notNull())
    .addColumn("expiresAt", "bigint", (column) => column.notNull())
    .addColumn("revokedAt", "bigint")
    .addColumn("redeemedAt", "bigint")
    .addColumn("redeemedBy", "text", (column) => column.references("users.userId"))
    .addCheckConstraint("topUpCodesEndOnce", sql`"revokedAt" is null or "redeemedAt" is null`)
    .addCheckConstraint("topUpCodesRedeemed", sql`("redeemedAt" is null) = ("redeemedBy" is null)`)
    .execute();
  await run('create index "topUpCodesByCreation" on "topUpCodes" ("createdAt", "codeId")');

  await carryOver(db);
}

/**
 * Sessions from before: what has ended was served, what is open gets a limit, which is never below what it holds, and
 * the meters of agents that are suspended stopped when they were, which is when their profile changed last.
 */
async function carryOver(db: Kysely<never>): Promise<void> {
  const run = (statement: string) => sql.raw(statement).execute(db);
  const sides = `"senderSide" = 'provider' and (type like 'dialogue.%' or type like 'result.%')`;
  await run('update sessions set "totalTokensReported" = "totalTokensProvider"');
  await run(`update sessions set "servedAt" = "startedAt" where status = 'completed'`);
  await run(`update sessions set "servedAt" = (
      select min("createdAt") from "sessionMessages" where "sessionId" = sessions."sessionId" and ${sides})
    where status = 'active'`);
  // What was reported before the last message is counted: the next one reports what came since, and a burst.
  await run(`update sessions set "tokensUntil" = (
      select max("createdAt") from "sessionMessages" where "sessionId" = sessions."sessionId" and "senderSide" = 'provider')
      - ${burstMs}
    where status = 'active' and "totalTokensProvider" > 0`);

  const open = await sql<{
    sessionId: string;
    pricingModel: keyof typeof timesNeeded;
    priceMinor: number;
    startedAt: number | null;
    heldMinor: number | null;
    availableMinor: number | null;
  }>`
    select sessions."sessionId", "pricingModel", "priceMinor", "startedAt", holds."amountMinor" as "heldMinor",
      "balanceMinor" - accounts."heldMinor" as "availableMinor"
    from sessions
    left join holds on holds."sessionId" = sessions."sessionId" and holds.status = 'held'
    left join "ledgerAccounts" accounts on accounts."accountId" = holds."accountId"
    where sessions.status in ('pending_approval', 'active') and "priceMinor" > 0`.execute(db);
  for (const { sessionId, pricingModel, startedAt, ...row } of open.rows) {
    const [priceMinor, heldMinor, availableMinor] = [row.priceMinor, row.heldMinor, row.availableMinor].map(Number);
    const rule = timesNeeded[pricingModel] * unitsToStart[pricingModel] * (priceMinor ?? 0);
    const limit = pricingModel === "per_token" ? Math.max(rule, leastPerToken) : rule;
    const there = (heldMinor ?? 0) + (availableMinor ?? 0);
    const maxAmountMinor = Math.max(heldMinor ?? 0, Math.min(limit, there));
    const timed = pricingModel === "per_minute" && startedAt !== null;
    const start = Number(startedAt);
    // The timer sees at once how much of the limit is used.
    const levelAt = timed ? start : null;
    const limitAt = timed ? start + Math.floor(maxAmountMinor / (priceMinor ?? 1)) * minuteMs : null;
    await sql`update sessions set "maxAmountMinor" = ${maxAmountMinor}, "levelAt" = ${levelAt}, "limitAt" = ${limitAt}
      where "sessionId" = ${sessionId}`.execute(db);
  }
  await run(`update sessions set "meterAt" = null, "limitAt" = null, "levelAt" = null, "meterStoppedAt" = (
      select "updatedAt" from "providerProfiles" where "agentId" = sessions."providerAgentId")
    where status = 'active' and "providerAgentId" in (
      select "agentId" from "providerProfiles" where status = 'suspended')`);
}
