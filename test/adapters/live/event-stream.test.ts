import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import { heartbeatMs } from "../../../adapters/live/event-stream.js";
import { query } from "../../../runtime/call/define.js";
import { CallError } from "../../../runtime/errors.js";
import { echoModules, large } from "../../support/echo.js";
import { address, open, Reader } from "../../support/event-streams.js";
import { databases, day, minute, startServer, useServer } from "../../support/harness.js";
import { until } from "../../support/live-clients.js";
import { asAgent, description, draft, freshSlug } from "../../support/market.js";

const odd = query({
  summary: "A value with any names",
  auth: "none",
  args: {},
  returns: z.unknown(),
  handler: async () => ({ $odd: 1, 名: "混合 🌊\r\n" }),
});
const busy = query({
  summary: "What the database does not let happen now",
  auth: "none",
  args: {},
  returns: z.null(),
  handler: async () => {
    throw new CallError("unavailable", "The database went away. Try again later.", { retryAfterMs: 2_000 });
  },
});
const modules = { ...echoModules, test: { large, odd, busy } };

describe.each(databases)("GET /api/subscribe on %s", (database) => {
  const server = useServer(database, { modules });

  test("shows the value as it is, and then each new one", async () => {
    const { alice, bob, threadId } = await server.negotiatingPair();
    const { response, reader } = await open(server, alice, "messages:getForThread", { threadId });
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
    });
    expect(await reader.shows(() => true)).toMatchObject({
      event: "message",
      id: expect.stringMatching(/^\d+$/),
      data: [],
    });
    const { messageId } = await bob.send(threadId, "proposal");
    expect((await reader.shows(({ data }) => data.length === 1)).data).toMatchObject([{ messageId }]);
    await bob.rest("GET", "/api/health");
    const ids = reader.events.map(({ id }) => BigInt(id ?? 0));
    expect(ids).toHaveLength(2);
    expect((ids[1] as bigint) > (ids[0] as bigint)).toBe(true);
    expect(reader.text).toMatch(/^retry: 1000\n\n/);
  });

  test("has a path and no arguments, x-api-key, a Last-Event-ID, and a page of another site", async () => {
    const alice = await server.user("Alice");
    const { response, reader } = await open(server, server.nobody, "users:me", undefined, {
      "x-api-key": alice.apiKey,
      "Last-Event-ID": "17",
      Origin: "https://example.com",
    });
    expect(response.headers.get("access-control-allow-origin")).toBe("https://example.com");
    expect((await reader.shows(() => true)).data).toMatchObject({ id: alice.userId });
  });

  test("needs no credential where the query needs none, and has JSON as it is", async () => {
    const { reader } = await open(server, server.nobody, "test:odd");
    expect((await reader.shows(() => true)).data).toEqual({ $odd: 1, 名: "混合 🌊\r\n" });
  });

  test("is refused with 503 and Retry-After while the database is away, and does not wait until it is back", async () => {
    const response = await fetch(address(server, "test:busy"), { signal: AbortSignal.timeout(5_000) });
    expect(response.status).toBe(503);
    expect(response.headers.get("retry-after")).toBe("2");
    expect(await response.json()).toMatchObject({ errorData: { code: "unavailable" } });
  });

  test("waits, once it is open, while the database cannot say whose a doubted credential is", async () => {
    const bob = await server.user("Bob");
    const agent = asAgent(server, await draft(bob));
    const { reader } = await open(server, agent, "agents:getStatus");
    await reader.shows(() => true);
    const look = vi.spyOn(server.server.store, "read");
    onTestFinished(() => look.mockRestore());
    look.mockRejectedValueOnce(new CallError("unavailable", "Not now", { retryAfterMs: 1_000 }));
    await bob.call("agents:revokeToken", { agentId: agent.agentId });
    await until(() => look.mock.calls.length > 0, "a look at the credential");
    await server.settle();
    expect(reader.events).toHaveLength(1);
    expect(reader.ended).toBe(false);
    while (!reader.ended) {
      await server.advance(1_000);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(reader.events.at(-1)).toMatchObject({ event: "error", data: { code: "unauthenticated" } });
  });

  test("tells a refusal as an error event, and goes on", async () => {
    const { alice, bob, threadId, proposalId } = await server.awaitingPair();
    expect(proposalId && bob).toBeTruthy();
    const { reader } = await open(server, alice, "messages:getForThread", { threadId: "thr_none" });
    expect(await reader.shows(() => true)).toMatchObject({
      event: "error",
      data: { code: "not_found", message: expect.any(String) },
    });
    expect(reader.ended).toBe(false);
    const thread = await open(server, alice, "messages:getForThread", { threadId });
    await thread.reader.shows(({ event }) => event === "message");
  });

  test("tells a fault without what it is", async () => {
    const { reader } = await open(server, server.nobody, "echo:breakDown");
    const { event, data } = await reader.shows(() => true);
    expect([event, data.code]).toEqual(["error", "internal"]);
    expect(data.message).toMatch(/^\[Request ID: [0-9a-f]{16}\] Server Error$/);
  });

  test.each([
    ["no path", "", {}, 400, "invalid_args"],
    ["an unknown path", "no:where", {}, 404, "not_found"],
    ["a mutation", "echo:change", { value: 1 }, 400, "invalid_args"],
    ["wrong arguments", "echo:value", { other: 1 }, 400, "invalid_args"],
    ["arguments that cannot be decoded", "echo:value", { value: { $integer: "x" } }, 400, "invalid_args"],
    ["no credential", "agents:getStatus", {}, 401, "unauthenticated"],
  ])("%s is refused with a status and JSON", async (_what, path, args, status, code) => {
    const response = await fetch(address(server, path, args));
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ status: "error", errorData: { code } });
  });

  test("a wrong credential, the wrong kind of it, and text that is no JSON are refused as well", async () => {
    const statusOf = async (url: string, authorization: string) =>
      (await fetch(url, { headers: { Authorization: authorization } })).status;
    expect(await statusOf(address(server, "agents:getStatus"), "Bearer c2c_wrong")).toBe(401);
    expect(await statusOf(address(server, "agents:getStatus"), "c2c_wrong")).toBe(401);
    const { credential } = await server.user("Alice");
    expect(await statusOf(address(server, "agents:getStatus"), `Bearer ${credential}`)).toBe(403);
    expect((await fetch(`${server.url}/api/subscribe?path=echo:value&args={`)).status).toBe(400);
    const posted = await fetch(address(server, "agents:getStatus"), { method: "POST" });
    expect([posted.status, posted.headers.get("allow")]).toEqual([405, "GET"]);
  });

  test("ends with an error event when the credential is revoked", async () => {
    const bob = await server.user("Bob");
    const agent = asAgent(server, await draft(bob));
    const { reader } = await open(server, agent, "agents:getMine");
    await reader.shows(() => true);
    await bob.call("agents:revokeToken", { agentId: agent.agentId });
    await until(() => reader.ended, "the end");
    expect(reader.events).toHaveLength(2);
    expect(reader.events[1]).toMatchObject({ event: "error", data: { code: "unauthenticated" } });
  });

  test("of an agent that changed hands ends when its new owner is suspended", async () => {
    const alice = await server.withAgentToken(await server.agent("Alice"));
    const bob = await server.user("Bob");
    const { reader } = await open(server, alice, "agents:getStatus");
    await reader.shows(() => true);
    await bob.call("agents:takeOver", { claimToken: alice.claimToken, slug: freshSlug(), description });
    await (await server.admin()).call("admin:suspendUser", { userId: bob.userId });
    await until(() => reader.ended, "the end");
    expect(reader.events.at(-1)).toMatchObject({ event: "error", data: { code: "forbidden" } });
  });

  test("sends a comment after 15 s of silence, ends with a JWT that runs out, and with the server", async () => {
    const own = await startServer(database, { modules });
    try {
      const alice = await own.user("Alice");
      const { reader } = await open(own, alice, "users:me");
      const other = await open(own, own.nobody, "echo:value", { value: 1 });
      await Promise.all([reader.shows(() => true), other.reader.shows(() => true)]);
      const before = reader.text;
      await own.advance(heartbeatMs);
      await until(() => reader.text !== before, "a comment");
      expect(reader.text.slice(before.length)).toMatch(/^:[^\n]*\n\n$/);
      await own.advance(7 * day + minute);
      await until(() => reader.ended, "the end of the JWT's");
      expect(reader.events.at(-1)).toMatchObject({ event: "error", data: { code: "unauthenticated" } });
      expect(other.reader.ended).toBe(false);
      await own.server.close();
      await until(() => other.reader.ended, "the end of all");
    } finally {
      await own.close();
    }
  });

  test("a slow reader gets the newest value and not all between, and one that never reads is cut", async () => {
    const own = await startServer(database, { modules });
    try {
      const socket = connect(Number(new URL(own.url).port), "127.0.0.1");
      const url = new URL(address(own, "test:large"));
      socket.write(`GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await once(socket, "data");
      socket.pause();
      for (let count = 1; count <= 40; count += 1) await own.agent("Another", { publicKey: false });
      let bytes = 0;
      let tail = "";
      socket.on("data", (chunk) => {
        bytes += chunk.length;
        tail = (tail + chunk.toString("latin1")).slice(-100);
      });
      socket.resume();
      await until(() => tail.includes("x40"), "the newest");
      expect(bytes).toBeLessThan(30 * 1024 * 1024);

      socket.pause();
      socket.on("close", () => {
        tail = "closed";
      });
      // The kernel takes some of it; how much is its own affair.
      for (let count = 1; count <= 40; count += 1) {
        await own.agent("Another", { publicKey: false });
        await own.advance(minute);
      }
      socket.resume();
      await until(() => tail === "closed", "the cut");
    } finally {
      await own.close();
    }
  });

  test("curl is enough", async () => {
    const { alice, bob, threadId } = await server.negotiatingPair();
    const curl = spawn("curl", [
      "--no-buffer",
      "--silent",
      "--get",
      `${server.url}/api/subscribe`,
      "--header",
      `Authorization: Bearer ${alice.credential}`,
      "--data-urlencode",
      "path=messages:getForThread",
      "--data-urlencode",
      `args=${JSON.stringify({ threadId })}`,
    ]);
    onTestFinished(() => {
      curl.kill();
    });
    const reader = new Reader();
    curl.stdout.on("data", (chunk) => reader.add(String(chunk)));
    await reader.shows(() => true);
    await bob.send(threadId, "proposal");
    await reader.shows(({ data }) => data.length === 1);
  });
});
