import { describe, expect, test } from "vitest";
import { createDatabase } from "../../support/databases.js";
import {
  Caller,
  databases,
  hour,
  minute,
  password,
  startServer,
  type TestServer,
  useServer,
} from "../../support/harness.js";

const invalidCode = { code: "failed_precondition", message: "Invalid or expired verification code" };
const wrongPassword = { code: "unauthenticated", message: "Invalid email or password" };

let count = 0;
function newEmail(): string {
  count += 1;
  return `alice-${count}@example.com`;
}

/** An address that a code was mailed to. */
async function withCode(server: TestServer): Promise<{ email: string; verificationCode: string }> {
  const email = newEmail();
  await server.nobody.call("users:sendVerification", { email });
  return { email, verificationCode: await server.verificationCode(email) };
}

function otherThan(code: string): string {
  return code === "000000" ? "000001" : "000000";
}

function countUsers(server: TestServer, email: string): Promise<number> {
  return server.read(
    async (db) => (await db.selectFrom("users").select("userId").where("email", "=", email).execute()).length,
  );
}

describe.each(databases)("users:sendVerification on %s (clawrent.md section 2.3)", (database) => {
  const server = useServer(database);
  const send = (email: string) => server.nobody.call("users:sendVerification", { email });

  test("mails a code of six digits, keeps only its hash, and the reply does not hold it", async () => {
    const email = newEmail();
    const reply = await send(email);
    const code = await server.verificationCode(email);
    expect(reply).toEqual({ message: expect.any(String) });
    expect(reply.message).not.toContain(code);
    expect(code).toMatch(/^\d{6}$/);
    const stored = await server.read((db) => db.selectFrom("mailedCodes").selectAll().execute());
    expect(stored).not.toEqual([]);
    expect(JSON.stringify(stored)).not.toContain(code);
    expect(await server.read((db) => db.selectFrom("outbox").selectAll().execute())).toEqual([]);
  });

  test("the address is trimmed and lower-cased, and what is none is refused", async () => {
    const email = newEmail();
    await send(` ${email.toUpperCase()} `);
    expect(await server.verificationCode(email)).toMatch(/^\d{6}$/);
    for (const bad of [
      "",
      "alice",
      "alice@",
      "alice@example.com, bob@example.com",
      "alice@example.com\r\nBcc: b@x.io",
    ]) {
      await expect(send(bad)).rejects.toMatchObject({ code: "invalid_args", data: { issues: [{ path: "email" }] } });
    }
  });

  test("answers the same for an address that has an account; only its mail says so", async () => {
    const alice = await server.user("Alice");
    server.clock.jump(minute);
    const stranger = newEmail();
    expect(await send(alice.email)).toEqual(await send(stranger));
    await server.server.mailer.idle();
    const bodyTo = (address: string) => server.mails.findLast(({ recipient }) => recipient === address)?.body;
    expect(bodyTo(alice.email)).toContain("already has an account");
    expect(bodyTo(stranger)).not.toContain("account");
  });

  test("one mail a minute and five an hour for one asker, also where a code was used in between", async () => {
    const { email, verificationCode } = await withCode(server);
    const refused = await send(email).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "rate_limited", data: { retryAfterMs: minute } });
    server.clock.jump(minute - 1);
    await expect(send(email)).rejects.toMatchObject({ data: { retryAfterMs: 1 } });
    await server.nobody.call("users:register", { email, password, name: "Alice", verificationCode });
    server.clock.jump(1);
    for (let sent = 1; sent < 5; sent += 1) {
      await send(email);
      server.clock.jump(minute);
    }
    await expect(send(email)).rejects.toMatchObject({ code: "rate_limited", data: { retryAfterMs: 55 * minute } });
    expect(await send(newEmail())).toBeDefined();
    server.clock.jump(55 * minute);
    await send(email);
  });

  test("the limit holds over a restart, and the rows go when they mean nothing any more", async () => {
    const created = await createDatabase(database);
    const before = await startServer(database, { databaseUrl: created.url });
    const { email } = await withCode(before);
    await before.close();
    const after = await startServer(database, { databaseUrl: created.url, clock: before.clock });
    await expect(after.nobody.call("users:sendVerification", { email })).rejects.toMatchObject({
      code: "rate_limited",
    });
    const rows = () =>
      after.read(async (db) => ({
        codes: (await db.selectFrom("mailedCodes").select("email").execute()).length,
        mailboxes: (await db.selectFrom("mailboxes").select("email").execute()).length,
        askers: (await db.selectFrom("codeAskers").select("askerHash").execute()).length,
      }));
    expect(await rows()).toEqual({ codes: 1, mailboxes: 1, askers: 1 });
    await after.advance(10 * minute);
    expect(await rows()).toEqual({ codes: 0, mailboxes: 0, askers: 1 });
    await after.advance(hour - 10 * minute);
    expect(await rows()).toEqual({ codes: 0, mailboxes: 0, askers: 0 });
    await after.close();
    await created.remove();
  });
});

