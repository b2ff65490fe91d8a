/**
 * kill -9 in the middle of the load, again and again. Clients tell their stories straight on, as real ones do: what was
 * not answered is asked again with the same Idempotency-Key once the server is back. After each death everything that
 * was acknowledged must be there, nothing may be there by half, and nothing twice.
 */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import SqliteDatabase from "better-sqlite3";
import pg from "pg";
import { describe, expect, onTestFailed, test } from "vitest";
import { createDatabase, databases } from "../support/databases.js";
import { randomKey } from "../support/harness.js";
import { ServerProcess } from "../support/process.js";

const deaths = { sqlite: 50, postgres: 50 };
const clients = 24;
/** The promise is two seconds; a machine that is slow to start anything gets as much more as its first start took. */
const promisedMs = 2_000;

interface Agent {
  agentId: string;
  name: string;
  apiKey: string;
}

/** A write that was answered. */
interface Acknowledged {
  path: string;
  args: object;
  agent: Agent | undefined;
  key: string | undefined;
  reply: string;
}

interface Sent {
  messageId: string;
  fromAgentId: string;
  type: string;
  content: Record<string, unknown>;
  createdAt: number;
}

interface Thread {
  threadId: string;
  alice: Agent;
  bob: Agent;
  status: string;
  messages: Sent[];
}

/** What the clients were told, and whether the server can be asked now. */
class Story {
  readonly agents: Agent[] = [];
  readonly connections: { connectionId: string; alice: Agent; bob: Agent }[] = [];
  readonly threads: Thread[] = [];
  readonly acknowledged: Acknowledged[] = [];
  readonly faults: string[] = [];
  /** Calls that the server died over. */
  interrupted = 0;
  over = false;
  /** Why the last call got no reply. */
  lastError: unknown;
  #up: Promise<void> = Promise.resolve();
  #raise: () => void = () => {};

  constructor(readonly url: string) {}

  pause(): void {
    this.#up = new Promise((resolve) => {
      this.#raise = resolve;
    });
  }
  resume(): void {
    this.#raise();
  }
  get up(): Promise<void> {
    return this.#up;
  }

  /** The raw reply; undefined where the server died over it. */
  async ask(kind: "query" | "mutation", path: string, args: object, agent?: Agent, key?: string) {
    try {
      const response = await fetch(`${this.url}/api/${kind}`, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          ...(agent ? { Authorization: `Bearer ${agent.apiKey}` } : {}),
          ...(key ? { "Idempotency-Key": key } : {}),
        },
        body: JSON.stringify({ path, args }),
      });
      const text = await response.text();
      if (response.status !== 200) this.faults.push(`${path}: ${response.status} ${text}`);
      return text;
    } catch (error) {
      this.lastError = error;
      return undefined;
    }
  }

  /** A query while nothing is killed. */
  // biome-ignore lint/suspicious/noExplicitAny: what comes back is what the test is about to look at.
  async read(path: string, args: object, agent: Agent): Promise<any> {
    const text = await this.ask("query", path, args, agent);
    const { status, value } = JSON.parse(text ?? "{}") as { status?: string; value: unknown };
    if (status !== "success") {
      throw new Error(`${path} of ${agent.name} answered ${text}`, { cause: this.lastError });
    }
    return value;
  }

  /** A write that is asked again until it is answered. */
  // biome-ignore lint/suspicious/noExplicitAny: what comes back is what the clients go on with.
  async write(path: string, args: object, agent?: Agent): Promise<any> {
    const key = crypto.randomUUID();
    let reply: string | undefined;
    for (let attempt = 1; reply === undefined; attempt += 1) {
      await this.up;
      reply = await this.ask("mutation", path, args, agent, key);
      if (reply === undefined) {
        this.interrupted += 1;
        await pauseFor(20);
      } else if (attempt > 1) {
        // Whatever became of the first try, there is one answer now, and it stays.
        const again = await this.ask("mutation", path, args, agent, key);
        if (again !== undefined) expect(again).toBe(reply);
      }
    }
    const { status, value } = JSON.parse(reply) as { status: string; value: unknown };
    if (status !== "success") throw new Error(`${path} answered ${reply}`);
    this.acknowledged.push({ path, args, agent, key, reply });
    return value;
  }

  /** A message without a key: after an interruption the client looks whether it is there. */
  async sendOnce(thread: Thread, agent: Agent, content: Record<string, unknown>): Promise<void> {
    const args = { threadId: thread.threadId, type: "info", ...content };
    await this.up;
    const reply = await this.ask("mutation", "messages:send", args, agent);
    if (reply !== undefined) {
      const { value } = JSON.parse(reply) as { value: { messageId: string; createdAt: number } };
      thread.messages.push({ ...value, fromAgentId: agent.agentId, type: "info", content });
      this.acknowledged.push({ path: "messages:send", args, agent, key: undefined, reply });
      return;
    }
    this.interrupted += 1;
    for (;;) {
      await this.up;
      const text = await this.ask("query", "messages:getForThread", { threadId: thread.threadId, limit: 500 }, agent);
      if (text === undefined) {
        await pauseFor(20);
        continue;
      }
      const { value } = JSON.parse(text) as { value: Record<string, unknown>[] };
      const written = value.filter((message) => contentOf(message) === JSON.stringify(content));
      expect(written.length).toBeLessThanOrEqual(1);
      const [message] = written;
      if (message) {
        thread.messages.push({
          messageId: String(message.messageId),
          fromAgentId: agent.agentId,
          type: "info",
          content,
          createdAt: Number(message.createdAt),
        });
      }
      return;
    }
  }
}

