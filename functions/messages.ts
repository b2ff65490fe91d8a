/** Messages: threads between two connected agents, and the end-to-end encrypted messages in them. */
import { type Expression, type ExpressionBuilder, sql } from "kysely";
import { z } from "zod";
import { JsonText, mutation, query } from "../runtime/call/define.js";
import type { AgentMutation, AgentQuery } from "../runtime/context.js";
import { CallError } from "../runtime/errors.js";
import { jsonList } from "../runtime/store/json-list.js";
import { prepared } from "../runtime/store/prepared.js";
import type { Database } from "../schema/index.js";
import { type MessageType, messageTypes, threadStatuses } from "../schema/threads.js";
import { cursor, id, peer, timestamp } from "../schema/values.js";
import { caps, dayMs, requireRoom } from "./model/caps.js";
import { cursorsOf } from "./model/cursors.js";
import {
  afterMessage,
  hourOf,
  isOpenThreadInSql,
  threadApprovalMs,
  threadStatusOf,
} from "./model/rules/thread-states.js";
import { connectionStatusOf, notActive, requireConnection } from "./model/threads/connections.js";
import { pageOfThreads } from "./model/threads/listed-threads.js";
import { messageValue, requirePayload } from "./model/threads/thread-messages.js";
import { openThread, requireThread, resumeThread, type ThreadOfCaller } from "./model/threads/threads.js";

const listedByDefault = 100;
const limit = z.number().int().min(1).max(500).nullish();

