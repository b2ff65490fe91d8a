/** Agents (claw-to-claw.md section 3, agents): registration, the claim, the public key, the status. */
import { describe, expect, test } from "vitest";
import { hashSecret } from "../../../runtime/ids.js";
import { type Agent, Caller, databases, day, hour, randomKey, useServer } from "../../support/harness.js";
import { everything, expectInvalid, expectRefusal, rawCall, tide, wave } from "../../support/refusals.js";

const notAKey = "publicKey must be a base64-encoded 32-byte X25519 key";

describe.each(databases)("agents on %s (claw-to-claw.md section 3, agents)", (database) => {
  const server = useServer(database);

  describe("register", () => {
    test("register answers with an id, a key, a claim token and its link", async () => {
      const agent = await server.nobody.call("agents:register", { name: "Ann's helper", description: "plans dinners" });
      expect(agent.agentId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      expect(agent.apiKey).toMatch(/^c2c_[A-Za-z0-9_-]{32}$/);
      expect(agent.claimUrl).toBe(`${server.server.publicUrl}/claim/${agent.claimToken}`);
      expect(Object.keys(agent).sort()).toEqual(["agentId", "apiKey", "claimToken", "claimUrl"]);
    });

    test("the new key works at once, and says who registered", async () => {
      const registered = await server.nobody.call("agents:register", { name: "Ann's helper", description: "dinners" });
      const status = await new Caller(server, registered.apiKey).call("agents:getStatus");
      expect(status).toEqual({
        agentId: registered.agentId,
        name: "Ann's helper",
        description: "dinners",
        claimed: false,
        claimedAt: null,
        publicKey: null,
        hasPublicKey: false,
        connections: { active: 0, pending: 0 },
        pendingApprovals: 0,
        createdAt: server.clock.now(),
      });
    });

    test("two agents may share a name, and share nothing else", async () => {
      const one = await server.nobody.call("agents:register", { name: "Twin" });
      const other = await server.nobody.call("agents:register", { name: "Twin" });
      for (const field of ["agentId", "apiKey", "claimToken", "claimUrl"]) expect(one[field]).not.toBe(other[field]);
    });

    test("the database holds hashes of the key and the claim token, and neither of the two", async () => {
      const { apiKey, claimToken } = await server.nobody.call("agents:register", { name: "Careful" });
      const stored = (await everything(server)).join("\n");
      expect(stored).not.toContain(apiKey);
      expect(stored).not.toContain(claimToken);
      expect(stored).toContain(hashSecret(apiKey));
      expect(stored).toContain(hashSecret(claimToken));
    });

    test("null and nothing at all mean the same: no description", async () => {
      for (const more of [{}, { description: null }]) {
        const { apiKey } = await server.nobody.call("agents:register", { name: "Terse", ...more });
        expect(await new Caller(server, apiKey).call("agents:getStatus")).toMatchObject({ description: null });
      }
    });

    test.each([
      ["name", 100],
      ["description", 500],
    ])("%s takes %i characters and not one more, however many bytes they have", async (field, most) => {
      for (const character of ["a", "é", tide, wave]) {
        for (const length of [most - 1, most]) {
          const written = character.repeat(length);
          const { apiKey } = await server.nobody.call("agents:register", { name: "Long", [field]: written });
          expect(await new Caller(server, apiKey).call("agents:getStatus")).toMatchObject({ [field]: written });
        }
        const tooLong = { name: "Long", [field]: character.repeat(most + 1) };
        await expectInvalid(server, () => server.nobody.call("agents:register", tooLong), field);
      }
    });

    test.each([[""], [" "], ["\t\n"], ["　"]])("a name of nothing to see is refused: %j", async (name) => {
      await expectInvalid(server, () => server.nobody.call("agents:register", { name }), "name");
    });

    test.each([[{}], [{ name: null }], [{ name: 7 }], [{ name: ["Ann"] }], [{ name: { first: "Ann" } }]])(
      "a name must be text: %j",
      async (args) => {
        await expectInvalid(server, () => server.nobody.call("agents:register", args), "name");
      },
    );

    test("a name comes back as it was written: quotes, white space, mixed scripts", async () => {
      const name = 'Ann "O\'Hara" \\ <b>& \u3000 潮🌊 é e\u0301';
      const { apiKey } = await server.nobody.call("agents:register", { name });
      expect(await new Caller(server, apiKey).call("agents:getStatus")).toMatchObject({ name });
    });

    test.each([
      ["a NUL character", "a\u0000b"],
      ["half a surrogate pair", "a\ud83cb"],
    ])("text that cannot be stored as it came is refused: %s", async (_what, name) => {
      await expectInvalid(server, () => server.nobody.call("agents:register", { name }), "name");
    });

    test("an argument that it does not know is refused by name", async () => {
      const before = await everything(server);
      await expect(server.nobody.call("agents:register", { name: "Sly", claimedAt: 1 })).rejects.toMatchObject({
        httpStatus: 200,
        code: "invalid_args",
        message: expect.stringContaining("claimedAt"),
      });
      expect(await everything(server)).toEqual(before);
    });
  });

  describe("claim", () => {
    test("the token claims the agent; nobody needs a bearer for that", async () => {
      const agent = await server.agent("Ann's helper");
      const claimed = await server.nobody.call("agents:claim", { claimToken: agent.claimToken });
      const claimedAt = server.clock.now();
      expect(claimed).toEqual({ agentId: agent.agentId, name: "Ann's helper", claimed: true, claimedAt });
      expect(await agent.call("agents:getStatus")).toMatchObject({ claimed: true, claimedAt });
    });

    test("claiming twice is the same success, with the first time", async () => {
      const agent = await server.agent();
      const first = await server.nobody.call("agents:claim", { claimToken: agent.claimToken });
      server.clock.jump(hour);
      expect(await server.nobody.call("agents:claim", { claimToken: agent.claimToken })).toEqual(first);
      expect(await agent.call("agents:getStatus")).toMatchObject({ claimedAt: first.claimedAt });
    });

    test("anybody who holds the token may claim, another agent too; only its owner is claimed", async () => {
      const [ann, bob] = [await server.agent("Ann's"), await server.agent("Bob's")];
      const claimed = await bob.call("agents:claim", { claimToken: ann.claimToken });
      expect(claimed.agentId).toBe(ann.agentId);
      expect(await bob.call("agents:getStatus")).toMatchObject({ claimed: false, claimedAt: null });
    });

    test("a token that never was, and another kind of secret, are refused alike", async () => {
      const agent = await server.agent();
      const { inviteToken } = await agent.call("connections:invite");
      for (const claimToken of ["claim_nonsense", agent.credential, agent.agentId, inviteToken, "' or 1=1 --"]) {
        for (const path of ["agents:claim", "agents:getClaim"]) {
          const refusal = { code: "not_found", message: "Invalid claim token", data: {} };
          await expectRefusal(server, () => server.nobody.call(path, { claimToken }), refusal);
        }
      }
    });

    test.each([
      [{}],
      [{ claimToken: null }],
      [{ claimToken: "" }],
      [{ claimToken: "a".repeat(201) }],
      [{ claimToken: 1 }],
    ])("a token must be text of a sensible length: %j", async (args) => {
      await expectInvalid(server, () => server.nobody.call("agents:claim", args), "claimToken");
      await expectInvalid(server, () => server.nobody.call("agents:getClaim", args), "claimToken");
    });

    test("the claim can be looked at before it is made, which makes none", async () => {
      const { claimToken, apiKey } = await server.nobody.call("agents:register", {
        name: "Ann's",
        description: "dinners",
      });
      const look = () => server.nobody.call("agents:getClaim", { claimToken });
      expect(await look()).toEqual({ name: "Ann's", description: "dinners", claimed: false, used: false });
      expect(await new Caller(server, apiKey).call("agents:getStatus")).toMatchObject({ claimed: false });
      await server.nobody.call("agents:claim", { claimToken });
      expect(await look()).toEqual({ name: "Ann's", description: "dinners", claimed: true, used: true });
    });

    test("a claim token is no bearer", async () => {
      const agent = await server.agent();
      await expect(new Caller(server, agent.claimToken).call("agents:getStatus")).rejects.toMatchObject({
        httpStatus: 401,
        message: "Invalid API key",
      });
    });
  });

  describe("setPublicKey", () => {
    test("sets the key, and shows it in the status", async () => {
      const agent = await server.agent("Keyless", { publicKey: false });
      const publicKey = randomKey();
      expect(await agent.call("agents:setPublicKey", { publicKey })).toEqual({ agentId: agent.agentId, publicKey });
      expect(await agent.call("agents:getStatus")).toMatchObject({ publicKey, hasPublicKey: true });
    });

    test("a replaced key is what peers see from then on, wherever they see one", async () => {
      const { alice, bob, connectionId } = await server.connectedPair();
      await alice.call("messages:startThread", { connectionId });
      const { inviteToken } = await alice.call("connections:invite");
      const publicKey = randomKey();
      await alice.call("agents:setPublicKey", { publicKey });

      const alices = { agentId: alice.agentId, name: "Alice", publicKey };
      expect(await bob.call("connections:list")).toMatchObject([{ connectionId, connectedTo: alices }]);
      expect(await bob.call("messages:getThreadsForAgent")).toMatchObject([{ otherAgent: alices }]);
      const carol = await server.agent("Carol");
      expect(await carol.call("connections:accept", { inviteToken })).toMatchObject({ connectedTo: alices });
    });

    test.each([
      ["31 bytes", Buffer.alloc(31, 1).toString("base64")],
      ["33 bytes", Buffer.alloc(33, 1).toString("base64")],
      ["nothing", ""],
      ["no base64", "not base64!".repeat(4)],
      ["hex", "ab".repeat(32)],
      ["no padding", Buffer.alloc(32, 1).toString("base64").replace("=", "")],
      ["too much padding", `${Buffer.alloc(32, 1).toString("base64")}=`],
      ["the URL alphabet", Buffer.alloc(32, 0xfb).toString("base64url").padEnd(44, "=")],
      ["white space around it", ` ${Buffer.alloc(32, 1).toString("base64")}`],
      ["a line break behind it", `${Buffer.alloc(32, 1).toString("base64")}\n`],
      ["a megabyte's worth of letters", "A".repeat(500_000)],
    ])("what is not base64 of 32 bytes is refused, and the old key stays: %s", async (_what, publicKey) => {
      const agent = await server.agent();
      const refusal = { code: "invalid_args", message: notAKey };
      await expectRefusal(server, () => agent.call("agents:setPublicKey", { publicKey }), refusal);
    });

    test.each([[{}], [{ publicKey: null }], [{ publicKey: 32 }]])("a key must be text: %j", async (args) => {
      const agent = await server.agent();
      await expectInvalid(server, () => agent.call("agents:setPublicKey", args), "publicKey");
    });

    test("without a credential, or with a wrong one, it changes nobody's key", async () => {
      await server.agent();
      const before = await everything(server);
      const args = { publicKey: randomKey() };
      await expect(server.nobody.call("agents:setPublicKey", args)).rejects.toMatchObject({
        httpStatus: 401,
        code: "unauthenticated",
        message: "Missing Authorization header. Use: Authorization: Bearer <apiKey>",
      });
      await expect(new Caller(server, "c2c_wrong").call("agents:setPublicKey", args)).rejects.toMatchObject({
        httpStatus: 401,
        code: "unauthenticated",
        message: "Invalid API key",
      });
      expect(await everything(server)).toEqual(before);
    });

    test("one cannot set another agent's key", async () => {
      const [ann, bob] = [await server.agent("Ann's"), await server.agent("Bob's")];
      await expect(
        bob.call("agents:setPublicKey", { agentId: ann.agentId, publicKey: randomKey() }),
      ).rejects.toMatchObject({ code: "invalid_args" });
    });
  });

  describe("getStatus", () => {
    /** The counts of the status, and nothing else. */
    const counts = async (agent: Agent) => {
      const { connections, pendingApprovals } = await agent.call("agents:getStatus");
      return { ...connections, pendingApprovals };
    };

    test("counts connections from both sides, and invites that still wait", async () => {
      const { alice, bob, connectionId } = await server.connectedPair();
      const carol = await server.agent("Carol");
      const { inviteToken } = await carol.call("connections:invite");
      await alice.call("connections:accept", { inviteToken });
      await alice.call("connections:invite");
      expect(await counts(alice)).toEqual({ active: 2, pending: 1, pendingApprovals: 0 });
      expect(await counts(bob)).toEqual({ active: 1, pending: 0, pendingApprovals: 0 });

      await bob.call("connections:disconnect", { connectionId });
      expect(await counts(alice)).toEqual({ active: 1, pending: 1, pendingApprovals: 0 });
      expect(await counts(bob)).toEqual({ active: 0, pending: 0, pendingApprovals: 0 });
    });

    test("an invite stops counting when its seven days are over, before the timer and after it", async () => {
      const agent = await server.agent();
      await agent.call("connections:invite");
      server.clock.jump(7 * day - 1);
      expect(await counts(agent)).toMatchObject({ pending: 1 });
      server.clock.jump(1);
      expect(await counts(agent)).toMatchObject({ pending: 0 });
      await server.settle();
      expect(await counts(agent)).toMatchObject({ pending: 0 });
    });

    test("counts the plans that wait for this side's human, until it decides or their time is up", async () => {
      const { alice, bob, threadId } = await server.awaitingPair();
      expect(await counts(alice)).toMatchObject({ pendingApprovals: 1 });
      expect(await counts(bob)).toMatchObject({ pendingApprovals: 1 });
      await alice.call("approvals:submit", { threadId, approved: true });
      expect(await counts(alice)).toMatchObject({ pendingApprovals: 0 });
      expect(await counts(bob)).toMatchObject({ pendingApprovals: 1 });

      server.clock.jump(48 * hour - 1);
      expect(await counts(bob)).toMatchObject({ pendingApprovals: 1 });
      server.clock.jump(1);
      expect(await counts(bob)).toMatchObject({ pendingApprovals: 0 });
      await server.settle();
      expect(await counts(bob)).toMatchObject({ pendingApprovals: 0 });
    });

    test("an agent token is the same agent", async () => {
      const agent = await server.agent("Rented");
      const rented = await server.withAgentToken(agent);
      expect(rented.credential).toMatch(/^agt_clawrent_[A-Za-z0-9_-]{32}$/);
      expect(await rawCall(rented, "agents:getStatus")).toEqual(await rawCall(agent, "agents:getStatus"));
    });

    test("takes no arguments", async () => {
      const agent = await server.agent();
      const other = await server.agent();
      await expect(agent.call("agents:getStatus", { agentId: other.agentId })).rejects.toMatchObject({
        code: "invalid_args",
        message: expect.stringContaining("agentId"),
      });
    });
  });
});
