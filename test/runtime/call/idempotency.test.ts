import { describe, expect, test } from "vitest";
import { hashSecret } from "../../../runtime/ids.js";
import { createDatabase } from "../../support/databases.js";
import { echoModules } from "../../support/echo.js";
import { databases, day, hour, password, startServer, useServer } from "../../support/harness.js";

const key = (name: string) => ({ "Idempotency-Key": name });

describe.each(databases)("Idempotency-Key on %s (architecture.md section 2)", (database) => {
  const server = useServer(database, { modules: echoModules });

  test("a retry gets the first answer and runs nothing", async () => {
    const { alice, threadId } = await server.negotiatingPair();
    const args = { threadId, type: "info", payload: { notes: "once" } };
    const first = await alice.call("messages:send", args, key("send-1"));
    server.clock.jump(1_000);
    expect(await alice.call("messages:send", args, key("send-1"))).toEqual(first);
    expect(await alice.call("messages:getForThread", { threadId })).toHaveLength(1);
  });

  test("a registration that is retried gets the same key, and the database does not hold it", async () => {
    const register = () => server.nobody.call("agents:register", { name: "Twice" }, key("register-1"));
    const first = await register();
    expect(await register()).toEqual(first);
    const rows = await server.read((db) => db.selectFrom("idempotency").selectAll().execute());
    expect(JSON.stringify(rows)).not.toContain(first.apiKey);
    expect(JSON.stringify(rows)).not.toContain("register-1");
  });

  test("what a call says cannot be found in the database by trying: one call under two keys leaves nothing alike", async () => {
    const { email } = await server.user("Alice");
    const signIn = (name: string) => server.nobody.call("users:signIn", { email, password }, key(name));
    for (const name of ["try-1", "try-2"]) await signIn(name);
    const rows = await server.read((db) =>
      db.selectFrom("idempotency").select("requestHash").orderBy("expiresAt", "desc").limit(2).execute(),
    );
    expect(new Set(rows.map(({ requestHash }) => requestHash)).size).toBe(2);
  });

  test("a record from before it had a holder still knows its call", async () => {
    const { alice, threadId } = await server.negotiatingPair();
    const args = { threadId, type: "info", payload: { notes: "old" } };
    const first = await alice.call("messages:send", args, key("old"));
    const former = { holder: null, requestHash: hashSecret(`messages:send\n${JSON.stringify(args)}`) };
    await server.server.store.write(({ db }) => db.updateTable("idempotency").set(former).execute());
    expect(await alice.call("messages:send", args, key("old"))).toEqual(first);
    const other = alice.call("messages:send", { ...args, payload: { notes: "new" } }, key("old"));
    await expect(other).rejects.toMatchObject({ code: "conflict", message: /another call/ });
  });

  test("a refusal is an answer too: it is given again even when the call would now succeed", async () => {
    const { alice, bob, connectionId, threadId } = await server.negotiatingPair();
    const args = { threadId, type: "accept", payload: { notes: "yes" } };
    const first = alice.call("messages:send", args, key("early"));
    await expect(first).rejects.toMatchObject({ code: "conflict", httpStatus: 200 });
    await bob.send(threadId, "proposal");
    await expect(alice.call("messages:send", args, key("early"))).rejects.toMatchObject({
      code: "conflict",
      message: "There is no proposal to accept yet. Send a proposal first.",
    });
    expect(await alice.call("messages:send", args, key("later"))).toMatchObject({ threadStatus: "awaiting_approval" });
    expect(connectionId).toBeDefined();
  });

  test("another call under the same key is refused and does nothing", async () => {
    const { alice, threadId } = await server.negotiatingPair();
    await alice.call("messages:send", { threadId, type: "info", payload: { notes: "a" } }, key("k"));
    const other = alice.call("messages:send", { threadId, type: "info", payload: { notes: "b" } }, key("k"));
    await expect(other).rejects.toMatchObject({ code: "conflict", message: /another call/ });
    await expect(alice.call("connections:invite", {}, key("k"))).rejects.toMatchObject({ code: "conflict" });
    expect(await alice.call("messages:getForThread", { threadId })).toHaveLength(1);
  });

  test("keys of different agents are different keys", async () => {
    const [one, other] = await Promise.all([server.agent("One"), server.agent("Other")]);
    const first = await one.call("connections:invite", {}, key("mine"));
    expect(await other.call("connections:invite", {}, key("mine"))).not.toEqual(first);
  });

  test("the same call spelled another way is the same call", async () => {
    const { alice, threadId } = await server.negotiatingPair();
    const first = await alice.call("messages:send", { threadId, type: "info", payload: { notes: "a" } }, key("s"));
    const again = await alice.call("messages.js:send", { type: "info", payload: { notes: "a" }, threadId }, key("s"));
    expect(again).toEqual(first);
  });

  test("int64, bytes and NaN come again as they were, and tell one call from another", async () => {
    const call = async (value: object) => {
      const response = await fetch(`${server.url}/api/mutation`, {
        method: "POST",
        headers: { "Content-Type": "application/json", ...key("typed") },
        body: JSON.stringify({ path: "echo:change", args: { value }, format: "convex_encoded_json" }),
      });
      return (await response.json()) as { value?: unknown; errorData?: { code: string } };
    };
    const first = [{ $integer: "BQAAAAAAAAA=" }, { $bytes: "AAH+/w==" }, { $float: "AAAAAAAA+H8=" }];
    expect((await call(first)).value).toEqual(first);
    expect((await call(first)).value).toEqual(first);
    const otherBytes = [first[0], { $bytes: "AAH+/g==" }, first[2]];
    expect((await call(otherBytes)).errorData?.code).toBe("conflict");
  });

  test("after 24 hours the key is free again, and the timer has removed its record", async () => {
    const agent = await server.agent();
    const first = await agent.call("connections:invite", {}, key("daily"));
    server.clock.jump(day - 1);
    expect(await agent.call("connections:invite", {}, key("daily"))).toEqual(first);
    server.clock.jump(1);
    expect(await agent.call("connections:invite", {}, key("daily"))).not.toEqual(first);
    await server.advance(2 * day + hour);
    const rows = await server.read((db) => db.selectFrom("idempotency").selectAll().execute());
    expect(rows).toEqual([]);
  });

  test("a key that is too long or no text is refused before anything runs", async () => {
    const agent = await server.agent();
    await agent.call("connections:invite", {}, key("x".repeat(255)));
    for (const bad of ["x".repeat(256), "two words", ""]) {
      await expect(agent.call("connections:invite", {}, key(bad))).rejects.toMatchObject({
        httpStatus: 400,
        code: "invalid_args",
      });
    }
  });

  test("the first answer survives a restart", async () => {
    const created = await createDatabase(database);
    const before = await startServer(database, { databaseUrl: created.url });
    const first = await before.nobody.call("agents:register", { name: "Phoenix" }, key("r"));
    await before.close();
    const after = await startServer(database, { databaseUrl: created.url });
    expect(await after.nobody.call("agents:register", { name: "Phoenix" }, key("r"))).toEqual(first);
    await after.close();
    await created.remove();
  });
});
