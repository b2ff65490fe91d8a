import { beforeAll, describe, expect, test } from "vitest";
import { enoughBytes } from "../../../functions/sessions/history.js";
import { databases, hour, minute, useServer } from "../../support/harness.js";
import { asAgent, draft } from "../../support/market.js";
import { expectInvalid, expectRefusal } from "../../support/refusals.js";
import { openSession, openSocket, type Rental, rentable, task } from "../../support/rental.js";

const hello = { type: "dialogue.message", payload: { content: "Hello" } };

describe.each(databases)("sessions:sendMessage on %s (clawrent.md sections 2.6 and 4.6)", (database) => {
  const server = useServer(database);
  let rental: Rental;
  beforeAll(async () => {
    rental = await openSession(server, { maxConsumerSlots: 2 });
  });

  const send = (who: "consumer" | "provider" | "agent", args: object = {}, of = rental) =>
    of[who].call("sessions:sendMessage", { sessionId: of.sessionId, ...hello, ...args });
  const history = async (of = rental, args: object = {}) =>
    (await of.consumer.call("sessions:listMessages", { sessionId: of.sessionId, ...args })).data;

  test("stores what a side sends, with the sender that the server knows", async () => {
    const of = await openSession(server, { maxConsumerSlots: 2 });
    const sent = await send("consumer", { slotIndex: 1 }, of);
    expect(sent).toEqual({
      messageId: expect.any(String),
      delivered: false,
      gatewayResult: "passed",
      createdAt: new Date(server.clock.now() + 1).toISOString(),
    });
    await send("provider", { targetSlot: 1 }, of);
    const [first, second] = await history(of);
    expect(first).toEqual({
      id: sent.messageId,
      sessionId: of.sessionId,
      ...hello,
      messageType: hello.type,
      senderRole: "consumer",
      sender: { role: "consumer", agentId: of.consumer.userId, slotIndex: 1 },
      delivered: false,
      gatewayResult: "passed",
      timestamp: Date.parse(sent.createdAt),
      createdAt: sent.createdAt,
    });
    expect(second).toMatchObject({ senderRole: "provider", sender: { role: "provider", agentId: of.agentId } });
    expect(second.sender).not.toHaveProperty("slotIndex");
    expect(await of.consumer.call("sessions:get", { sessionId: of.sessionId })).toMatchObject({ totalMessages: 2 });
  });

  test("the consumer's agent is itself only where it takes part", async () => {
    const of = await rentable(server);
    const consumer = await server.user("Alice", { topUp: "50" });
    const [partner, helper] = [asAgent(server, await draft(consumer)), asAgent(server, await draft(consumer))];
    const args = { agentId: of.agentId, taskDescription: task, consumerAgentId: partner.agentId };
    const { id: sessionId } = await consumer.call("sessions:create", args);
    for (const who of [partner, helper, consumer]) await who.call("sessions:sendMessage", { sessionId, ...hello });
    const { data } = await consumer.call("sessions:listMessages", { sessionId });
    expect(data.map(({ sender }: { sender: { agentId: string } }) => sender.agentId)).toEqual([
      partner.agentId,
      consumer.userId,
      consumer.userId,
    ]);
  });

  test("`delivered` says whether the other side has a socket open, in the slot that is meant", async () => {
    const of = await openSession(server, { maxConsumerSlots: 2 });
    const { sessionId, agentId, consumer } = of;
    await openSocket(server, { sessionId, participantId: consumer.userId, side: "consumer", slotIndex: 1 });
    expect(await send("consumer", {}, of)).toMatchObject({ delivered: false });
    expect(await send("provider", {}, of)).toMatchObject({ delivered: true });
    expect(await send("provider", { targetSlot: 0 }, of)).toMatchObject({ delivered: false });
    expect(await send("provider", { targetSlot: 1 }, of)).toMatchObject({ delivered: true });
    await openSocket(server, { sessionId, participantId: agentId, side: "provider" });
    expect(await send("consumer", { targetSlot: 1 }, of)).toMatchObject({ delivered: true });
    expect((await history(of)).map(({ delivered }: { delivered: boolean }) => delivered)).toEqual([
      false,
      true,
      false,
      true,
      true,
    ]);
  });

  test("the same id from the same side is one message; from the other side it is another", async () => {
    const of = await openSession(server);
    const first = await send("consumer", { id: "m1" }, of);
    server.clock.jump(minute);
    expect(await send("consumer", { id: "m1", payload: { content: "again" } }, of)).toEqual(first);
    expect((await send("provider", { id: "m1" }, of)).messageId).not.toBe(first.messageId);
    expect(await history(of)).toHaveLength(2);
    await of.consumer.call("sessions:end", { sessionId: of.sessionId });
    expect(await send("consumer", { id: "m1" }, of)).toEqual(first);
  });

  test("counts instructions, and the tokens that the provider says it used", async () => {
    const of = await openSession(server, { pricingModel: "per_token", priceAmount: "0.0001" });
    const used = (totalTokens: unknown) => ({ payload: { content: "x", usage: { totalTokens } } });
    await send("provider", used(100), of);
    for (const odd of [-1, "7", null, "NaN", [1]]) await send("provider", used(odd), of);
    await send("provider", { payload: { usage: 5 } }, of);
    await send("consumer", used(1_000), of);
    await send("provider", used(23), of);
    await send("consumer", { type: "instruction.exec", payload: { command: "ls" } }, of);
    expect(await of.provider.call("sessions:get", { sessionId: of.sessionId })).toMatchObject({
      totalMessages: 10,
      totalInstructions: 1,
      totalTokensProvider: 123,
      totalTokensConsumer: 0,
    });
    const { settlement } = await of.consumer.call("sessions:end", { sessionId: of.sessionId });
    expect(settlement).toMatchObject({ quantity: 123, amount: "0.0123" });
  });

  test("a session by the token ends with the message that uses up the money", async () => {
    const of = await openSession(server, { pricingModel: "per_token", priceAmount: "0.01" }, { topUp: "12" });
    const used = (totalTokens: number) => send("provider", { payload: { usage: { totalTokens } } }, of);
    await used(1_100);
    expect(await of.consumer.call("billing:getWallet")).toMatchObject({ held: "11.00" });
    await used(200);
    expect(await of.consumer.call("sessions:end", { sessionId: of.sessionId })).toMatchObject({
      status: "completed",
      endReason: "insufficient_balance",
      totalMessages: 2,
      settlement: { amount: "12.0000", quantity: 1_300 },
    });
    expect(await history(of)).toHaveLength(2);
    await expect(used(1)).rejects.toMatchObject({ message: "Session is not active" });
  });

  test("takes any name within the four families, in either direction, and nothing else", async () => {
    for (const type of ["dialogue.message", "dialogue.streaming", "result.success", "result.error", "session.ready"]) {
      await send("provider", { type });
      await send("consumer", { type });
    }
    for (const type of [
      "system.heartbeat",
      "staff.task",
      "dialogue",
      "dialogue.",
      "Dialogue.message",
      "dialogue.a b",
      "",
    ]) {
      await expectRefusal(server, () => send("consumer", { type }), {
        code: "invalid_args",
        message: "Invalid message type",
      });
    }
    await expectRefusal(server, () => send("consumer", { type: "dialogue.typing" }), {
      code: "invalid_args",
      message: "dialogue.typing is sent over the WebSocket only",
    });
  });

  test("a payload is an object of at most 256 KiB", async () => {
    for (const payload of ["text", null, [], 5])
      await expectInvalid(server, () => send("consumer", { payload }), "payload");
    const most = 256 * 1_024;
    const around = JSON.stringify({ content: "" }).length;
    await send("consumer", { payload: { content: "x".repeat(most - around) } });
    await expectRefusal(server, () => send("consumer", { payload: { content: "x".repeat(most - around + 1) } }), {
      code: "too_large",
      message: "payload is too large (max 262144 bytes)",
    });
  });

  test("slots and mentions must exist", async () => {
    for (const field of ["slotIndex", "targetSlot"]) {
      await expectRefusal(server, () => send("consumer", { [field]: 2 }), {
        code: "invalid_args",
        message: `${field} must be below 2`,
      });
      await expectInvalid(server, () => send("consumer", { [field]: -1 }), field);
    }
    await expectRefusal(server, () => send("consumer", { mentions: [rental.agentId, "nobody"] }), {
      code: "invalid_args",
      message: "A mention names no participant of this session",
    });
    await send("consumer", { mentions: [rental.agentId] });
    expect((await history()).at(-1)).toMatchObject({ mentions: [rental.agentId] });
  });

  test("what the gateway stops is kept for audit and never in the history", async () => {
    const of = await openSession(server, {}, { grantedPermissions: { "system.exec": true } });
    const before = await of.consumer.call("sessions:get", { sessionId: of.sessionId });
    const dangerous = { type: "instruction.exec", payload: { command: "rm -rf /" } };
    for (const who of ["consumer", "provider"] as const) {
      await expect(send(who, dangerous, of)).rejects.toMatchObject({
        code: "forbidden",
        data: { messageId: expect.any(String), delivered: false, gatewayResult: "blocked", category: "destructive" },
      });
    }
    await expect(
      send("provider", { type: "instruction.read_file", payload: { path: "/tmp/a" } }, of),
    ).rejects.toMatchObject({ code: "forbidden", data: { category: "permission" } });
    await send("provider", { type: "instruction.exec", payload: { command: "ls" } }, of);
    expect(await history(of)).toHaveLength(1);
    expect(before.totalMessages).toBe(0);
    expect(await of.consumer.call("sessions:get", { sessionId: of.sessionId })).toMatchObject({ totalMessages: 1 });
    const kept = await server.read((db) =>
      db
        .selectFrom("blockedMessages")
        .selectAll()
        .where("sessionId", "=", of.sessionId)
        .orderBy("category")
        .orderBy("senderSide")
        .execute(),
    );
    expect(kept).toMatchObject([
      { senderSide: "consumer", category: "destructive", payload: JSON.stringify(dangerous.payload) },
      { senderSide: "provider", category: "destructive" },
      { senderSide: "provider", category: "permission" },
    ]);
  });

  test("a grant with a rate counts what passed within a minute", async () => {
    const grantedPermissions = { "system.exec": { granted: true, constraints: { rateLimit: 2 } } };
    const of = await openSession(server, {}, { grantedPermissions });
    const exec = () => send("provider", { type: "instruction.exec", payload: { command: "ls" } }, of);
    await exec();
    await exec();
    await expect(exec()).rejects.toMatchObject({ code: "forbidden", data: { category: "rate_limit" } });
    server.clock.jump(minute + 1_000);
    await exec();
  });

  test("batches that are too large to be counted against a rate are refused", async () => {
    const grantedPermissions = { "instruction.look": { granted: true, constraints: { rateLimit: 10_000 } } };
    const of = await openSession(server, {}, { grantedPermissions });
    const payload = { instructions: [{ type: "look" }], note: "x".repeat(250_000) };
    const batch = () => send("provider", { type: "instruction.batch", payload }, of);
    for (let count = 0; count < 5; count += 1) await batch();
    await expect(batch()).rejects.toMatchObject({ code: "forbidden", data: { category: "rate_limit" } });
    server.clock.jump(minute + 1_000);
    await batch();
  });

  test("stamps rise strictly under many sends at once, also when the clock is set back", async () => {
    const of = await openSession(server);
    const burst = () =>
      Promise.all(Array.from({ length: 40 }, (_, i) => send(i % 2 ? "consumer" : "provider", {}, of)));
    const first = await burst();
    server.clock.jump(-48 * hour);
    const second = await burst();
    server.clock.jump(48 * hour);
    const messages: { timestamp: number; createdAt: string; id: string }[] = await history(of);
    expect(messages.map(({ id }) => id).sort()).toEqual([...first, ...second].map(({ messageId }) => messageId).sort());
    for (const [index, { timestamp, createdAt }] of messages.entries()) {
      expect(createdAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      expect(Date.parse(createdAt)).toBe(timestamp);
      if (index > 0) expect(timestamp).toBeGreaterThan(messages[index - 1]?.timestamp ?? 0);
    }
    const latestOfFirst = Math.max(...first.map(({ createdAt }) => Date.parse(createdAt)));
    for (const { createdAt } of second) expect(Date.parse(createdAt)).toBeGreaterThan(latestOfFirst);
  });
});

describe.each(databases)("sessions:listMessages on %s (clawrent.md section 2.6)", (database) => {
  const server = useServer(database);
  let rental: Rental;
  beforeAll(async () => {
    rental = await openSession(server);
    for (let index = 0; index < 120; index += 1) {
      await rental.provider.call("sessions:sendMessage", {
        sessionId: rental.sessionId,
        type: "dialogue.message",
        payload: { index },
      });
    }
  });
  const list = (args: object = {}) =>
    rental.consumer.call("sessions:listMessages", { sessionId: rental.sessionId, ...args });
  const indexes = ({ data }: { data: { payload: { index: number } }[] }) => data.map(({ payload }) => payload.index);

  test("gives all of them, oldest first; from `startedAt` on nothing is missed", async () => {
    const all = Array.from({ length: 120 }, (_, index) => index);
    const answer = await list();
    expect(answer).toMatchObject({ total: 120, limit: 1_000 });
    expect(indexes(answer)).toEqual(all);
    expect(indexes(await list({ since: rental.session.startedAt }))).toEqual(all);
    expect(indexes(await rental.provider.call("sessions:listMessages", { sessionId: rental.sessionId }))).toEqual(all);
  });

  test("`since` is strictly after, and pages by the last one seen", async () => {
    const seen: number[] = [];
    let since: string | undefined;
    for (;;) {
      const answer = await list({ since, limit: 33 });
      if (answer.data.length === 0) break;
      expect(answer.total).toBe(120 - seen.length);
      seen.push(...indexes(answer));
      since = answer.data.at(-1).createdAt;
    }
    expect(seen).toHaveLength(120);
    expect(indexes(await list({ limit: 5_000 }))).toHaveLength(120);
    expect(indexes(await list({ limit: 0 }))).toEqual([0]);
  });

  test("a `since` that is no time is refused", async () => {
    for (const since of ["yesterday", "", "2026-02-30T00:00:00Z", 5]) {
      await expectInvalid(server, () => list({ since }), "since");
    }
    const offset = "2020-01-01T08:00:00+08:00";
    expect((await list({ since: offset, limit: 1 })).total).toBe(120);
  });

  test("ends early instead of growing without bound; what is left comes with the next page", async () => {
    const large = await openSession(server);
    const { sessionId, consumer } = large;
    const payload = { content: "x".repeat(250_000) };
    for (let index = 0; index < 60; index += 1) {
      await consumer.call("sessions:sendMessage", { sessionId, type: "dialogue.message", payload });
    }
    const pages = [await consumer.call("sessions:listMessages", { sessionId })];
    expect(pages[0].total).toBe(60);
    while (pages.at(-1).nextCursor !== null) {
      const { nextCursor: cursor } = pages.at(-1);
      pages.push(await consumer.call("sessions:listMessages", { sessionId, cursor }));
    }
    const each = JSON.stringify(payload).length;
    expect(pages.map(({ data }) => data.length)).toEqual([17, 17, 17, 9]);
    expect([16 * each < enoughBytes, 17 * each >= enoughBytes]).toEqual([true, true]);
    const since = pages[0].data.at(-1).createdAt;
    expect(await consumer.call("sessions:listMessages", { sessionId, since })).toMatchObject({ data: pages[1].data });
  });
});
