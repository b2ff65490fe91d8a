/**
 * The floor on SQLite: what the two calls cost if only `node:http` and better-sqlite3 stand between socket and disk.
 * Prepared statements, the pragmas of our own server (WAL, `synchronous=FULL`), one commit per send.
 */
import { hash } from "node:crypto";
import SqliteDatabase from "better-sqlite3";
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

const file = new SqliteDatabase(process.argv[2] ?? "", { fileMustExist: true, timeout: 5_000 });
file.pragma("journal_mode = WAL");
file.pragma("synchronous = FULL");
file.pragma("foreign_keys = ON");
file.pragma("cache_size = -262144");
file.pragma("wal_autocheckpoint = 4000");
file.pragma("temp_store = MEMORY");
file.pragma("secure_delete = ON");
if (file.pragma("synchronous", { simple: true }) !== 2 || file.pragma("journal_mode", { simple: true }) !== "wal") {
  throw new Error("The floor must write as durably as our server: WAL with synchronous=FULL");
}

const findKey = file.prepare<[string], { agentId: string }>(
  `select "agentId" from "agentCredentials" where "secretHash" = ?`,
);
const findThread = file.prepare<[string], ThreadRow & { connectionStatus: string | null }>(
  `select t."threadId", t."connectionId", t."agentAId", t."agentBId", t."status", t."messageCount", t."lastMessageAt",
     c."status" as "connectionStatus"
   from "threads" t left join "connections" c on c."connectionId" = t."connectionId"
   where t."threadId" = ?`,
);
const insertMessage = file.prepare<[string, number, string, string, string, string]>(
  `insert into "messages" ("threadId", "createdAt", "messageId", "fromAgentId", "type", "encryptedPayload")
   values (?, ?, ?, ?, ?, ?)`,
);
const updateThread = file.prepare<[number, number, string]>(
  `update "threads" set "messageCount" = ?, "lastMessageAt" = ? where "threadId" = ?`,
);
const lastMessages = file.prepare<[string, number], MessageRow>(
  `select "messageId", "threadId", "fromAgentId", "type", "encryptedPayload", "payload", "referencesMessageId", "createdAt"
   from "messages" where "threadId" = ? order by "createdAt" desc limit ?`,
);
const begin = file.prepare("begin immediate");
const commit = file.prepare("commit");
const rollback = file.prepare("rollback");

function requireAgent(bearer: string): string {
  const row = findKey.get(hash("sha256", bearer, "hex"));
  if (!row) throw invalidKey();
  return row.agentId;
}

function requireThread(threadId: string, agentId: string) {
  const thread = findThread.get(threadId);
  if (!thread || (thread.agentAId !== agentId && thread.agentBId !== agentId)) throw threadNotFound();
  return thread;
}

serveFloor({
  send(bearer, { threadId, type, encryptedPayload }) {
    const agentId = requireAgent(bearer);
    requireBox(encryptedPayload);
    begin.run();
    try {
      const thread = requireThread(threadId, agentId);
      if (thread.connectionId !== null && thread.connectionStatus !== "active") throw notActive();
      if (!openStatuses.has(thread.status)) throw threadClosed(thread.status);
      const now = Date.now();
      const messageId = newMessageId(now);
      const createdAt = Math.max(now, (thread.lastMessageAt ?? 0) + 1);
      insertMessage.run(threadId, createdAt, messageId, agentId, type, encryptedPayload);
      updateThread.run(thread.messageCount + 1, createdAt, threadId);
      commit.run();
      return { messageId, threadId, threadStatus: thread.status, createdAt };
    } catch (error) {
      if (file.inTransaction) rollback.run();
      throw error;
    }
  },

  getForThread(bearer, threadId, limit) {
    const agentId = requireAgent(bearer);
    requireThread(threadId, agentId);
    return lastMessages.all(threadId, limit).reverse().map(toMessage);
  },
});