const pauseFor = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function contentOf({ payload, encryptedPayload }: Record<string, unknown>): string {
  return JSON.stringify(payload === undefined ? { encryptedPayload } : { payload });
}

let count = 0;
function content(): Record<string, unknown> {
  count += 1;
  return count % 2 === 0
    ? { payload: { notes: `message ${count} ✓ ${"é".repeat(count % 200)}` } }
    : { encryptedPayload: Buffer.from(crypto.getRandomValues(new Uint8Array(40 + (count % 500)))).toString("base64") };
}

async function register(story: Story): Promise<Agent> {
  count += 1;
  const name = `Agent ${count}`;
  const { agentId, apiKey } = await story.write("agents:register", { name, description: `The ${count}th` });
  const agent = { agentId, apiKey, name };
  story.agents.push(agent);
  await story.write("agents:setPublicKey", { publicKey: randomKey() }, agent);
  return agent;
}

/** One client: pairs of agents that meet, negotiate, agree and go on. */
async function live(story: Story): Promise<void> {
  while (!story.over) {
    const [alice, bob] = await Promise.all([register(story), register(story)]);
    const { inviteToken } = await story.write("connections:invite", {}, alice);
    const { connectionId } = await story.write("connections:accept", { inviteToken }, bob);
    story.connections.push({ connectionId, alice, bob });
    for (let plan = 0; plan < 3 && !story.over; plan += 1) {
      const { threadId } = await story.write("messages:startThread", { connectionId }, alice);
      const thread: Thread = { threadId, alice, bob, status: "negotiating", messages: [] };
      story.threads.push(thread);
      const send = async (agent: Agent, type: string) => {
        const what = content();
        const { messageId, createdAt, threadStatus } = await story.write(
          "messages:send",
          { threadId, type, ...what },
          agent,
        );
        thread.messages.push({ messageId, fromAgentId: agent.agentId, type, content: what, createdAt });
        thread.status = threadStatus;
      };
      const approve = async (agent: Agent, approved: boolean) => {
        const { status } = await story.write("approvals:submit", { threadId, approved }, agent);
        thread.status = status;
      };
      await send(alice, "proposal");
      for (let round = 0; round < 4; round += 1) {
        await story.sendOnce(thread, alice, content());
        await send(bob, "info");
      }
      await send(bob, "counter");
      await send(alice, "accept");
      await approve(alice, true);
      await approve(bob, plan !== 1);
      if (plan !== 1) await send(bob, "info");
    }
  }
}

