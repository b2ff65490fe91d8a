/** A database from before sessions had limits: its open sessions get one, and its settled ones stay as they are. */
import { describe, expect, test } from "vitest";
import { auditLedger } from "../../functions/model/money/audit.js";
import { databases, minute, startServer } from "../support/harness.js";
import { databaseBefore } from "../support/older-database.js";

const start = 1_700_000_000_000;
const made = { createdAt: start, updatedAt: start };

const user = (userId: string) => ({
  userId,
  email: `${userId}@example.com`,
  name: userId,
  passwordHash: userId,
  apiKeyHash: userId,
  role: "both",
  status: "active",
  ...made,
});

const session = (sessionId: string, fields: object) => ({
  sessionId,
  providerAgentId: "reader",
  providerUserId: "bob",
  consumerUserId: "alice",
  taskDescription: "Read it",
  grantedPermissions: "{}",
  missingPermissions: "[]",
  status: "active",
  needsManualReview: 0,
  maxSlots: 1,
  pricingModel: "per_minute",
  priceMinor: 10_000,
  currency: "CNY",
  totalMessages: 0,
  totalInstructions: 0,
  totalTokensProvider: 0,
  totalTokensConsumer: 0,
  billingStatus: "pending",
  startedAt: start,
  lastStampAt: start,
  ...made,
  ...fields,
});

/** Alice topped up 100.00, paid 5.00 and had it back, paid 5.00 again, and rents three more. */
const rows = {
  users: [user("alice"), user("bob")],
  agents: [{ agentId: "reader", name: "Reader", claimTokenHash: "reader", createdAt: start, ownerId: "bob" }],
  providerProfiles: [
    {
      profileId: "profile",
      agentId: "reader",
      status: "active",
      pricingModel: "fixed",
      priceMinor: 50_000,
      currency: "CNY",
      hostingType: "self_hosted",
      transparencyLevel: "moderate",
      approvalMode: "auto",
      maxConcurrentSessions: 10,
      maxConsumerSlots: 1,
      slotAssignmentMode: "flexible",
      allowSharedConsumer: 0,
      verificationLevel: "unverified",
      totalSessions: 2,
      endedSessions: 2,
      activatedAt: start,
      ...made,
    },
  ],
  cartItems: [{ cartItemId: "item", userId: "alice", providerAgentId: "reader", taskDescription: "Read it", ...made }],
  sessions: [
    session("minutes", { meterAt: start + 5 * minute }),
    session("tokens", { pricingModel: "per_token", priceMinor: 10, totalTokensProvider: 9_000 }),
    session("flat", { pricingModel: "fixed", priceMinor: 50_000 }),
    ...["settled", "refunded"].map((billingStatus) =>
      session(billingStatus, {
        status: "completed",
        billingStatus,
        pricingModel: "fixed",
        priceMinor: 50_000,
        billingAmountMinor: 50_000,
        platformFeeMinor: 7_500,
        providerIncomeMinor: 42_500,
        endedAt: start,
        endReason: "completed",
      }),
    ),
  ],
  sessionMessages: [
    {
      sessionId: "flat",
      createdAt: start + 1,
      messageId: "answer",
      type: "result.success",
      senderSide: "provider",
      senderParticipantId: "reader",
      senderUserId: "bob",
      payload: "{}",
      delivered: 1,
    },
  ],
  ledgerAccounts: [
    ["wallet", "alice", 950_000, 190_000, 4],
    ["outside", "alice", -1_000_000, 0, 1],
    ["wallet", "bob", 42_500, 0, 3],
    ["fees", "bob", 7_500, 0, 3],
  ].map(([kind, userId, balanceMinor, heldMinor, entryCount]) => ({
    accountId: `${kind}:${userId}:CNY`,
    kind,
    userId,
    currency: "CNY",
    balanceMinor,
    heldMinor,
    entryCount,
  })),
  holds: [
    ["minutes", 50_000, "held"],
    ["tokens", 90_000, "held"],
    ["flat", 50_000, "held"],
    ["settled", 50_000, "captured"],
    ["refunded", 50_000, "captured"],
  ].map(([sessionId, amountMinor, status]) => ({
    holdId: sessionId,
    sessionId,
    accountId: "wallet:alice:CNY",
    amountMinor,
    status,
    createdAt: start,
    endedAt: status === "held" ? null : start,
  })),
  transfers: [
    ["recharge", "topup", "topup"],
    ["payment", "session", "settled"],
    ["payment", "session", "refunded"],
    ["refund", "session", "refunded"],
  ].map(([kind, referenceType, referenceId]) => ({
    transferId: `${kind} ${referenceId}`,
    kind,
    currency: "CNY",
    referenceType,
    referenceId,
    createdAt: start,
  })),
  entries: [
    ["recharge topup", "wallet:alice", 1, "recharge", 1_000_000, 1_000_000],
    ["recharge topup", "outside:alice", 1, "outside", -1_000_000, -1_000_000],
    ["payment settled", "wallet:alice", 2, "payment", -50_000, 950_000],
    ["payment settled", "wallet:bob", 1, "income", 42_500, 42_500],
    ["payment settled", "fees:bob", 1, "fee", 7_500, 7_500],
    ["payment refunded", "wallet:alice", 3, "payment", -50_000, 900_000],
    ["payment refunded", "wallet:bob", 2, "income", 42_500, 85_000],
    ["payment refunded", "fees:bob", 2, "fee", 7_500, 15_000],
    ["refund refunded", "wallet:alice", 4, "refund", 50_000, 950_000],
    ["refund refunded", "wallet:bob", 3, "refund", -42_500, 42_500],
    ["refund refunded", "fees:bob", 3, "refund", -7_500, 7_500],
  ].map(([transferId, account, position, type, amountMinor, balanceAfterMinor]) => ({
    entryId: `${transferId} ${account}`,
    transferId,
    accountId: `${account}:CNY`,
    position,
    userId: String(account).startsWith("wallet:") ? String(account).slice("wallet:".length) : null,
    type,
    amountMinor,
    balanceAfterMinor,
    description: "",
    createdAt: start,
  })),
  billingRecords: ["settled", "refunded"].map((status) => ({
    recordId: `record of ${status}`,
    sessionId: status,
    consumerUserId: "alice",
    providerUserId: "bob",
    amountMinor: 50_000,
    platformFeeMinor: 7_500,
    providerIncomeMinor: 42_500,
    currency: "CNY",
    pricingModel: "fixed",
    meteringData: "{}",
    status,
    createdAt: start,
  })),
};

