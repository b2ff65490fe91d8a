/** Frames to clients, as bytes. A frame for several sockets is written once per shape and shared. */
import type { MessageNotice, NoticeOf, SenderNotice } from "../../runtime/notices.js";
import { isoTime } from "../../schema/values.js";

/** The two shapes of a session's frames: by role (`/ws/session`), and by participant (`/ws/group`). */
export type Shape = "session" | "group";

/** A frame of a control channel. */
export function channelFrame(type: string, payload: object): Buffer {
  return Buffer.from(JSON.stringify({ type, payload }));
}

/** How much of its limit a session has used (clawrent.md section 6.2). */
export function limitFrame({
  sessionId,
  level,
  amount,
  maxAmount,
  currency,
  limitAt,
  at,
}: NoticeOf<"sessionLimit">): Buffer {
  const endsAt = limitAt === null ? undefined : isoTime(limitAt);
  return channelFrame("session.limit", {
    sessionId,
    level,
    amount,
    maxAmount,
    currency,
    endsAt,
    timestamp: isoTime(at),
  });
}

/** The answer to a heartbeat, on every channel. */
export const heartbeatAck = Buffer.from('{"type":"system.heartbeat_ack","payload":{}}');

export function systemError(code: string, message: string): Buffer {
  return channelFrame("system.error", { code, message });
}

/** A frame of the platform's within a session. Its stamp is of the session's clock (clawrent.md section 0, rule 8). */
export function sessionFrame(type: string, sessionId: string, payload: object, stamp: number): Buffer {
  return Buffer.from(
    JSON.stringify({
      type,
      payload,
      sessionId,
      timestamp: stamp,
      _meta: { sessionId, senderRole: "platform", timestamp: isoTime(stamp) },
    }),
  );
}

/** A message, with the sender that the server knows and not what the client wrote. */
export function messageFrame(sessionId: string, message: MessageNotice, shape: Shape): Buffer {
  const { messageId, type, payload, sender, mentions, stamp } = message;
  const head = {
    id: messageId,
    sessionId,
    timestamp: stamp,
    sender: senderOf(sender, shape),
    type,
    mentions: shape === "group" ? (mentions ?? undefined) : undefined,
  };
  const meta = {
    sessionId,
    senderRole: sender.side,
    slotIndex: sender.slotIndex ?? undefined,
    participantId: shape === "group" ? sender.participantId : undefined,
    timestamp: isoTime(stamp),
  };
  // The payload is stored as JSON and goes out as it is.
  return Buffer.from(`${JSON.stringify(head).slice(0, -1)},"payload":${payload},"_meta":${JSON.stringify(meta)}}`);
}

export function typingFrame(sessionId: string, sender: SenderNotice, stamp: number, shape: Shape): Buffer {
  return messageFrame(
    sessionId,
    {
      messageId: `typing_${stamp}`,
      clientId: null,
      type: "dialogue.typing",
      payload: "{}",
      sender,
      mentions: null,
      targetSlot: null,
      stamp,
    },
    shape,
  );
}

/** Clients want a string as `agentId`: the user's id where no agent acts. */
function senderOf({ participantId, side, userId, agentId, slotIndex }: SenderNotice, shape: Shape): object {
  const common = { role: side, agentId: agentId ?? userId, slotIndex: slotIndex ?? undefined };
  return shape === "session" ? common : { participantId, side, userId, ...common };
}

/** Somebody has come or gone. Undefined where the shape has no frame for that. */
export function peerFrame(
  sessionId: string,
  change: PeerChange,
  participant: SenderNotice,
  stamp: number,
  shape: Shape,
): Buffer | undefined {
  const news = peerNews(change, participant, shape);
  if (!news) return undefined;
  const payload = news.timed ? { ...news.payload, timestamp: isoTime(stamp) } : news.payload;
  return sessionFrame(news.type, sessionId, payload, stamp);
}

export type PeerChange = "connected" | "disconnected" | "offline";

/** The same before it has its stamp. `timed`: its payload says the stamp as well. */
export function peerNews(
  change: PeerChange,
  participant: SenderNotice,
  shape: Shape,
): { type: string; payload: Record<string, unknown>; timed: boolean } | undefined {
  if (shape === "session") {
    const { side, slotIndex } = participant;
    return { type: `system.peer_${change}`, payload: { role: side, slotIndex: slotIndex ?? undefined }, timed: true };
  }
  if (change === "offline") return undefined;
  const type = change === "connected" ? "system.participant_joined" : "system.participant_left";
  return { type, payload: { participant: participantOf(participant) }, timed: false };
}

/** A participant as the group channel shows it (clawrent.md section 4.4). */
export function participantOf({ participantId, side, userId, agentId }: SenderNotice): object {
  return { participantId, participantType: agentId === null ? "user" : "agent", side, userId, agentId, role: side };
}

/** A frame that is written when the first socket of a shape needs it, and then shared. */
export function perShape<T>(write: (shape: Shape) => T): (shape: Shape) => T {
  const written = new Map<Shape, T>();
  return (shape) => {
    if (!written.has(shape)) written.set(shape, write(shape));
    return written.get(shape) as T;
  };
}
