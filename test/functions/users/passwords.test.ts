import { describe, expect, test } from "vitest";
import { Caller, databases, minute, password, type TestServer, type User, useServer } from "../../support/harness.js";
import { expectInvalid, expectRefusal } from "../../support/refusals.js";

const over = { httpStatus: 401 };
const invalid = { code: "failed_precondition", message: "Invalid or expired reset code" };
const newPassword = "another horse, another battery";

const signIn = (server: TestServer, { email }: User, given = password) =>
  server.nobody.call("users:signIn", { email, password: given });

async function helper(owner: User): Promise<{ agentId: string; token: string }> {
  const slug = `helper-${owner.userId.slice(-12)}`;
  const made = await owner.call("agents:create", { name: "Helper", slug, description: "Helps with things" });
  return { agentId: made.id, token: made.agentToken };
}

/** The reset code that is mailed to somebody who asks for one. */
async function resetCode(server: TestServer, { email }: User): Promise<string> {
  server.clock.jump(minute);
  await server.nobody.call("users:sendVerification", { email });
  return server.resetCode(email);
}

describe.each(databases)("users:changePassword on %s (people.md section 6)", (database) => {
  const server = useServer(database);

  test("takes the present password, ends the other sign-ins and keeps this one, the key and the agents' tokens", async () => {
    const alice = await server.user("Alice");
    const agent = await helper(alice);
    const other = new Caller(server, (await signIn(server, alice)).token);
    const changed = await alice.call("users:changePassword", { password, newPassword });
    expect(changed).toEqual({ message: expect.stringContaining("other sign-ins have ended"), endedSignIns: 1 });
    await expect(other.call("users:me")).rejects.toMatchObject(over);
    for (const credential of [alice.credential, alice.apiKey, agent.token]) {
      expect(await new Caller(server, credential).call("users:me")).toMatchObject({ id: alice.userId });
    }
    await expect(signIn(server, alice)).rejects.toMatchObject({ code: "unauthenticated" });
    expect(await signIn(server, alice, newPassword)).toBeDefined();
    const stored = JSON.stringify(await server.read((db) => db.selectFrom("users").selectAll().execute()));
    expect(stored).not.toContain(newPassword);
  });

  test("refuses a wrong present password and a bad new one, and changes nothing", async () => {
    const alice = await server.user("Alice");
    await expectRefusal(server, () => alice.call("users:changePassword", { password: "wrong", newPassword }), {
      code: "forbidden",
      message: "The present password is wrong",
    });
    for (const bad of ["1234567", "1".repeat(129)]) {
      await expectInvalid(
        server,
        () => alice.call("users:changePassword", { password, newPassword: bad }),
        "newPassword",
      );
    }
    expect(await signIn(server, alice)).toBeDefined();
  });

  test("neither the API key nor an agent's token may, with the right password or without", async () => {
    const alice = await server.user("Alice");
    const { token } = await helper(alice);
    for (const credential of [alice.apiKey, token]) {
      const call = () => new Caller(server, credential).call("users:changePassword", { password, newPassword });
      await expect(call()).rejects.toMatchObject({ code: "forbidden" });
    }
    expect(await signIn(server, alice)).toBeDefined();
  });

  test("two changes at once: one of them is refused", async () => {
    const alice = await server.user("Alice");
    const change = (to: string) => alice.call("users:changePassword", { password, newPassword: to });
    const ends = await Promise.allSettled([change("the first of the two"), change("the second of the two")]);
    expect(ends.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });
});

describe.each(databases)("guesses at the present password on %s", (database) => {
  const server = useServer(database, { config: { rateLimits: true, trustProxy: true } });

  test("count by sign-in, so that those with a stolen one do not stop the owner", async () => {
    const alice = await server.user("Alice");
    const stolen = new Caller(server, (await signIn(server, alice)).token);
    const change = (by: Caller, given: string, at: number) =>
      by.call("users:changePassword", { password: given, newPassword }, { "X-Forwarded-For": `192.0.2.${at}` });
    for (let at = 0; at < 15; at += 1) {
      await expect(change(stolen, "wrong", at)).rejects.toMatchObject({ code: "forbidden" });
    }
    await expect(change(stolen, password, 20)).rejects.toMatchObject({ code: "rate_limited" });
    expect(await change(alice, password, 21)).toBeDefined();
  });
});

describe.each(databases)("users:resetPassword on %s (people.md section 6)", (database) => {
  const server = useServer(database);
  const reset = (user: User, code: string, to = newPassword) =>
    server.nobody.call("users:resetPassword", { email: user.email, resetCode: code, newPassword: to });

  test("takes the mailed code, ends all sign-ins, and names what still works", async () => {
    const alice = await server.user("Alice");
    const agent = await helper(alice);
    const other = new Caller(server, (await signIn(server, alice)).token);
    const code = await resetCode(server, alice);
    const mail = server.mails.at(-1)?.body;
    expect(mail).toContain("Forgot the password?");
    expect(mail).toContain("/api/auth/reset-password");

    expect(await reset(alice, code)).toEqual({
      message: expect.stringContaining("all sign-ins ended"),
      endedSignIns: 2,
      stillWorking: { apiKey: true, agentTokens: [{ agentId: agent.agentId, name: "Helper" }] },
    });
    for (const ended of [alice, other]) await expect(ended.call("users:me")).rejects.toMatchObject(over);
    for (const credential of [alice.apiKey, agent.token]) {
      expect(await new Caller(server, credential).call("users:me")).toMatchObject({ id: alice.userId });
    }
    await expect(signIn(server, alice)).rejects.toMatchObject({ code: "unauthenticated" });
    expect(await signIn(server, alice, newPassword)).toBeDefined();
    const codes = await server.read((db) => db.selectFrom("mailedCodes").selectAll().execute());
    expect(JSON.stringify(codes)).not.toContain(code);
  });

  test("a code may be typed in small letters and in groups, works once, and for ten minutes", async () => {
    const alice = await server.user("Alice");
    const first = await resetCode(server, alice);
    await reset(alice, ` ${first.slice(0, 5).toLowerCase()}-${first.slice(5)} `);
    await expect(reset(alice, first)).rejects.toMatchObject(invalid);
    const late = await resetCode(server, alice);
    server.clock.jump(10 * minute);
    await expect(reset(alice, late)).rejects.toMatchObject(invalid);
  });

  test("no guess voids it, and the six digits of the same mail are no reset code", async () => {
    const alice = await server.user("Alice");
    const code = await resetCode(server, alice);
    const digits = await server.verificationCode(alice.email);
    for (let at = 0; at < 60; at += 1) await expect(reset(alice, "ABCDEFGHJK")).rejects.toMatchObject(invalid);
    for (const wrong of [digits, "", `${code}A`, code.slice(1)]) {
      await expect(reset(alice, wrong)).rejects.toMatchObject(invalid);
    }
    expect(await reset(alice, code)).toMatchObject({ endedSignIns: 1 });
  });

  test("an address without an account, another's code and a wrong one read the same", async () => {
    const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
    const code = await resetCode(server, alice);
    await expectRefusal(server, () => reset(bob, code), invalid);
    const nobody = { email: "nobody@example.com", resetCode: code, newPassword };
    await expectRefusal(server, () => server.nobody.call("users:resetPassword", nobody), invalid);
    await expectInvalid(server, () => reset(alice, code, "short"), "newPassword");
    await reset(alice, code);
  });

  test("a suspended account stays shut", async () => {
    const [alice, admin] = [await server.user("Alice"), await server.admin()];
    const code = await resetCode(server, alice);
    await admin.call("admin:suspendUser", { userId: alice.userId });
    await expect(reset(alice, code)).rejects.toMatchObject({ code: "forbidden", message: "Account is suspended" });
  });

  test("a code mailed before a change of the password is of no use after it", async () => {
    const alice = await server.user("Alice");
    const code = await resetCode(server, alice);
    await alice.call("users:changePassword", { password, newPassword: "a third password" });
    await expect(reset(alice, code)).rejects.toMatchObject(invalid);
  });
});

describe.each(databases)("users:rotateApiKey on %s (people.md section 6)", (database) => {
  const server = useServer(database);

  test("by a sign-in or by the key itself: the old key opens nothing at once, the new one is shown once", async () => {
    const alice = await server.user("Alice");
    let key = alice.apiKey;
    for (const by of [alice.credential, alice.apiKey]) {
      const caller = new Caller(server, by === alice.apiKey ? key : by);
      await new Caller(server, key).call("users:me");
      const { apiKey } = await caller.call("users:rotateApiKey");
      expect(apiKey).toMatch(/^key_clawrent_[A-Za-z0-9_-]{32}$/);
      await expect(new Caller(server, key).call("users:me")).rejects.toMatchObject({ message: "Invalid API key" });
      expect(await new Caller(server, apiKey).call("users:me")).toMatchObject({ id: alice.userId });
      const stored = JSON.stringify(await server.read((db) => db.selectFrom("users").selectAll().execute()));
      expect(stored).not.toContain(apiKey);
      key = apiKey;
    }
    expect(await alice.call("users:me")).toMatchObject({ id: alice.userId });
  });

  test("an agent's token may not", async () => {
    const alice = await server.user("Alice");
    const { token } = await helper(alice);
    await expectRefusal(server, () => new Caller(server, token).call("users:rotateApiKey"), {
      code: "forbidden",
      message: "Only the account's own credential can do this",
    });
    expect(await new Caller(server, alice.apiKey).call("users:me")).toBeDefined();
  });
});
