/**
 * PostgreSQL restarted under load, cleanly and as by a crash, while two processes serve agents that write, people that
 * rent, live clients and event streams. As long as the database is away every call is told so, at once; soon after it is
 * back everything goes on as before, and nothing that was acknowledged is missing or there twice. `RESTARTS` sets how
 * often (6; the whole of it is 20).
 */
import { ConvexClient } from "convex/browser";
import pg from "pg";
import { expect, onTestFailed, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { runAudit } from "../support/audit.js";
import { randomKey } from "../support/harness.js";
import { each, pauseFor } from "../support/kills.js";
import { mutationAt, queryAt, type Value } from "../support/live-clients.js";
import { type OwnPostgres, startOwnPostgres } from "../support/postgres.js";
import { ServerProcess } from "../support/process.js";
import { ask as askDatabase, describeProcesses } from "../support/processes.js";

const restarts = Number(process.env.RESTARTS ?? 6);
/** From the moment that the database takes connections again. */
const promisedMs = 5_000;
/** What a call may take, whatever happens to the database. */
const longestCallMs = 5_000;
/** As many connections as a process has (runtime/store/postgres.ts). */
const poolSize = 16;
const talkers = 12;
const renters = 6;
const readers = 8;
const messagesPerThread = 20;
/** What a rent costs, and what is topped up for it, in cents. */
const price = 100;
const topUp = 110;

/** A write that was answered. */
interface Acknowledged {
  path: string;
  args: object;
  credential: string | undefined;
  key: string;
  reply: string;
}

interface Reply {
  status: number;
  text: string;
}

/** All who call, what they were told, and what they should not have been. */
class Callers {
  readonly problems: string[] = [];
  readonly acknowledged: Acknowledged[] = [];
  readonly statuses: Record<number, number> = {};
  slowestMs = 0;
  /** Writes that were asked more than once. */
  retried = 0;

  constructor(readonly servers: readonly ServerProcess[]) {}

  get anyServer(): ServerProcess {
    return this.servers[Math.floor(Math.random() * this.servers.length)] as ServerProcess;
  }

  /** Every reply is an answer, or a 503 that says when to come again; and it comes soon. */
  async fetch(server: ServerProcess, path: string, request: RequestInit = {}): Promise<Reply & { response: Response }> {
    const startedAt = performance.now();
    const response = await fetch(`${server.url}${path}`, { ...request, signal: AbortSignal.timeout(30_000) });
    const isStream = response.headers.get("content-type")?.startsWith("text/event-stream");
    const text = isStream ? "" : await response.text();
    const ms = performance.now() - startedAt;
    this.slowestMs = Math.max(this.slowestMs, ms);
    const { status } = response;
    this.statuses[status] = (this.statuses[status] ?? 0) + 1;
    const told = `${path}: ${status} ${text.slice(0, 300)} after ${Math.round(ms)} ms`;
    if (ms > longestCallMs) this.problems.push(told);
    else if (status === 503 && !/^[1-9]\d*$/.test(response.headers.get("retry-after") ?? "")) this.problems.push(told);
    else if (status !== 200 && status !== 503) this.problems.push(told);
    return { status, text, response };
  }

  call(
    server: ServerProcess,
    kind: "query" | "mutation",
    path: string,
    args: object,
    credential?: string,
    key?: string,
  ): Promise<Reply> {
    const headers = {
      "Content-Type": "application/json",
      ...(credential ? { Authorization: `Bearer ${credential}` } : {}),
      ...(key ? { "Idempotency-Key": key } : {}),
    };
    return this.fetch(server, `/api/${kind}?${path}`, {
      method: "POST",
      headers,
      body: JSON.stringify({ path, args }),
    });
  }

  /** A write that is asked again, of any process, until it is done. */
  async write(path: string, args: object, credential?: string): Promise<Value> {
    const key = crypto.randomUUID();
    for (let attempt = 1; ; attempt += 1) {
      const { status, text } = await this.call(this.anyServer, "mutation", path, args, credential, key);
      if (status === 200) {
        if (attempt > 1) this.retried += 1;
        this.acknowledged.push({ path, args, credential, key, reply: text });
        return successOf(path, text);
      }
      await pauseFor(50 + Math.random() * 300);
    }
  }

  /** A query that is asked again until it is answered. */
  async read(path: string, args: object, credential: string, server?: ServerProcess): Promise<Value> {
    for (;;) {
      const { status, text } = await this.call(server ?? this.anyServer, "query", path, args, credential);
      if (status === 200) return successOf(path, text);
      await pauseFor(50 + Math.random() * 300);
    }
  }
}

function successOf(path: string, reply: string): Value {
  const { status, value } = JSON.parse(reply) as { status: string; value: unknown };
  if (status !== "success") throw new Error(`${path} answered ${reply}`);
  return value;
}

interface Thread {
  /** The credentials of the two agents. */
  agents: [string, string];
  connectionId: string;
  threadId: string;
}

/** Two agents with a thread. */
async function meet(callers: Callers, number: number): Promise<Thread> {
  const register = async (name: string): Promise<string> => {
    const { apiKey } = await callers.write("agents:register", { name });
    await callers.write("agents:setPublicKey", { publicKey: randomKey() }, apiKey);
    return apiKey;
  };
  const agents: [string, string] = [await register(`Agent ${2 * number}`), await register(`Agent ${2 * number + 1}`)];
  const { inviteToken } = await callers.write("connections:invite", {}, agents[0]);
  const { connectionId } = await callers.write("connections:accept", { inviteToken }, agents[1]);
  const { threadId } = await callers.write("messages:startThread", { connectionId }, agents[0]);
  return { agents, connectionId, threadId };
}

async function register(callers: Callers, name: string): Promise<string> {
  const email = `${name.toLowerCase().replaceAll(/[^a-z0-9]/g, "")}@example.com`;
  await callers.write("users:sendVerification", { email });
  const mail = new RegExp(`"recipient":"${email}"[^\\n]*?\\b(\\d{6})\\b`);
  const code = () => callers.servers.map(({ stdout }) => mail.exec(stdout)?.[1]).find((found) => found);
  while (!code()) await pauseFor(20);
  const account = { email, password: "a good password", name, verificationCode: code() };
  return (await callers.write("users:register", account)).token;
}

/** An agent that anybody can rent. */
async function offer(callers: Callers): Promise<string> {
  const bob = await register(callers, "Bob");
  const description = "Reads contracts and says what they mean";
  const made = await callers.write("agents:create", { name: "Reader", slug: "reader", description }, bob);
  const priceAmount = (price / 100).toFixed(2);
  const terms = { pricingModel: "per_session", priceAmount, approvalMode: "auto", maxConcurrentSessions: 1_000 };
  await callers.write("agents:publish", { agentId: made.id, ...terms }, bob);
  const [server] = callers.servers;
  const socket = new WebSocket(`${server?.url.replace("http", "ws")}/ws/agent?token=${made.agentToken}`);
  await new Promise((resolve, reject) => socket.once("message", resolve).once("error", reject));
  await callers.write("agents:activate", { agentId: made.id }, bob);
  socket.on("error", () => {}).close();
  return made.id;
}

/** What somebody sees of the thread that all look at: message ids, only ever more of them. */
class View {
  messages: string[] = [];
  values = 0;

  constructor(
    readonly name: string,
    readonly problems: string[],
  ) {}

  show(value: { messageId: string }[]): void {
    const messages = value.map(({ messageId }) => messageId);
    if (!this.messages.every((messageId, index) => messages[index] === messageId)) {
      this.problems.push(`${this.name}: ${messages} came after ${this.messages}`);
    }
    this.messages = messages;
    this.values += 1;
  }
}

/** An event stream that comes again when it ends, as a browser's does. */
async function follow(callers: Callers, server: ServerProcess, path: string, credential: string, view: View) {
  const request = { headers: { Authorization: `Bearer ${credential}` } };
  const leaving = new AbortController();
  onTestFinished(() => leaving.abort());
  while (!leaving.signal.aborted) {
    const { response, status } = await callers.fetch(server, path, request);
    if (status === 200) {
      leaving.signal.addEventListener("abort", () => void response.body?.cancel().catch(() => {}));
      let text = "";
      try {
        for await (const chunk of response.body ?? []) {
          text += new TextDecoder().decode(chunk);
          const blocks = text.split("\n\n");
          text = blocks.pop() ?? "";
          for (const block of blocks) {
            const data = /^data: (.*)$/m.exec(block)?.[1];
            if (data !== undefined && !/^event: error$/m.test(block)) view.show(JSON.parse(data));
          }
        }
      } catch {
        // It comes again.
      }
    }
    await pauseFor(200);
  }
}

/** Convex's own client, signed in as an agent; closed after the test. */
function liveClient({ url }: ServerProcess, credential: string): ConvexClient {
  const client = new ConvexClient(url, {
    skipConvexDeploymentUrlCheck: true,
    logger: false,
    webSocketConstructor: WebSocket as unknown as typeof globalThis.WebSocket,
  });
  onTestFinished(() => client.close());
  client.setAuth(async () => credential);
  return client;
}

/** Waits until the database takes connections. */
async function accepts(url: string): Promise<void> {
  for (;;) {
    try {
      await askDatabase(url, "select 1");
      return;
    } catch {
      await pauseFor(5);
    }
  }
}

interface Person {
  token: string;
  topUps: number;
  sessions: string[];
}

/** What goes on beside the restarts, until it is over. */
class Load {
  over = false;
  readonly failures: unknown[] = [];
  readonly people: Person[] = [];
  readonly threads: Thread[] = [];
  /** Every message that was acknowledged, by its body. */
  readonly bodies = new Map<string, string>();
  #said = 0;
  readonly #loops: Promise<void>[] = [];

  constructor(readonly callers: Callers) {}

  repeat(work: () => Promise<void>): void {
    const loop = async () => {
      while (!this.over) await work();
    };
    this.#loops.push(loop().catch((error: unknown) => void this.failures.push(error)));
  }

  async end(): Promise<void> {
    this.over = true;
    await Promise.all(this.#loops);
    expect(this.failures).toEqual([]);
  }

  async meet(): Promise<Thread> {
    const place = this.threads.push({} as Thread) - 1;
    const thread = await meet(this.callers, place);
    this.threads[place] = thread;
    return thread;
  }

  async say(
    threadId: string,
    credential: string,
    write: (path: string, args: Record<string, unknown>, credential: string) => Promise<Value> = (...call) =>
      this.callers.write(...call),
  ): Promise<string> {
    this.#said += 1;
    const body = `message ${this.#said}`;
    const { messageId } = await write("messages:send", { threadId, type: "info", payload: { body } }, credential);
    this.bodies.set(body, messageId);
    return messageId;
  }

  /** Two agents that talk, in one thread after the other. */
  async talk(): Promise<void> {
    const { agents, connectionId, ...thread } = await this.meet();
    let messages = 0;
    this.repeat(async () => {
      await pauseFor(Math.random() * 60);
      messages += 1;
      await this.say(thread.threadId, agents[messages % 2] as string);
      if (messages % messagesPerThread !== 0) return;
      thread.threadId = (await this.callers.write("messages:startThread", { connectionId }, agents[0])).threadId;
    });
  }

  /** An agent that talks by its socket. */
  async talkLive(server: ServerProcess): Promise<void> {
    const { agents, threadId } = await this.meet();
    const client = liveClient(server, agents[0]);
    this.repeat(async () => {
      await pauseFor(Math.random() * 100);
      await this.say(threadId, agents[0], (path, args) => client.mutation(mutationAt(path), args));
    });
  }

  rent(agentId: string, person: Person): void {
    const { token } = person;
    this.people.push(person);
    this.repeat(async () => {
      await this.callers.write("billing:topUp", { amount: (topUp / 100).toFixed(2) }, token);
      person.topUps += 1;
      const task = { agentId, taskDescription: "Read this contract and say what it means" };
      const { id: sessionId } = await this.callers.write("sessions:create", task, token);
      person.sessions.push(sessionId);
      const words = { type: "dialogue.message", payload: { content: "Question" } };
      await this.callers.write("sessions:sendMessage", { sessionId, ...words }, token);
      await this.callers.write("sessions:end", { sessionId }, token);
      await pauseFor(Math.random() * 100);
    });
  }

  /** Everything that was acknowledged is there, once, and nothing else. */
  async verify(url: string): Promise<void> {
    const { callers, people, bodies } = this;
    for (const { token, topUps, sessions } of people) {
      const { balances, held } = await callers.read("billing:getWallet", {}, token);
      expect(Number(balances.CNY) * 100).toBeCloseTo(topUps * topUp - sessions.length * price);
      expect(Number(held)).toBe(0);
    }
    const rows = await askDatabase<{ messageId: string; payload: string }>(
      url,
      `select "messageId", payload from messages`,
    );
    expect(rows.length).toBe(bodies.size);
    expect(new Map(rows.map(({ messageId, payload }) => [JSON.parse(payload).body, messageId]))).toEqual(bodies);
    const [counts] = await askDatabase(
      url,
      `select (select count(*)::int from sessions) as sessions, (select count(*)::int from users) as users,
        (select count(*)::int from agents where name like 'Agent %') as agents`,
    );
    const sessions = people.reduce((sum, person) => sum + person.sessions.length, 0);
    expect(counts).toEqual({ sessions, users: people.length + 1, agents: 2 * this.threads.length });
    // Asked again, of the other process perhaps, every write answers as it did.
    await each([...callers.acknowledged], async ({ path, args, credential, key, reply }) => {
      expect((await callers.call(callers.anyServer, "mutation", path, args, credential, key)).text).toBe(reply);
    });
  }
}

/** How long it took from the moment that the database took connections again. */
interface Recovery {
  /** Until each process answered a query and a write. */
  backMs: number[];
  /** Until everybody who watches saw a write of each process. */
  liveMs: number;
  /** Until every connection that the processes may have worked at once. */
  wholeMs: number;
}

describeProcesses("PostgreSQL restarted under load", () => {
  test(`is survived by two processes ${restarts} times`, async () => {
    const postgres: OwnPostgres = await startOwnPostgres(["fsync=off", "shared_buffers=128MB"]);
    onTestFinished(() => postgres.stop());
    const environment = { JWT_SECRET: "a secret that only this test knows", AUTO_APPROVE_PROVIDERS: "true" };
    const servers: ServerProcess[] = [];
    onTestFinished(async () => {
      await Promise.all(servers.map((server) => server.stop()));
    });
    for (let count = 0; count < 2; count += 1) {
      servers.push(await ServerProcess.start({ databaseUrl: postgres.url, environment }));
    }
    const faultsOf = ({ stdout }: ServerProcess) => stdout.match(/^.*("msg":"fault"|"level":60).*$/gm) ?? [];
    onTestFailed(() => {
      for (const server of servers) console.log(...faultsOf(server), server.stderr);
    });
    const pids = servers.map(({ pid }) => pid);
    const callers = new Callers(servers);
    const { problems } = callers;
    const load = new Load(callers);

    // Those who watch one thread, on each process by a live client and by a stream.
    const { agents, threadId } = await load.meet();
    const [first, second] = agents;
    const watched = { threadId, limit: 500 };
    const stream = `/api/subscribe?path=messages:getForThread&args=${JSON.stringify(watched)}`;
    const views = servers.flatMap((server, index) => {
      const live = new View(`live client of server ${index}`, problems);
      liveClient(server, first).onUpdate(
        queryAt("messages:getForThread"),
        watched,
        (value) => live.show(value),
        (error) => problems.push(`${live.name}: ${error}`),
      );
      const streamed = new View(`stream of server ${index}`, problems);
      void follow(callers, server, stream, second, streamed).catch((error: unknown) => problems.push(String(error)));
      return [live, streamed];
    });
    await Promise.all(Array.from({ length: talkers }, () => load.talk()));
    for (const server of servers) await load.talkLive(server);
    const agentId = await offer(callers);
    const people: Person[] = [];
    for (let number = 0; number < renters; number += 1) {
      people.push({ token: await register(callers, `Alice ${number}`), topUps: 0, sessions: [] });
    }
    for (const person of people) load.rent(agentId, person);

    // And those who only look, by every surface.
    const [alice] = people as [Person];
    const as = (credential: string) => ({ headers: { Authorization: `Bearer ${credential}` } });
    const readThread = (server: ServerProcess) =>
      callers.call(server, "query", "messages:getForThread", watched, first);
    const looks: ((server: ServerProcess) => Promise<Reply>)[] = [
      readThread,
      (server) => callers.call(server, "query", "messages:getThreadsForAgent", {}, second),
      (server) => callers.call(server, "query", "sessions:list", {}, alice.token),
      (server) => callers.fetch(server, "/api/billing/wallet", as(alice.token)),
      (server) => callers.fetch(server, "/api/sessions?limit=5", as(alice.token)),
      async (server) => {
        const opened = await callers.fetch(server, stream, as(first));
        await opened.response.body?.cancel().catch(() => {});
        return opened;
      },
    ];
    for (let reader = 0; reader < readers; reader += 1) {
      let turn = reader;
      load.repeat(async () => {
        turn += 1;
        await looks[turn % looks.length]?.(callers.anyServer);
        await pauseFor(Math.random() * 30);
      });
    }

    let refusedWhileAway = 0;
    /** Away for certain: whoever asks is told at once. */
    const expectRefusals = async () => {
      const registration = (server: ServerProcess) =>
        callers.call(server, "mutation", "agents:register", { name: "Nobody" });
      const asked = servers.flatMap((server) => [...looks, registration].map((look) => look(server)));
      for (const { status } of await Promise.all(asked)) expect(status).toBe(503);
      refusedWhileAway += asked.length;
      for (const server of servers) expect((await callers.fetch(server, "/livez")).status).toBe(200);
    };
    /** A write of each process is seen by everybody who watches. */
    const expectNews = async () => {
      const givenUpAt = Date.now() + 2 * promisedMs;
      const news = await Promise.all(
        servers.map((server) =>
          load.say(threadId, second, async (path, args, credential) => {
            const { text } = await callers.call(server, "mutation", path, args, credential);
            return successOf(path, text);
          }),
        ),
      );
      const lacking = () => views.filter(({ messages }) => !news.every((messageId) => messages.includes(messageId)));
      while (lacking().length > 0 && Date.now() < givenUpAt) await pauseFor(5);
      expect(lacking().map(({ name }) => name)).toEqual([]);
    };
    const recover = async (): Promise<Recovery> => {
      const startedAt = performance.now();
      const since = () => Math.round(performance.now() - startedAt);
      const untilDone = async (attempt: () => Promise<Reply>) => {
        while ((await attempt()).status !== 200) await pauseFor(20);
      };
      const setKey = (server: ServerProcess) =>
        callers.call(server, "mutation", "agents:setPublicKey", { publicKey: randomKey() }, first);
      const backMs = await Promise.all(
        servers.map(async (server) => {
          await untilDone(() => readThread(server));
          await untilDone(() => setKey(server));
          return since();
        }),
      );
      await expectNews();
      const liveMs = since();
      await expectWhole(postgres.url, callers, readThread);
      return { backMs, liveMs, wholeMs: since() };
    };

    const recoveries: Recovery[] = [];
    for (let restart = 1; restart <= restarts; restart += 1) {
      await pauseFor(1_000 + Math.random() * 1_500);
      await postgres.halt(restart % 2 === 0 ? "fast" : "immediate");
      await expectRefusals();
      await pauseFor(restart % 5 === 0 ? 8_000 : Math.random() * 2_500);
      const starting = postgres.start();
      await accepts(postgres.url);
      recoveries.push(await recover());
      await starting;
      expect(load.failures).toEqual([]);
      expect(problems).toEqual([]);
    }
    await load.end();
    // With nobody else at work, nothing but the word of the other process can wake those who watch.
    await expectNews();
    await load.verify(postgres.url);
    const audited = await runAudit(postgres.url);
    expect(problems).toEqual([]);
    expect(servers.map(({ pid }) => pid)).toEqual(pids);

    const worst = (times: number[]) => Math.max(...times);
    const backMs = servers.map((_, index) => recoveries.map((recovery) => recovery.backMs[index] ?? 0));
    const liveMs = recoveries.map((recovery) => recovery.liveMs);
    const wholeMs = recoveries.map((recovery) => recovery.wholeMs);
    console.log(
      `${restarts} restarts; back after ${backMs.map((times) => times.join(" ")).join(" ms and ")} ms\n` +
        `worst: ${backMs.map(worst).join(" and ")} ms to answer queries and writes, ${worst(liveMs)} ms until live clients ` +
        `and streams saw the writes of both, ${worst(wholeMs)} ms until ${2 * poolSize} connections worked at once\n` +
        `replies: ${JSON.stringify(callers.statuses)} (${refusedWhileAway} of the 503s asked for), the slowest after ` +
        `${Math.round(callers.slowestMs)} ms; ${callers.acknowledged.length} writes by key, ${callers.retried} of them asked ` +
        `again; ${load.bodies.size} messages, ${people.flatMap(({ sessions }) => sessions).length} sessions, ` +
        `${views.map(({ values }) => values).join(" + ")} values; audit: ${audited} checks`,
    );
    for (const times of [...backMs, liveMs, wholeMs]) expect(worst(times)).toBeLessThan(promisedMs);
    for (const server of servers) {
      expect(faultsOf(server)).toEqual([]);
      expect(server.stderr).toBe("");
      expect(await server.stop()).toEqual({ code: 0, signal: null });
    }
  });
});

/** Has every connection that the processes may have wait at the same moment, and all of them answer. */
async function expectWhole(
  url: string,
  callers: Callers,
  look: (server: ServerProcess) => Promise<Reply>,
): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    await client.query("begin");
    await client.query("lock table messages in access exclusive mode");
    const replies = callers.servers.flatMap((server) => Array.from({ length: poolSize }, () => look(server)));
    const all = callers.servers.length * poolSize;
    let waiting = 0;
    const givenUpAt = Date.now() + 3_000;
    while (waiting < all && Date.now() < givenUpAt) {
      // Past the transaction, in which the list would stay as it was first seen.
      const [row] = await askDatabase<{ waiting: string }>(
        url,
        "select count(*) as waiting from pg_stat_activity where application_name = 'tidepool' and wait_event_type = 'Lock'",
      );
      waiting = Number(row?.waiting);
    }
    await client.query("commit");
    expect(waiting).toBe(all);
    for (const { status } of await Promise.all(replies)) expect(status).toBe(200);
  } finally {
    await client.end();
  }
}
