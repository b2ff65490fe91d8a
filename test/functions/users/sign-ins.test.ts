import { createHmac } from "node:crypto";
import { SignJWT } from "jose";
import { describe, expect, test } from "vitest";
import { open } from "../../support/event-streams.js";
import {
  Caller,
  databases,
  day,
  hour,
  minute,
  password,
  type TestServer,
  type User,
  useServer,
} from "../../support/harness.js";
import { expectRefusal } from "../../support/refusals.js";
import { openSession } from "../../support/rental.js";
import { cutSocketsAfterEach, openAt } from "../../support/sockets.js";
import { add, openSync } from "../../support/sync-frames.js";

cutSocketsAfterEach();

const jwtSecret = "a secret for the tests of sign-ins and their ends";
const over = { httpStatus: 401, message: "Token expired or invalid" };

async function signIn(server: TestServer, { email }: User, headers: Record<string, string> = {}): Promise<Caller> {
  // Lists go by the clock, and it stands still.
  server.clock.jump(1);
  const { token } = await server.nobody.call("users:signIn", { email, password }, headers);
  return new Caller(server, token);
}

/** A JWT as it was before sign-ins were kept: it names none. */
function oldJwt(userId: string, at: number): Promise<string> {
  return new SignJWT()
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setSubject(userId)
    .setIssuer("tidepool")
    .setIssuedAt(Math.floor(at / 1_000))
    .setExpirationTime(Math.floor((at + 7 * day) / 1_000))
    .sign(createHmac("sha256", jwtSecret).update("jwt").digest());
}

