/**
 * The floor on PostgreSQL: `pg` as most programs use it, with a pool of our server's size, named prepared statements
 * and no pipelining. It keeps the same promises as ours: a mutation is one serializable transaction, and a query reads
 * one snapshot. Each call takes four handwritten round trips:
 *
 * 1. begin; 2. one look-up of the key's agent, the thread and its connection; 3. for `messages:send` one statement that
 * updates the thread and inserts the message, for `messages:getForThread` the last messages; 4. commit.
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
const serializationFailure = "40001";

const pool = new pg.Pool({
  connectionString: process.argv[2] ?? "",
  max: 16,
  keepAlive: true,
  // As in our server: without it the planner may read a small table whole.
  options: "-c enable_seqscan=off -c synchronous_commit=on -c client_min_messages=warning",
  types: {
    getTypeParser: (oid: number, format?: "text" | "binary") =>
      oid === int8 ? Number : pg.types.getTypeParser(oid, format as "text"),
  },
});

const findThread = {
  name: "thread",
  text: `select k."agentId", t."threadId", t."connectionId", t."agentAId", t."agentBId", t."status",
      c."status" as "connectionStatus"
    from "agentCredentials" k
      left join "threads" t on t."threadId" = $2 and k."agentId" in (t."agentAId", t."agentBId")
      left join "connections" c on c."connectionId" = t."connectionId"
    where k."secretHash" = $1`,
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

/** The thread, if the key's agent may see it. */
async function requireThread(client: pg.PoolClient, bearer: string, threadId: string) {
  type Found = ThreadRow & { agentId: string; connectionStatus: string | null };
  const [found] = await rows<Found>(client, findThread, [hash("sha256", bearer, "hex"), threadId]);
  if (!found) throw invalidKey();
  if (found.threadId === null) throw threadNotFound();
  return found;
}

/** Runs `work` in a transaction whose begin and commit take a round trip each. Repeats it if it lost a race. */
async function inTransaction<T>(begin: string, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    for (;;) {
      try {
        await client.query(begin);
        const value = await work(client);
        await client.query("commit");
        return value;
      } catch (error) {
        await client.query("rollback");
        if (!(error instanceof pg.DatabaseError && error.code === serializationFailure)) throw error;
      }
    }
  } finally {
    client.release();
  }
}

serveFloor({
  send: (bearer, { threadId, type, encryptedPayload }) =>
    inTransaction("begin isolation level serializable", async (client) => {
      const thread = await requireThread(client, bearer, threadId);
      requireBox(encryptedPayload);
      if (thread.connectionId !== null && thread.connectionStatus !== "active") throw notActive();
      if (!openStatuses.has(thread.status)) throw threadClosed(thread.status);
      const now = Date.now();
      const messageId = newMessageId(now);
      const values = [threadId, now, thread.status, messageId, thread.agentId, type, encryptedPayload];
      const [inserted] = await rows<{ createdAt: number }>(client, insertMessage, values);
      // Another call changed the thread's status between the look-up and this statement.
      if (!inserted) throw threadClosed(thread.status);
      return { messageId, threadId, threadStatus: thread.status, createdAt: inserted.createdAt };
    }),

  getForThread: (bearer, threadId, limit) =>
    inTransaction("begin isolation level repeatable read read only", async (client) => {
      await requireThread(client, bearer, threadId);
      const last = await rows<MessageRow>(client, lastMessages, [threadId, limit]);
      return last.reverse().map(toMessage);
    }),
});
