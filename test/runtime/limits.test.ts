import { describe, expect, test } from "vitest";
import { caps } from "../../functions/model/caps.js";
import { addressKey } from "../../runtime/counted-as.js";
import { rates, sizes } from "../../runtime/limits.js";
import { Caller, databases, startServer } from "../support/harness.js";

describe("rate limits (claw-to-claw.md section 1)", () => {
  const [database = "sqlite"] = databases;

  test("calls per agent: over the limit is 429 with Retry-After, and another agent is not affected", async () => {
    const server = await startServer(database, { config: { rateLimits: true } });
    const [busy, calm] = await Promise.all([server.agent("Busy"), server.agent("Calm")]);
    // Registering and setting the key took its share: one call as this agent.
    for (let left = rates.calls.points - 1; left > 0; left -= 50) {
      await Promise.all(Array.from({ length: Math.min(left, 50) }, () => busy.call("connections:list")));
    }
    const refused = await busy.call("connections:list").catch((error: unknown) => error);
    expect(refused).toMatchObject({ httpStatus: 429, code: "rate_limited" });
    const { data, headers } = refused as { data: { retryAfterMs: number }; headers: Headers };
    expect(data.retryAfterMs).toBeGreaterThan(0);
    expect(Number(headers.get("retry-after"))).toBe(Math.ceil(data.retryAfterMs / 1_000));
    expect(await calm.call("connections:list")).toEqual([]);
    await server.close();
  });

  test("calls per user: all their agents share a rate, and others are not affected", async () => {
    const server = await startServer(database, { config: { rateLimits: true } });
    const [busy, calm] = [await server.user("Busy"), await server.user("Calm")];
    // Enough that none comes to its own rate.
    const atOnce = sizes.batchedQueries;
    const count = Math.ceil(rates.userCalls.points / (rates.calls.points - atOnce)) + 1;
    const agents: Caller[] = [];
    for (let made = 0; made < count; made += 1) {
      const described = { name: "Poller", slug: `poller-${made}`, description: "Polls, polls and polls" };
      agents.push(new Caller(server, (await busy.call("agents:create", described)).agentToken));
    }
    // One that registered itself keeps its own key.
    const takenOver = await server.agent("Poller");
    const taken = { slug: "taken-over", description: "Polls, polls and polls" };
    await busy.call("agents:takeOver", { claimToken: takenOver.claimToken, ...taken });
    const queries = Array.from({ length: atOnce }, () => ({ path: "agents:getMine", args: {}, format: "json" }));
    let passed = 0;
    for (let round = 0; round < Math.floor(rates.calls.points / atOnce); round += 1) {
      for (const agent of agents) {
        const { body } = await agent.rest("POST", "/api/query_batch", { queries });
        passed += (body.results ?? []).filter(({ status }: { status: string }) => status === "success").length;
      }
    }
    const ownCalls = 50;
    expect(passed).toBeLessThanOrEqual(rates.userCalls.points);
    expect(passed).toBeGreaterThan(rates.userCalls.points - ownCalls);
    for (const one of [busy, ...agents]) {
      await expect(one.call("users:me")).rejects.toMatchObject({ httpStatus: 429, code: "rate_limited" });
    }
    await expect(takenOver.call("connections:list")).rejects.toMatchObject({ httpStatus: 429, code: "rate_limited" });
    expect(await calm.call("users:me")).toMatchObject({ name: "Calm" });
    // A hundred agents may poll once a second, with two calls each.
    expect(rates.userCalls.points).toBeGreaterThanOrEqual(caps.agents.most * rates.userCalls.seconds * 2);
    await server.close();
  });

  test("registrations per address, and wrong credentials per address", async () => {
    const server = await startServer(database, { config: { rateLimits: true, trustProxy: true } });
    const from = (address: string) => ({ "X-Forwarded-For": `spoofed, ${address}` });
    for (let count = 0; count < rates.registrations.points; count += 1) {
      await server.nobody.call("agents:register", { name: "Many" }, from("192.0.2.1"));
    }
    const oneMore = (address: string) => server.nobody.call("agents:register", { name: "More" }, from(address));
    await expect(oneMore("192.0.2.1")).rejects.toMatchObject({ httpStatus: 429 });
    const registered = await oneMore("192.0.2.2");

    const guess = (address: string) => new Caller(server, "c2c_guess").call("agents:getStatus", {}, from(address));
    for (let count = 0; count < rates.failedCredentials.points; count += 1) {
      await expect(guess("192.0.2.3")).rejects.toMatchObject({ httpStatus: 401, message: "Invalid API key" });
    }
    await expect(guess("192.0.2.3")).rejects.toMatchObject({ httpStatus: 429 });
    await expect(guess("192.0.2.4")).rejects.toMatchObject({ httpStatus: 401 });
    // Nor is a public address a place to guess at, where a wrong credential is as good as none.
    const browse = async () => {
      const headers = { Authorization: "Bearer c2c_guess", ...from("192.0.2.5") };
      return (await fetch(`${server.url}/api/marketplace/browse`, { headers })).status;
    };
    for (let count = 0; count < rates.failedCredentials.points; count += 1) expect(await browse()).toBe(200);
    expect(await browse()).toBe(429);
    // Whoever has a good key is not locked out by a neighbour's guesses.
    const good = new Caller(server, registered.apiKey);
    expect(await good.call("agents:getStatus", {}, from("192.0.2.3"))).toMatchObject({ name: "More" });
    await server.close();
  });

  test("an IPv6 host is counted by its network, an IPv4 one by its address", () => {
    expect(addressKey("192.0.2.1")).toBe("192.0.2.1");
    expect(addressKey("::ffff:192.0.2.1")).toBe("192.0.2.1");
    expect(addressKey("2001:db8:1:2:3:4:5:6")).toBe("2001:db8:1:2::/64");
    expect(addressKey("2001:db8::1")).toBe("2001:db8:0:0::/64");
    expect(addressKey("2001:db8::9")).toBe(addressKey("2001:db8::1"));
    expect(addressKey("::1")).toBe("0:0:0:0::/64");
  });
});