describe.each(databases)("sign-ins on %s (people.md section 6)", (database) => {
  const server = useServer(database, { config: { jwtSecret, trustProxy: true } });

  test("are listed with when and from where, the newest first, and each caller sees its own", async () => {
    const alice = await server.user("Alice");
    server.clock.jump(hour);
    const there = await signIn(server, alice, {
      "User-Agent": `curl/8 ${"x".repeat(300)}`,
      "X-Forwarded-For": "192.0.2.7:99",
    });
    const { data, total } = await there.call("users:listSignIns");
    expect(total).toBe(2);
    expect(data[0]).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      isCurrent: true,
      isOpen: true,
      createdAt: new Date(server.clock.now()).toISOString(),
      lastSeenAt: new Date(server.clock.now()).toISOString(),
      expiresAt: new Date(server.clock.now() + 7 * day).toISOString(),
      endedAt: null,
      address: "192.0.2.7",
      userAgent: `curl/8 ${"x".repeat(193)}`,
    });
    expect(data[1]).toMatchObject({ isCurrent: false, isOpen: true, address: "127.0.0.1", userAgent: "node" });
    expect((await (await server.user("Bob")).call("users:listSignIns")).total).toBe(1);
    const stored = JSON.stringify(await server.read((db) => db.selectFrom("signIns").selectAll().execute()));
    expect(stored).not.toContain(there.credential);
  });

  test("signing out ends the one that asks, at once and for good, and no other", async () => {
    const alice = await server.user("Alice");
    const there = await signIn(server, alice);
    await there.call("users:me");
    expect(await there.call("users:signOut")).toEqual({ message: "Signed out" });
    await expect(there.call("users:me")).rejects.toMatchObject(over);
    await expect(there.call("users:signOut")).rejects.toMatchObject(over);
    expect(await alice.call("users:me")).toMatchObject({ id: alice.userId });
    const { data } = await alice.call("users:listSignIns");
    expect(data[0]).toMatchObject({ isOpen: false, endedAt: new Date(server.clock.now()).toISOString() });
  });

  test("one can be ended by another, or all others at once; a second time is the same success", async () => {
    const alice = await server.user("Alice");
    const [one, two, three] = [await signIn(server, alice), await signIn(server, alice), await signIn(server, alice)];
    const { data } = await one.call("users:listSignIns");
    const { id } = data.find(({ isCurrent }: { isCurrent: boolean }) => isCurrent);
    expect(await alice.call("users:endSignIn", { signInId: id })).toMatchObject({ ended: 1 });
    expect(await alice.call("users:endSignIn", { signInId: id })).toMatchObject({ ended: 0 });
    await expect(one.call("users:me")).rejects.toMatchObject(over);
    expect(await two.call("users:endSignIn")).toMatchObject({ ended: 2 });
    for (const ended of [alice, three]) await expect(ended.call("users:me")).rejects.toMatchObject(over);
    expect(await two.call("users:me")).toMatchObject({ id: alice.userId });
  });

  test("somebody else's is not there", async () => {
    const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
    const [{ id }] = (await alice.call("users:listSignIns")).data;
    for (const signInId of [id, "8f3c1f44-0000-7000-8000-000000000000"]) {
      const call = () => bob.call("users:endSignIn", { signInId });
      await expectRefusal(server, call, { code: "not_found", message: "Sign-in not found" });
    }
    expect(await alice.call("users:me")).toMatchObject({ id: alice.userId });
  });

  test("neither an API key nor an agent's token sees or ends them", async () => {
    const alice = await server.user("Alice");
    const { agentToken } = await alice.call("agents:create", {
      name: "Helper",
      slug: `helper-${alice.userId.slice(-12)}`,
      description: "Helps Alice with things",
    });
    const key = { code: "forbidden", message: "Sign in with your password to do this; an API key cannot" };
    const agent = { code: "forbidden", message: "Only the account's own credential can do this" };
    for (const path of ["users:listSignIns", "users:endSignIn", "users:signOut"]) {
      await expectRefusal(server, () => new Caller(server, alice.apiKey).call(path), key);
      await expectRefusal(server, () => new Caller(server, agentToken).call(path), agent);
    }
  });

  test("what was opened with one closes with it: live queries, streams, and sockets of sessions", async () => {
    const { consumer, sessionId } = await openSession(server);
    const there = await signIn(server, consumer);
    const token = there.credential as string;
    const { sessionToken } = await there.call("sessions:get", { sessionId });
    const sockets = [
      await openAt(server, "/ws/group", { sessionId, token }),
      await openAt(server, "/ws/session", { sessionId, token: sessionToken, role: "consumer" }),
    ];
    await sockets[0]?.next("system.connected");
    const live = (await openSync(server)).connect().authenticate(token).modify(add(0, "users:me"));
    await live.socket.next("Transition");
    const { reader } = await open(server, there, "users:me");
    await reader.shows(({ data }) => data.id === consumer.userId);

    await there.call("users:signOut");
    expect(await sockets[0]?.closed).toEqual({ code: 4011, reason: "Token expired or invalid" });
    expect((await sockets[1]?.closed)?.code).toBe(4002);
    expect(await live.socket.next("AuthError")).toMatchObject({ error: "Token expired or invalid" });
    expect(await reader.shows(({ event }) => event === "error")).toMatchObject({ data: { code: "unauthenticated" } });
    for (const [path, query, code] of [
      ["/ws/group", { sessionId, token }, 4011],
      ["/ws/session", { sessionId, token: sessionToken, role: "consumer" }, 4002],
    ] as const) {
      expect((await (await openAt(server, path, query)).closed).code, path).toBe(code);
    }
    expect(await consumer.call("sessions:get", { sessionId })).toMatchObject({ status: "active" });
  });

  test("one that runs out closes its sockets as well", async () => {
    const { consumer, sessionId } = await openSession(server);
    const socket = await openAt(server, "/ws/group", { sessionId, token: consumer.credential });
    await socket.next("system.connected");
    await server.advance(7 * day);
    expect((await socket.closed).code).toBe(4011);
  });

  test("a user has fifty open: the oldest ends. What is over is kept for a while, up to a hundred", async () => {
    const alice = await server.user("Alice");
    const first = await signIn(server, alice);
    for (let count = 0; count < 49; count += 1) await signIn(server, alice);
    await expect(alice.call("users:me")).rejects.toMatchObject(over);
    expect(await first.call("users:me")).toMatchObject({ id: alice.userId });
    for (let count = 0; count < 60; count += 1) await signIn(server, alice);
    const rows = () =>
      server.read(async (db) => db.selectFrom("signIns").selectAll().where("userId", "=", alice.userId).execute());
    expect(await rows()).toHaveLength(100);
    expect((await rows()).filter(({ endedAt }) => endedAt === null)).toHaveLength(50);
    await server.advance(37 * day - minute);
    expect((await rows()).length).toBeGreaterThan(0);
    await server.advance(2 * minute);
    expect(await rows()).toEqual([]);
  });

  test("the last use is noted to an hour, and no call in between writes", async () => {
    const alice = await server.user("Alice");
    const seen = () =>
      server.read(async (db) => {
        const row = db.selectFrom("signIns").select("lastSeenAt").where("userId", "=", alice.userId);
        return (await row.executeTakeFirstOrThrow()).lastSeenAt;
      });
    const start = await seen();
    server.clock.jump(hour - 1);
    await alice.call("users:me");
    expect(await seen()).toBe(start);
    server.clock.jump(10_000);
    await alice.call("users:me");
    await expect.poll(seen).toBe(server.clock.now());
  });

  test("one from before they were kept is good until it runs out, and can be seen and ended", async () => {
    const alice = await server.user("Alice");
    const at = server.clock.now() - day;
    const [before, other] = [await oldJwt(alice.userId, at), await oldJwt(alice.userId, at + 5_000)];
    const old = new Caller(server, before);
    const both = await Promise.all([old.call("users:me"), old.call("users:me")]);
    for (const me of both) expect(me).toMatchObject({ id: alice.userId });
    const { data } = await old.call("users:listSignIns");
    expect(data).toHaveLength(2);
    const kept = data.find(({ isCurrent }: { isCurrent: boolean }) => isCurrent);
    expect(kept).toMatchObject({
      address: null,
      userAgent: null,
      expiresAt: new Date(Math.floor(at / 1_000) * 1_000 + 7 * day).toISOString(),
    });
    await alice.call("users:endSignIn", { signInId: kept.id });
    await expect(old.call("users:me")).rejects.toMatchObject(over);

    const another = new Caller(server, other);
    await another.call("users:me");
    await alice.call("users:endSignIn");
    await expect(another.call("users:me")).rejects.toMatchObject(over);
    // However many come after it, it is not forgotten while it could be used again.
    for (let count = 0; count < 110; count += 1) await signIn(server, alice);
    for (const ended of [old, another]) await expect(ended.call("users:me")).rejects.toMatchObject(over);
  });

  test("one that names a sign-in which is not there, or is somebody else's, opens nothing", async () => {
    const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
    const [{ id }] = (await bob.call("users:listSignIns")).data;
    const key = createHmac("sha256", jwtSecret).update("jwt").digest();
    for (const jti of [id, "8f3c1f44-0000-7000-8000-000000000000", ""]) {
      const now = Math.floor(server.clock.now() / 1_000);
      const jwt = new SignJWT({ sub: alice.userId, jti }).setProtectedHeader({ alg: "HS256" }).setIssuer("tidepool");
      const forged = await jwt
        .setIssuedAt(now)
        .setExpirationTime(now + 60)
        .sign(key);
      await expect(new Caller(server, forged).call("users:me")).rejects.toMatchObject(over);
    }
  });

  test("the admin's pages end theirs when one signs out, and leave none for who is no admin", async () => {
    const [admin, alice] = [await server.admin(), await server.user("Alice")];
    const post = (path: string, fields: Record<string, string>, cookie = "") =>
      fetch(`${server.url}/admin/${path}`, {
        method: "POST",
        redirect: "manual",
        headers: { "Content-Type": "application/x-www-form-urlencoded", Origin: server.url, cookie },
        body: new URLSearchParams(fields),
      });
    const signedIn = await post("sign-in", { email: admin.email, password });
    const cookie = (signedIn.headers.get("set-cookie") ?? "").split(";")[0] as string;
    const caller = new Caller(server, cookie.split("=")[1]);
    expect(await caller.call("users:me")).toMatchObject({ isAdmin: true });
    await post("sign-out", {}, cookie);
    await expect(caller.call("users:me")).rejects.toMatchObject(over);

    server.clock.jump(1);
    expect((await post("sign-in", { email: alice.email, password })).status).toBe(403);
    const { data } = await alice.call("users:listSignIns");
    expect(data.map(({ isOpen }: { isOpen: boolean }) => isOpen)).toEqual([false, true]);
  });
});
