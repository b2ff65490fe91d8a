/** What strangers do to somebody's account: guess its password, guess at its codes, have it mailed to, and ask for hashes. */
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { Passwords } from "../../../runtime/passwords.js";
import { Caller, databases, hour, minute, password, type TestServer, useServer } from "../../support/harness.js";

const home = { "X-Forwarded-For": "203.0.113.1" };
let strangers = 0;
/** An address that nobody has used before. */
function stranger(): Record<string, string> {
  strangers += 1;
  return { "X-Forwarded-For": `10.${strangers >> 16}.${(strangers >> 8) & 255}.${strangers & 255}` };
}

let addresses = 0;
function newEmail(): string {
  addresses += 1;
  return `owner-${addresses}@example.com`;
}

/** How a call ended: `ok`, or the code of the no. */
const endOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "ok",
    (error: { code: string }) => error.code,
  );

async function times(count: number, call: () => Promise<unknown>): Promise<string[]> {
  const ends: string[] = [];
  for (let at = 0; at < count; at += 1) ends.push(await endOf(call()));
  return ends;
}

async function codesMailedTo(server: TestServer, email: string): Promise<string[]> {
  await server.server.mailer.idle();
  return server.mails.flatMap(({ recipient, body }) =>
    recipient === email ? (/code is (\d{6})/.exec(body)?.[1] ?? []) : [],
  );
}

const otherThan = (codes: string[]) => ["000000", "111111", "222222"].find((code) => !codes.includes(code)) as string;

/** Counts the hashes that are made from here on. */
function countHashes(): () => number {
  const spies = [vi.spyOn(Passwords.prototype, "hash"), vi.spyOn(Passwords.prototype, "verify")];
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore();
  });
  return () => spies.reduce((sum, spy) => sum + spy.mock.calls.length, 0);
}

