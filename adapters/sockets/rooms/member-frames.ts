/** The frames that members send: a message becomes a call of `sessions:sendMessage`, and its outcome the answer. */
import { replyToSocket, signalTyping } from "../../../functions/system/signals.js";
import type { Outcome } from "../../../runtime/call/call.js";
import type { Dispatcher } from "../../../runtime/call/dispatch.js";
import { newCall } from "../../new-call.js";
import { sessionFrame } from "../frames.js";
import type { InboundFrame } from "../inbound-frame.js";
import type { Member } from "./member.js";

/** A frame of the server's for one member, before it has its stamp; `timed`: its payload says the stamp, too. */
interface Answer {
  type: string;
  payload: Record<string, unknown>;
  timed: boolean;
}

/** What `sessions:sendMessage` returns. */
interface Sent {
  messageId: string;
  delivered: boolean;
  gatewayResult: string;
  createdAt: string;
}

export class MemberFrames {
  constructor(
    readonly dispatcher: Dispatcher,
    /** Whether anybody else in the member's session would hear that it types. */
    readonly isHeard: (member: Member) => boolean,
  ) {}

  async take(member: Member, { type, fields }: InboundFrame): Promise<void> {
    const { socket, sessionId, caller, participant, shape } = member;
    if (fields.sessionId !== undefined && fields.sessionId !== null && fields.sessionId !== sessionId) {
      return this.refuse(member, "invalid_args", "sessionId is not the session of this socket");
    }
    if (type === "dialogue.typing") return this.#typing(member);

    const id = typeof fields.id === "string" ? fields.id : undefined;
    const args = {
      sessionId,
      id,
      type,
      payload: fields.payload,
      targetSlot: fields.targetSlot,
      // Only the group channel has mentions. On the session channel a field of that name means something else.
      mentions: shape === "group" ? fields.mentions : undefined,
      slotIndex: participant.slotIndex ?? undefined,
    };
    const asked = { path: "sessions:sendMessage", kind: "mutation" as const, args };
    const outcome = await this.dispatcher.dispatch(newCall(asked, { caller, address: socket.address }));
    return this.#answer(member, id, outcome);
  }

  /**
   * On the session channel a message that went well is not answered: some clients take the first frame for the peer's
   * answer.
   */
  async #answer(member: Member, id: string | undefined, outcome: Outcome): Promise<void> {
    if (outcome.status === "fault") return this.refuse(member, "internal", "Server error");
    if (outcome.status !== "success") {
      const { code, message, data } = outcome.error;
      if (data.gatewayResult !== "blocked") return this.refuse(member, code, message);
      const { messageId, reason, category } = data;
      const payload = { id, messageId, reason, category };
      return this.reply(member, { type: "system.blocked", payload, timed: true });
    }
    if (member.shape !== "group") return;
    const { createdAt, messageId, delivered, gatewayResult } = outcome.value as Sent;
    const payload = { id, messageId, delivered, gatewayResult, timestamp: createdAt };
    member.socket.send(sessionFrame("system.message_ack", member.sessionId, payload, Date.parse(createdAt)));
  }

  async #typing(member: Member): Promise<void> {
    const { sessionId, participant } = member;
    if (this.isHeard(member)) await this.dispatcher.runSystem(signalTyping, { sessionId, sender: participant });
  }

  refuse(member: Member, code: string, message: string): Promise<void> {
    return this.reply(member, { type: "system.error", payload: { code, message }, timed: false });
  }

  /** Sends an answer in order with everything else that the session's sockets are sent. */
  async reply({ sessionId, socket }: Member, answer: Answer): Promise<void> {
    if (!socket.gone) await this.dispatcher.runSystem(replyToSocket, { sessionId, socketId: socket.id, ...answer });
  }
}
