/**
 * What a session's sockets are told but nobody keeps (clawrent.md section 4.3). It is stamped in the transaction, so
 * that everything in the session has one order.
 */
import { systemMutation } from "../../runtime/call/define.js";
import type { SenderNotice } from "../../runtime/notices.js";
import { isoTime } from "../../schema/values.js";
import { findSession, stampSession } from "../model/session/session.js";
import { socketsOfSession } from "../model/session/session-sockets.js";

/** Somebody is typing: told but not kept (section 4.3). It takes a stamp, because the clients' cursors see it too. */
export const signalTyping = systemMutation(
  "signals.typing",
  async (ctx, args: { sessionId: string; sender: SenderNotice }) => {
    const session = await findSession(ctx, args.sessionId);
    if (session?.status !== "active") return;
    const { rows: open } = await socketsOfSession(ctx, { sessionId: args.sessionId });
    // If nobody would hear it, it takes no stamp.
    if (open.every((socket) => socket.participantId === args.sender.participantId)) return;
    ctx.notify({ kind: "sessionTyping", ...(await stampSession(ctx, session)), sender: args.sender });
  },
  { oneAtATime: ({ sessionId }) => sessionId },
);

interface Reply {
  sessionId: string;
  socketId: string;
  type: string;
  payload: Record<string, unknown>;
  /** Whether the payload says when. */
  timed: boolean;
}

/**
 * Answers one socket with a refusal of what it sent, in order with everything else that it gets (section 0, rule 8).
 */
export const replyToSocket = systemMutation(
  "signals.reply",
  async (ctx, { sessionId, socketId, type, payload, timed }: Reply) => {
    const session = await findSession(ctx, sessionId);
    if (session?.status !== "active") return;
    const place = await stampSession(ctx, session);
    const told = timed ? { ...payload, timestamp: isoTime(place.stamp) } : payload;
    ctx.notify({ kind: "sessionReply", ...place, socketId, type, payload: told });
  },
  { oneAtATime: ({ sessionId }) => sessionId },
);