describe.each(databases)("strangers and somebody's account on %s (people.md section 6)", (database) => {
  const server = useServer(database, { config: { rateLimits: true, trustProxy: true } });
  const signIn = (email: string, given: string, from: Record<string, string>) =>
    server.nobody.call("users:signIn", { email, password: given }, from);
  const ask = (email: string, from: Record<string, string>) =>
    server.nobody.call("users:sendVerification", { email }, from);
  const register = (email: string, verificationCode: string, from: Record<string, string>) =>
    server.nobody.call("users:register", { email, password, name: "Owner", verificationCode }, from);

  /** The owner asks for a code; the rates of the address at which all owners of this file sit are left alone. */
  async function askedFor(): Promise<{ email: string; code: string; at: Record<string, string> }> {
    const [email, at] = [newEmail(), stranger()];
    await ask(email, at);
    return { email, code: await server.verificationCode(email), at };
  }

  test("wrong passwords from anywhere do not keep the owner out, on any surface", async () => {
    const alice = await server.user("Alice");
    const crowd = Array.from({ length: 3 }, stranger);
    for (const from of crowd) {
      const ends = await times(16, () => signIn(alice.email, "wrong", from));
      expect(ends).toEqual([...Array<string>(15).fill("unauthenticated"), "rate_limited"]);
    }
    expect(await endOf(signIn(alice.email, password, home))).toBe("ok");
    const credentials = { email: alice.email, password };
    expect((await server.nobody.rest("POST", "/api/auth/login", credentials, home)).status).toBe(200);

    const admin = await server.admin();
    for (const from of crowd) await times(5, () => signIn(admin.email, "wrong", from));
    const form = await fetch(`${server.url}/admin/sign-in`, {
      method: "POST",
      redirect: "manual",
      headers: { ...home, "Content-Type": "application/x-www-form-urlencoded", Origin: server.url },
      body: new URLSearchParams({ email: admin.email, password }),
    });
    expect(form.status).toBe(303);
  });

  test("who fails is told to wait without a hash, and what is right is not counted as a failure", async () => {
    const alice = await server.user("Alice");
    const from = stranger();
    await times(15, () => signIn(alice.email, "wrong", from));
    const hashes = countHashes();
    expect(await endOf(signIn(alice.email, password, from))).toBe("rate_limited");
    expect(hashes()).toBe(0);
    expect(new Set(await times(18, () => signIn(alice.email, password, stranger())))).toEqual(new Set(["ok"]));
    const there = stranger();
    expect(new Set(await times(17, () => signIn(alice.email, password, there)))).toEqual(new Set(["ok"]));
  });

  test("one stranger can guess as long as it likes: the owner's code works", async () => {
    const { email, code, at } = await askedFor();
    const from = stranger();
    const ends = await times(20, () => register(email, otherThan([code]), from));
    expect(new Set(ends)).toEqual(new Set(["failed_precondition"]));
    // It would not even learn it any more.
    expect(await endOf(register(email, code, stranger()))).toBe("ok");
    expect(await endOf(signIn(email, password, at))).toBe("ok");
  });

  test("a stranger that has guessed too often is not told that a guess is right", async () => {
    const { email, code, at } = await askedFor();
    const from = stranger();
    await times(6, () => register(email, otherThan([code]), from));
    expect(await endOf(register(email, code, from))).toBe("failed_precondition");
    expect(await endOf(register(email, code, at))).toBe("ok");
  });

  test("fifty guesses from many addresses void a code, and a new one is in the mailbox by itself", async () => {
    const { email, code, at } = await askedFor();
    const wrong = otherThan([code]);
    for (let count = 0; count < 49; count += 1) await endOf(register(email, wrong, stranger()));
    expect(await codesMailedTo(server, email)).toEqual([code]);
    await endOf(register(email, wrong, stranger()));
    const [, another = ""] = await codesMailedTo(server, email);
    expect(another).toMatch(/^\d{6}$/);
    expect(server.mails.at(-1)?.body).toContain("Somebody guessed at your earlier codes");
    if (another !== code) expect(await endOf(register(email, code, stranger()))).toBe("failed_precondition");
    expect(await endOf(register(email, another, at))).toBe("ok");
  });

  test("a stranger's request blocks nobody else's, and voids nothing", async () => {
    const email = newEmail();
    await ask(email, stranger());
    const at = stranger();
    await ask(email, at);
    expect(await endOf(ask(email, at))).toBe("rate_limited");
    await ask(email, stranger());
    const codes = await codesMailedTo(server, email);
    expect(codes).toHaveLength(3);
    expect(await endOf(register(email, codes[1] as string, at))).toBe("ok");
  });

  test("a mailbox gets 20 mails in any hour, and whatever strangers do the newest of them works", async () => {
    const email = newEmail();
    const sentAt: number[] = [];
    for (let minutes = 0; minutes < 75; minutes += 1) {
      for (let count = 0; count < 2; count += 1) {
        if ((await endOf(ask(email, stranger()))) === "ok") sentAt.push(server.clock.now());
      }
      const newest = sentAt.at(-1) ?? 0;
      expect(server.clock.now() - newest).toBeLessThan(10 * minute);
      server.clock.jump(minute);
    }
    for (const start of sentAt) {
      const inHour = sentAt.filter((at) => at >= start && at < start + hour).length;
      expect(inHour).toBeLessThanOrEqual(20);
    }
    expect(sentAt.length).toBeGreaterThanOrEqual(20);
    const codes = await codesMailedTo(server, email);
    expect(codes).toHaveLength(sentAt.length);
    expect(await endOf(register(email, codes.at(-1) as string, stranger()))).toBe("ok");
  });

  test("guesses at addresses that no code was mailed to leave nothing behind", async () => {
    const count = () => server.read(async (db) => (await db.selectFrom("codeAskers").selectAll().execute()).length);
    const before = await count();
    for (let at = 0; at < 10; at += 1) await endOf(register(newEmail(), "123456", stranger()));
    expect(await count()).toBe(before);
  });

  test("a wrong code costs no hash, nor does the right one of an address that has an account", async () => {
    const { email, code, at } = await askedFor();
    const hashes = countHashes();
    await endOf(register(email, otherThan([code]), stranger()));
    await endOf(register(newEmail(), code, stranger()));
    expect(hashes()).toBe(0);
    await register(email, code, at);
    expect(hashes()).toBe(1);
    await ask(email, stranger());
    const again = (await codesMailedTo(server, email)).at(-1) as string;
    expect(await endOf(register(email, again, at))).toBe("conflict");
    expect(hashes()).toBe(1);
  });
});

describe.each(databases)("the queue for hashes on %s (people.md section 6)", (database) => {
  // What is per time is off, so that only the queue decides.
  const server = useServer(database, { config: { trustProxy: true } });

  test("hundreds of sign-ins of one address keep nobody else out", async () => {
    const others = await Promise.all(["Alice", "Bob", "Carol"].map((name) => server.user(name)));
    const from = stranger();
    const guess = { email: others[0]?.email, password: "wrong" };
    const flood = Array.from({ length: 300 }, () => endOf(server.nobody.call("users:signIn", guess, from)));
    const signedIn = others.map(({ email }) =>
      endOf(new Caller(server).call("users:signIn", { email, password }, stranger())),
    );
    expect(await Promise.all(signedIn)).toEqual(["ok", "ok", "ok"]);
    // It is told to come back where its own part of the queue is full.
    for (const end of await Promise.all(flood)) expect(["unauthenticated", "rate_limited"]).toContain(end);
  });
});