describe.each(databases)("a database from before sessions had limits, on %s", (database) => {
  test("keeps its money, gives open sessions their limit, and leaves what was settled alone", async () => {
    const older = await databaseBefore(database, "0010-money", rows as never);
    const server = await startServer(database, { databaseUrl: older.url });
    try {
      const findings = await server.read((db) => auditLedger({ db }));
      expect(findings.filter(({ ok }) => !ok)).toEqual([]);
      const sessions = await server.read((db) => db.selectFrom("sessions").selectAll().execute());
      const byId = Object.fromEntries(sessions.map((row) => [row.sessionId, row]));
      // All that Alice has and nothing else holds is less than 100 times five minutes: 76.00, and the 5.00 that it holds.
      expect(byId["tokens"]).toMatchObject({ maxAmountMinor: 100_000, totalTokensReported: 9_000, limitAt: null });
      expect(byId["flat"]).toMatchObject({ maxAmountMinor: 50_000, servedAt: start + 1 });
      expect(byId["settled"]).toMatchObject({ maxAmountMinor: null, servedAt: start, billingAmountMinor: 50_000 });
      const before = ["settled", "refunded"];
      const records = await server.read((db) =>
        db.selectFrom("billingRecords").selectAll().where("sessionId", "in", before).execute(),
      );
      for (const record of records) expect(record).toMatchObject({ pendingMinor: 0, releaseAt: null });
      expect(records.map(({ status, refundedMinor }) => [status, refundedMinor]).sort()).toEqual([
        ["refunded", 50_000],
        ["settled", 0],
      ]);
      // Its timer found it long past its limit.
      expect(byId["minutes"]).toMatchObject({
        status: "completed",
        maxAmountMinor: 810_000,
        billingAmountMinor: 810_000,
        endedAt: start + 81 * minute,
      });
      const cart = await server.read((db) => db.selectFrom("cartItems").selectAll().execute());
      expect(cart).toMatchObject([{ pricingModel: "fixed", priceMinor: 50_000, currency: "CNY" }]);
    } finally {
      await server.close();
      await older.remove();
    }
  });
});