describe.each(databases)("users:register on %s (clawrent.md section 2.3)", (database) => {
  const server = useServer(database);
  const register = (args: object) => server.nobody.call("users:register", { password, name: "Alice", ...args });

  test("makes a consumer, signs them in and shows the API key once", async () => {
    const { email, verificationCode } = await withCode(server);
    const { user, token, apiKey } = await register({ email: ` ${email.toUpperCase()}`, verificationCode });
    expect(user).toEqual({
      id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f-]{27}$/),
      email,
      name: "Alice",
      role: "consumer",
      isAdmin: false,
      avatarUrl: null,
      status: "active",
      reputationScore: null,
      walletBalance: "0.00",
      createdAt: new Date(server.clock.now()).toISOString(),
      updatedAt: new Date(server.clock.now()).toISOString(),
    });
    expect(token).toMatch(/^eyJ/);
    expect(apiKey).toMatch(/^key_clawrent_[A-Za-z0-9_-]{32}$/);
    for (const credential of [token, apiKey]) {
      expect(await new Caller(server, credential).call("users:me")).toEqual(user);
    }
    expect(await server.nobody.call("users:me", {}, { "X-Api-Key": apiKey })).toEqual(user);

    const stored = JSON.stringify(await server.read((db) => db.selectFrom("users").selectAll().execute()));
    for (const secret of [apiKey, token, password]) expect(stored).not.toContain(secret);
  });

  test("a code works once, for its address, for ten minutes", async () => {
    const first = await withCode(server);
    await register(first);
    await expect(register(first)).rejects.toMatchObject(invalidCode);

    const [alice, bob] = [await withCode(server), await withCode(server)];
    const swapped = { email: bob.email, verificationCode: alice.verificationCode };
    if (alice.verificationCode !== bob.verificationCode) {
      await expect(register(swapped)).rejects.toMatchObject(invalidCode);
    }
    server.clock.jump(10 * minute - 1);
    await register(alice);
    server.clock.jump(1);
    await expect(register(bob)).rejects.toMatchObject(invalidCode);
    expect(await countUsers(server, bob.email)).toBe(0);
  });

  test("a newer code leaves the older one good, and the use of either spends both", async () => {
    for (const used of ["older", "newer"] as const) {
      const older = await withCode(server);
      server.clock.jump(minute);
      await server.nobody.call("users:sendVerification", { email: older.email });
      const newer = { email: older.email, verificationCode: await server.verificationCode(older.email) };
      await register({ older, newer }[used]);
      for (const code of [older, newer]) await expect(register(code)).rejects.toMatchObject(invalidCode);
    }
  });

  test("after five wrong tries one more may be right; after six not even that, until a new code is asked for", async () => {
    const lucky = await withCode(server);
    const unlucky = await withCode(server);
    for (let tries = 0; tries < 6; tries += 1) {
      for (const { email, verificationCode } of tries < 5 ? [lucky, unlucky] : [unlucky]) {
        const wrong = register({ email, verificationCode: otherThan(verificationCode) });
        await expect(wrong).rejects.toMatchObject(invalidCode);
      }
    }
    await register(lucky);
    await expect(register(unlucky)).rejects.toMatchObject(invalidCode);
    server.clock.jump(minute);
    await server.nobody.call("users:sendVerification", { email: unlucky.email });
    await register(unlucky);
  });

  test("a hundred guesses at once are not a hundred guesses", async () => {
    const { email, verificationCode } = await withCode(server);
    await Promise.allSettled(
      Array.from({ length: 100 }, () => register({ email, verificationCode: otherThan(verificationCode) })),
    );
    await expect(register({ email, verificationCode })).rejects.toMatchObject(invalidCode);
    const [code] = await server.read((db) =>
      db.selectFrom("mailedCodes").select("wrongTries").where("email", "=", email).execute(),
    );
    expect(code).toEqual({ wrongTries: 6 });
  });

  test("a hundred registrations with one code make one account", async () => {
    const code = await withCode(server);
    const outcomes = await Promise.allSettled(Array.from({ length: 100 }, () => register(code)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    const reasons = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? outcome.reason.code : []));
    // Too many hashes at once are the other answer.
    for (const reason of reasons) expect(["failed_precondition", "rate_limited"]).toContain(reason);
    expect(await countUsers(server, code.email)).toBe(1);
  });

  test("an address that has an account: only who holds a good code hears of it", async () => {
    const alice = await server.user("Alice");
    const { email } = alice;
    await expect(register({ email, verificationCode: "123456" })).rejects.toMatchObject(invalidCode);
    server.clock.jump(minute);
    await server.nobody.call("users:sendVerification", { email });
    const verificationCode = await server.verificationCode(email);
    const wrong = { email, verificationCode: otherThan(verificationCode) };
    await expect(register(wrong)).rejects.toMatchObject(invalidCode);
    const taken = register({ email, name: "Mallory", password: "another password", verificationCode });
    await expect(taken).rejects.toMatchObject({ code: "conflict", message: "Email is already registered" });
    expect(await alice.call("users:me")).toMatchObject({ name: "Alice" });
    expect(await server.nobody.call("users:signIn", { email, password })).toBeDefined();
  });

  test.each([
    ["a missing code", { verificationCode: undefined }, "verificationCode"],
    ["a code of five digits", { verificationCode: "12345" }, "verificationCode"],
    ["a code of other characters", { verificationCode: "12345a" }, "verificationCode"],
    ["a short password", { password: "1234567" }, "password"],
    ["a long password", { password: "1".repeat(129) }, "password"],
    ["no name", { name: "" }, "name"],
    ["a long name", { name: "A".repeat(101) }, "name"],
    ["no address", { email: "alice" }, "email"],
  ])("refuses %s and does not count it as a try", async (_what, wrong, field) => {
    const code = await withCode(server);
    for (let tries = 0; tries < 6; tries += 1) {
      await expect(register({ ...code, ...wrong })).rejects.toMatchObject({
        code: "invalid_args",
        data: { issues: [{ path: field }] },
      });
    }
    await register({ ...code, password: "1".repeat(128), name: "A".repeat(100) });
  });

  test("the same Idempotency-Key gets the same account and key again", async () => {
    const code = await withCode(server);
    const args = { ...code, password, name: "Alice" };
    const headers = { "Idempotency-Key": "one-registration" };
    const first = await server.nobody.call("users:register", args, headers);
    expect(await server.nobody.call("users:register", args, headers)).toEqual(first);
    expect(await countUsers(server, code.email)).toBe(1);
  });
});

