/**
 * What a provider could still take through sessions that were open when the server was updated: a suspended one goes on
 * being paid, and tokens that were counted before are counted again (clawrent.md section 6.2).
 */
import { describe, expect, test } from "vitest";
import { auditLedger } from "../../../functions/model/money/audit.js";
import { userKeyPrefix } from "../../../runtime/call/caller.js";
import { hashSecret } from "../../../runtime/ids.js";
import { tokenRate } from "../../../runtime/limits.js";
import { Caller, databases, hour, minute, startServer } from "../../support/harness.js";
import { databaseBefore } from "../../support/older-database.js";

const start = Date.UTC(2026, 0, 1);
const suspendedAt = start + 7 * minute;
const dates = { createdAt: start, updatedAt: start };

const keyOf = (userId: string) => `${userKeyPrefix}${userId}`;

function user(userId: string) {
  const secrets = { passwordHash: userId, apiKeyHash: hashSecret(keyOf(userId)) };
  return { userId, email: `${userId}@example.com`, name: userId, ...secrets, role: "both", status: "active", ...dates };
}

function listing(agentId: string, status: string, updatedAt: number) {
  return {
    agent: { agentId, name: agentId, claimTokenHash: agentId, claimedAt: start, createdAt: start, ownerId: "bob" },
    profile: {
      profileId: agentId,
      agentId,
      status,
      pricingModel: "per_minute",
      priceMinor: 10_000,
      currency: "CNY",
      hostingType: "self_hosted",
      transparencyLevel: "moderate",
      approvalMode: "auto",
      maxConcurrentSessions: 5,
      maxConsumerSlots: 1,
      slotAssignmentMode: "flexible",
      allowSharedConsumer: 0,
      verificationLevel: "unverified",
      totalSessions: 0,
      endedSessions: 0,
      activatedAt: start,
      createdAt: start,
      updatedAt,
    },
  };
}

function session(sessionId: string, providerAgentId: string, terms: Record<string, unknown>) {
  return {
    sessionId,
    providerAgentId,
    providerUserId: "bob",
    consumerUserId: "alice",
    taskDescription: "Read this contract",
    grantedPermissions: "{}",
    missingPermissions: "[]",
    status: "active",
    needsManualReview: 0,
    maxSlots: 1,
    currency: "CNY",
    totalMessages: 0,
    totalInstructions: 0,
    totalTokensProvider: 0,
    totalTokensConsumer: 0,
    billingStatus: "pending",
    startedAt: start,
    meterAt: null,
    lastStampAt: start,
    ...dates,
    ...terms,
  };
}

const byTheMinute = { pricingModel: "per_minute", priceMinor: 10_000, meterAt: start + 10 * minute };
const byTheToken = { pricingModel: "per_token", priceMinor: 1, totalTokensProvider: 5_000 };
const saidAt = start + 50 * minute;

/** As the release before wrote them: a wallet of 100.00, of which each session holds 10.00. */
function rows() {
  const [suspended, working] = [listing("suspended", "suspended", suspendedAt), listing("working", "active", start)];
  const sessions = [
    session("suspended by the minute", "suspended", byTheMinute),
    session("suspended by the token", "suspended", byTheToken),
    session("by the token", "working", byTheToken),
  ];
  const wallet = { accountId: "wallet:alice:CNY", kind: "wallet", balanceMinor: 1_000_000, heldMinor: 300_000 };
  const outside = { accountId: "outside:alice:CNY", kind: "outside", balanceMinor: -1_000_000, heldMinor: 0 };
  const recharge = { transferId: "topup", position: 1, description: "Top-up", createdAt: start };
  return {
    users: [user("alice"), user("bob")],
    agents: [suspended.agent, working.agent],
    providerProfiles: [suspended.profile, working.profile],
    sessions,
    sessionParticipants: [
      { sessionId: "by the token", participantId: "working", type: "agent", side: "provider", userId: "bob" },
    ].map((row) => ({ ...row, agentId: "working", confirmedAt: start })),
    sessionMessages: [
      {
        sessionId: "by the token",
        createdAt: saidAt,
        messageId: "said",
        type: "dialogue.message",
        senderSide: "provider",
        senderParticipantId: "working",
        senderUserId: "bob",
        payload: "{}",
        delivered: 1,
      },
    ],
    ledgerAccounts: [wallet, outside].map((row) => ({ ...row, userId: "alice", currency: "CNY", entryCount: 1 })),
    transfers: [
      {
        transferId: "topup",
        kind: "recharge",
        currency: "CNY",
        referenceType: "topup",
        referenceId: "t",
        createdAt: start,
      },
    ],
    entries: [
      { ...recharge, entryId: "in", accountId: wallet.accountId, userId: "alice", type: "recharge" },
      { ...recharge, entryId: "out", accountId: outside.accountId, userId: null, type: "outside" },
    ].map((row, at) => ({
      ...row,
      amountMinor: at === 0 ? 1_000_000 : -1_000_000,
      balanceAfterMinor: at === 0 ? 1_000_000 : -1_000_000,
    })),
    holds: sessions.map(({ sessionId }) => ({
      holdId: sessionId,
      sessionId,
      accountId: wallet.accountId,
      amountMinor: 100_000,
      status: "held",
      createdAt: start,
    })),
  };
}

describe.each(databases)("sessions that were open before there were limits on %s", (database) => {
  test("cost nothing more where the provider was suspended, and count no token twice", async () => {
    const old = await databaseBefore(database, "0010-money", rows());
    const server = await startServer(database, { databaseUrl: old.url });
    try {
      server.clock.jump(start + hour - server.clock.now());
      await server.settle();
      const admin = await server.admin();
      const end = async (sessionId: string) =>
        (await admin.call("admin:terminateSession", { sessionId })).settlement.amount;
      expect(await end("suspended by the minute")).toBe("7.0000");
      expect(await end("suspended by the token")).toBe("0.5000");

      const sessionId = "by the token";
      const payload = { usage: { totalTokens: 9e15 } };
      await new Caller(server, keyOf("bob")).call("sessions:sendMessage", {
        sessionId,
        type: "dialogue.message",
        payload,
      });
      const since = server.clock.now() - saidAt;
      const { totalTokensProvider } = await admin.call("sessions:get", { sessionId });
      expect(totalTokensProvider).toBe(5_000 + since * tokenRate.perMs + tokenRate.burst);

      const findings = await server.read((db) => auditLedger({ db }));
      expect(findings.filter(({ ok }) => !ok)).toEqual([]);
    } finally {
      await server.close();
      await old.remove();
    }
  });
});
