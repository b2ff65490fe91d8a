/**
 * Sockets on the real process: many of them for minutes, many comings and goings, garbage, and kills in the middle of a
 * conversation between published clients. `SOCKET_SECONDS` (300) and `SOCKETS` (1,000) set how much.
 */
import { randomBytes, randomInt } from "node:crypto";
import { ConsumerAgentClient, ProviderClient } from "@clawrent/provider";
import Sqlite from "better-sqlite3";
import pg from "pg";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { createDatabase, databases, type EmptyDatabase } from "../support/databases.js";
import { ServerProcess } from "../support/process.js";

const seconds = Number(process.env.SOCKET_SECONDS ?? 300);
const sockets = Number(process.env.SOCKETS ?? 1_000);
const mostGrowth = 1.2;

/** Loaded into the process beside the server: at SIGUSR2 it collects its garbage and says what it still holds. */
const memoryReport = `
  import v8 from "node:v8";
  import vm from "node:vm";
  v8.setFlagsFromString("--expose-gc");
  const gc = vm.runInNewContext("gc");
  process.on("SIGUSR2", () => { gc(); gc(); process.stderr.write("MEMORY " + JSON.stringify(process.memoryUsage()) + "\\n"); });
`;

const pauseFor = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const say = (content: string) => ({ type: "dialogue.message", payload: { content } });

// biome-ignore lint/suspicious/noExplicitAny: what comes back is what the tests go on with.
type Reply = any;

class Town {
  constructor(readonly server: ServerProcess) {}

  get ws(): string {
    return this.server.url.replace("http", "ws");
  }

  async rest(method: string, path: string, token?: string, body?: object): Promise<Reply> {
    const response = await fetch(`${this.server.url}${path}`, {
      method,
      headers: {
        ...(body ? { "Content-Type": "application/json" } : {}),
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
      },
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return JSON.parse(text);
  }

  /** The API key of an agent, which opens its control channel like a token. */
  async agentKey(): Promise<string> {
    const body = JSON.stringify({ path: "agents:register", args: { name: "Agent" } });
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(`${this.server.url}/api/mutation`, { method: "POST", headers, body });
    return ((await response.json()) as Reply).value.apiKey;
  }

  async user(name: string): Promise<{ token: string; id: string }> {
    const email = `${name.toLowerCase()}-${randomBytes(6).toString("hex")}@example.com`;
    await this.rest("POST", "/api/auth/send-verification", undefined, { email });
    const code = () => new RegExp(`"recipient":"${email}"[^\\n]*?\\b(\\d{6})\\b`).exec(this.server.stdout)?.[1];
    while (!code()) await pauseFor(20);
    const registration = { email, password: "a good password", name, verificationCode: code() };
    const { user, token } = await this.rest("POST", "/api/auth/register", undefined, registration);
    return { token, id: user.id };
  }

  /** A provider that anybody can rent, and a consumer with an agent and money. */
  async rental() {
    const [bob, alice] = [await this.user("Bob"), await this.user("Alice")];
    const make = (token: string) =>
      this.rest("POST", "/api/agents", token, {
        name: "Reader",
        slug: `reader-${randomBytes(6).toString("hex")}`,
        description: "Reads contracts and says what they mean",
      });
    const [provider, helper] = [await make(bob.token), await make(alice.token)];
    const terms = { pricingModel: "per_session", priceAmount: "1.00", approvalMode: "auto" };
    await this.rest("POST", `/api/agents/${provider.id}/publish`, bob.token, terms);
    await this.rest("POST", "/api/billing/wallet/topup", alice.token, { amount: 1_000 });
    const control = await this.open("/ws/agent", { token: provider.agentToken });
    await this.rest("POST", `/api/agents/${provider.id}/activate`, provider.agentToken);
    control.terminate();
    const rent = () =>
      this.rest("POST", "/api/sessions", alice.token, {
        agentId: provider.id,
        taskDescription: "Read this contract and say what it means",
        consumerAgentId: helper.id,
      });
    return { bob, alice, provider, helper, rent };
  }

  /** Resolves with the socket at its first frame, or at the end of a heartbeat on a channel that greets nobody. */
  open(path: string, query: Record<string, string>): Promise<WebSocket> {
    const socket = new WebSocket(`${this.ws}${path}?${new URLSearchParams(query)}`);
    socket.on("error", () => {});
    return new Promise((resolve, reject) => {
      socket.once("message", () => resolve(socket));
      socket.once("close", (code, reason) => reject(new Error(`closed with ${code} ${reason}`)));
      socket.once("open", () => socket.send('{"type":"system.heartbeat"}'));
    });
  }

  async memory(): Promise<NodeJS.MemoryUsage> {
    const before = this.server.stderr.length;
    this.server.signal("SIGUSR2");
    const report = () => /MEMORY (.*)\n/.exec(this.server.stderr.slice(before))?.[1];
    while (!report()) await pauseFor(20);
    return JSON.parse(report() ?? "");
  }
}

/** How many rows the tables of sockets hold. */
async function rowsOf(url: string): Promise<number> {
  const count = 'select (select count(*) from "agentSockets") + (select count(*) from "sessionSockets") as rows';
  if (url.startsWith("sqlite:")) {
    const file = new Sqlite(url.slice("sqlite:".length), { readonly: true });
    const { rows } = file.prepare(count).get() as { rows: number };
    file.close();
    return rows;
  }
  const client = new pg.Client(url);
  await client.connect();
  const { rows } = await client.query(count);
  await client.end();
  return Number(rows[0].rows);
}

/** Runs `work` for 0 to `count` - 1, `atOnce` at a time. */
async function times(count: number, atOnce: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (next < count) {
        next += 1;
        await work(next - 1);
      }
    }),
  );
}

