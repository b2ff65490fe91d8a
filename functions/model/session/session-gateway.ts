/**
 * The gateway over a session's rows: what it needs to know of earlier messages, and what is kept of those that it stops
 * (clawrent.md section 7.2). Its rules are model/rules/gateway.ts.
 */
import { sql } from "kysely";
import type { MutationContext } from "../../../runtime/context.js";
import { prepared } from "../../../runtime/store/prepared.js";
import type { BlockedMessagesTable } from "../../../schema/sessions.js";
import { type CheckedMessage, checkMessage, type GatewayRefusal, needsRecent } from "../rules/gateway.js";
import type { SentInstruction } from "../rules/instructions.js";

/** Blocked messages of a session that are kept whole. */
export const mostBlocked = 200;

/** The window in which the rate limits of grants count. */
const rateWindowMs = 60_000;
/** How many bytes of batches are read to count their parts. Where there are more, the message is refused. */
const mostBatchBytes = 1_024 * 1_024;
const tooManyBatches: GatewayRefusal = {
  category: "rate_limit",
  reason: "The batches of the last minute are too large to be counted",
};

/** Why the gateway stops a message of the session; null if it may pass. */
export async function stoppedByGateway(
  ctx: MutationContext,
  sessionId: string,
  message: CheckedMessage,
): Promise<GatewayRefusal | null> {
  if (!needsRecent(message)) return checkMessage(message);
  const recent = await recentInstructions(ctx, sessionId);
  return recent ? checkMessage({ ...message, recent }) : tooManyBatches;
}

/**
 * Keeps a message that the gateway stopped. The first ones of a session are kept whole. Later ones must not push them
 * out, so they are only counted, in the last row that was kept.
 */
export async function keepBlocked(ctx: MutationContext, blocked: BlockedMessagesTable): Promise<void> {
  const kept = await ctx.db
    .selectFrom("blockedMessages")
    .select("messageId")
    .where("sessionId", "=", blocked.sessionId)
    .orderBy("createdAt")
    .limit(mostBlocked)
    .execute();
  if (kept.length < mostBlocked) {
    await ctx.db.insertInto("blockedMessages").values(blocked).execute();
    return;
  }
  await ctx.db
    .updateTable("blockedMessages")
    .set({ furtherBlocked: sql<number>`"furtherBlocked" + 1` })
    .where("messageId", "=", kept.at(-1)?.messageId ?? "")
    .execute();
}

const instructionsSince = prepared(["sessionId", "since"], (db, { sessionId, since }) =>
  db
    .selectFrom("sessionMessages")
    .select(["type", sql<string | null>`case when type = 'instruction.batch' then payload end`.as("payload")])
    .where("sessionId", "=", sessionId)
    .where("createdAt", ">", since)
    .where("senderSide", "=", "provider")
    .where("type", "like", "instruction.%"),
);

const batchBytesSince = prepared(["sessionId", "since"], (db, { sessionId, since }) =>
  db
    .selectFrom("sessionMessages")
    .select(sql<number | null>`sum(octet_length(payload))`.as("bytes"))
    .where("sessionId", "=", sessionId)
    .where("createdAt", ">", since)
    .where("senderSide", "=", "provider")
    .where("type", "=", "instruction.batch"),
);

/**
 * The provider's recent instructions, which count against the rates of grants; undefined if they are too large to read.
 */
async function recentInstructions(ctx: MutationContext, sessionId: string): Promise<SentInstruction[] | undefined> {
  const window = { sessionId, since: ctx.now - rateWindowMs };
  const [batches] = (await batchBytesSince(ctx, window)).rows;
  if (Number(batches?.bytes) > mostBatchBytes) return undefined;
  const { rows } = await instructionsSince(ctx, window);
  return rows.map(({ type, payload }) => ({ type, payload: payload === null ? {} : JSON.parse(payload) }));
}
