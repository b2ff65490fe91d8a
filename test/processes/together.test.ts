/** What several processes do only once, or count together. */
import { expect, test } from "vitest";
import { rates } from "../../runtime/limits.js";
import { Caller as Client, hour, minute, password, startServer, type TestServer } from "../support/harness.js";
import { heard } from "../support/notices.js";
import { closeBoth, describeProcesses, startTwo, useTwoServers } from "../support/processes.js";
import { rentable, task } from "../support/rental.js";
import { eventually } from "../support/sockets.js";

/** Whether the call was let through. */
const passes = (call: Promise<unknown>) =>
  call.then(
    () => true,
    (error: { code?: string }) => {
      if (error.code === "rate_limited") return false;
      if (error.code === "unauthenticated") return true;
      throw error;
    },
  );

describeProcesses("timers of two processes", () => {
  const pair = useTwoServers();

  test("do each deed once, whichever process does it", async () => {
    const { one, other } = pair;
    const ended = heard("sessionEnded");
    const rented = await rentable(one, { approvalMode: "manual", maxConcurrentSessions: 20 });
    const alice = await one.user("Alice", { topUp: "100.00" });
    const ids: string[] = [];
    for (let count = 0; count < 8; count += 1) {
      const on = count % 2 ? other : one;
      const rent = { agentId: rented.agentId, taskDescription: `${task} ${count}` };
      ids.push((await new Client(on, alice.credential).call("sessions:create", rent)).id);
    }
    for (const server of [one, other]) server.clock.jump(0);
    await Promise.all([one.advance(48 * hour), other.settle()]);
    await one.advance(minute);
    await other.settle();
    const statuses = await one.read((db) =>
      db.selectFrom("sessions").select("status").where("sessionId", "in", ids).execute(),
    );
    expect(statuses).toEqual(ids.map(() => ({ status: "expired" })));
    // Each is noticed by the process that did it, and once by the other, of which it heard.
    await eventually(
      async () => ended.length,
      (count) => count >= 2 * ids.length,
    );
    expect(ended).toHaveLength(2 * ids.length);
    const { heldMinor } = await one.read((db) =>
      db
        .selectFrom("ledgerAccounts")
        .select("heldMinor")
        .where("userId", "=", alice.userId)
        .where("currency", "=", "CNY")
        .executeTakeFirstOrThrow(),
    );
    expect(heldMinor).toBe(0);
  });
});

describeProcesses("rates of two processes", () => {
  const spread = async (call: (server: TestServer) => Promise<unknown>, servers: TestServer[], times: number) => {
    let passed = 0;
    for (let count = 0; count < times; count += 1) {
      if (await passes(call(servers[count % servers.length] as TestServer))) passed += 1;
    }
    return passed;
  };

  test("are one rate: strict ones exactly, that of all calls within a sixteenth", async () => {
    const pair = await startTwo({ config: { rateLimits: true, trustProxy: true } });
    const { one, other } = pair;
    const servers = [one, other];
    const alice = await one.user("Alice");
    const from = { "X-Forwarded-For": "192.0.2.1" };
    const guess = (server: TestServer) =>
      server.nobody.call("users:signIn", { email: alice.email, password: "wrong" }, from);
    const { points: guesses } = rates.wrongPasswords;
    expect(await spread(guess, servers, guesses + 2)).toBe(guesses);
    // What was right is taken off the count again, on whichever process.
    const right = (server: TestServer) => server.nobody.call("users:signIn", { email: alice.email, password });
    expect(await spread(right, servers, guesses + 2)).toBe(guesses + 2);
    // The guesses were as many attempts of their address, on any account.
    const another = (server: TestServer) =>
      server.nobody.call("users:signIn", { email: "bob@example.com", password }, from);
    expect(await spread(another, servers, 10)).toBe(rates.signIns.points - guesses - 2);

    const topUp = (server: TestServer) =>
      new Client(server, alice.credential).call("billing:topUp", { amount: "1.00" });
    const all = Array.from({ length: rates.topUps.points + 6 }, (_, at) =>
      passes(topUp(servers[at % 2] as TestServer)),
    );
    expect((await Promise.all(all)).filter(Boolean)).toHaveLength(rates.topUps.points);

    const busy = await one.agent("Busy");
    const { points } = rates.calls;
    const window = () => Math.floor(Date.now() / 60_000);
    const began = window();
    let passed = 1;
    for (let sent = 0; sent < points * 1.5; sent += 60) {
      const some = Array.from({ length: 60 }, (_, at) =>
        passes(new Client(servers[at % 2] as TestServer, busy.credential).call("connections:list")),
      );
      passed += (await Promise.all(some)).filter(Boolean).length;
    }
    expect(passed).toBeGreaterThan(points * 0.9);
    // A new minute may have begun meanwhile.
    expect(passed).toBeLessThanOrEqual((points + points / 16 + 60) * (window() - began + 1));
    await closeBoth(pair);
  });
});

describeProcesses("the secret of two processes", () => {
  test("has to be the same: one with another does not start, and says why", async () => {
    const one = await startServer("postgres");
    const stranger = startServer("postgres", {
      databaseUrl: one.databaseUrl,
      clock: one.clock,
      config: { jwtSecret: "another secret than the others have, by mistake" },
    });
    await expect(stranger).rejects.toThrow(/JWT_SECRET/);
    const { credential } = await one.user("Alice");
    const other = await startServer("postgres", { databaseUrl: one.databaseUrl, clock: one.clock });
    expect(await new Client(other, credential).call("users:me")).toMatchObject({ name: "Alice" });
    await other.server.close();
    await one.close();
  });
});
