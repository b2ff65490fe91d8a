/** Messages: threads between two connected agents, and the end-to-end encrypted messages in them. */
import { type NotNull, sql } from "kysely";
import { z } from "zod";
import type { AgentQuery } from "../runtime/context.js";
import { JsonText, mutation, query } from "../runtime/define.js";
import { CallError } from "../runtime/errors.js";
import { jsonList } from "../runtime/json-list.js";
import { prepared } from "../runtime/prepared.js";
import { partitions } from "../schema/partitions.js";
import { messageTypes, threadStatuses } from "../schema/threads.js";
import { id, peer, timestamp } from "../schema/values.js";
import { statusOf as connectionStatusOf, notActive, requireConnection } from "./model/connections.js";
import { message, requirePayload } from "./model/messages.js";
import {
  afterMessage,
  approvalMs,
  hourOf,
  openThread,
  requireThread,
  statusInSql,
  statusOf,
  type ThreadOfCaller,
} from "./model/threads.js";

const listedByDefault = 100;
const limit = z.number().int().min(1).max(500).nullish();

/** Opens a negotiation between the two agents of an active connection (c2c.md section 3, messages). */
export const startThread = mutation({
  summary: "Opens a negotiation on an active connection",
  auth: "agent",
  args: { connectionId: id },
  returns: z.object({
    threadId: z.string(),
    connectionId: z.string(),
    status: z.literal("negotiating"),
    createdAt: z.number(),
  }),
  handler: async (ctx, args) => {
    const connection = await requireConnection(ctx, args.connectionId);
    const { connectionId, inviterAgentId, accepterAgentId } = connection;
    if (connection.status !== "active" || accepterAgentId === null) {
      throw notActive(connectionStatusOf(connection, ctx.now));
    }
    const { threadId, createdAt } = await openThread(ctx, {
      connectionId,
      agentAId: inviterAgentId,
      agentBId: accepterAgentId,
      status: "negotiating",
      closesAt: null,
    });
    return { threadId, connectionId, status: "negotiating" as const, createdAt };
  },
});

const insertMessage = prepared(
  ["threadId", "createdAt", "messageId", "fromAgentId", "type", "encryptedPayload", "payload", "referencesMessageId"],
  (db, values) => db.insertInto("messages").values(values),
);

/** What most messages change of their thread: nothing that any index is about. */
const countMessage = prepared(
  ["threadId", "proposalMessageId", "proposalAgentId", "messageCount", "lastMessageAt"],
  (db, { threadId, ...counted }) =>
    db.updateTable("threads").set(counted).where("threadId", "=", threadId).returning(partitions.threads),
);

const moveThread = prepared(["threadId", "status", "approvalDeadline", "activeHour"], (db, { threadId, ...moved }) =>
  db.updateTable("threads").set(moved).where("threadId", "=", threadId).returning(partitions.threads),
);

/** Sends a message, and moves the thread as its type says. */
export const send = mutation({
  summary: "Sends a message; its type moves the thread",
  auth: "agent",
  args: {
    threadId: id,
    type: z.enum(messageTypes),
    encryptedPayload: z.string().nullish(),
    payload: z.record(z.string(), z.json()).nullish(),
    referencesMessageId: id.nullish(),
  },
  returns: z.object({
    messageId: z.string(),
    threadId: z.string(),
    threadStatus: z.enum(threadStatuses),
    createdAt: z.number(),
  }),
  handler: async (ctx, args) => {
    const payloads = requirePayload(args.encryptedPayload, args.payload);
    const thread = await requireThread(ctx, args.threadId);
    if (thread.connectionId !== null && thread.connectionStatus !== "active") {
      throw notActive(thread.connectionStatus ?? "disconnected");
    }
    const status = statusOf(thread, ctx.now);
    const next = afterMessage[status][args.type];
    if (next === undefined) {
      throw new CallError("conflict", `Cannot send messages to thread with status: ${status}`, { status });
    }
    const { agentId } = ctx.caller;
    if (args.type === "accept") requireAcceptable(thread, agentId, args.referencesMessageId ?? undefined);
    else if (args.referencesMessageId != null) await requireReference(ctx, thread.threadId, args.referencesMessageId);

    const messageId = ctx.newId("msg");
    const createdAt = Math.max(ctx.now, (thread.lastMessageAt ?? 0) + 1);
    const proposes = args.type === "proposal" || args.type === "counter";
    const approvalDeadline = args.type === "accept" ? ctx.now + approvalMs : thread.approvalDeadline;
    ctx.defer(
      insertMessage(ctx, {
        threadId: thread.threadId,
        createdAt,
        messageId,
        fromAgentId: agentId,
        type: args.type,
        ...payloads,
        referencesMessageId: args.referencesMessageId ?? null,
      }),
    );
    ctx.defer(
      countMessage(ctx, {
        threadId: thread.threadId,
        proposalMessageId: proposes ? messageId : thread.proposalMessageId,
        proposalAgentId: proposes ? agentId : thread.proposalAgentId,
        messageCount: thread.messageCount + 1,
        lastMessageAt: createdAt,
      }),
    );
    const activeHour = hourOf(createdAt);
    if (next !== thread.status || activeHour !== thread.activeHour) {
      ctx.defer(moveThread(ctx, { threadId: thread.threadId, status: next, approvalDeadline, activeHour }));
    }
    if (args.type === "accept" && approvalDeadline !== null) ctx.wakeAt(approvalDeadline);
    return { messageId, threadId: thread.threadId, threadStatus: next, createdAt };
  },
});

