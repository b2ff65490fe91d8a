/**
 * Minutes of everything at once, on the real process: every function of Claw-to-Claw and all that goes on at the
 * marketplace, from many clients and over sockets, refusals and garbage among the calls. Memory stays flat, nothing fails, the event loop keeps answering, the log of SQLite stays small.
 * `SOAK_SECONDS` sets how long (120 on SQLite, a third of that on PostgreSQL).
 */
import { existsSync, statSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { coordination, modules } from "../../functions/index.js";
import { Registry } from "../../runtime/call/registry.js";
import { createDatabase, databases, type EmptyDatabase } from "../support/databases.js";
import { randomKey } from "../support/harness.js";
import { ServerProcess } from "../support/process.js";
import { SmtpServer } from "../support/smtp.js";

const seconds = Number(process.env.SOAK_SECONDS ?? 120);
const duration = { sqlite: seconds, postgres: seconds / 3 };
/** Of either system. */
const clients = 12;
const admin = "admin@example.com";
const password = "correct horse battery";
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
/** What must have been answered: the rest of the marketplace is what its owners and admins do now and then. */
const expected = [...registry.functions.keys()].filter(
  (path) =>
    new Registry(coordination).functions.has(path) ||
    /^(users|marketplace|favorites|follows|cart|sessions|orders|billing):/.test(path),
);

/** Somebody with an account. */
interface Person {
  userId: string;
  email: string;
  jwt: string;
}

/** An agent that is online: its control channel is held as long as the load lasts. */
interface Offer {
  agentId: string;
  slug: string;
  token: string;
  owner: Person;
  channel: WebSocket;
}

class Load {
  running = true;
  calls = 0;
  readonly problems: string[] = [];
  readonly answered = new Map<string, number>();

  readonly offers: Offer[] = [];
  /** Frames that came over sockets. */
  frames = 0;

  constructor(
    readonly url: string,
    readonly smtp: SmtpServer,
  ) {}

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
      throw new Error(`${path}: ${response.status} ${text.slice(0, 300)}`);
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

  /** A sign-up, with the code from the mail, and a sign-in. */
  async signUp(email = `${crypto.randomUUID()}@example.com`): Promise<Person> {
    await this.call("users:sendVerification", { email });
    const mailOf = () => this.smtp.taken.findIndex(({ recipient }) => recipient === email);
    while (mailOf() < 0) await pauseFor(10);
    const [mail] = this.smtp.taken.splice(mailOf(), 1);
    const verificationCode = /\b\d{6}\b/.exec(mail?.content ?? "")?.[0];
    const { user } = await this.call("users:register", { email, password, name: "Somebody", verificationCode });
    const { token } = await this.call("users:signIn", { email, password });
    await this.call("users:me", {}, token);
    return { userId: user.id, email, jwt: token };
  }

  /** Opens a socket; its frames are counted. Resolves with the first of them, or without one once it is open. */
  async socket(path: string, firstFrame: boolean): Promise<WebSocket> {
    const socket = new WebSocket(this.url.replace("http", "ws") + path);
    socket.on("message", () => {
      this.frames += 1;
    });
    await new Promise((resolve, reject) => socket.once(firstFrame ? "message" : "open", resolve).once("error", reject));
    return socket;
  }

  /** An agent of a new owner, listed and online. */
  async offer(owner: Person, reviewer: Person, terms: object): Promise<void> {
    const slug = `agent-${this.offers.length}`;
    const described = {
      name: slug,
      slug,
      description: "Reads contracts 合同",
      capabilities: [{ category: "law", name: "x" }],
    };
    const { id: agentId, agentToken: token } = await this.call("agents:create", described, owner.jwt);
    await this.call("agents:publish", { agentId, maxConcurrentSessions: 1_000, ...terms }, owner.jwt);
    await this.call("admin:approveAgent", { agentId }, reviewer.jwt);
    const channel = await this.socket(`/ws/agent?token=${token}`, true);
    await this.call("agents:activate", { agentId }, owner.jwt);
    this.offers.push({ agentId, slug, token, owner, channel });
  }

  /** One consumer's round: they look around, rent, talk over every channel, end, order, and look at what it cost. */
  async market({ jwt, userId }: Person, turn: number): Promise<void> {
    const [auto, manual, tokens] = this.offers as [Offer, Offer, Offer];
    const call = (path: string, args: object = {}) => this.call(path, args, jwt);
    await call("marketplace:browse", { search: "contracts", category: "law", page: 1 });
    await call("marketplace:listCategories");
    await call("marketplace:getBySlug", { slug: auto.slug });
    for (const path of ["favorites:add", "favorites:check", "favorites:list", "favorites:remove"]) {
      await call(path, path === "favorites:list" ? {} : { agentId: auto.agentId });
    }
    await call("follows:add", { userId: auto.owner.userId });
    await call("follows:listFollowing");
    await this.call("follows:listFollowers", {}, auto.owner.jwt);
    await call("follows:remove", { userId: auto.owner.userId });
    await call("billing:topUp", { amount: "20.00" });

    const rent = (offer: Offer) =>
      call("sessions:create", { agentId: offer.agentId, taskDescription: "Read this for me" });
    const { id: sessionId, sessionToken } = await rent(turn % 2 === 0 ? auto : tokens);
    const provider = turn % 2 === 0 ? auto : tokens;
    const said = {
      sessionId,
      type: "dialogue.message",
      payload: { content: "x".repeat(300), usage: { totalTokens: 3 } },
    };
    const socket = await this.socket(`/ws/session?sessionId=${sessionId}&token=${sessionToken}&role=consumer`, false);
    for (let round = 0; round < 8; round += 1) {
      await this.call("sessions:sendMessage", said, round % 2 === 0 ? jwt : provider.token);
      socket.send(JSON.stringify({ type: "dialogue.message", payload: { content: "y".repeat(300) } }));
      socket.send(JSON.stringify({ type: "system.heartbeat" }));
      provider.channel.send(JSON.stringify({ type: "system.heartbeat" }));
      await call("sessions:listMessages", { sessionId });
    }
    const blocked = { ...said, type: "instruction.exec", payload: { command: "rm -rf /" } };
    await this.refused("sessions:sendMessage", blocked, provider.token);
    const participant = { sessionId, participantId: provider.agentId };
    await call("sessions:pauseParticipant", participant);
    await call("sessions:resumeParticipant", participant);
    await call("sessions:get", { sessionId });
    await call("sessions:end", { sessionId });
    socket.close();

    const { id: pending } = await rent(manual);
    await this.call("sessions:list", { role: "provider", status: "pending_approval", limit: 5 }, manual.token);
    await this.call("sessions:approve", { sessionId: pending }, manual.token);
    await this.call("sessions:end", { sessionId: pending }, manual.token);
    await this.refused("sessions:create", { agentId: auto.agentId, taskDescription: "short" }, jwt);

    const item = { providerAgentId: auto.agentId, taskDescription: "Part 1" };
    const { id: cartItemId } = await call("cart:add", item);
    await call("cart:update", { cartItemId, taskDescription: "Part 2" });
    await call("cart:list");
    await call("cart:remove", { cartItemId });
    await call("cart:add", item);
    const order = await call("orders:create", { items: [item, item], fromCart: true });
    await call("cart:clear");
    await call("orders:get", { orderId: order.id });
    await call("orders:list", { limit: 5 });
    await call("orders:cancel", { orderId: order.id });
    await call("sessions:listRentedAgents");
    await call("sessions:list", { limit: 5 });
    for (const path of ["billing:getWallet", "billing:listRecords", "billing:listTransactions"]) await call(path);
    await this.refused("follows:add", { userId }, jwt);
  }

  /** What a function says no to. */
  async refused(path: string, args: object, credential: string): Promise<void> {
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${credential}` };
    const body = JSON.stringify({ path, args });
    const response = await fetch(`${this.url}/api/mutation`, { method: "POST", headers, body });
    const text = await response.text();
    this.calls += 1;
    if (response.status !== 200 || !text.includes('"errorData"')) this.problems.push(`${path}: not refused: ${text}`);
  }
}

describe.each(databases)("a long load on %s", (database) => {
  let created: EmptyDatabase | undefined;
  let server: ServerProcess | undefined;
  let smtp: SmtpServer | undefined;
  afterEach(async () => {
    await server?.stop();
    await smtp?.stop();
    await created?.remove();
  });

  test(`of ${Math.round(duration[database])} s leaves memory flat, answers everything and keeps its log small`, async () => {
    created = await createDatabase(database);
    smtp = await SmtpServer.start();
    const started = await ServerProcess.start({
      databaseUrl: created.url,
      environment: {
        NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(memoryReport)}`,
        ADMIN_EMAILS: admin,
        SMTP_URL: smtp.url,
        MAIL_FROM: "tidepool@example.com",
        JWT_SECRET: "a secret that only this one server ever knows",
      },
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

    const load = new Load(started.url, smtp);
    const [reviewer, ...owners] = [await load.signUp(admin), await load.signUp(), await load.signUp()] as const;
    const free = { pricingModel: "per_session", priceAmount: "0.0333" };
    await load.offer(owners[0], reviewer, { ...free, approvalMode: "auto" });
    await load.offer(owners[1], reviewer, { ...free, approvalMode: "manual" });
    await load.offer(owners[1], reviewer, { pricingModel: "per_token", priceAmount: "0.001", approvalMode: "auto" });
    const consumers = await Promise.all(Array.from({ length: clients }, () => load.signUp()));
    const living = [
      ...Array.from({ length: clients }, async (_, client) => {
        await pauseFor(client * 40);
        while (load.running) await load.story();
      }),
      ...consumers.map(async (consumer, client) => {
        await pauseFor(client * 40);
        for (let turn = client; load.running; turn += 1) await load.market(consumer, turn);
      }),
      // A hash takes a good part of a second, and memory that the warm-up has to have seen.
      (async () => {
        while (load.running) {
          await load.signUp();
          await pauseFor(1_000);
        }
      })(),
    ];
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
    const audit = await load.call("admin:audit", {}, reviewer.jwt);

    const megabytes = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MB`;
    const sorted = delays.toSorted((one, other) => one - other);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    const heapGrowth = end.heapUsed / warm.heapUsed;
    const residentGrowth = (end.rss - (end.cached - warm.cached)) / warm.rss;
    console.log(
      `${database}: ${load.calls} calls and ${load.frames} frames in ${duration[database]} s; heap ${megabytes(warm.heapUsed)} → ${megabytes(end.heapUsed)} (×${heapGrowth.toFixed(2)}); ` +
        `resident ${megabytes(warm.rss)} → ${megabytes(end.rss)} (×${residentGrowth.toFixed(2)} without the database's ${megabytes(end.cached - warm.cached)}); ` +
        `/livez ${at(0.5).toFixed(1)} ms (p50), ${at(0.99).toFixed(1)} ms (p99), ${at(1).toFixed(1)} ms (most); ` +
        `WAL at most ${megabytes(mostWal)}`,
    );
    expect(load.problems).toEqual([]);
    expect(expected.filter((path) => !load.answered.has(path))).toEqual([]);
    expect(audit).toMatchObject({ ok: true });
    expect(started.stderr.replace(/^MEMORY .*\n/gm, "")).toBe("");
    expect(started.stdout).toBe("");
    expect(heapGrowth).toBeLessThan(mostGrowth);
    expect(residentGrowth).toBeLessThan(mostGrowth);
    expect(mostWal).toBeLessThan(mostWalBytes);
    expect(at(0.99)).toBeLessThan(500);
    expect(await started.stop()).toEqual({ code: 0, signal: null });
  });
});