/** Everything that was told since `from` (or ever) is there, as it was told. */
async function verifyTold(
  story: Story,
  from: { agents: number; connections: number; threads: number; acknowledged: number },
) {
  const each = async <T>(items: readonly T[], check: (item: T) => Promise<void>) => {
    for (let at = 0; at < items.length; at += 32) await Promise.all(items.slice(at, at + 32).map(check));
  };
  await each(story.agents.slice(from.agents), async (agent) => {
    expect(await story.read("agents:getStatus", {}, agent)).toMatchObject({ agentId: agent.agentId, name: agent.name });
  });
  await each(story.connections.slice(from.connections), async ({ connectionId, alice, bob }) => {
    for (const [agent, other] of [
      [alice, bob],
      [bob, alice],
    ] as const) {
      expect(await story.read("connections:list", {}, agent)).toMatchObject([
        { connectionId, status: "active", connectedTo: { agentId: other.agentId, name: other.name } },
      ]);
    }
  });
  await each(story.threads.slice(from.threads), async ({ threadId, alice, bob, messages, status }) => {
    const there = (await story.read("messages:getForThread", { threadId, limit: 500 }, bob)) as Record<
      string,
      unknown
    >[];
    const byId = new Map(there.map((message) => [message.messageId, message]));
    for (const told of messages) {
      const message = byId.get(told.messageId);
      expect(message).toMatchObject({
        threadId,
        fromAgentId: told.fromAgentId,
        type: told.type,
        createdAt: told.createdAt,
      });
      expect(contentOf(message ?? {})).toBe(JSON.stringify(told.content));
    }
    // What is there beyond that is at most the one write that the client has not heard of yet.
    expect(there.length - messages.length).toBeLessThanOrEqual(1);
    expect(new Set(there.map(contentOf)).size).toBe(there.length);
    const listed = (await story.read("messages:getThreadsForAgent", {}, alice)) as Record<string, unknown>[];
    const thread = listed.find((one) => one.threadId === threadId);
    expect(thread).toMatchObject({ messageCount: there.length, lastMessageAt: there.at(-1)?.createdAt ?? null });
    if (there.length === messages.length && status === "confirmed") expect(thread?.status).toBe("confirmed");
  });
  // A retry of what was answered before the kill answers the same and does nothing.
  const answered = story.acknowledged.slice(from.acknowledged).filter(({ key }) => key !== undefined);
  const stride = Math.max(1, Math.floor(answered.length / 100));
  await each(
    answered.filter((_write, index) => index % stride === 0 || index > answered.length - 30),
    async ({ path, args, agent, key, reply }) => {
      expect(await story.ask("mutation", path, args, agent, key)).toBe(reply);
    },
  );
}

/** Rows that would be half of a write, or the second half of one that was made twice. Each query must find none. */
const halves: Record<string, string> = {
  "a thread counts other messages than it has": `select t."threadId" from threads t
    left join (select "threadId", count(*) as n, max("createdAt") as last from messages group by "threadId") m on m."threadId" = t."threadId"
    where t."messageCount" <> coalesce(m.n, 0) or coalesce(t."lastMessageAt", 0) <> coalesce(m.last, 0)`,
  "a connection is active without two sides": `select "connectionId" from connections
    where status = 'active' and ("accepterAgentId" is null or "acceptedAt" is null or "pairKey" is null)`,
  "a connection is pending with two sides": `select "connectionId" from connections
    where status = 'pending' and ("accepterAgentId" is not null or "acceptedAt" is not null)`,
  "an agent has no key or two": `select a."agentId" from agents a left join "agentCredentials" c on c."agentId" = a."agentId"
    group by a."agentId" having count(c."secretHash") <> 1`,
  "an agent was registered twice": `select name from agents group by name having count(*) > 1`,
  "a message was sent twice": `select coalesce(payload, "encryptedPayload") from messages
    where type <> 'accept' group by coalesce(payload, "encryptedPayload") having count(*) > 1`,
  "a thread awaits approval without an accepted proposal": `select t."threadId" from threads t
    where t.status in ('awaiting_approval', 'confirmed') and (
      t."approvalDeadline" is null
      or not exists (select 1 from messages m where m."messageId" = t."proposalMessageId" and m."threadId" = t."threadId")
      or not exists (select 1 from messages m where m."threadId" = t."threadId" and m.type = 'accept'))`,
  "a thread is confirmed without two approvals": `select t."threadId" from threads t
    where t.status = 'confirmed' and 2 <> (select count(*) from approvals a where a."threadId" = t."threadId" and a.decision = 'approved')`,
  "two approvals did not confirm": `select t."threadId" from threads t
    where t.status <> 'confirmed' and 2 = (select count(*) from approvals a where a."threadId" = t."threadId" and a.decision = 'approved')`,
  "a decline did not reject": `select t."threadId" from threads t
    where t.status <> 'rejected' and exists (select 1 from approvals a where a."threadId" = t."threadId" and a.decision = 'declined')`,
};

