/**
 * Minutes of everything at once, on the real process: every function, from many clients, refusals and garbage among the
 * calls. Memory stays flat, nothing fails, the event loop keeps answering, the log of SQLite stays small.
 * `SOAK_SECONDS` sets how long (120 on SQLite, a third of that on PostgreSQL).
 */
import { existsSync, statSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { modules } from "../../functions/index.js";
import { Registry } from "../../runtime/registry.js";
import { createDatabase, databases, type EmptyDatabase } from "../support/databases.js";
import { randomKey } from "../support/harness.js";
import { ServerProcess } from "../support/process.js";

const seconds = Number(process.env.SOAK_SECONDS ?? 120);
const duration = { sqlite: seconds, postgres: seconds / 3 };
const clients = 24;
const mostGrowth = 1.3;
const mostWalBytes = 64 * 1024 * 1024;

/** Loaded into the process beside the server: at SIGUSR2 it collects its garbage and says what it still holds. */
const memoryReport = `
  import v8 from "node:v8";
  import vm from "node:vm";
  v8.setFlagsFromString("--expose-gc");
  const gc = vm.runInNewContext("gc");
  process.on("SIGUSR2", () => { gc(); gc(); process.stderr.write("MEMORY " + JSON.stringify(process.memoryUsage()) + "\\n"); });
`;

const pauseFor = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const registry = new Registry(modules);

class Load {
  running = true;
  calls = 0;
  readonly problems: string[] = [];
  readonly answered = new Map<string, number>();

  constructor(readonly url: string) {}

  // biome-ignore lint/suspicious/noExplicitAny: what comes back is what the clients go on with.
  async call(path: string, args: object = {}, apiKey?: string): Promise<any> {
    await pauseFor(20 + Math.random() * 30);
    const response = await fetch(`${this.url}/api/${registry.find(path)?.kind}`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        ...(apiKey ? { Authorization: `Bearer ${apiKey}` } : {}),
        ...(this.calls % 5 === 0 ? { "Idempotency-Key": crypto.randomUUID() } : {}),
      },
      body: JSON.stringify({ path, args }),
    });
    const text = await response.text();
    this.calls += 1;
    const { status, value } = JSON.parse(text) as { status: string; value: unknown };
    if (response.status !== 200 || status !== "success") {
      this.problems.push(`${path}: ${response.status} ${text.slice(0, 300)}`);
      throw new Error(`${path} failed`);
    }
    this.answered.set(path, (this.answered.get(path) ?? 0) + 1);
    return value;
  }

  /** What should be refused, and is. */
  async nonsense(): Promise<void> {
    const bodies = [
      "{",
      '{"path":"agents:nothing"}',
      '{"path":"agents:getStatus","args":{"x":1}}',
      '{"path":"agents:claim","args":{"claimToken":"x"}}',
    ];
    for (const body of bodies) {
      const response = await fetch(`${this.url}/api/mutation`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer c2c_${crypto.randomUUID()}` },
        body,
      });
      await response.text();
      this.calls += 1;
      if (response.status >= 500) this.problems.push(`${body}: ${response.status}`);
    }
  }

  /** Two agents from their registration to the end of their connection, through every function. */
  async story(): Promise<void> {
    const register = async (name: string) => {
      const agent = await this.call("agents:register", { name, description: "x".repeat(200) });
      await this.call("agents:setPublicKey", { publicKey: randomKey() }, agent.apiKey);
      return agent as { agentId: string; apiKey: string; claimToken: string };
    };
    const [alice, bob] = await Promise.all([register("Alice"), register("Bob")]);
    await this.call("agents:getClaim", { claimToken: alice.claimToken });
    await this.call("agents:claim", { claimToken: alice.claimToken });
    const { inviteToken } = await this.call("connections:invite", {}, alice.apiKey);
    await this.call("connections:getInvite", { inviteToken });
    const { connectionId } = await this.call("connections:accept", { inviteToken }, bob.apiKey);
    for (const { apiKey } of [alice, bob]) await this.call("connections:list", {}, apiKey);

    const { threadId } = await this.call("messages:startThread", { connectionId }, alice.apiKey);
    const send = (type: string, apiKey: string) =>
      this.call("messages:send", { threadId, type, payload: { notes: "x".repeat(300) } }, apiKey);
    await send("proposal", alice.apiKey);
    for (let round = 0; round < 8; round += 1) {
      await send("info", round % 2 === 0 ? alice.apiKey : bob.apiKey);
      await this.call("messages:getForThread", { threadId }, bob.apiKey);
    }
    await send("accept", bob.apiKey);
    await this.call("approvals:getPending", {}, alice.apiKey);
    await this.call("approvals:submit", { threadId, approved: true }, alice.apiKey);
    await this.call("approvals:submit", { threadId, approved: true }, bob.apiKey);
    await this.call("messages:getThreadsForAgent", {}, alice.apiKey);

    const place = { lat: Math.random() * 160 - 80, lng: Math.random() * 360 - 180 };
    const startAt = Date.now() - 60_000;
    const { eventId } = await this.call(
      "events:create",
      {
        name: "Meeting",
        tags: ["music"],
        locationLat: place.lat,
        locationLng: place.lng,
        startAt,
        endAt: startAt + 3_600_000,
      },
      alice.apiKey,
    );
    await this.call("events:updateTags", { eventId, tags: ["music", "food"] }, alice.apiKey);
    await this.call("events:listLive", {}, bob.apiKey);
    for (const { apiKey } of [alice, bob]) {
      const { shareToken } = await this.call("events:requestLocationShare", {}, apiKey);
      await this.call("events:getShareRequest", { shareToken });
      await this.call("events:submitLocationShare", { shareToken, ...place });
      await this.call("events:getLocationShare", { shareToken }, apiKey);
      await this.call("events:listNearby", { shareToken }, apiKey);
      await this.call("events:checkIn", { eventId, locationShareToken: shareToken, introNote: "music" }, apiKey);
    }
    await this.call("events:getById", { eventId }, alice.apiKey);
    await this.call("events:getSuggestions", { eventId }, alice.apiKey);
    const { introId } = await this.call("events:proposeIntro", { eventId, toAgentId: bob.agentId }, alice.apiKey);
    await this.call("events:respondIntro", { introId, accept: true }, bob.apiKey);
    await this.call("events:submitIntroApproval", { introId, approved: true }, alice.apiKey);
    await this.call("events:submitIntroApproval", { introId, approved: true }, bob.apiKey);
    await this.call("events:listMyIntros", {}, bob.apiKey);
    await this.call("events:checkOut", { eventId }, bob.apiKey);
    await this.call("events:expireStale", {}, alice.apiKey);
    await this.call("agents:getStatus", {}, alice.apiKey);
    await this.call("connections:disconnect", { connectionId }, bob.apiKey);
    await this.nonsense();
  }
}

describe.each(databases)("a long load on %s", (database) => {
  let created: EmptyDatabase | undefined;
  let server: ServerProcess | undefined;
  afterEach(async () => {
    await server?.stop();
    await created?.remove();
  });

  test(`of ${Math.round(duration[database])} s leaves memory flat, answers everything and keeps its log small`, async () => {
    created = await createDatabase(database);
    const started = await ServerProcess.start({
      databaseUrl: created.url,
      environment: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(memoryReport)}` },
    });
    server = started;
    const file = database === "sqlite" ? created.url.slice("sqlite:".length) : "";
    const sizeOf = (name: string) => (existsSync(name) ? statSync(name).size : 0);
    const measure = async () => {
      const before = started.stderr.length;
      started.signal("SIGUSR2");
      while (!started.stderr.slice(before).includes("\n")) await pauseFor(20);
      const { heapUsed, rss } = JSON.parse(started.stderr.slice(before).replace("MEMORY ", "")) as NodeJS.MemoryUsage;
      // SQLite's page cache holds the database, up to its limit: that is not growth of ours.
      return { heapUsed, rss, cached: sizeOf(file) };
    };

    const load = new Load(started.url);
    const living = Array.from({ length: clients }, async (_, client) => {
      await pauseFor(client * 40);
      while (load.running) await load.story();
    });
    const failed = Promise.all(living);
    failed.catch(() => {});

    let mostWal = 0;
    const delays: number[] = [];
    const watching = (async () => {
      while (load.running) {
        const asked = performance.now();
        await (await fetch(`${started.url}/livez`)).text();
        delays.push(performance.now() - asked);
        mostWal = Math.max(mostWal, sizeOf(`${file}-wal`));
        await pauseFor(50);
      }
    })();

    const warmUpMs = duration[database] * 250;
    await Promise.race([failed, pauseFor(warmUpMs)]);
    const warm = await measure();
    await Promise.race([failed, pauseFor(duration[database] * 1_000 - warmUpMs)]);
    const end = await measure();
    load.running = false;
    await Promise.allSettled([...living, watching]);

    const megabytes = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MB`;
    const sorted = delays.toSorted((one, other) => one - other);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    const heapGrowth = end.heapUsed / warm.heapUsed;
    const residentGrowth = (end.rss - (end.cached - warm.cached)) / warm.rss;
    console.log(
      `${database}: ${load.calls} calls in ${duration[database]} s; heap ${megabytes(warm.heapUsed)} → ${megabytes(end.heapUsed)} (×${heapGrowth.toFixed(2)}); ` +
        `resident ${megabytes(warm.rss)} → ${megabytes(end.rss)} (×${residentGrowth.toFixed(2)} without the database's ${megabytes(end.cached - warm.cached)}); ` +
        `/livez ${at(0.5).toFixed(1)} ms (p50), ${at(0.99).toFixed(1)} ms (p99), ${at(1).toFixed(1)} ms (most); ` +
        `WAL at most ${megabytes(mostWal)}`,
    );
    expect(load.problems).toEqual([]);
    expect([...registry.functions.keys()].filter((path) => !load.answered.has(path))).toEqual([]);
    expect(started.stderr.replace(/^MEMORY .*\n/gm, "")).toBe("");
    expect(started.stdout).toBe("");
    expect(heapGrowth).toBeLessThan(mostGrowth);
    expect(residentGrowth).toBeLessThan(mostGrowth);
    expect(mostWal).toBeLessThan(mostWalBytes);
    expect(at(0.99)).toBeLessThan(500);
    expect(await started.stop()).toEqual({ code: 0, signal: null });
  });
});