/** Opens a negotiation between the two agents of an active connection (claw-to-claw.md section 3, messages). */
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
  oneAtATime: ({ connectionId }) => `threads of connection ${connectionId}`,
  handler: async (ctx, args) => {
    const connection = await requireConnection(ctx, args.connectionId);
    const { connectionId, inviterAgentId, accepterAgentId } = connection;
    if (connection.status !== "active" || accepterAgentId === null) {
      throw notActive(connectionStatusOf(connection, ctx.now));
    }
    await requireRoomForThread(ctx, connectionId);
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

async function requireRoomForThread(ctx: AgentMutation, connectionId: string): Promise<void> {
  const threads = ctx.db
    .selectFrom("threads")
    .select(({ fn }) => fn.countAll<number>().as("have"))
    .where("connectionId", "=", connectionId);
  const [open, today] = await Promise.all([
    threads.where(isOpenThreadInSql(ctx.now)).executeTakeFirstOrThrow(),
    threads.where("createdAt", ">", ctx.now - dayMs).executeTakeFirstOrThrow(),
  ]);
  requireRoom(
    "openThreads",
    open.have,
    `This connection has ${caps.openThreads.most} open threads. Bring one of them to an end, with an accept or a reject, before you open another.`,
  );
  requireRoom(
    "threadsPerDay",
    today.have,
    `${caps.threadsPerDay.most} threads were opened on this connection within 24 hours. Open further ones later.`,
  );
}

/** In a full thread only messages can follow that end the negotiation or add no terms to it. */
function requireRoomForMessage(thread: ThreadOfCaller, type: MessageType): void {
  if (type === "accept" || type === "reject") return;
  requireRoom(
    "messages",
    thread.messageCount,
    `This thread has ${caps.messages.most} messages. Only accept and reject can follow; go on in another thread.`,
  );
  if (type === "info") return;
  requireRoom(
    "proposals",
    thread.proposalCount,
    `This thread has had ${caps.proposals.most} proposals and counters. Only accept, reject and info can follow: accept the current one, reject it, or ask your humans.`,
  );
}

const insertMessage = prepared(
  ["threadId", "createdAt", "messageId", "fromAgentId", "type", "encryptedPayload", "payload", "referencesMessageId"],
  (db, values) => db.insertInto("messages").values(values),
);

/** What every message changes in its thread: only columns without an index. */
const countMessage = prepared(
  ["threadId", "proposalMessageId", "proposalAgentId", "proposalCount", "messageCount", "lastMessageAt"],
  (db, { threadId, ...counted }) => db.updateTable("threads").set(counted).where("threadId", "=", threadId),
);

const moveThread = prepared(["threadId", "status", "approvalDeadline", "activeHour"], (db, { threadId, ...moved }) =>
  db.updateTable("threads").set(moved).where("threadId", "=", threadId),
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
    const status = threadStatusOf(thread, ctx.now);
    const next = afterMessage[status][args.type];
    if (next === undefined) {
      throw new CallError("conflict", `Cannot send messages to thread with status: ${status}`, { status });
    }
    requireRoomForMessage(thread, args.type);
    const { agentId } = ctx.caller;
    if (args.type === "accept") requireAcceptable(thread, agentId, args.referencesMessageId ?? undefined);
    else if (args.referencesMessageId != null) await requireReference(ctx, thread.threadId, args.referencesMessageId);

    if (thread.supersededAt !== null) await resumeThread(ctx, thread);
    const messageId = ctx.newId("msg");
    const createdAt = Math.max(ctx.now, (thread.lastMessageAt ?? 0) + 1);
    const proposes = args.type === "proposal" || args.type === "counter";
    const approvalDeadline = args.type === "accept" ? ctx.now + threadApprovalMs : thread.approvalDeadline;
    ctx.commitWaitsFor(
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
    ctx.commitWaitsFor(
      countMessage(ctx, {
        threadId: thread.threadId,
        proposalMessageId: proposes ? messageId : thread.proposalMessageId,
        proposalAgentId: proposes ? agentId : thread.proposalAgentId,
        proposalCount: thread.proposalCount + (proposes ? 1 : 0),
        messageCount: thread.messageCount + 1,
        lastMessageAt: createdAt,
      }),
    );
    const activeHour = hourOf(createdAt);
    if (next !== thread.status || activeHour !== thread.activeHour) {
      ctx.commitWaitsFor(moveThread(ctx, { threadId: thread.threadId, status: next, approvalDeadline, activeHour }));
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

const written = {
  messageId: "plain",
  threadId: "plain",
  fromAgentId: "plain",
  type: "plain",
  encryptedPayload: "plain?",
  payload: "json?",
  referencesMessageId: "plain?",
  createdAt: "number",
} as const;
const wireColumns = Object.keys(written) as (keyof typeof written)[];
const wire = { ...written, cursor: "plain" } as const;

/** A row with its cursor, as the database writes it. */
function wireRow({ ref }: ExpressionBuilder<Database, "messages">, mark: Expression<string>) {
  const cursor = sql<string>`cast(${mark} as text) || '~' || cast(${ref("createdAt")} as text)`;
  return [...wireColumns, cursor.as("cursor")] as const;
}

/** The last messages before a time, read forwards from the first of them, so that nothing has to be sorted. */
const lastBefore = prepared(["threadId", "before", "skip", "mark"], (db, { threadId, before, skip, mark }) => {
  const earlier = db.selectFrom("messages").where("threadId", "=", threadId).where("createdAt", "<", before);
  const first = earlier.select("createdAt").orderBy("createdAt", "desc").limit(1).offset(skip);
  const page = earlier
    .select((row) => wireRow(row, mark))
    .where((where) => where("createdAt", ">=", where.fn.coalesce(first, where.lit(0))))
    .orderBy("createdAt");
  return jsonList(page, wire);
});

/** The first `limit` messages between two times. */
const firstAfter = prepared(
  ["threadId", "after", "before", "limit", "mark"],
  (db, { threadId, after, before, limit: most, mark }) => {
    const page = db
      .selectFrom("messages")
      .select((row) => wireRow(row, mark))
      .where("threadId", "=", threadId)
      .where("createdAt", ">", after)
      .where("createdAt", "<", before)
      .orderBy("createdAt")
      .limit(most);
    return jsonList(page, wire);
  },
);

const oldestFirst = cursorsOf("messages:getForThread", { createdAt: "integer" });

/**
 * A thread's messages, oldest first. `after` gives the first ones after that time; otherwise the newest, or the newest
 * before `before`. Times are `createdAt` values, in Unix ms. A cursor continues after its message, instead of `after`.
 */
export const getForThread = query({
  summary: "Reads a thread's messages, oldest first; pages by createdAt",
  auth: "agent",
  args: { threadId: id, limit, before: timestamp.nullish(), after: timestamp.nullish(), cursor },
  returns: z.array(messageValue.extend({ cursor: z.string() })),
  handler: async (ctx, args) => {
    const { threadId } = args;
    const most = args.limit ?? listedByDefault;
    const before = args.before ?? Number.MAX_SAFE_INTEGER;
    const cursors = oldestFirst.under(ctx, { threadId, before: args.before });
    const after = cursors.read(args.cursor)?.createdAt ?? args.after;
    const { mark } = cursors;
    // Both queries travel together; a stranger's page is read in vain and not returned.
    const [page] = await Promise.all([
      after == null
        ? lastBefore(ctx, { threadId, before, skip: most - 1, mark })
        : firstAfter(ctx, { threadId, after, before, limit: most, mark }),
      requireThread(ctx, threadId),
    ]);
    return new JsonText(page.rows[0]?.json ?? "[]");
  },
});

/**
 * The caller's threads, the most recently active first. If a page cannot hold all, it begins with each peer's newest.
 */
export const getThreadsForAgent = query({
  summary: "Lists the calling agent's threads, the most recently active first",
  auth: "agent",
  args: { status: z.enum(threadStatuses).nullish(), limit, cursor },
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
      cursor: z.string(),
    }),
  ),
  handler: async (ctx, args) => {
    const page = await pageOfThreads(ctx, args.status ?? null, args.limit ?? listedByDefault, args.cursor);
    return page.map(({ agentId, name, publicKey, statusNow, approvalDeadline, ...thread }) => ({
      ...thread,
      status: statusNow,
      otherAgent: { agentId, name, publicKey },
      approvalDeadline: approvalDeadline ?? undefined,
    }));
  },
});
