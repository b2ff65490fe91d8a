/**
 * The floor on PostgreSQL: `pg` as most programs use it, with a pool of our server's size, named prepared statements and
 * no pipelining. A call makes four round trips, each a statement that commits by itself:
 *
 * 1. the key's agent, 2. the thread, 3. its connection, and then
 * 4. for `messages:send` one statement that updates the thread and inserts the message, durable when it answers;
 *    for `messages:getForThread` the last messages.
 */
import { hash } from "node:crypto";
import pg from "pg";
import {
  invalidKey,
  type MessageRow,
  newMessageId,
  notActive,
  openStatuses,
  requireBox,
  serveFloor,
  type ThreadRow,
  threadClosed,
  threadNotFound,
  toMessage,
} from "./floor.js";

const int8 = 20;

const pool = new pg.Pool({
  connectionString: process.argv[2] ?? "",
  max: 16,
  keepAlive: true,
  // As ours: without it the planner may read a small table whole.
  options: "-c enable_seqscan=off -c synchronous_commit=on -c client_min_messages=warning",
  types: {
    getTypeParser: (oid: number, format?: "text" | "binary") =>
      oid === int8 ? Number : pg.types.getTypeParser(oid, format as "text"),
  },
});

const findKey = {
  name: "key",
  text: `select "agentId" from "agentCredentials" where "secretHash" = $1`,
};
const findThread = {
  name: "thread",
  text: `select "threadId", "connectionId", "agentAId", "agentBId", "status" from "threads" where "threadId" = $1`,
};
const findConnection = {
  name: "connection",
  text: `select "status" from "connections" where "connectionId" = $1`,
};
const insertMessage = {
  name: "send",
  text: `with moved as (
      update "threads" set "messageCount" = "messageCount" + 1,
        "lastMessageAt" = greatest($2::bigint, coalesce("lastMessageAt", 0) + 1)
      where "threadId" = $1 and "status" = $3
      returning "threadId", "lastMessageAt"
    )
    insert into "messages" ("threadId", "createdAt", "messageId", "fromAgentId", "type", "encryptedPayload")
    select "threadId", "lastMessageAt", $4, $5, $6, $7 from moved
    returning "createdAt"`,
};
const lastMessages = {
  name: "messages",
  text: `select "messageId", "threadId", "fromAgentId", "type", "encryptedPayload", "payload", "referencesMessageId", "createdAt"
    from "messages" where "threadId" = $1 order by "createdAt" desc limit $2`,
};

async function rows<Row>(client: pg.PoolClient, statement: { name: string; text: string }, values: unknown[]) {
  return (await client.query({ ...statement, values })).rows as Row[];
}

async function requireAgent(client: pg.PoolClient, bearer: string): Promise<string> {
  const [row] = await rows<{ agentId: string }>(client, findKey, [hash("sha256", bearer, "hex")]);
  if (!row) throw invalidKey();
  return row.agentId;
}

async function requireThread(client: pg.PoolClient, threadId: string, agentId: string) {
  const [thread] = await rows<ThreadRow>(client, findThread, [threadId]);
  if (!thread || (thread.agentAId !== agentId && thread.agentBId !== agentId)) throw threadNotFound();
  const [connection] = await rows<{ status: string }>(client, findConnection, [thread.connectionId]);
  return { ...thread, connectionStatus: connection?.status };
}

async function withClient<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    return await work(client);
  } finally {
    client.release();
  }
}

serveFloor({
  send: (bearer, { threadId, type, encryptedPayload }) =>
    withClient(async (client) => {
      const agentId = await requireAgent(client, bearer);
      requireBox(encryptedPayload);
      const thread = await requireThread(client, threadId, agentId);
      if (thread.connectionId !== null && thread.connectionStatus !== "active") throw notActive();
      if (!openStatuses.has(thread.status)) throw threadClosed(thread.status);
      const now = Date.now();
      const messageId = newMessageId(now);
      const values = [threadId, now, thread.status, messageId, agentId, type, encryptedPayload];
      const [inserted] = await rows<{ createdAt: number }>(client, insertMessage, values);
      // The thread was moved on between its look-up and this.
      if (!inserted) throw threadClosed(thread.status);
      return { messageId, threadId, threadStatus: thread.status, createdAt: inserted.createdAt };
    }),

  getForThread: (bearer, threadId, limit) =>
    withClient(async (client) => {
      const agentId = await requireAgent(client, bearer);
      await requireThread(client, threadId, agentId);
      const last = await rows<MessageRow>(client, lastMessages, [threadId, limit]);
      return last.reverse().map(toMessage);
    }),
});
