/**
 * Many at once on the marketplace, where only one can have it: rents with money or room for one, ends from both sides,
 * approvals, and an order that is cancelled while its sessions end. What is stored must fit the answers.
 */
import { afterEach, describe, expect, test } from "vitest";
import { databases, type Refused, useServer } from "../support/harness.js";
import { amount } from "../support/long.js";
import { openSession, rentable, serve, task } from "../support/rental.js";

const atOnce = 100;
const rounds = amount(2, 20);

// biome-ignore lint/suspicious/noExplicitAny: what a function answers is what the tests look at.
type Value = any;

/** Starts all calls before any is answered. */
async function race(calls: (() => Promise<Value>)[]): Promise<{ won: Value[]; lost: Refused[] }> {
  const outcomes = await Promise.allSettled(calls.map((call) => call()));
  return {
    won: outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : [])),
    lost: outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as Refused] : [])),
  };
}

const times = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

describe.each(databases)(`${atOnce} at once on the marketplace, ${rounds} rounds, on %s`, (database) => {
  const server = useServer(database);
  const inRounds = async (play: () => Promise<void>) => {
    for (let round = 0; round < rounds; round += 1) await play();
  };

  /** All that wallets and the platform have came in by top-ups, and holds are what is held. */
  afterEach(async () => {
    const { accounts, holds, entries } = await server.read(async (db) => ({
      accounts: await db.selectFrom("ledgerAccounts").selectAll().execute(),
      holds: await db.selectFrom("holds").selectAll().where("status", "=", "held").execute(),
      entries: await db.selectFrom("entries").selectAll().execute(),
    }));
    expect(accounts.reduce((sum, { balanceMinor }) => sum + balanceMinor, 0)).toBe(0);
    for (const { accountId, balanceMinor, heldMinor } of accounts) {
      const of = <T extends { accountId: string }>(rows: T[]) => rows.filter((row) => row.accountId === accountId);
      expect(of(entries).reduce((sum, entry) => sum + entry.amountMinor, 0)).toBe(balanceMinor);
      expect(of(holds).reduce((sum, hold) => sum + hold.amountMinor, 0)).toBe(heldMinor);
    }
  });

  test("rents with money for one: one has it", () =>
    inRounds(async () => {
      const of = await rentable(server, { maxConcurrentSessions: 1_000 });
      const alice = await server.user("Alice", { topUp: "9.99" });
      const { won, lost } = await race(
        times(atOnce, () => () => alice.call("sessions:create", { agentId: of.agentId, taskDescription: task })),
      );
      expect(won).toHaveLength(1);
      expect(new Set(lost.map(({ code }) => code))).toEqual(new Set(["insufficient_funds"]));
      expect(await alice.call("billing:getWallet")).toMatchObject({ held: "5.00", available: "4.99" });
    }));

  test("one consumer rents many agents with money for one: one has it", async () => {
    const agents = await Promise.all(times(20, () => rentable(server)));
    await inRounds(async () => {
      const alice = await server.user("Alice", { topUp: "9.99" });
      const { won, lost } = await race(
        times(atOnce, (index) => () => {
          const agentId = agents[index % agents.length]?.agentId;
          return alice.call("sessions:create", { agentId, taskDescription: task });
        }),
      );
      expect(won).toHaveLength(1);
      expect(new Set(lost.map(({ code }) => code))).toEqual(new Set(["insufficient_funds"]));
      await alice.call("sessions:end", { sessionId: won[0].id });
    });
  });

  test("different consumers rent the last place: one has it", () =>
    inRounds(async () => {
      const of = await rentable(server, { maxConcurrentSessions: 1 });
      const crowd = await Promise.all(times(20, () => server.user("Alice", { topUp: "5" })));
      const { won, lost } = await race(
        times(
          atOnce,
          (index) => () =>
            (crowd[index % crowd.length] as (typeof crowd)[number]).call("sessions:create", {
              agentId: of.agentId,
              taskDescription: task,
            }),
        ),
      );
      expect(won).toHaveLength(1);
      const [session] = won;
      expect(new Set(lost.map(({ message }) => message))).toEqual(
        new Set(["Agent has reached its maximum concurrent sessions"]),
      );
      const open = await server.read((db) =>
        db.selectFrom("sessions").select("sessionId").where("providerAgentId", "=", of.agentId).execute(),
      );
      expect(open).toEqual([{ sessionId: session.id }]);
    }));

  test("both sides end: one settlement, and each side always hears the same", () =>
    inRounds(async () => {
      const { consumer, provider, sessionId } = await openSession(server);
      await serve(provider, sessionId);
      const { won, lost } = await race(
        times(atOnce, (index) => () => (index % 2 ? consumer : provider).call("sessions:end", { sessionId })),
      );
      expect(lost).toEqual([]);
      for (const role of ["consumer", "provider"]) {
        const answers = won.filter((answer) => answer.role === role);
        expect(answers).toEqual(Array(atOnce / 2).fill(answers[0]));
      }
      const { slotIndex, role, ...seen } = won.find((answer) => answer.role === "consumer");
      expect(won.find((answer) => answer.role === "provider")).toEqual({ ...seen, role: "provider" });
      expect((await consumer.call("billing:listTransactions", { type: "payment" })).total).toBe(1);
      expect((await provider.call("billing:listTransactions", { type: "income" })).total).toBe(1);
      expect((await consumer.call("billing:getWallet")).balance).toBe("95.00");
    }));

  test("approvals against a refusal: it starts once, or never", () =>
    inRounds(async () => {
      const { consumer, provider, sessionId } = await openSession(server, { approvalMode: "manual" });
      const { won, lost } = await race(
        times(
          atOnce,
          (index) => () => provider.call(index === 50 ? "sessions:end" : "sessions:approve", { sessionId }),
        ),
      );
      const { status, billingAmount } = await consumer.call("sessions:get", { sessionId });
      const startedAt = new Set(won.filter((answer) => answer.status === "active").map((answer) => answer.startedAt));
      expect(["completed", "aborted"]).toContain(status);
      expect(startedAt.size).toBe(status === "completed" ? 1 : 0);
      expect(billingAmount).toBe(status === "completed" ? "0.0000" : null);
      for (const { message } of lost) expect(message).toBe("Session is not pending approval");
    }));

  test("approvals alone: all succeed, and it starts once", () =>
    inRounds(async () => {
      const { provider, sessionId } = await openSession(server, { approvalMode: "manual" });
      const { won, lost } = await race(times(atOnce, () => () => provider.call("sessions:approve", { sessionId })));
      expect(lost).toEqual([]);
      expect(won).toEqual(Array(atOnce).fill(won[0]));
    }));

  test("an order is cancelled while its sessions end: every session settles once", () =>
    inRounds(async () => {
      const of = await rentable(server, { maxConcurrentSessions: 20 });
      const alice = await server.user("Alice", { topUp: "100" });
      const items = times(10, () => ({ providerAgentId: of.agentId, taskDescription: task }));
      const order = await alice.call("orders:create", { items });
      for (const { sessionId } of order.items) await serve(of.provider, sessionId);
      const { lost } = await race(
        times(atOnce, (index) => () => {
          if (index % 20 === 7) return alice.call("orders:cancel", { orderId: order.id });
          const { sessionId } = order.items[index % 10];
          return (index % 2 ? alice : of.provider).call("sessions:end", { sessionId });
        }),
      );
      for (const { message } of lost) expect(message).toBe("Only pending or active orders can be cancelled");
      const after = await alice.call("orders:get", { orderId: order.id });
      expect(["completed", "cancelled"]).toContain(after.status);
      for (const { sessionStatus } of after.items) expect(sessionStatus).toBe("completed");
      expect(await alice.call("billing:getWallet")).toMatchObject({ balance: "50.00", held: "0.00" });
      expect((await alice.call("billing:listTransactions", { type: "payment" })).total).toBe(10);
      expect((await of.provider.call("billing:getWallet")).balance).toBe("42.50");
    }));

  test("sends against an end: what was answered is there, and nothing comes after it", () =>
    inRounds(async () => {
      const { consumer, provider, sessionId } = await openSession(server);
      const { won, lost } = await race(
        times(atOnce, (index) => () => {
          if (index === 60) return consumer.call("sessions:end", { sessionId });
          const message = { sessionId, type: "dialogue.message", payload: { index } };
          return (index % 2 ? consumer : provider).call("sessions:sendMessage", message);
        }),
      );
      for (const { message } of lost) expect(message).toBe("Session is not active");
      const sent = won.flatMap(({ messageId }) => messageId ?? []);
      const { data } = await consumer.call("sessions:listMessages", { sessionId });
      expect(data.map(({ id }: { id: string }) => id).sort()).toEqual(sent.sort());
      const { totalMessages } = await consumer.call("sessions:get", { sessionId });
      expect(totalMessages).toBe(sent.length);
    }));

  test("one id, many times: one message, and everybody hears of it", () =>
    inRounds(async () => {
      const { consumer, sessionId } = await openSession(server);
      const message = { sessionId, id: "once", type: "dialogue.message", payload: {} };
      const { won, lost } = await race(times(atOnce, () => () => consumer.call("sessions:sendMessage", message)));
      expect(lost).toEqual([]);
      expect(won).toEqual(Array(atOnce).fill(won[0]));
      expect((await consumer.call("sessions:listMessages", { sessionId })).total).toBe(1);
    }));
});
