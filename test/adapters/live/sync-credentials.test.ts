import { describe, expect, onTestFinished, test, vi } from "vitest";
import { CallError } from "../../../runtime/errors.js";
import { databases, day, minute, startServer, useServer } from "../../support/harness.js";
import { until } from "../../support/live-clients.js";
import { asAgent, description, draft, freshSlug } from "../../support/market.js";
import { cutSocketsAfterEach } from "../../support/sockets.js";
import { echo, signedIn, syncModules, whileTimePasses, world } from "../../support/sync-clients.js";
import { add, openSync } from "../../support/sync-frames.js";

cutSocketsAfterEach();

describe.each(databases)("the credential of a live client on %s", (database) => {
  const server = useServer(database, { modules: syncModules });

  describe("authentication (convex-wire.md section 10)", () => {
    /** The database lets nobody look up a credential, so many times. */
    const away = (times: number) => {
      const look = vi.spyOn(server.server.store, "read");
      onTestFinished(() => look.mockRestore());
      const error = new CallError("unavailable", "Not now", { retryAfterMs: 1_000 });
      for (let time = 0; time < times; time += 1) look.mockRejectedValueOnce(error);
      return look;
    };

    test("a token that cannot be looked up now is looked up again, and nobody is sent away", async () => {
      const alice = await server.agent("Alice");
      const key = await server.withAgentToken(alice);
      const client = (await openSync(server)).connect().modify(add(0, "agents:getStatus"));
      await client.answered();
      const look = away(1);
      client.authenticate(key.credential);
      await until(() => look.mock.calls.length === 1, "a look");
      await whileTimePasses(server, client.answered());
      expect(client.shown.get(0).value).toMatchObject({ agentId: alice.agentId });
    });

    test("one that is doubted while the database is away is looked up again, and nothing is said before that", async () => {
      const bob = await server.user("Bob");
      const { id: agentId, agentToken } = await draft(bob);
      const client = await signedIn(server, agentToken);
      client.modify(add(0, "agents:getStatus"));
      await client.answered();
      const look = away(1);
      // Without an answer about the credential nobody knows that it was revoked.
      await bob.call("agents:revokeToken", { agentId });
      await until(() => look.mock.calls.length > 0, "a look");
      const told = client.socket.frames.length;
      await server.settle();
      expect(client.socket.frames.slice(told)).toEqual([]);
      expect(await whileTimePasses(server, client.socket.next("AuthError"))).toMatchObject({
        authUpdateAttempted: false,
      });
    });

    test("each accepted token advances the identity, and all queries are asked again", async () => {
      const [alice, bob] = [await server.agent("Alice"), await server.agent("Bob")];
      const client = (await openSync(server)).connect().modify(add(0, "agents:getStatus"), echo(1, "same"));
      await client.answered();
      expect(client.shown.get(0).errorData.code).toBe("unauthenticated");
      for (const [number, { credential, name }] of [alice, bob].entries()) {
        client.authenticate(credential);
        const frame = await client.answered();
        expect(frame.endVersion.identity).toBe(number + 1);
        expect(frame.modifications).toHaveLength(1);
        expect(client.shown.get(0).value.name).toBe(name);
      }
      client.authenticate(undefined);
      await client.answered();
      expect(client.shown.get(0).errorData.code).toBe("unauthenticated");
    });

    test.each([
      ["an unknown key", async () => "c2c_wrong", "Invalid API key"],
      ["an empty one", async () => "", "Invalid API key"],
      ["a broken JWT", async () => "eyJhbGciOiJIUzI1NiJ9.e30.x", "Token expired or invalid"],
      [
        "a suspended user's",
        async () => {
          const alice = await server.user("Alice");
          await (await server.admin()).call("admin:suspendUser", { userId: alice.userId });
          return alice.credential;
        },
        "Account is suspended",
      ],
    ])("%s is refused with an AuthError, and then a quiet close", async (_what, secret, error) => {
      const client = (await openSync(server))
        .connect()
        .authenticate(undefined)
        .authenticate(await secret());
      expect(await client.socket.next("AuthError")).toEqual({
        type: "AuthError",
        error,
        baseVersion: 1,
        authUpdateAttempted: true,
      });
      expect((await client.socket.closed).code).toBe(1000);
    });

    test("a deployment key is refused, in whatever name it comes", async () => {
      const client = (await openSync(server)).connect();
      client.socket.send({ type: "Authenticate", baseVersion: 0, tokenType: "Admin", value: "k", impersonating: {} });
      expect(await client.socket.next()).toMatchObject({
        type: "AuthError",
        baseVersion: 0,
        authUpdateAttempted: true,
      });
    });

    test("a revoked one ends in an AuthError that blames no update, with no value after the revocation", async () => {
      const bob = await server.user("Bob");
      const agent = asAgent(server, await draft(bob));
      const client = await signedIn(server, agent.credential, add(0, "agents:getMine"));
      const shown = client.socket.frames.length;
      await bob.call("agents:revokeToken", { agentId: agent.agentId });
      expect(await client.next()).toEqual({
        type: "AuthError",
        error: "Invalid API key",
        baseVersion: 1,
        authUpdateAttempted: false,
      });
      expect((await client.socket.closed).code).toBe(1000);
      expect(client.socket.frames).toHaveLength(shown + 1);
    });

    test("an answer that comes after the revocation is not told", async () => {
      const own = await startServer(database, { modules: syncModules });
      try {
        const bob = await own.user("Bob");
        const agent = asAgent(own, await draft(bob));
        world.failures = 1;
        const client = (await openSync(own)).connect().authenticate(agent.credential).modify(add(0, "test:sometimes"));
        await until(() => world.failures === 0, "the first try");
        await bob.call("agents:revokeToken", { agentId: agent.agentId });
        await own.advance(2_000);
        expect(await client.next()).toMatchObject({ type: "AuthError", baseVersion: 1, authUpdateAttempted: false });
        expect((await client.socket.closed).code).toBe(1000);
      } finally {
        await own.close();
      }
    });

    test("one that runs out does so by itself", async () => {
      const own = await startServer(database, { modules: syncModules });
      try {
        const alice = await own.user("Alice");
        const client = (await openSync(own)).connect().authenticate(alice.credential).modify(add(0, "users:me"));
        await client.answered();
        await own.advance(7 * day + minute);
        const frames = [await client.next(), await client.next()];
        expect(frames).toContainEqual(
          expect.objectContaining({ type: "AuthError", baseVersion: 1, authUpdateAttempted: false }),
        );
      } finally {
        await own.close();
      }
    });

    test("an agent that is taken over goes on with its key, which opens nothing of its new owner's", async () => {
      const agent = await server.agent("Alice's agent");
      const client = await signedIn(server, agent.credential, add(0, "users:me"), add(1, "agents:getStatus"));
      expect(client.shown.get(0).errorData.code).toBe("forbidden");
      const alice = await server.user("Alice");
      await alice.call("agents:takeOver", {
        claimToken: agent.claimToken,
        slug: freshSlug(),
        description,
      });
      await client.next("Transition");
      expect(client.shown.get(1).value).toMatchObject({ claimed: true });
      expect(client.shown.get(0).errorData.code).toBe("forbidden");
    });
  });
});
