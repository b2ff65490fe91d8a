/**
 * Agents that meet, negotiate and agree while the server is killed again and again (test/support/kills.ts). After each
 * death everything that was acknowledged must be there, nothing may be there by half, and nothing twice. `KILLS` sets how often (50).
 */
import SqliteDatabase from "better-sqlite3";
import pg from "pg";
import { describe, expect, onTestFailed, test } from "vitest";
import { createDatabase, databases } from "../support/databases.js";
import { randomKey } from "../support/harness.js";
import { Clients, each, killAgainAndAgain, pauseFor, type Speaker, untilUnused, withCopy } from "../support/kills.js";
import { ServerProcess } from "../support/process.js";

const deaths = Number(process.env.KILLS ?? 50);
const clients = 24;

interface Agent extends Speaker {
  agentId: string;
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

/** What the agents were told. */
class Story extends Clients {
  readonly agents: Agent[] = [];
  readonly connections: { connectionId: string; alice: Agent; bob: Agent }[] = [];
  readonly threads: Thread[] = [];

  /** A message without a key: after an interruption the client looks whether it is there. */
  async sendOnce(thread: Thread, agent: Agent, content: Record<string, unknown>): Promise<void> {
    const args = { threadId: thread.threadId, type: "info", ...content };
    await this.up;
    const reply = await this.ask("mutation", "messages:send", args, agent);
    if (reply !== undefined) {
      const { value } = JSON.parse(reply) as { value: { messageId: string; createdAt: number } };
      thread.messages.push({ ...value, fromAgentId: agent.agentId, type: "info", content });
      this.acknowledged.push({ path: "messages:send", args, speaker: agent, key: undefined, reply });
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
  const agent = { agentId, credential: apiKey, name };
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
  await story.verifyRetries(from.acknowledged);
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

async function inspectSqlite(url: string): Promise<void> {
  await withCopy(url, async (file) => {
    const copy = new SqliteDatabase(file);
    try {
      expect(copy.pragma("integrity_check")).toEqual([{ integrity_check: "ok" }]);
      expect(copy.pragma("foreign_key_check")).toEqual([]);
      for (const [what, query] of Object.entries(halves))
        expect({ what, rows: copy.prepare(query).all() }).toEqual({ what, rows: [] });
    } finally {
      copy.close();
    }
  });
}

async function inspectPostgres(url: string): Promise<void> {
  await untilUnused(url);
  const client = new pg.Client(url);
  await client.connect();
  try {
    for (const [what, query] of Object.entries(halves)) {
      const { rows } = await client.query(query);
      expect({ what, rows }).toEqual({ what, rows: [] });
    }
  } finally {
    await client.end();
  }
}

describe.each(databases)("kill -9 under load on %s", (database) => {
  test(`loses nothing and leaves nothing by half, ${deaths} times`, async () => {
    const created = await createDatabase(database);
    const process = await ServerProcess.start({ databaseUrl: created.url });
    await process.stop();
    const firstMs = await process.start();
    const story = new Story(process.url);
    const living = Array.from({ length: clients }, () => live(story));
    onTestFailed(() => console.log(process.stdout, process.stderr));

    let checked = { agents: 0, connections: 0, threads: 0, acknowledged: 0 };
    const report = await killAgainAndAgain(
      {
        database,
        process,
        clients: story,
        living,
        deaths,
        // PostgreSQL needs a while to open its connections.
        lifeMs: () => (database === "sqlite" ? 80 : 300) + Math.random() * 300,
        inspect: () => (database === "sqlite" ? inspectSqlite(created.url) : inspectPostgres(created.url)),
        verify: async (all) => {
          const from = all ? { agents: 0, connections: 0, threads: 0, acknowledged: 0 } : checked;
          const now = {
            agents: story.agents.length,
            connections: story.connections.length,
            // The threads that still grow are looked at again.
            threads: Math.max(0, story.threads.length - clients),
            acknowledged: story.acknowledged.length,
          };
          await verifyTold(story, from);
          checked = now;
        },
      },
      firstMs,
    );
    console.log(report);
    await created.remove();
  });
});
