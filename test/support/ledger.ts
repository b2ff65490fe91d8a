/**
 * Rents without the rest of the marketplace: users and agents are bare rows, and a session goes through what concerns
 * money, in the server's own functions. Tests of the ledger make a thousand of these in the time of one real rent.
 */
import { randomUUID } from "node:crypto";
import { placeHold } from "../../functions/model/money/ledger.js";
import { meterTokens } from "../../functions/model/money/metering.js";
import { currentWallet } from "../../functions/model/money/pending-income.js";
import { refundRecord } from "../../functions/model/money/refund.js";
import { requiredToStart } from "../../functions/model/rules/charge.js";
import { countTokens } from "../../functions/model/rules/token-counts.js";
import { activateSession, catchUp, endSession, findSession } from "../../functions/model/session/session.js";
import { limitOf } from "../../functions/model/session/spending-limit.js";
import { systemMutation } from "../../runtime/call/define.js";
import type { MutationContext, UserCaller } from "../../runtime/context.js";
import { CallError } from "../../runtime/errors.js";
import type { Currency, PricingModel } from "../../schema/listings.js";
import type { SessionsTable } from "../../schema/sessions.js";
import type { TestServer } from "./harness.js";

export interface Terms {
  pricingModel: PricingModel;
  priceMinor: number;
  currency?: Currency;
  /** The consumer's limit, if they set one. */
  maxAmountMinor?: number;
  /** Whether the provider did something, so that a flat price is owed. Default: true. */
  served?: boolean;
}

/** A user with one agent that others rent. */
export interface Party {
  userId: string;
  agentId: string;
}

async function requireSession(ctx: MutationContext, sessionId: string): Promise<SessionsTable> {
  const session = await findSession(ctx, sessionId);
  if (!session) throw new CallError("not_found", "Session not found");
  return session;
}

const makeParty = systemMutation("test: writes a user and an agent", async (ctx) => {
  const [userId, agentId] = [ctx.newUuid(), ctx.newUuid()];
  const made = { createdAt: ctx.now, updatedAt: ctx.now };
  const status = { role: "both", status: "active", avatarUrl: null } as const;
  const secrets = { passwordHash: userId, apiKeyHash: userId };
  await ctx.db
    .insertInto("users")
    .values({ userId, email: `${userId}@example.com`, name: "User", ...secrets, ...status, ...made })
    .execute();
  const agent = { agentId, name: "Agent", description: null, claimTokenHash: agentId, claimedAt: null };
  await ctx.db
    .insertInto("agents")
    .values({ ...agent, publicKey: null, createdAt: ctx.now, ownerId: userId })
    .execute();
  return { userId, agentId };
});

const rent = systemMutation(
  "test: writes a session and holds its money",
  async (
    ctx,
    {
      sessionId,
      consumer,
      provider,
      maxAmountMinor,
      served,
      ...terms
    }: {
      sessionId: string;
      consumer: Party;
      provider: Party;
      pricingModel: PricingModel;
      priceMinor: number;
      currency: Currency;
      maxAmountMinor: number | null;
      served: boolean;
    },
  ) => {
    const { availableMinor } = await currentWallet(ctx, consumer.userId, terms.currency);
    const session: SessionsTable = {
      sessionId,
      orderId: null,
      providerAgentId: provider.agentId,
      providerUserId: provider.userId,
      consumerUserId: consumer.userId,
      consumerAgentId: null,
      taskDescription: "",
      grantedPermissions: "{}",
      missingPermissions: "[]",
      status: "pending_approval",
      needsManualReview: 0,
      guardrailDecision: null,
      maxSlots: 1,
      ...terms,
      totalMessages: 0,
      totalInstructions: 0,
      totalTokensProvider: 0,
      totalTokensConsumer: 0,
      providerPayloadBytes: 0,
      consumerPayloadBytes: 0,
      totalTokensReported: 0,
      tokensUntil: null,
      maxAmountMinor: limitOf(terms, maxAmountMinor, availableMinor),
      limitAt: null,
      toldLevel: 0,
      levelAt: null,
      servedAt: served ? ctx.now : null,
      meterStoppedAt: null,
      disputedAt: null,
      billingStatus: "pending",
      billingAmountMinor: null,
      platformFeeMinor: null,
      providerIncomeMinor: null,
      startedAt: null,
      endedAt: null,
      endReason: null,
      expiresAt: ctx.now + 24 * 60 * 60_000,
      meterAt: null,
      lastStampAt: ctx.now,
      announced: null,
      createdAt: ctx.now,
      updatedAt: ctx.now,
    };
    await ctx.db.insertInto("sessions").values(session).execute();
    await placeHold(ctx, session, requiredToStart(session));
  },
  { oneAtATime: ({ consumer }) => `wallet ${consumer.userId}` },
);

const approve = systemMutation(
  "test: starts a pending session",
  async (ctx, { sessionId }: { sessionId: string }) => {
    const session = await requireSession(ctx, sessionId);
    await catchUp(ctx, session);
    if (session.status === "pending_approval") await activateSession(ctx, session);
  },
  { oneAtATime: ({ sessionId }) => sessionId },
);