/** An accept answers the other side's current proposal, and no other. */
function requireAcceptable(thread: ThreadOfCaller, agentId: string, references: string | undefined): void {
  const data = { status: thread.status, currentProposalId: thread.proposalMessageId };
  if (thread.proposalMessageId === null) {
    throw new CallError("conflict", "There is no proposal to accept yet. Send a proposal first.", data);
  }
  if (references !== undefined && references !== thread.proposalMessageId) {
    throw new CallError(
      "conflict",
      "referencesMessageId is not the current proposal: it was replaced meanwhile. Read the thread and answer the current one.",
      data,
    );
  }
  if (thread.proposalAgentId === agentId) {
    throw new CallError("conflict", "Cannot accept your own proposal: the other agent must.", data);
  }
}

async function requireReference(ctx: AgentQuery, threadId: string, messageId: string): Promise<void> {
  const found = await ctx.db
    .selectFrom("messages")
    .select("messageId")
    .where("messageId", "=", messageId)
    .where("threadId", "=", threadId)
    .executeTakeFirst();
  if (!found) throw new CallError("not_found", "referencesMessageId is not a message of this thread");
}

const wire = {
  messageId: "plain",
  threadId: "plain",
  fromAgentId: "plain",
  type: "plain",
  encryptedPayload: "plain?",
  payload: "json?",
  referencesMessageId: "plain?",
  createdAt: "number",
} as const;
const wireColumns = Object.keys(wire) as (keyof typeof wire)[];

/** The last `limit` messages before a time. Read forwards from the first of them, so that nothing has to be sorted. */
const lastBefore = prepared(["threadId", "before", "skip"], (db, { threadId, before, skip }) => {
  const earlier = db.selectFrom("messages").where("threadId", "=", threadId).where("createdAt", "<", before);
  const first = earlier.select("createdAt").orderBy("createdAt", "desc").limit(1).offset(skip);
  const page = earlier
    .select(wireColumns)
    .where((where) => where("createdAt", ">=", where.fn.coalesce(first, where.lit(0))))
    .orderBy("createdAt");
  return jsonList(page, wire);
});

/** The first `limit` messages between two times. */
const firstAfter = prepared(
  ["threadId", "after", "before", "limit"],
  (db, { threadId, after, before, limit: most }) => {
    const page = db
      .selectFrom("messages")
      .select(wireColumns)
      .where("threadId", "=", threadId)
      .where("createdAt", ">", after)
      .where("createdAt", "<", before)
      .orderBy("createdAt")
      .limit(most);
    return jsonList(page, wire);
  },
);

/**
 * A thread's messages, oldest first. `after` gives the first ones behind that time; otherwise the newest, or the newest
 * before `before`. Times are `createdAt` values, in Unix ms.
 */
export const getForThread = query({
  summary: "Reads a thread's messages, oldest first; pages by createdAt",
  auth: "agent",
  args: { threadId: id, limit, before: timestamp.nullish(), after: timestamp.nullish() },
  returns: z.array(message),
  handler: async (ctx, args) => {
    const { threadId } = args;
    const most = args.limit ?? listedByDefault;
    const before = args.before ?? Number.MAX_SAFE_INTEGER;
    // Both questions travel together; a stranger's page is read for nothing and goes nowhere.
    const [page] = await Promise.all([
      args.after == null
        ? lastBefore(ctx, { threadId, before, skip: most - 1 })
        : firstAfter(ctx, { threadId, after: args.after, before, limit: most }),
      requireThread(ctx, threadId),
    ]);
    return new JsonText(page.rows[0]?.json ?? "[]");
  },
});

/** The caller's threads, the most recently active first. */
export const getThreadsForAgent = query({
  summary: "Lists the calling agent's threads, the most recently active first",
  auth: "agent",
  args: { status: z.enum(threadStatuses).nullish(), limit },
  returns: z.array(
    z.object({
      threadId: z.string(),
      connectionId: z.string().nullable(),
      status: z.enum(threadStatuses),
      otherAgent: peer,
      lastMessageAt: z.number().nullable(),
      messageCount: z.number(),
      approvalDeadline: z.number().optional(),
      createdAt: z.number(),
    }),
  ),
  handler: async (ctx, args) => {
    const most = args.limit ?? listedByDefault;
    const status = statusInSql(ctx.now);
    const lastActiveAt = sql<number>`coalesce(${sql.ref("threads.lastMessageAt")}, ${sql.ref("threads.createdAt")})`;
    // One query a side, each along its own index.
    const side = (mine: "agentAId" | "agentBId", theirs: "agentAId" | "agentBId") =>
      ctx.db
        .selectFrom("threads")
        .leftJoin("agents", "agents.agentId", `threads.${theirs}`)
        .selectAll("threads")
        .select(["agents.agentId", "agents.name", "agents.publicKey", status.as("statusNow")])
        .select(lastActiveAt.as("lastActiveAt"))
        .where(`threads.${mine}`, "=", ctx.caller.agentId)
        .$if(args.status != null, (threads) => threads.where(status, "=", args.status ?? "negotiating"))
        .orderBy("threads.activeHour", "desc")
        .orderBy(lastActiveAt, "desc")
        .orderBy("threads.threadId", "desc")
        .limit(most)
        // Both agents of a thread have their rows.
        .$narrowType<{ agentId: NotNull; name: NotNull }>()
        .execute();
    const [opened, joined] = await Promise.all([side("agentAId", "agentBId"), side("agentBId", "agentAId")]);
    return [...opened, ...joined]
      .sort((one, other) => other.lastActiveAt - one.lastActiveAt || (one.threadId < other.threadId ? 1 : -1))
      .slice(0, most)
      .map(({ agentId, name, publicKey, statusNow, approvalDeadline, ...thread }) => ({
        ...thread,
        status: statusNow,
        otherAgent: { agentId, name, publicKey },
        approvalDeadline: approvalDeadline ?? undefined,
      }));
  },
});
