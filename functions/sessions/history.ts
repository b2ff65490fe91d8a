/** What the two sides of a session have written to each other. */
import { z } from "zod";
import { JsonText, query } from "../../runtime/call/define.js";
import { cursor, id, limitOf } from "../../schema/values.js";
import { cursorsOf } from "../model/cursors.js";
import { requireParty } from "../model/session/session.js";
import {
  messagesAfter,
  mostPayloadBytes,
  sessionMessage,
  sessionMessageJson,
} from "../model/session/session-messages.js";

const mostMessages = 1_000;

/** After this many bytes of payloads a page ends early: a thousand of the largest would be 256 MiB. */
export const enoughBytes = 4 * 1_024 * 1_024;

const oldestFirst = cursorsOf("sessions:listMessages", { createdAt: "integer" });

/** The session's messages from both sides, oldest first (clawrent.md section 2.6). */
export const listMessages = query({
  summary: "A session's messages after an instant, oldest first",
  auth: "user",
  args: {
    sessionId: id,
    since: z.iso.datetime({ offset: true, error: "must be an ISO 8601 time" }).nullish(),
    limit: limitOf(mostMessages, mostMessages),
    cursor,
  },
  returns: z.object({
    data: z.array(sessionMessage),
    total: z.number(),
    limit: z.number(),
    nextCursor: z.string().nullable(),
  }),
  handler: async (ctx, args) => {
    const { session } = await requireParty(ctx, args.sessionId);
    const { sessionId } = session;
    const since = args.since == null ? -1 : Date.parse(args.since);
    const { total } = await ctx.db
      .selectFrom("sessionMessages")
      .select(({ fn }) => fn.countAll<number>().as("total"))
      .where("sessionId", "=", sessionId)
      .where("createdAt", ">", since)
      .executeTakeFirstOrThrow();

    const messages: string[] = [];
    let bytes = 0;
    const cursors = oldestFirst.under(ctx, { sessionId, since: args.since });
    let after = cursors.read(args.cursor)?.createdAt ?? since;
    let more = true;
    while (more && messages.length < args.limit && bytes < enoughBytes) {
      // However large they are, the page exceeds its bytes by no more than one message.
      const atOnce = Math.min(args.limit - messages.length, Math.ceil((enoughBytes - bytes) / mostPayloadBytes));
      const { rows } = await messagesAfter(ctx, { sessionId, after, atOnce });
      for (const row of rows) bytes += Buffer.byteLength(row.payload);
      messages.push(...rows.map(sessionMessageJson));
      after = rows.at(-1)?.createdAt ?? after;
      more = rows.length === atOnce;
    }
    const isMore = more && (await messagesAfter(ctx, { sessionId, after, atOnce: 1 })).rows.length > 0;
    const nextCursor = isMore ? cursors.at({ createdAt: after }) : null;
    return new JsonText(
      `{"data":[${messages.join(",")}],"total":${total},"limit":${args.limit},"nextCursor":${JSON.stringify(nextCursor)}}`,
      "callers'",
    );
  },
});