const use = systemMutation(
  "test: has the provider use tokens",
  async (ctx, { sessionId, tokens }: { sessionId: string; tokens: number }) => {
    const session = await requireSession(ctx, sessionId);
    await catchUp(ctx, session);
    if (session.status !== "active") return;
    countTokens(session, tokens, ctx.now);
    const { totalTokensProvider, totalTokensReported, tokensUntil } = session;
    await ctx.db
      .updateTable("sessions")
      .set({ totalTokensProvider, totalTokensReported, tokensUntil })
      .where("sessionId", "=", sessionId)
      .execute();
    const ending = await meterTokens(ctx, session);
    if (ending) await endSession(ctx, session, { as: "completed", reason: ending });
  },
  { oneAtATime: ({ sessionId }) => sessionId },
);

const end = systemMutation(
  "test: ends a session",
  async (ctx, { sessionId }: { sessionId: string }) => {
    const session = await requireSession(ctx, sessionId);
    await catchUp(ctx, session);
    if (session.status === "active") await endSession(ctx, session, { as: "completed", reason: "completed" });
    if (session.status === "pending_approval") {
      await endSession(ctx, session, { as: "aborted", reason: "cancelled" });
    }
  },
  { oneAtATime: ({ sessionId }) => sessionId },
);

const meter = systemMutation(
  "test: does what is due for a session, as the timer does",
  async (ctx, { sessionId }: { sessionId: string }) => {
    await catchUp(ctx, await requireSession(ctx, sessionId));
  },
  { oneAtATime: ({ sessionId }) => sessionId },
);

const giveBack = systemMutation(
  "test: refunds the record of a session",
  async (ctx, { sessionId }: { sessionId: string }) => {
    const record = await ctx.db
      .selectFrom("billingRecords")
      .select("recordId")
      .where("sessionId", "=", sessionId)
      .executeTakeFirst();
    await refundRecord(ctx, record?.recordId ?? "none");
  },
  { oneAtATime: ({ sessionId }) => sessionId },
);

/** The operations on a server that tests of the ledger use. */
export class Ledger {
  constructor(readonly server: TestServer) {}

  get dispatcher() {
    return this.server.server.dispatcher;
  }

  party(): Promise<Party> {
    return this.dispatcher.runSystem(makeParty);
  }

  /** Calls one of the product's functions as a user whose row was written directly, or with `isAdmin` as an admin. */
  async call(userId: string, path: string, args: object = {}, isAdmin = false): Promise<unknown> {
    const caller: UserCaller = {
      kind: "user",
      userId,
      credentialId: "none",
      email: `${userId}@example.com`,
      isAdmin,
      agentId: null,
    };
    const outcome = await this.dispatcher.dispatch({
      path,
      kind: undefined,
      args,
      authorization: undefined,
      caller,
      idempotencyKey: undefined,
      address: "127.0.0.1",
      requestId: "0",
    });
    if (outcome.status === "success") return outcome.value;
    throw outcome.status === "fault" ? new Error(`${path} failed`) : outcome.error;
  }

  topUp(userId: string, amount: string, currency: Currency = "CNY"): Promise<unknown> {
    return this.call(userId, "billing:topUp", { amount, currency });
  }

  /** Makes a pending session with its money held, and returns its id. */
  async rent(consumer: Party, provider: Party, given: Terms): Promise<string> {
    const sessionId = randomUUID();
    const { currency = "CNY", maxAmountMinor = null, served = true, ...terms } = given;
    const asked = { ...terms, currency, maxAmountMinor, served };
    await this.dispatcher.runSystem(rent, { sessionId, consumer, provider, ...asked });
    return sessionId;
  }

  /** Makes a session and starts it. */
  async start(consumer: Party, provider: Party, terms: Terms): Promise<string> {
    const sessionId = await this.rent(consumer, provider, terms);
    await this.approve(sessionId);
    return sessionId;
  }

  approve(sessionId: string): Promise<void> {
    return this.dispatcher.runSystem(approve, { sessionId });
  }

  use(sessionId: string, tokens: number): Promise<void> {
    return this.dispatcher.runSystem(use, { sessionId, tokens });
  }

  end(sessionId: string): Promise<void> {
    return this.dispatcher.runSystem(end, { sessionId });
  }

  meter(sessionId: string): Promise<void> {
    return this.dispatcher.runSystem(meter, { sessionId });
  }

  refund(sessionId: string): Promise<void> {
    return this.dispatcher.runSystem(giveBack, { sessionId });
  }

  session(sessionId: string): Promise<SessionsTable> {
    return this.server.read((db) =>
      db.selectFrom("sessions").selectAll().where("sessionId", "=", sessionId).executeTakeFirstOrThrow(),
    );
  }

  /** How much of a user's money is stored as pending, in 1/10000. */
  async pending(userId: string, currency: Currency = "CNY"): Promise<number> {
    const row = await this.server.read((db) =>
      db
        .selectFrom("ledgerAccounts")
        .select("pendingMinor")
        .where("accountId", "=", `wallet:${userId}:${currency}`)
        .executeTakeFirst(),
    );
    return row?.pendingMinor ?? 0;
  }

  /** A user's balance, and how much of it is held, in 1/10000. */
  async wallet(userId: string, currency: Currency = "CNY"): Promise<{ balanceMinor: number; heldMinor: number }> {
    const row = await this.server.read((db) =>
      db
        .selectFrom("ledgerAccounts")
        .select(["balanceMinor", "heldMinor"])
        .where("accountId", "=", `wallet:${userId}:${currency}`)
        .executeTakeFirst(),
    );
    return row ?? { balanceMinor: 0, heldMinor: 0 };
  }
}