describe.each(databases)("users:signIn and users:me on %s (clawrent.md section 2.3)", (database) => {
  const server = useServer(database);
  const signIn = (email: string, given = password) => server.nobody.call("users:signIn", { email, password: given });

  test("gives the user and a token that works", async () => {
    const alice = await server.user("Alice");
    const { user, token, ...more } = await signIn(` ${alice.email.toUpperCase()}`);
    expect(more).toEqual({});
    expect(user).toMatchObject({ id: alice.userId, email: alice.email });
    expect(await new Caller(server, token).call("users:me")).toEqual(user);
  });

  test("a wrong password and an unknown address read the same", async () => {
    const alice = await server.user("Alice");
    for (const [email, given] of [
      [alice.email, `${password} `],
      [alice.email, ""],
      [alice.email, "x".repeat(1_000)],
      [newEmail(), password],
    ] as const) {
      await expect(signIn(email, given)).rejects.toMatchObject(wrongPassword);
    }
  });

  test("a suspended user hears so only with the right password", async () => {
    const [alice, admin] = [await server.user("Alice"), await server.admin()];
    await admin.call("admin:suspendUser", { userId: alice.userId });
    await expect(signIn(alice.email, "a wrong one")).rejects.toMatchObject(wrongPassword);
    const refused = signIn(alice.email);
    await expect(refused).rejects.toMatchObject({ code: "forbidden", message: "Account is suspended" });
  });

  test("an agent token names the owner, and the agent that acts", async () => {
    const alice = await server.user("Alice");
    const { agentToken, id } = await alice.call("agents:create", {
      name: "Helper",
      slug: `helper-${alice.userId.slice(-12)}`,
      description: "Helps Alice with things",
    });
    const me = await alice.call("users:me");
    expect(me).not.toHaveProperty("agent");
    expect(await new Caller(server, agentToken).call("users:me")).toEqual({
      ...me,
      agent: { id, name: "Helper", slug: `helper-${alice.userId.slice(-12)}` },
    });
  });

  test("an agent without an owner is no user, and nobody is none either", async () => {
    const agent = await server.agent("Alone");
    await expect(agent.call("users:me")).rejects.toMatchObject({ code: "forbidden" });
    await expect(server.nobody.call("users:me")).rejects.toMatchObject({ httpStatus: 401 });
  });

  test("the wallet's CNY is the balance", async () => {
    const alice = await server.user("Alice", { topUp: "100.00" });
    expect(await alice.call("users:me")).toMatchObject({ walletBalance: "100.00" });
  });

  test("who is an admin follows the configuration", async () => {
    const admin = await server.admin();
    expect(await admin.call("users:me")).toMatchObject({ isAdmin: true });
    expect((await signIn(admin.email)).user).toMatchObject({ isAdmin: true });
  });

  test("a hundred sign-ins at once: those that can wait succeed, the others are told to come back", async () => {
    const alice = await server.user("Alice");
    const outcomes = await Promise.allSettled(Array.from({ length: 100 }, () => signIn(alice.email)));
    const refused = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
    expect(outcomes.length - refused.length).toBeGreaterThanOrEqual(34);
    for (const reason of refused) {
      expect(reason).toMatchObject({ code: "rate_limited", data: { retryAfterMs: expect.any(Number) } });
    }
    expect(await signIn(alice.email)).toBeDefined();
  });
});

