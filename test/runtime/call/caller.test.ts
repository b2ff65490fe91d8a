import { describe, expect, test } from "vitest";
import { Tokens } from "../../../runtime/tokens.js";
import { createDatabase } from "../../support/databases.js";
import { Caller, databases, day, startServer, useServer } from "../../support/harness.js";

const jwtSecret = "a secret for the tests of who is calling";
const badToken = { httpStatus: 401, message: "Token expired or invalid" };
const badKey = { httpStatus: 401, message: "Invalid API key" };

describe.each(databases)("who is calling on %s (clawrent.md section 1)", (database) => {
  const server = useServer(database, { config: { jwtSecret } });

  test("a JWT, an API key in either header and an agent's token name the same user", async () => {
    const alice = await server.user("Alice");
    const { agentToken } = await alice.call("agents:create", {
      name: "Helper",
      slug: `helper-${alice.userId.slice(-12)}`,
      description: "Helps Alice with things",
    });
    expect(agentToken).toMatch(/^agt_clawrent_[A-Za-z0-9_-]{32,}$/);
    for (const credential of [alice.credential, alice.apiKey, agentToken]) {
      expect(await new Caller(server, credential).call("users:me")).toMatchObject({ id: alice.userId });
    }
    expect(await server.nobody.call("users:me", {}, { "x-api-key": alice.apiKey })).toMatchObject({ id: alice.userId });
  });

  test("Authorization goes before x-api-key, also where it is bad and the key is good", async () => {
    const [alice, bob] = await Promise.all([server.user("Alice"), server.user("Bob")]);
    const withKey = { "x-api-key": bob.apiKey };
    expect(await alice.call("users:me", {}, withKey)).toMatchObject({ id: alice.userId });
    await expect(new Caller(server, "eyJ.bad.token").call("users:me", {}, withKey)).rejects.toMatchObject(badToken);
    const basic = { ...withKey, Authorization: "Basic YWxpY2U6eA==" };
    await expect(server.nobody.call("users:me", {}, basic)).rejects.toMatchObject({ httpStatus: 401 });
  });

  test("x-api-key takes a user's API key and nothing else", async () => {
    const alice = await server.user("Alice");
    const agent = await server.agent("Helper");
    for (const key of [alice.credential, agent.credential, `${alice.apiKey}x`, "key_clawrent_", "guess", ""]) {
      await expect(server.nobody.call("users:me", {}, { "x-api-key": key }), key).rejects.toMatchObject({
        httpStatus: 401,
      });
    }
  });

  test("no credential, and ones that name nobody", async () => {
    await expect(server.nobody.call("users:me")).rejects.toMatchObject({ httpStatus: 401, code: "unauthenticated" });
    for (const [credential, refused] of [
      ["key_clawrent_unknown", badKey],
      ["agt_clawrent_unknown", badKey],
      ["c2c_unknown", badKey],
      ["eyJhbGciOiJub25lIn0.e30.", badToken],
      // Well signed, and its user is not there: the database was put back to a time before.
      [
        await new Tokens(jwtSecret, server.clock).sign(
          "8f3c1f44-0000-7000-8000-000000000000",
          "8f3c1f44-0000-7000-8000-000000000001",
        ),
        badToken,
      ],
      [
        await new Tokens(`${jwtSecret}!`, server.clock).sign(
          (await server.user("Alice")).userId,
          "8f3c1f44-0000-7000-8000-000000000001",
        ),
        badToken,
      ],
    ] as const) {
      await expect(new Caller(server, credential).call("users:me"), credential).rejects.toMatchObject(refused);
    }
  });

  test("a JWT that was just used ends at its instant all the same", async () => {
    const alice = await server.user("Alice");
    // Whole seconds, as a JWT counts.
    server.clock.jump(7 * day - 1_000 - (server.clock.now() % 1_000));
    await alice.call("users:me");
    server.clock.jump(1_000);
    await expect(alice.call("users:me")).rejects.toMatchObject(badToken);
    expect(await new Caller(server, alice.apiKey).call("users:me")).toMatchObject({ id: alice.userId });
  });

  test("sign-ins and keys survive a restart; who is an admin is asked anew", async () => {
    const created = await createDatabase(database);
    const before = await startServer(database, { databaseUrl: created.url });
    const alice = await before.user("Alice");
    expect(await alice.call("users:me")).toMatchObject({ isAdmin: false });
    await before.close();
    const config = { adminEmails: [alice.email] };
    const after = await startServer(database, { databaseUrl: created.url, clock: before.clock, config });
    for (const credential of [alice.credential, alice.apiKey]) {
      const me = await new Caller(after, credential).call("users:me");
      expect(me).toMatchObject({ id: alice.userId, isAdmin: true });
    }
    await after.close();
    await created.remove();
  });
});

// Only PostgreSQL takes several processes.
describe.each(databases.filter((database) => database === "postgres"))("two processes on %s", (database) => {
  test("a suspension by one reaches the other's cached credentials within five seconds", async () => {
    const created = await createDatabase(database);
    const one = await startServer(database, { databaseUrl: created.url });
    const other = await startServer(database, { databaseUrl: created.url, clock: one.clock });
    const [alice, admin] = [await one.user("Alice"), await one.admin()];
    const there = new Caller(other, alice.credential);
    await there.call("users:me");
    await admin.call("admin:suspendUser", { userId: alice.userId });
    await expect(alice.call("users:me")).rejects.toMatchObject({ httpStatus: 403 });
    one.clock.jump(5_000);
    await expect(there.call("users:me")).rejects.toMatchObject({ httpStatus: 403, message: "Account is suspended" });
    await Promise.all([one.close(), other.close()]);
    await created.remove();
  });
});