/** Looks at a copy, so that the server finds the files exactly as its death left them. */
function inspectSqlite(file: string): void {
  const folder = mkdtempSync(join(tmpdir(), "tidepool-killed-"));
  for (const suffix of ["", "-wal"]) {
    if (existsSync(file + suffix)) copyFileSync(file + suffix, join(folder, `copy.db${suffix}`));
  }
  const copy = new SqliteDatabase(join(folder, "copy.db"));
  try {
    expect(copy.pragma("integrity_check")).toEqual([{ integrity_check: "ok" }]);
    expect(copy.pragma("foreign_key_check")).toEqual([]);
    for (const [what, query] of Object.entries(halves))
      expect({ what, rows: copy.prepare(query).all() }).toEqual({ what, rows: [] });
  } finally {
    copy.close();
    rmSync(folder, { recursive: true });
  }
}

async function inspectPostgres(url: string): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    // What the dead process had sent may still be running.
    for (;;) {
      const { rows } = await client.query<{ running: string }>(
        "select count(*) as running from pg_stat_activity where application_name = 'tidepool' and datname = current_database()",
      );
      if (rows[0]?.running === "0") break;
      await pauseFor(5);
    }
    for (const [what, query] of Object.entries(halves)) {
      const { rows } = await client.query(query);
      expect({ what, rows }).toEqual({ what, rows: [] });
    }
  } finally {
    await client.end();
  }
}

describe.each(databases)("kill -9 under load on %s", (database) => {
  test(`loses nothing and leaves nothing by half, ${deaths[database]} times`, async () => {
    const created = await createDatabase(database);
    const inspect = () =>
      database === "sqlite" ? inspectSqlite(created.url.slice("sqlite:".length)) : inspectPostgres(created.url);
    const process = await ServerProcess.start({ databaseUrl: created.url });
    await process.stop();
    const firstMs = await process.start();
    const story = new Story(process.url);
    const living = Array.from({ length: clients }, () => live(story));
    const lived = Promise.allSettled(living);
    onTestFailed(() => console.log(process.stdout, process.stderr));

    const startsMs: number[] = [];
    let checked = { agents: 0, connections: 0, threads: 0, acknowledged: 0 };
    for (let death = 1; death <= deaths[database]; death += 1) {
      const before = { ...checked };
      // PostgreSQL needs a while to open its connections.
      await pauseFor((database === "sqlite" ? 80 : 300) + Math.random() * 300);
      // A failed client ends the test here and not at the end.
      await Promise.race([Promise.all(living), pauseFor(0)]);
      const dying = process.kill("SIGKILL");
      story.pause();
      expect(await dying).toEqual({ code: null, signal: "SIGKILL" });
      await inspect();
      if (death % 5 === 0) {
        // It may be killed while it recovers, too.
        const ended = process.spawn();
        await pauseFor(Math.random() * firstMs);
        process.signal("SIGKILL");
        await ended;
      }
      startsMs.push(await process.start());
      await verifyTold(story, before);
      checked = {
        agents: story.agents.length,
        connections: story.connections.length,
        // The threads that still grow are looked at again.
        threads: Math.max(0, story.threads.length - clients),
        acknowledged: story.acknowledged.length,
      };
      story.resume();
      expect(story.faults).toEqual([]);
    }
    story.over = true;
    expect((await lived).filter(({ status }) => status === "rejected")).toEqual([]);
    await verifyTold(story, { agents: 0, connections: 0, threads: 0, acknowledged: 0 });
    expect(await process.stop()).toEqual({ code: 0, signal: null });
    await inspect();
    expect(process.stderr).toBe("");
    expect(story.faults).toEqual([]);

    const sorted = startsMs.toSorted((one, other) => one - other);
    console.log(
      `${database}: ${deaths[database]} kills, ${story.acknowledged.length} acknowledged writes, ${story.interrupted} interrupted; ` +
        `ready after ${Math.round(sorted[Math.floor(sorted.length / 2)] ?? 0)} ms (median), ${Math.round(sorted.at(-1) ?? 0)} ms (most), ` +
        `${Math.round(firstMs)} ms without a kill`,
    );
    expect(story.interrupted).toBeGreaterThan(deaths[database]);
    expect(sorted.at(-1)).toBeLessThan(Math.max(promisedMs, firstMs + promisedMs));
    await created.remove();
  });
});