describe.each(databases)("throttling of accounts on %s (clawrent.md section 1)", (database) => {
  const limited = useServer(database, { config: { rateLimits: true, trustProxy: true } });
  const from = (address: string) => ({ "X-Forwarded-For": address });
  const signIn = (email: string, address: string) =>
    limited.nobody.call("users:signIn", { email, password: "a wrong one" }, from(address));

  test("wrong passwords are counted by account and address, and attempts by address", async () => {
    const email = newEmail();
    for (let tries = 0; tries < 15; tries += 1) {
      await expect(signIn(email, "192.0.2.1")).rejects.toMatchObject(wrongPassword);
    }
    await expect(signIn(` ${email.toUpperCase()}`, "192.0.2.1")).rejects.toMatchObject({ httpStatus: 429 });
    await expect(signIn(newEmail(), "192.0.2.1")).rejects.toMatchObject(wrongPassword);
    await expect(signIn(email, "192.0.2.2")).rejects.toMatchObject(wrongPassword);
    for (let tries = 0; tries < 20; tries += 1) {
      await expect(signIn(newEmail(), "198.51.100.1")).rejects.toMatchObject(wrongPassword);
    }
    await expect(signIn(newEmail(), "198.51.100.1")).rejects.toMatchObject({ httpStatus: 429 });
  });

  test("codes are counted by the address that asks", async () => {
    const send = () => limited.nobody.call("users:sendVerification", { email: newEmail() }, from("203.0.113.1"));
    for (let sent = 0; sent < 30; sent += 1) await send();
    await expect(send()).rejects.toMatchObject({ httpStatus: 429, code: "rate_limited" });
  });
});
