/** Claim links, keys and tokens of agents: who may make, change and end them (people.md sections 5 and 7). */
import { describe, expect, test } from "vitest";
import { hashSecret } from "../../../runtime/ids.js";
import {
  type Agent,
  Caller,
  databases,
  minute,
  startServer,
  type TestServer,
  useServer,
} from "../../support/harness.js";
import { asAgent, description, draft, freshSlug } from "../../support/market.js";
import { databaseBefore } from "../../support/older-database.js";
import { everything } from "../../support/refusals.js";

const wrongKey = { httpStatus: 401, message: "Invalid API key" };
const notAbove = { code: "forbidden", message: expect.stringContaining("An agent token changes its own agent's") };

const withKey = (server: TestServer, { agentId, name }: Agent, apiKey: string) =>
  asAgent(server, { id: agentId, name, agentToken: apiKey });
const works = (who: Caller) => expect(who.call("agents:getStatus")).resolves.toBeDefined();
const isRefused = (who: Caller) => expect(who.call("agents:getStatus")).rejects.toMatchObject(wrongKey);

describe.each(databases)("a claim link on %s (people.md section 5)", (database) => {
  const server = useServer(database);
  const used = { code: "conflict", message: expect.stringContaining("agents:renewClaim") };
  const taking = (claimToken: string) => ({ claimToken, slug: freshSlug(), description });

  test("takes nothing over once it was used, whoever tries", async () => {
    const [agent, mallory] = [await server.agent("Quiet", { claimed: true }), await server.user("Mallory")];
    const before = await everything(server);
    await expect(mallory.call("agents:takeOver", taking(agent.claimToken))).rejects.toMatchObject(used);
    expect(await everything(server)).toEqual(before);
  });

  test("is spent by a location share that claims the agent, and not by one that comes after a new link", async () => {
    const [agent, alice] = [await server.agent(), await server.user("Alice")];
    await agent.shareLocation(1, 1);
    await expect(alice.call("agents:takeOver", taking(agent.claimToken))).rejects.toMatchObject(used);
    const { claimToken } = await agent.call("agents:renewClaim");
    await agent.shareLocation(1, 1);
    expect(await alice.call("agents:takeOver", taking(claimToken))).toMatchObject({ ownerId: alice.userId });
  });

  test("takes over for the user who was signed in when they used it, and for nobody else", async () => {
    const [agent, alice, mallory] = [await server.agent(), await server.user("Alice"), await server.user("Mallory")];
    const { claimToken } = agent;
    await alice.call("agents:claim", { claimToken });
    // The second claim is the same success, and makes it nobody's.
    await mallory.call("agents:claim", { claimToken });
    await expect(mallory.call("agents:takeOver", taking(claimToken))).rejects.toMatchObject(used);
    expect(await alice.call("agents:takeOver", taking(claimToken))).toMatchObject({ ownerId: alice.userId });
    expect(await alice.call("agents:takeOver", taking(claimToken))).toMatchObject({ ownerId: alice.userId });
    await expect(mallory.call("agents:takeOver", taking(claimToken))).rejects.toMatchObject({ code: "not_found" });
  });

  test("is renewed by the agent while nobody owns it, and the old one dies with what its use left", async () => {
    const [agent, alice] = [await server.agent(), await server.user("Alice")];
    await alice.call("agents:claim", { claimToken: agent.claimToken });
    const { claimedAt } = await agent.call("agents:getStatus");
    await server.advance(minute);
    const { claimToken, claimUrl } = await agent.call("agents:renewClaim");
    expect(claimUrl).toBe(`${server.server.publicUrl}/claim/${claimToken}`);
    for (const path of ["agents:claim", "agents:getClaim"]) {
      await expect(server.nobody.call(path, { claimToken: agent.claimToken })).rejects.toMatchObject({
        code: "not_found",
        message: "Invalid claim token",
      });
    }
    await expect(alice.call("agents:takeOver", taking(agent.claimToken))).rejects.toMatchObject({ code: "not_found" });
    expect(await server.nobody.call("agents:getClaim", { claimToken })).toMatchObject({ claimed: true, used: false });
    expect(await server.nobody.call("agents:claim", { claimToken })).toMatchObject({ claimedAt });
    await expect(alice.call("agents:takeOver", taking(claimToken))).rejects.toMatchObject(used);

    const again = await agent.call("agents:renewClaim");
    await alice.call("agents:takeOver", taking(again.claimToken));
    await expect(agent.call("agents:renewClaim")).rejects.toMatchObject({ code: "conflict" });
    expect(await server.nobody.call("agents:claim", { claimToken: again.claimToken })).toMatchObject({ claimed: true });
  });

  test("goes to one user, though many claim and take over at once", async () => {
    const agent = await server.agent();
    const users = await Promise.all(Array.from({ length: 6 }, (_, index) => server.user(`U${index}`)));
    await Promise.all(users.map((user) => user.call("agents:claim", { claimToken: agent.claimToken })));
    const taken = await Promise.allSettled(users.map((user) => user.call("agents:takeOver", taking(agent.claimToken))));
    expect(taken.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });
});

describe.each(databases)("an agent's own key on %s (people.md section 5)", (database) => {
  const server = useServer(database);

  const takenOver = async () => {
    const [agent, owner] = [await server.agent(), await server.user("Owner")];
    await owner.call("agents:takeOver", { claimToken: agent.claimToken, slug: freshSlug(), description });
    return { agent, owner, token: await server.withOwnToken(owner, agent.agentId) };
  };

  test("is rotated by itself: the old one is good until the new one is used", async () => {
    const agent = await server.agent();
    const { apiKey, agentId, oldKeyExpiresAt } = await agent.call("agents:rotateKey");
    expect(agentId).toBe(agent.agentId);
    expect(Date.parse(oldKeyExpiresAt)).toBe(server.clock.now() + 10 * minute);
    await works(agent);
    const renewed = withKey(server, agent, apiKey);
    await works(renewed);
    await isRefused(agent);
    await works(renewed);
  });

  test("is good for ten minutes at most where nobody uses the new one", async () => {
    const agent = await server.agent();
    const { apiKey } = await agent.call("agents:rotateKey");
    await server.advance(10 * minute - 1);
    await works(agent);
    await server.advance(1);
    await isRefused(agent);
    expect(await keyRows(agent.agentId)).toHaveLength(1);
    await works(withKey(server, agent, apiKey));
  });

  test("can be rotated again where the answer was lost; the key that nobody used gives way", async () => {
    const agent = await server.agent();
    const lost = await agent.call("agents:rotateKey");
    await server.advance(minute);
    const { apiKey, oldKeyExpiresAt } = await agent.call("agents:rotateKey");
    expect(oldKeyExpiresAt).toBe(lost.oldKeyExpiresAt);
    await isRefused(withKey(server, agent, lost.apiKey));
    await works(agent);
    await works(withKey(server, agent, apiKey));
    await isRefused(agent);
  });

  test("rotated many times at once, leaves one new key that works", async () => {
    const agent = await server.agent();
    const answers = await Promise.all(Array.from({ length: 8 }, () => agent.call("agents:rotateKey")));
    const tried = [];
    for (const { apiKey } of answers) {
      tried.push(
        await withKey(server, agent, apiKey)
          .call("agents:getStatus")
          .then(
            () => true,
            () => false,
          ),
      );
    }
    expect(tried.filter(Boolean)).toHaveLength(1);
    await isRefused(agent);
    expect(await keyRows(agent.agentId)).toHaveLength(1);
  });

  test("is rotated and revoked by the owner, who sees what there is and no secret", async () => {
    const { agent, owner, token } = await takenOver();
    const { agentId } = agent;
    const list = async () => (await owner.call("agents:listCredentials", { agentId })).data;
    expect(await list()).toMatchObject([
      { kind: "apiKey", madeBy: "registration", madeByAgentId: null, expiresAt: null },
      { kind: "agentToken", madeBy: "owner", madeByAgentId: null, expiresAt: null },
    ]);
    const { apiKey, oldKeyExpiresAt } = await owner.call("agents:rotateKey", { agentId });
    expect((await list()).map(({ expiresAt }: { expiresAt: string | null }) => expiresAt)).toContain(oldKeyExpiresAt);
    expect(JSON.stringify(await list())).not.toContain(apiKey);
    await owner.call("agents:revokeKey", { agentId });
    await isRefused(agent);
    await isRefused(withKey(server, agent, apiKey));
    expect(await list()).toMatchObject([{ kind: "agentToken" }]);
    expect(await owner.call("agents:revokeKey", { agentId })).toEqual({ message: "API key revoked" });
    await works(token);

    const given = await owner.call("agents:rotateKey", { agentId });
    expect(given.oldKeyExpiresAt).toBeNull();
    await works(withKey(server, agent, given.apiKey));
  });

  test("is revoked by itself, and by the agent's own token, which makes no key", async () => {
    const own = await server.agent();
    await own.call("agents:revokeKey");
    await isRefused(own);

    const { agent, token } = await takenOver();
    for (const args of [{}, { agentId: agent.agentId }]) {
      await expect(token.call("agents:rotateKey", args)).rejects.toMatchObject({ code: "forbidden" });
    }
    await token.call("agents:revokeKey");
    await isRefused(agent);
    await works(token);
  });

  test("changes nobody else's, and neither does a stranger", async () => {
    const [{ agent, owner }, other, stranger] = [await takenOver(), await server.agent(), await server.user("Eve")];
    const sibling = asAgent(server, await draft(owner));
    const { agentId } = agent;
    const before = await everything(server);
    for (const path of ["agents:rotateKey", "agents:revokeKey"]) {
      for (const caller of [other, stranger]) {
        await expect(caller.call(path, { agentId })).rejects.toMatchObject({ code: "not_found" });
        await expect(caller.call(path, { agentId: "nobody" })).rejects.toMatchObject({ code: "not_found" });
      }
      await expect(sibling.call(path, { agentId })).rejects.toMatchObject({ code: "forbidden" });
      await expect(owner.call(path)).rejects.toMatchObject({ code: "invalid_args" });
      await expect(server.nobody.call(path, { agentId })).rejects.toMatchObject({ httpStatus: 401 });
    }
    expect(await everything(server)).toEqual(before);
  });

  test("acts for nobody once there is an owner: not over RPC, not over REST", async () => {
    const { agent, owner, token } = await takenOver();
    const agentOnly = { code: "forbidden", message: "Agent token required" };
    await expect(agent.call("agents:listMySessions")).rejects.toMatchObject(agentOnly);
    await expect(agent.call("agents:getServeRules")).rejects.toMatchObject(agentOnly);
    await expect(agent.call("agents:setServeRules", { rules: [] })).rejects.toMatchObject(agentOnly);
    for (const path of ["sessions", "serve-rules"]) {
      expect(await agent.rest("GET", `/api/agents/me/${path}`)).toMatchObject({ status: 403 });
    }
    expect(await token.call("agents:listMySessions")).toEqual({ sessions: [], nextCursor: null });
    expect(await agent.call("agents:getMine")).toMatchObject({ ownerId: owner.userId });
    await expect(agent.call("billing:getWallet")).rejects.toMatchObject({ code: "forbidden" });
  });

  const keyRows = (agentId: string) =>
    server.read((db) => db.selectFrom("agentCredentials").selectAll().where("agentId", "=", agentId).execute());
});

describe.each(databases)("what an agent token made on %s (people.md section 7)", (database) => {
  const server = useServer(database);

  /** A made B, and B made C, each with its token. D is the owner's own. */
  const family = async () => {
    const owner = await server.user("Owner");
    const make = async (by: Caller) => {
      const made = await by.call("agents:create", { name: "Agent", slug: freshSlug(), description });
      return asAgent(server, made);
    };
    const a = await make(owner);
    const b = await make(a);
    const c = await make(b);
    return { owner, make, a, b, c, d: await make(owner) };
  };
  const replace = (by: Caller, { agentId }: Agent) => by.call("agents:replaceToken", { agentId });
  const revoke = (by: Caller, { agentId }: Agent) => by.call("agents:revokeToken", { agentId });
  const renewed = async (by: Caller, agent: Agent) => withKey(server, agent, (await replace(by, agent)).token);

  test("ends with it, however deep, and stays the owner's, who alone gives it a token again", async () => {
    for (const how of [revoke, replace]) {
      const { owner, a, b, c, d } = await family();
      await how(owner, a);
      for (const gone of [a, b, c]) await isRefused(gone);
      await works(d);
      expect(await owner.call("agents:get", { agentId: b.agentId })).toMatchObject({ hasAgentToken: false });
      const aAgain = await renewed(owner, a);
      await expect(replace(aAgain, b)).rejects.toMatchObject(notAbove);
      await works(await renewed(owner, b));
    }
  });

  test("goes over to the token that it replaces itself with", async () => {
    const { owner, a, b, c } = await family();
    const a2 = await renewed(a, a);
    await isRefused(a);
    for (const kept of [a2, b, c]) await works(kept);
    const b2 = await renewed(b, b);
    await works(c);
    await revoke(owner, a2);
    for (const gone of [a2, b2, c]) await isRefused(gone);
  });

  test("can be replaced and revoked by it, a sibling or what is above it cannot", async () => {
    const { owner, a, b, c, d } = await family();
    const before = await everything(server);
    for (const [by, of] of [
      [b, a],
      [c, a],
      [c, b],
      [a, d],
      [d, a],
      [d, c],
    ] as const) {
      await expect(replace(by, of)).rejects.toMatchObject(notAbove);
      await expect(revoke(by, of)).rejects.toMatchObject(notAbove);
      await expect(by.call("agents:revokeKey", { agentId: of.agentId })).rejects.toMatchObject(notAbove);
    }
    expect(await everything(server)).toEqual(before);

    const c2 = await renewed(a, c);
    await isRefused(c);
    // It hangs below whoever made it last, so the end of B is not its end, and the end of A is.
    await revoke(a, b);
    await isRefused(b);
    await works(c2);
    const b2 = await renewed(a, b);
    await revoke(owner, a);
    for (const gone of [b2, c2]) await isRefused(gone);
  });

  test("is let go by an owner who gives it a token of their own, or takes it away", async () => {
    const { owner, a, b, c } = await family();
    const b2 = await renewed(owner, b);
    await isRefused(c);
    await expect(replace(a, b)).rejects.toMatchObject(notAbove);
    await revoke(owner, a);
    await works(b2);

    const other = await family();
    await revoke(other.owner, other.b);
    await expect(replace(other.a, other.b)).rejects.toMatchObject(notAbove);
  });

  test("includes an agent that it took over, whose own key stays", async () => {
    const { owner, a } = await family();
    const self = await server.agent();
    await a.call("agents:takeOver", { claimToken: self.claimToken, slug: freshSlug(), description });
    const token = await renewed(a, self);
    expect((await owner.call("agents:listCredentials", { agentId: self.agentId })).data).toMatchObject([
      { kind: "apiKey", madeBy: "registration" },
      { kind: "agentToken", madeBy: "agentToken", madeByAgentId: a.agentId },
    ]);
    await revoke(owner, a);
    await isRefused(token);
    await works(self);
  });

  test("leaves nothing behind where it makes while it is revoked", async () => {
    for (let round = 0; round < 4; round += 1) {
      const { owner, make, a, b } = await family();
      const made: Promise<Agent>[] = Array.from({ length: 4 }, () => make(a));
      const given = [renewed(a, b), renewed(a, b)];
      await revoke(owner, a);
      for (const result of await Promise.allSettled([...made, ...given])) {
        if (result.status === "fulfilled") await isRefused(result.value);
      }
      await isRefused(b);
    }
  });

  test("is one token, though it replaces itself many times at once", async () => {
    const { a, b } = await family();
    const answers = await Promise.allSettled(Array.from({ length: 6 }, () => renewed(a, a)));
    const standing = [];
    for (const answer of answers) {
      if (answer.status === "rejected") continue;
      if (
        await answer.value.call("agents:getStatus").then(
          () => true,
          () => false,
        )
      )
        standing.push(answer.value);
    }
    expect(standing).toHaveLength(1);
    await works(b);
    // The one that stands is above it.
    await revoke(standing[0] as Agent, b);
    await isRefused(b);
  });
});

describe.each(databases)("a database from before these rules on %s", (database) => {
  test("goes on: keys and tokens work, links that were used are used, others are not", async () => {
    const secrets = { key: "c2c_old-key", token: "agt_clawrent_old-token", used: "claim_used", fresh: "claim_fresh" };
    const agent = (agentId: string, claimToken: string, claimedAt: number | null) => ({
      agentId,
      name: agentId,
      claimTokenHash: hashSecret(claimToken),
      claimedAt,
      createdAt: 1,
    });
    const credential = (secret: string, agentId: string, kind: string) => ({
      secretHash: hashSecret(secret),
      agentId,
      kind,
      createdAt: 1,
    });
    const old = await databaseBefore(database, "0008-credentials", {
      agents: [agent("claimed", secrets.used, 5), agent("unclaimed", secrets.fresh, null)],
      agentCredentials: [
        credential(secrets.key, "claimed", "apiKey"),
        credential(secrets.token, "unclaimed", "agentToken"),
      ],
    });
    const server = await startServer(database, { databaseUrl: old.url });
    try {
      const alice = await server.user("Alice");
      for (const secret of [secrets.key, secrets.token]) await works(new Caller(server, secret));
      const taking = (claimToken: string) => ({ claimToken, slug: freshSlug(), description });
      await expect(alice.call("agents:takeOver", taking(secrets.used))).rejects.toMatchObject({ code: "conflict" });
      await alice.call("agents:takeOver", taking(secrets.fresh));
      expect((await alice.call("agents:listCredentials", { agentId: "unclaimed" })).data).toMatchObject([
        { kind: "agentToken", madeBy: "owner" },
      ]);
      const { apiKey } = await new Caller(server, secrets.key).call("agents:rotateKey");
      await works(new Caller(server, apiKey));
      await isRefused(new Caller(server, secrets.key));
    } finally {
      await server.close();
      await old.remove();
    }
  });
});