describe.each(databases)("sockets on %s", (database) => {
  let created: EmptyDatabase | undefined;
  let server: ServerProcess | undefined;
  afterEach(async () => {
    await server?.stop();
    await created?.remove();
  });

  const start = async (): Promise<Town> => {
    created = await createDatabase(database);
    server = await ServerProcess.start({
      databaseUrl: created.url,
      environment: {
        NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(memoryReport)}`,
        AUTO_APPROVE_PROVIDERS: "true",
        JWT_SECRET: "a secret that only this test knows",
      },
    });
    return new Town(server);
  };
  const manyTimes = 10 * sockets;

  test(`${sockets} providers stay for ${seconds} s with heartbeats, at flat memory`, async () => {
    const town = await start();
    const keys: string[] = [];
    await times(sockets, 32, async () => keys.push(await town.agentKey()));
    const began = performance.now();
    const open: WebSocket[] = [];
    await times(sockets, 64, async (index) => {
      open.push(await town.open("/ws/agent", { token: keys[index] ?? "" }));
    });
    const openedInMs = Math.round(performance.now() - began);
    let answers = 0;
    const closes: number[] = [];
    for (const socket of open) {
      socket.on("message", () => {
        answers += 1;
      });
      socket.on("close", (code) => closes.push(code));
    }
    await pauseFor(2_000);
    answers = 0;
    const warm = await town.memory();
    const rounds = Math.max(Math.round(seconds / 25), 1);
    for (let round = 0; round < rounds; round += 1) {
      for (const socket of open) socket.send('{"type":"system.heartbeat","payload":{}}');
      await pauseFor((seconds * 1_000) / rounds);
    }
    const later = await town.memory();
    const mb = (bytes: number) => Math.round(bytes / 1024 / 1024);
    console.log(
      `${database}: ${sockets} sockets opened in ${openedInMs} ms; ` +
        `heap ${mb(warm.heapUsed)} → ${mb(later.heapUsed)} MB, rss ${mb(warm.rss)} → ${mb(later.rss)} MB`,
    );
    expect(closes).toEqual([]);
    expect(answers).toBe(rounds * sockets);
    expect(later.heapUsed).toBeLessThan(warm.heapUsed * mostGrowth);
    for (const socket of open) socket.terminate();
  });

  test(`${manyTimes} comings and goings leave nothing behind`, async () => {
    const town = await start();
    const { provider, rent, bob } = await town.rental();
    const session = await rent();
    const { sessionToken } = await town.rest("GET", `/api/sessions/${session.id}`, bob.token);
    const keys: string[] = [];
    await times(100, 32, async () => keys.push(await town.agentKey()));
    const visit = async (count: number): Promise<void> => {
      const began = performance.now();
      const refused: Record<string, number> = {};
      const asConsumer = { sessionId: session.id, token: session.sessionToken, role: "consumer" };
      await times(count, 32, async (index) => {
        const [path, query] = (
          [
            ["/ws/agent", { token: keys[index % keys.length] ?? "" }],
            ["/ws/session", asConsumer],
            ["/ws/session", { ...asConsumer, token: sessionToken, role: "provider" }],
            ["/ws/group", { sessionId: session.id, token: provider.agentToken }],
            ["/ws/session", { ...asConsumer, token: "wrong" }],
          ] as const
        )[(index % 5) as 0];
        try {
          const socket = await town.open(path, query);
          if (index % 3 === 0) socket.terminate();
          else socket.close();
        } catch (error) {
          const { message } = error as Error;
          refused[message] = (refused[message] ?? 0) + 1;
        }
      });
      console.log(`${database}: ${count} visits in ${Math.round(performance.now() - began)} ms`, refused);
      expect(Object.keys(refused).join()).not.toMatch(/1011|1013|1006/);
    };
    await visit(manyTimes / 5);
    const warm = await town.memory();
    await visit(manyTimes);
    const givenUpAt = performance.now() + 30_000;
    while ((await rowsOf(created?.url ?? "")) > 0 && performance.now() < givenUpAt) await pauseFor(200);
    expect(await rowsOf(created?.url ?? "")).toBe(0);
    // The timers of those who are away have run out by then.
    await pauseFor(65_000);
    const later = await town.memory();
    console.log(`${database}: heap ${warm.heapUsed >> 20} → ${later.heapUsed >> 20} MB`);
    expect(later.heapUsed).toBeLessThan(warm.heapUsed * mostGrowth);
  });

  test(`${manyTimes} frames of garbage end nothing`, async () => {
    const town = await start();
    const { rent, bob, alice, provider } = await town.rental();
    const session = await rent();
    const { sessionToken } = await town.rest("GET", `/api/sessions/${session.id}`, bob.token);
    const targets = [
      ["/ws/agent", { token: provider.agentToken }],
      ["/ws/agent/consumer", { token: provider.agentToken }],
      ["/ws/session", { sessionId: session.id, token: sessionToken, role: "provider" }],
      ["/ws/session", { sessionId: session.id, token: session.sessionToken, role: "consumer" }],
      ["/ws/group", { sessionId: session.id, token: alice.token }],
    ] as const;
    const pick = <T>(list: readonly T[]): T => list[randomInt(list.length)] as T;
    const values = [null, true, 0, -1, 1e308, "", "x", [], {}, "\u0000", "__proto__", { __proto__: null }, "\ud800"];
    const types = [
      "dialogue.message",
      "dialogue.typing",
      "instruction.exec",
      "instruction.batch",
      "result.success",
      "session.pause",
      "system.heartbeat",
      "system.session_ended",
      "agent.status_update",
      "staff.hello",
      "",
      "constructor",
    ];
    const frame = (): string | Buffer => {
      const kind = randomInt(6);
      if (kind === 0) return randomBytes(randomInt(300));
      if (kind === 1) return randomBytes(randomInt(300)).toString("latin1");
      if (kind === 2) return "[".repeat(randomInt(20_000));
      const made = {
        id: pick(["a", "b", ...values]),
        type: kind === 3 ? pick(values) : pick(types),
        payload: kind === 4 ? pick(values) : { [pick(["content", "command", "usage", "__proto__"])]: pick(values) },
        targetSlot: pick([0, ...values]),
        mentions: pick([[alice.id], ["x"], undefined, ...values]),
        sessionId: pick([session.id, undefined, ...values]),
      };
      const text = JSON.stringify(made);
      return kind === 5 ? text.slice(0, randomInt(text.length)) : text;
    };
    let answers = 0;
    await times(50, 5, async () => {
      const [path, query] = pick(targets);
      const socket = await town.open(path, query).catch(() => undefined);
      if (!socket) return;
      socket.on("message", () => {
        answers += 1;
      });
      for (let count = 0; count < manyTimes / 50; count += 1) {
        socket.send(frame(), { binary: randomInt(10) === 0 });
        if (count % 20 === 0) await pauseFor(1);
      }
      await pauseFor(50);
      if (randomInt(2)) socket.terminate();
      else socket.close();
    });
    expect(answers).toBeGreaterThan(0);
    expect(await server?.isReady()).toBe(true);
    expect(server?.stdout).not.toMatch(/"level":(50|60)/);
    const consumer = await town.open("/ws/session", targets[3][1]);
    const heard = new Promise((resolve) =>
      consumer.on("message", (data) => String(data).includes("still here") && resolve(true)),
    );
    const sender = await town.open("/ws/session", targets[2][1]);
    sender.send(JSON.stringify(say("still here")));
    await heard;
    for (const socket of [consumer, sender]) socket.terminate();
  });

  test("nothing that was acknowledged is lost to a client with a cursor when the server is killed again and again", async () => {
    const town = await start();
    const { alice, provider, helper, rent } = await town.rental();
    const options = { apiUrl: town.server.url, wsUrl: town.ws, maxReconnectAttempts: 1_000 };
    const heard: string[] = [];
    const providing = new ProviderClient({
      ...options,
      agentToken: provider.agentToken,
      agentReconnectInitialMs: 100,
      useGroupChannel: true,
    });
    for (const event of ["session:error", "agent:warning"]) providing.on(event, () => {});
    await providing.start({
      onMessage: (_session, { type, payload }) => {
        if (type === "dialogue.message") heard.push((payload as { content: string }).content);
      },
    });
    const session = await rent();
    const acknowledged = new Set<string>();
    const consuming = new ConsumerAgentClient({ ...options, agentToken: helper.agentToken });
    for (const event of ["session:error", "control:error", "warning"]) consuming.on(event, () => {});
    consuming.on("session:presence", () => {});
    await consuming.start({ sessionIds: [session.id], onMessage: () => {} });
    // Acknowledgements do not reach the host, so a socket of the user's own sends.
    let sent = 0;
    const talking = (async () => {
      const givenUpAt = Date.now() + 60_000;
      while (sent < 600 && Date.now() < givenUpAt) {
        const socket = await town
          .open("/ws/group", { sessionId: session.id, token: alice.token })
          .catch(() => pauseFor(200).then(() => undefined));
        if (!socket) continue;
        socket.on("message", (data) => {
          const frame = JSON.parse(String(data)) as Reply;
          if (frame.type === "system.message_ack") acknowledged.add(frame.payload.id);
        });
        while (socket.readyState === WebSocket.OPEN && sent < 600) {
          sent += 1;
          socket.send(JSON.stringify({ id: `m${sent}`, ...say(`m${sent}`) }));
          await pauseFor(20);
        }
        await pauseFor(100);
        socket.terminate();
      }
    })();
    for (let kill = 0; kill < 5; kill += 1) {
      await pauseFor(1_500);
      await town.server.kill("SIGKILL");
      await town.server.start();
    }
    await talking;
    const { data } = await town.rest("GET", `/api/sessions/${session.id}/messages`, alice.token);
    const stored = data.map(({ payload }: Reply) => payload.content);
    const givenUpAt = Date.now() + 30_000;
    while (heard.length < stored.length && Date.now() < givenUpAt) await pauseFor(100);
    console.log(
      `${database}: ${sent} sent, ${acknowledged.size} acknowledged, ${stored.length} stored, ${heard.length} heard`,
    );
    expect(heard).toEqual(stored);
    for (const id of acknowledged) expect(stored).toContain(id);
    expect(acknowledged.size).toBeGreaterThan(50);
    providing.stop();
    consuming.stop();
  });
});
