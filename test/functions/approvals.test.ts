/** Approvals (claw-to-claw.md section 3, approvals): what waits for a human, and what the human decides. */
import { describe, expect, test } from "vitest";
import { type Agent, databases, hour, useServer } from "../support/harness.js";
import { everything, expectInvalid, expectRefusal, rawCall, tide, wave } from "../support/refusals.js";

describe.each(databases)("approvals on %s (claw-to-claw.md section 3, approvals)", (database) => {
  const server = useServer(database);

  const late = { code: "expired", message: "Approval deadline has passed", data: { status: "expired" } };
  const already = { code: "conflict", message: "Already submitted approval for this thread" };
  const cannot = (status: string) => ({
    code: "conflict",
    message: `Cannot approve thread with status: ${status}`,
    data: { status },
  });
  const decide = (agent: Agent, threadId: string, approved: boolean, more = {}) =>
    agent.call("approvals:submit", { threadId, approved, ...more });
  const statusOf = async (agent: Agent, threadId: string) => {
    const threads = await agent.call("messages:getThreadsForAgent");
    return threads.find((thread: { threadId: string }) => thread.threadId === threadId).status;
  };

  describe("submit", () => {
    test("both approve, and the plan is confirmed", async () => {
      const { alice, bob, threadId } = await server.awaitingPair();
      expect(await decide(alice, threadId, true)).toEqual({
        threadId,
        status: "awaiting_approval",
        approvals: { mine: "approved", other: null },
      });
      expect(await statusOf(bob, threadId)).toBe("awaiting_approval");
      expect(await decide(bob, threadId, true)).toEqual({
        threadId,
        status: "confirmed",
        approvals: { mine: "approved", other: "approved" },
      });
      expect(await statusOf(alice, threadId)).toBe("confirmed");
    });

    test.each(["alice", "bob"] as const)("one decline is the end of it: %s", async (who) => {
      const pair = await server.awaitingPair();
      expect(await decide(pair[who], pair.threadId, false)).toEqual({
        threadId: pair.threadId,
        status: "rejected",
        approvals: { mine: "declined", other: null },
      });
      for (const agent of [pair.alice, pair.bob]) {
        await expectRefusal(server, () => decide(agent, pair.threadId, true), cannot("rejected"));
      }
    });

    test("a decline after the other's approval rejects", async () => {
      const { alice, bob, threadId } = await server.awaitingPair();
      await decide(bob, threadId, true);
      expect(await decide(alice, threadId, false)).toEqual({
        threadId,
        status: "rejected",
        approvals: { mine: "declined", other: "approved" },
      });
      expect(await statusOf(bob, threadId)).toBe("rejected");
    });

    test.each([true, false])("each side decides once: a second word (%s) changes nothing", async (second) => {
      const { alice, threadId } = await server.awaitingPair();
      await decide(alice, threadId, true);
      await expectRefusal(server, () => decide(alice, threadId, second), already);
    });

    test("the same agent with its other credential is the same side", async () => {
      const { alice, threadId } = await server.awaitingPair();
      await decide(alice, threadId, true);
      const rented = await server.withAgentToken(alice);
      await expectRefusal(server, () => decide(rented, threadId, true), already);
    });

    test("only a plan that both agents accepted can be approved", async () => {
      const { alice, bob, threadId } = await server.negotiatingPair();
      await expectRefusal(server, () => decide(alice, threadId, true), cannot("negotiating"));
      await alice.send(threadId, "proposal");
      await expectRefusal(server, () => decide(bob, threadId, true), cannot("negotiating"));
      await alice.send(threadId, "reject");
      await expectRefusal(server, () => decide(bob, threadId, true), cannot("rejected"));
    });

    test("a confirmed plan takes no more decisions", async () => {
      const { alice, bob, threadId } = await server.awaitingPair();
      await decide(alice, threadId, true);
      await decide(bob, threadId, true);
      for (const approved of [true, false]) {
        await expectRefusal(server, () => decide(alice, threadId, approved), cannot("confirmed"));
      }
    });

    test("the last millisecond of 48 hours still counts", async () => {
      const { alice, bob, threadId } = await server.awaitingPair();
      await decide(alice, threadId, true);
      server.clock.jump(48 * hour - 1);
      await server.settle();
      expect(await decide(bob, threadId, true)).toMatchObject({ status: "confirmed" });
      await server.advance(48 * hour);
      expect(await statusOf(bob, threadId)).toBe("confirmed");
    });

    test("after 48 hours it is too late, before the timer and after it", async () => {
      const { alice, bob, threadId } = await server.awaitingPair();
      await decide(alice, threadId, true);
      server.clock.jump(48 * hour);
      for (const settled of [false, true]) {
        if (settled) await server.settle();
        for (const agent of [alice, bob]) {
          expect(await statusOf(agent, threadId)).toBe("expired");
          expect(await agent.call("messages:getThreadsForAgent", { status: "expired" })).toMatchObject([{ threadId }]);
          expect(await agent.call("messages:getThreadsForAgent", { status: "awaiting_approval" })).toEqual([]);
          await expectRefusal(server, () => decide(agent, threadId, false), late);
        }
      }
      const stored = await server.read((db) =>
        db.selectFrom("threads").select("status").where("threadId", "=", threadId).executeTakeFirstOrThrow(),
      );
      expect(stored.status).toBe("expired");
    });

    test("a decision is kept with its note, its time, and that an agent vouches for it", async () => {
      const { alice, bob, threadId } = await server.awaitingPair();
      await decide(alice, threadId, true, { note: "if it stays dry" });
      server.clock.jump(5);
      await decide(bob, threadId, false, { note: null });
      const now = server.clock.now();
      const stored = await server.read((db) =>
        db.selectFrom("approvals").selectAll().where("threadId", "=", threadId).orderBy("createdAt").execute(),
      );
      const common = { threadId, attestedBy: "agent" };
      expect(stored).toEqual([
        { ...common, agentId: alice.agentId, decision: "approved", note: "if it stays dry", createdAt: now - 5 },
        { ...common, agentId: bob.agentId, decision: "declined", note: null, createdAt: now },
      ]);
    });

    test("a note takes 500 characters and not one more, however many bytes they have", async () => {
      for (const character of ["a", tide, wave]) {
        const { alice, bob, threadId } = await server.awaitingPair();
        await expectInvalid(server, () => decide(alice, threadId, true, { note: character.repeat(501) }), "note");
        await decide(alice, threadId, true, { note: character.repeat(500) });
        await decide(bob, threadId, true, { note: character.repeat(499) });
      }
    });

    test.each([
      ["threadId", { approved: true }],
      ["approved", {}],
      ["approved", { approved: null }],
      ["approved", { approved: "yes" }],
      ["approved", { approved: 1 }],
    ])("%s is needed, and of its type: %j", async (field, args) => {
      const { alice, threadId } = await server.awaitingPair();
      const given = field === "threadId" ? args : { threadId, ...args };
      await expectInvalid(server, () => alice.call("approvals:submit", given), field);
    });

    test("one cannot say who vouches, or speak for the other side", async () => {
      const { alice, bob, threadId } = await server.awaitingPair();
      const before = await everything(server);
      for (const more of [{ attestedBy: "human" }, { agentId: bob.agentId }]) {
        await expect(decide(alice, threadId, true, more)).rejects.toMatchObject({
          code: "invalid_args",
          message: expect.stringContaining(Object.keys(more)[0] ?? ""),
        });
      }
      expect(await everything(server)).toEqual(before);
    });

    test("a stranger's thread answers byte for byte like one that never was, in every state", async () => {
      const { alice, bob, threadId } = await server.awaitingPair();
      const stranger = await server.agent("Stranger");
      const missing = await rawCall(stranger, "approvals:submit", { threadId: "thr_missing", approved: true });
      expect(missing).toEqual({
        status: 200,
        body: '{"status":"error","errorMessage":"Thread not found","errorData":{"code":"not_found"}}',
      });
      const probe = async () => {
        const before = await everything(server);
        for (const approved of [true, false]) {
          expect(await rawCall(stranger, "approvals:submit", { threadId, approved })).toEqual(missing);
        }
        expect(await everything(server)).toEqual(before);
      };
      await probe();
      await decide(alice, threadId, true);
      await probe();
      await decide(bob, threadId, true);
      await probe();
    });
  });

  describe("getPending", () => {
    test("shows the accepted proposal to both sides, until each has decided", async () => {
      const { alice, bob, connectionId, threadId, proposalId } = await server.awaitingPair();
      const now = server.clock.now();
      const pending = {
        threadId,
        connectionId,
        proposal: {
          messageId: proposalId,
          threadId,
          fromAgentId: alice.agentId,
          type: "proposal",
          payload: { notes: "proposal" },
          createdAt: now,
        },
        approvalDeadline: now + 48 * hour,
        myDecision: null,
        otherDecision: null,
        cursor: expect.any(String),
      };
      const bobs = { ...pending, otherAgent: { agentId: alice.agentId, name: "Alice" } };
      const alices = { ...pending, otherAgent: { agentId: bob.agentId, name: "Bob" } };
      expect(await bob.call("approvals:getPending")).toEqual([bobs]);
      expect(await alice.call("approvals:getPending")).toEqual([alices]);

      await bob.call("approvals:submit", { threadId, approved: true });
      expect(await bob.call("approvals:getPending")).toEqual([]);
      expect(await alice.call("approvals:getPending")).toEqual([{ ...alices, otherDecision: "approved" }]);
      await alice.call("approvals:submit", { threadId, approved: true });
      expect(await alice.call("approvals:getPending")).toEqual([]);
    });

    test("the proposal is the one that was accepted, not one that it replaced or what was said since", async () => {
      const { alice, bob, threadId } = await server.negotiatingPair();
      await alice.send(threadId, "proposal");
      const encryptedPayload = Buffer.alloc(60, 7).toString("base64");
      const counter = await bob.send(threadId, "counter", { payload: undefined, encryptedPayload });
      await alice.send(threadId, "accept", { referencesMessageId: counter.messageId });
      await bob.send(threadId, "info");
      for (const agent of [alice, bob]) {
        expect(await agent.call("approvals:getPending")).toMatchObject([
          { proposal: { messageId: counter.messageId, type: "counter", encryptedPayload, fromAgentId: bob.agentId } },
        ]);
      }
    });

    test("the most urgent comes first, whichever side the caller is on", async () => {
      const { alice, bob, connectionId } = await server.connectedPair();
      const threads: string[] = [];
      for (let index = 0; index < 4; index += 1) {
        // The opener of a connection's first thread differs; the caller is inviter in one connection, accepter in another.
        const [one, other] = index % 2 === 0 ? [alice, bob] : [bob, alice];
        const { threadId } = await one.call("messages:startThread", { connectionId });
        await one.send(threadId, "proposal");
        await other.send(threadId, "accept");
        threads.push(threadId);
        server.clock.jump(1_000);
      }
      const carol = await server.agent("Carol");
      const { inviteToken } = await carol.call("connections:invite");
      const withCarol = await alice.call("connections:accept", { inviteToken });
      const { threadId } = await carol.call("messages:startThread", { connectionId: withCarol.connectionId });
      await carol.send(threadId, "proposal");
      await alice.send(threadId, "accept");
      const pending = await alice.call("approvals:getPending");
      expect(pending.map((plan: { threadId: string }) => plan.threadId)).toEqual([...threads, threadId]);
    });

    test("a plan leaves the list when its time is up, is rejected, or the connection ends", async () => {
      const { alice, bob, threadId } = await server.awaitingPair();
      server.clock.jump(48 * hour - 1);
      expect(await alice.call("approvals:getPending")).toHaveLength(1);
      server.clock.jump(1);
      expect(await alice.call("approvals:getPending")).toEqual([]);
      await server.settle();
      expect(await bob.call("approvals:getPending")).toEqual([]);
      await expectRefusal(server, () => decide(alice, threadId, true), late);

      const rejected = await server.awaitingPair();
      await rejected.bob.send(rejected.threadId, "reject");
      expect(await rejected.alice.call("approvals:getPending")).toEqual([]);

      const ended = await server.awaitingPair();
      await ended.alice.call("connections:disconnect", { connectionId: ended.connectionId });
      expect(await ended.bob.call("approvals:getPending")).toEqual([]);
    });

    test("nobody sees a plan of others", async () => {
      await server.awaitingPair();
      const stranger = await server.agent("Stranger");
      expect(await stranger.call("approvals:getPending")).toEqual([]);
    });
  });
});
