/** Connections (claw-to-claw.md section 3, connections): invite, acceptance, end, list. */
import { describe, expect, test } from "vitest";
import { hashSecret } from "../../runtime/ids.js";
import { type Agent, databases, day, randomKey, useServer } from "../support/harness.js";
import { everything, expectInvalid, expectRefusal, rawCall } from "../support/refusals.js";

describe.each(databases)("connections on %s (claw-to-claw.md section 3, connections)", (database) => {
  const server = useServer(database);

  const accepted = { code: "conflict", message: "Invite already accepted" };
  const invalid = { code: "not_found", message: "Invalid invite token", data: {} };
  const expired = { code: "expired", message: "Invite token expired" };
  const ownInvite = { code: "conflict", message: "Cannot accept your own invite" };
  const inactive = { code: "conflict", message: "Connection is not active", data: { status: "disconnected" } };

  const statusSeenBy = async (agent: Agent, connectionId: string) => {
    const connections = await agent.call("connections:list");
    return connections.find((connection: { connectionId: string }) => connection.connectionId === connectionId)?.status;
  };

  describe("invite", () => {
    test("answers with a connection, a token, its link, and the end of its seven days", async () => {
      const alice = await server.agent("Alice");
      const invite = await alice.call("connections:invite", {});
      expect(invite).toEqual({
        connectionId: expect.stringMatching(/^conn_[0-9a-f]{32}$/),
        inviteToken: expect.stringMatching(/^inv_[A-Za-z0-9_-]{32}$/),
        inviteUrl: `${server.server.publicUrl}/connect/${invite.inviteToken}`,
        expiresAt: server.clock.now() + 7 * day,
      });
    });

    test("needs a public key first", async () => {
      const keyless = await server.agent("Keyless", { publicKey: false });
      await expectRefusal(server, () => keyless.call("connections:invite", {}), {
        code: "conflict",
        message: "Must set public key before inviting. Call agents:setPublicKey first.",
      });
      await keyless.call("agents:setPublicKey", { publicKey: randomKey() });
      expect(await keyless.call("connections:invite", {})).toMatchObject({ inviteToken: expect.any(String) });
    });

    test("every invite is its own", async () => {
      const alice = await server.agent("Alice");
      const [one, other] = [await alice.call("connections:invite"), await alice.call("connections:invite")];
      expect(one.connectionId).not.toBe(other.connectionId);
      expect(one.inviteToken).not.toBe(other.inviteToken);
    });

    test("the token is stored as its hash, and never shown again", async () => {
      const alice = await server.agent("Alice");
      const { inviteToken } = await alice.call("connections:invite");
      const stored = (await everything(server)).join("\n");
      expect(stored).not.toContain(inviteToken);
      expect(stored).toContain(hashSecret(inviteToken));
      for (const path of ["connections:list", "agents:getStatus"]) {
        expect((await rawCall(alice, path)).body).not.toContain(inviteToken);
      }
    });

    test("takes no arguments", async () => {
      const alice = await server.agent("Alice");
      await expect(alice.call("connections:invite", { expiresAt: 1 })).rejects.toMatchObject({
        code: "invalid_args",
        message: expect.stringContaining("expiresAt"),
      });
    });
  });

  describe("getInvite", () => {
    test("says who invites, without telling anything that only a peer may know", async () => {
      const alice = await server.agent("Alice");
      const { inviteToken, expiresAt } = await alice.call("connections:invite");
      expect(await server.nobody.call("connections:getInvite", { inviteToken })).toEqual({
        invitedBy: { name: "Alice", description: null },
        status: "open",
        expiresAt,
      });
    });

    test("follows the invite's life: accepted, withdrawn, expired", async () => {
      const [alice, bob] = [await server.agent("Alice"), await server.agent("Bob")];
      const state = async (inviteToken: string) =>
        (await server.nobody.call("connections:getInvite", { inviteToken })).status;
      const taken = await alice.call("connections:invite");
      const withdrawn = await alice.call("connections:invite");
      const left = await alice.call("connections:invite");
      await bob.call("connections:accept", { inviteToken: taken.inviteToken });
      await alice.call("connections:disconnect", { connectionId: withdrawn.connectionId });
      expect(await state(taken.inviteToken)).toBe("accepted");
      expect(await state(withdrawn.inviteToken)).toBe("withdrawn");

      server.clock.jump(7 * day - 1);
      expect(await state(left.inviteToken)).toBe("open");
      server.clock.jump(1);
      for (const settle of [false, true]) {
        if (settle) await server.settle();
        expect(await state(left.inviteToken)).toBe("expired");
        expect(await state(taken.inviteToken)).toBe("accepted");
      }
    });

    test("a token that never was is refused", async () => {
      await expectRefusal(server, () => server.nobody.call("connections:getInvite", { inviteToken: "inv_x" }), invalid);
      for (const args of [{}, { inviteToken: null }, { inviteToken: "" }, { inviteToken: "a".repeat(201) }]) {
        await expectInvalid(server, () => server.nobody.call("connections:getInvite", args), "inviteToken");
      }
    });
  });

  describe("accept", () => {
    test("connects the two, and gives the inviter's public key", async () => {
      const [alice, bob] = [await server.agent("Alice"), await server.agent("Bob")];
      const { publicKey } = await alice.call("agents:getStatus");
      const { connectionId, inviteToken } = await alice.call("connections:invite");
      expect(await bob.call("connections:accept", { inviteToken })).toEqual({
        connectionId,
        connectedTo: { agentId: alice.agentId, name: "Alice", publicKey },
      });
      expect(await statusSeenBy(alice, connectionId)).toBe("active");
      expect(await statusSeenBy(bob, connectionId)).toBe("active");
    });

    test("an agent without a public key may accept; its peer sees that it has none", async () => {
      const alice = await server.agent("Alice");
      const keyless = await server.agent("Keyless", { publicKey: false });
      const { inviteToken } = await alice.call("connections:invite");
      await keyless.call("connections:accept", { inviteToken });
      expect(await alice.call("connections:list")).toMatchObject([
        { connectedTo: { agentId: keyless.agentId, name: "Keyless", publicKey: null } },
      ]);
    });

    test("a token that never was, and other secrets, are refused alike", async () => {
      const { alice, bob, connectionId } = await server.connectedPair();
      for (const inviteToken of ["inv_nonsense", alice.claimToken, alice.credential, connectionId, "%"]) {
        await expectRefusal(server, () => bob.call("connections:accept", { inviteToken }), invalid);
      }
    });

    test("an invite is good once, for whoever comes first", async () => {
      const [alice, bob, carol] = [await server.agent("A"), await server.agent("B"), await server.agent("C")];
      const { inviteToken } = await alice.call("connections:invite");
      await bob.call("connections:accept", { inviteToken });
      for (const agent of [bob, carol, alice]) {
        await expectRefusal(server, () => agent.call("connections:accept", { inviteToken }), accepted);
      }
    });

    test("stays accepted after the connection has ended", async () => {
      const [alice, bob] = [await server.agent("A"), await server.agent("B")];
      const { inviteToken, connectionId } = await alice.call("connections:invite");
      await bob.call("connections:accept", { inviteToken });
      await alice.call("connections:disconnect", { connectionId });
      await expectRefusal(server, () => bob.call("connections:accept", { inviteToken }), accepted);
      await server.advance(8 * day);
      await expectRefusal(server, () => bob.call("connections:accept", { inviteToken }), accepted);
    });

    test("one's own invite is refused, and stays open for somebody else", async () => {
      const [alice, bob] = [await server.agent("A"), await server.agent("B")];
      const { inviteToken } = await alice.call("connections:invite");
      await expectRefusal(server, () => alice.call("connections:accept", { inviteToken }), ownInvite);
      expect(await bob.call("connections:accept", { inviteToken })).toMatchObject({
        connectedTo: { agentId: alice.agentId },
      });
    });

    test("one's own invite is refused with an agent token too", async () => {
      const alice = await server.agent("A");
      const { inviteToken } = await alice.call("connections:invite");
      const rented = await server.withAgentToken(alice);
      await expectRefusal(server, () => rented.call("connections:accept", { inviteToken }), ownInvite);
    });

    test("an invite that was taken back is gone", async () => {
      const [alice, bob] = [await server.agent("A"), await server.agent("B")];
      const { inviteToken, connectionId } = await alice.call("connections:invite");
      await alice.call("connections:disconnect", { connectionId });
      await expectRefusal(server, () => bob.call("connections:accept", { inviteToken }), invalid);
    });

    test("holds until the last millisecond of seven days", async () => {
      const [alice, bob] = [await server.agent("A"), await server.agent("B")];
      const { inviteToken, expiresAt } = await alice.call("connections:invite");
      server.clock.jump(expiresAt - 1 - server.clock.now());
      expect(await bob.call("connections:accept", { inviteToken })).toMatchObject({
        connectedTo: { agentId: alice.agentId },
      });
    });

    test("is over when the seven days are, before the timer and after it", async () => {
      const [alice, bob] = [await server.agent("A"), await server.agent("B")];
      const { inviteToken, connectionId, expiresAt } = await alice.call("connections:invite");
      server.clock.jump(expiresAt - server.clock.now());
      await expectRefusal(server, () => bob.call("connections:accept", { inviteToken }), expired);
      expect(await statusSeenBy(alice, connectionId)).toBe("disconnected");
      await server.settle();
      await expectRefusal(server, () => bob.call("connections:accept", { inviteToken }), expired);
      expect(await statusSeenBy(alice, connectionId)).toBe("disconnected");
      await server.advance(400 * day);
      await expectRefusal(server, () => bob.call("connections:accept", { inviteToken }), expired);
    });

    test("the timer writes the end of an invite that nobody took, and leaves an accepted one alone", async () => {
      const { connectionId } = await server.connectedPair();
      const alice = await server.agent("A");
      const left = await alice.call("connections:invite");
      await server.advance(7 * day);
      const stored = await server.read((db) =>
        db
          .selectFrom("connections")
          .select(["connectionId", "status"])
          .where("connectionId", "in", [connectionId, left.connectionId])
          .execute(),
      );
      expect(Object.fromEntries(stored.map((row) => [row.connectionId, row.status]))).toEqual({
        [connectionId]: "active",
        [left.connectionId]: "disconnected",
      });
    });

    test("two agents share one active connection, whichever of them invites again", async () => {
      const { alice, bob, connectionId } = await server.connectedPair();
      for (const [inviter, other] of [
        [alice, bob],
        [bob, alice],
      ] as const) {
        const { inviteToken } = await inviter.call("connections:invite");
        await expectRefusal(server, () => other.call("connections:accept", { inviteToken }), {
          code: "conflict",
          message: "You are already connected to this agent",
          data: { connectionId, status: "active" },
        });
      }
    });

    test("after a disconnect a new invite connects them again, and the old connection stays ended", async () => {
      const { alice, bob, connectionId } = await server.connectedPair();
      await bob.call("connections:disconnect", { connectionId });
      const { inviteToken } = await bob.call("connections:invite");
      const again = await alice.call("connections:accept", { inviteToken });
      expect(again.connectionId).not.toBe(connectionId);
      expect(await statusSeenBy(alice, connectionId)).toBe("disconnected");
      expect(await statusSeenBy(alice, again.connectionId)).toBe("active");
      await expectRefusal(server, () => alice.call("messages:startThread", { connectionId }), inactive);
      expect(await alice.call("messages:startThread", { connectionId: again.connectionId })).toMatchObject({
        status: "negotiating",
      });
    });

    test.each([[{}], [{ inviteToken: null }], [{ inviteToken: "" }], [{ inviteToken: 1 }], [{ inviteToken: ["x"] }]])(
      "a token must be text: %j",
      async (args) => {
        const bob = await server.agent("B");
        await expectInvalid(server, () => bob.call("connections:accept", args), "inviteToken");
      },
    );

    test("an argument that it does not know is refused, and the invite stays open", async () => {
      const [alice, bob] = [await server.agent("A"), await server.agent("B")];
      const { inviteToken } = await alice.call("connections:invite");
      const before = await everything(server);
      await expect(bob.call("connections:accept", { inviteToken, connectionId: "conn_1" })).rejects.toMatchObject({
        code: "invalid_args",
        message: expect.stringContaining("connectionId"),
      });
      expect(await everything(server)).toEqual(before);
    });
  });

  describe("disconnect", () => {
    test.each(["alice", "bob"] as const)("either side may end it: %s; again is the same success", async (who) => {
      const pair = await server.connectedPair();
      const { connectionId } = pair;
      const ended = { connectionId, status: "disconnected" };
      expect(await pair[who].call("connections:disconnect", { connectionId })).toEqual(ended);
      const after = await everything(server);
      expect(await pair.alice.call("connections:disconnect", { connectionId })).toEqual(ended);
      expect(await pair.bob.call("connections:disconnect", { connectionId })).toEqual(ended);
      expect(await everything(server)).toEqual(after);
      expect(await statusSeenBy(pair.alice, connectionId)).toBe("disconnected");
      expect(await statusSeenBy(pair.bob, connectionId)).toBe("disconnected");
    });

    test("nothing can be sent, started or approved on it any more; what was said can still be read", async () => {
      const { alice, bob, connectionId, threadId } = await server.awaitingPair();
      await bob.call("connections:disconnect", { connectionId });
      for (const agent of [alice, bob]) {
        await expectRefusal(server, () => agent.call("messages:startThread", { connectionId }), inactive);
        for (const type of ["proposal", "counter", "accept", "reject", "info"]) {
          await expectRefusal(server, () => agent.send(threadId, type), inactive);
        }
        await expectRefusal(server, () => agent.call("approvals:submit", { threadId, approved: true }), inactive);
        expect(await agent.call("approvals:getPending")).toEqual([]);
        expect(await agent.call("agents:getStatus")).toMatchObject({ pendingApprovals: 0 });
        expect(await agent.call("messages:getForThread", { threadId })).toHaveLength(2);
        expect(await agent.call("messages:getThreadsForAgent")).toMatchObject([{ threadId, connectionId }]);
      }
    });

    test("other connections of the two go on", async () => {
      const { alice, connectionId } = await server.connectedPair();
      const carol = await server.agent("Carol");
      const { inviteToken } = await carol.call("connections:invite");
      const other = await alice.call("connections:accept", { inviteToken });
      await alice.call("connections:disconnect", { connectionId });
      const { threadId } = await carol.call("messages:startThread", { connectionId: other.connectionId });
      expect(await alice.send(threadId, "info")).toMatchObject({ threadStatus: "negotiating" });
    });

    test("takes back an invite, once it has lapsed too", async () => {
      const alice = await server.agent("A");
      const { connectionId } = await alice.call("connections:invite");
      server.clock.jump(8 * day);
      expect(await alice.call("connections:disconnect", { connectionId })).toEqual({
        connectionId,
        status: "disconnected",
      });
    });

    test("a stranger's connection answers byte for byte like one that never was", async () => {
      const { connectionId } = await server.connectedPair();
      const { connectionId: pending } = await (await server.agent("Inviter")).call("connections:invite");
      const stranger = await server.agent("Stranger");
      const before = await everything(server);
      const missing = await rawCall(stranger, "connections:disconnect", { connectionId: "conn_missing" });
      expect(missing).toEqual({
        status: 200,
        body: '{"status":"error","errorMessage":"Connection not found","errorData":{"code":"not_found"}}',
      });
      for (const id of [connectionId, pending, "%", "' or ''='"]) {
        expect(await rawCall(stranger, "connections:disconnect", { connectionId: id })).toEqual(missing);
      }
      expect(await everything(server)).toEqual(before);
    });

    test.each([[{}], [{ connectionId: null }], [{ connectionId: "" }], [{ connectionId: "a".repeat(201) }]])(
      "an id must be text of a sensible length: %j",
      async (args) => {
        const alice = await server.agent("A");
        await expectInvalid(server, () => alice.call("connections:disconnect", args), "connectionId");
      },
    );
  });

  describe("list", () => {
    test("shows each of the caller's connections in full, newest first", async () => {
      const [alice, bob, carol] = [await server.agent("Alice"), await server.agent("Bob"), await server.agent("Carol")];
      const keyOf = async (agent: Agent) => (await agent.call("agents:getStatus")).publicKey;
      const start = server.clock.now();
      const first = await alice.call("connections:invite");
      server.clock.jump(1);
      const second = await carol.call("connections:invite");
      server.clock.jump(1);
      const third = await alice.call("connections:invite");
      server.clock.jump(1);
      await bob.call("connections:accept", { inviteToken: first.inviteToken });
      await alice.call("connections:accept", { inviteToken: second.inviteToken });
      await alice.call("connections:disconnect", { connectionId: second.connectionId });

      expect(await alice.call("connections:list")).toEqual([
        {
          connectionId: third.connectionId,
          status: "pending",
          connectedTo: null,
          createdAt: start + 2,
          acceptedAt: null,
          cursor: expect.any(String),
        },
        {
          connectionId: second.connectionId,
          status: "disconnected",
          connectedTo: { agentId: carol.agentId, name: "Carol", publicKey: await keyOf(carol) },
          createdAt: start + 1,
          acceptedAt: start + 3,
          cursor: expect.any(String),
        },
        {
          connectionId: first.connectionId,
          status: "active",
          connectedTo: { agentId: bob.agentId, name: "Bob", publicKey: await keyOf(bob) },
          createdAt: start,
          acceptedAt: start + 3,
          cursor: expect.any(String),
        },
      ]);
      expect(await bob.call("connections:list")).toEqual([
        {
          connectionId: first.connectionId,
          status: "active",
          connectedTo: { agentId: alice.agentId, name: "Alice", publicKey: await keyOf(alice) },
          createdAt: start,
          acceptedAt: start + 3,
          cursor: expect.any(String),
        },
      ]);
    });

    test("nobody sees anything of other agents' connections", async () => {
      await server.connectedPair();
      const stranger = await server.agent("Stranger");
      expect(await stranger.call("connections:list")).toEqual([]);
    });
  });
});
