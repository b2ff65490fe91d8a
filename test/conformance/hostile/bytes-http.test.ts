/** Whoever sends half of a request, or reads nothing of the replies: what they hold is counted, and others go on. */
import { afterEach, describe, expect, test } from "vitest";
import type { Holder, Holding } from "../../../runtime/byte-budget.js";
import { type Held, heldBytes, sizes } from "../../../runtime/limits.js";
import { bigModules, runs } from "../../support/big.js";
import { echoModules } from "../../support/echo.js";
import { databases, useServer } from "../../support/harness.js";
import { head, type RawConnection, rawConnection, unreadCall } from "../../support/raw-http.js";
import { eventually } from "../../support/sockets.js";

const MiB = 1024 * 1024;
/** What a body that is not whole counts as beside its bytes. */
const half = sizes.halfBodyBytes;
const here = { address: "127.0.0.1", caller: undefined };

describe.each(databases)("requests and replies over HTTP on %s", (database) => {
  const server = useServer(database, { modules: { ...echoModules, ...bigModules }, config: { rateLimits: true } });
  const opened: RawConnection[] = [];
  const held = () => server.server.held;
  const track = (connection: RawConnection) => {
    opened.push(connection);
    return connection;
  };
  const occupied: Holding[] = [];
  /** What others hold already. */
  const occupy = (kind: keyof Held, holder: Holder, bytes: number) => {
    const holding = held()[kind].hold(holder);
    holding.add(bytes);
    occupied.push(holding);
    return holding;
  };
  const halfBody = async (bytes: number, path = "/api/query") => {
    const connection = track(await rawConnection(server));
    connection.socket.write(head(path, MiB) + " ".repeat(bytes));
    return connection;
  };
  const requestsHeld = (bytes: number) =>
    eventually(
      async () => held().requests.bytes,
      (now) => now === bytes,
    );
  const say = (value: string) => server.nobody.call("echo:change", { value });

  afterEach(async () => {
    for (const { socket } of opened.splice(0)) socket.destroy();
    for (const holding of occupied.splice(0)) holding.end();
    await requestsHeld(0);
    await eventually(
      async () => held().answers.bytes,
      (bytes) => bytes === 0,
    );
  });

  test("what has arrived of a body counts until it is gone, however small its pieces", async () => {
    const first = await halfBody(300_000);
    await requestsHeld(half + 300_000);
    const pieces = track(await rawConnection(server));
    const body = JSON.stringify({ path: "echo:change", args: { value: "x".repeat(5_000) } });
    pieces.socket.write(head("/api/mutation", "chunked"));
    for (const character of body.slice(0, -1)) pieces.socket.write(`1\r\n${character}\r\n`);
    await requestsHeld(2 * half + 300_000 + body.length - 1);
    pieces.socket.write(`1\r\n}\r\n0\r\n\r\n`);
    await eventually(
      async () => pieces.text(),
      (text) => text.includes('"status":"success"'),
    );
    first.socket.destroy();
    await requestsHeld(0);
  });

  test("over the share of its address a body is refused by name, on every surface; small ones are not", async () => {
    const others = occupy("requests", here, heldBytes.requests.address - half - 100_000);
    const within = await halfBody(100_000);
    await requestsHeld(heldBytes.requests.address);
    for (const path of ["/api/query", "/api/mutation", "/api/run/echo/value", "/api/query_batch", "/api/orders"]) {
      const over = await halfBody(20_000, path);
      await over.closed;
      expect(over.text()).toMatch(/^HTTP\/1.1 429 /);
      expect(over.text()).toContain("Too much is held for you now (requests that are not dealt with yet)");
    }
    expect(await say("hello")).toBe("hello");
    within.socket.destroy();
    await requestsHeld(heldBytes.requests.address - half - 100_000);
    expect(await say("x".repeat(30_000))).toHaveLength(30_000);
    others.end();
  });

  test("where the process needs room, the body that stopped longest ago is given up, and the new one comes through", async () => {
    const stopped = await halfBody(200_000);
    await requestsHeld(half + 200_000);
    const others = occupy(
      "requests",
      { address: "elsewhere", caller: undefined },
      heldBytes.requests.process - half - 210_000,
    );
    await expect(say("x".repeat(100_000))).rejects.toMatchObject({ httpStatus: 503, code: "unavailable" });
    server.clock.jump(6_000);
    expect(await say("x".repeat(50_000))).toHaveLength(50_000);
    await stopped.closed;
    expect(stopped.text()).toMatch(/^HTTP\/1.1 503 .*The body took too long to arrive/s);
    others.end();
  });

  test("a megabyte of small values is refused before it is parsed", async () => {
    const many = `[${"{},".repeat(340_000).slice(0, -1)}]`;
    const post = (path: string, body: string) =>
      fetch(`${server.url}${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    const rpc = await post("/api/query", `{"path":"echo:value","args":{"value":${many}}}`);
    expect([rpc.status, ((await rpc.json()) as { message: string }).message]).toEqual([
      413,
      "The arguments hold too many values",
    ]);
    expect((await post("/api/orders", `{"items":${many}}`)).status).toBe(413);
    expect((await post("/api/query_batch", `{"queries":${many}}`)).status).toBe(413);
  });

  test("no further answer is made for an address that leaves too many unread, and it is told so", async () => {
    runs.length = 0;
    const others = occupy("answers", here, heldBytes.answers.address - 10 * MiB);
    const ask = (number: number) =>
      unreadCall(server, "/api/query", { path: "big:read", args: { number, bytes: 16 * MiB } }).then(track);
    await ask(0);
    await eventually(
      async () => held().answers.refusal(here),
      (refusal) => refusal !== undefined,
    );
    for (const path of [
      "/api/query",
      "/skill.md",
      "/",
      "/api/agents",
      "/api/query_batch",
      "/api/subscribe?path=docs:getTree",
    ]) {
      const refused = await fetch(`${server.url}${path}`, { method: "GET" });
      expect([path, refused.status, refused.headers.get("retry-after")]).toEqual([path, 429, "1"]);
      expect(await refused.text()).toContain("answers that were not read yet");
    }
    // Who watches over the process hears from it, and an answer that was made is sent whole.
    expect((await fetch(`${server.url}/livez`)).status).toBe(200);
    expect(runs).toEqual([0]);
    const [reader] = opened;
    reader?.socket.resume();
    await eventually(
      async () => reader?.socket.bytesRead ?? 0,
      (length) => length > 16 * MiB,
    );
    await eventually(
      async () => (await fetch(`${server.url}/skill.md`)).status,
      (status) => status === 200,
    );
    others.end();
  });

  test("an account that leaves too much unread is refused wherever it asks from, before the query runs", async () => {
    const user = await server.user("Reads Nothing");
    const others = occupy("answers", { address: "elsewhere", caller: user.userId }, heldBytes.answers.caller);
    await expect(user.call("billing:getWallet")).rejects.toMatchObject({ httpStatus: 429, code: "rate_limited" });
    expect((await user.rest("GET", "/api/billing/wallet")).status).toBe(429);
    expect(await server.nobody.call("docs:getTree")).toEqual({ tree: [] });
    others.end();
    expect(await user.call("billing:getWallet")).toMatchObject({ balance: expect.anything() });
  });

  test("a batch of large answers is made at the pace of its reader", async () => {
    runs.length = 0;
    const queries = Array.from({ length: 64 }, (_, number) => ({ path: "big:read", args: { number, bytes: MiB } }));
    const batch = track(await unreadCall(server, "/api/query_batch", { queries }));
    await eventually(
      async () => held().answers.bytes,
      (bytes) => bytes > 0,
    );
    for (let turn = 0; turn < 20; turn += 1) {
      await say("go on");
      expect(held().answers.bytes).toBeLessThan(2 * MiB);
    }
    expect(runs.length).toBeLessThan(40);
    batch.socket.resume();
    await eventually(
      async () => batch.socket.bytesRead,
      (length) => length > 64 * MiB,
    );
    const read = await fetch(`${server.url}/api/query_batch`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Origin: "https://example.org" },
      body: JSON.stringify({ queries: [...queries.slice(0, 8), { path: "nope" }] }),
    });
    expect(read.headers.get("access-control-allow-origin")).toBe("https://example.org");
    const { results } = (await read.json()) as { results: { status: string; value: string }[] };
    expect(results.map(({ value }) => value?.length)).toEqual([...new Array(8).fill(MiB), undefined]);
  });
});
