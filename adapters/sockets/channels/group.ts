/** `/ws/group`: one participant of a session, by its agent's token or its own JWT (clawrent.md section 4.4). */
import { joinGroup } from "../../../functions/system/joins.js";
import type { Admission } from "../../../runtime/call/admission.js";
import type { Dispatcher } from "../../../runtime/call/dispatch.js";
import type { Caller } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { hashSecret } from "../../../runtime/ids.js";
import type { RateLimits } from "../../../runtime/rate-limits.js";
import { type Closing, closingOf, suspendedAs } from "../close-codes.js";
import type { Entrance } from "../rooms/entrances.js";
import type { Rooms } from "../rooms/rooms.js";
import type { Socket } from "../socket.js";
import type { Channel } from "../socket-server.js";

const missing: Closing = { code: 4000, reason: "sessionId and token are required" };
const invalidJwt: Closing = { code: 4011, reason: "Token expired or invalid" };
const invalidAgentToken: Closing = { code: 4012, reason: "Invalid or revoked agent token" };
const notParticipant: Closing = { code: 4013, reason: "Not an active participant" };

const refusals: Omit<Entrance["refusals"], "revoked" | "suspended"> = {
  unknown: { code: 4014, reason: "Session not found" },
  notParticipant,
  paused: { code: 4013, reason: "Participant paused" },
  notActive: { code: 4015, reason: "Session is not active" },
  noSuchSlot: notParticipant,
  slotFull: notParticipant,
};

export class GroupChannel implements Channel {
  constructor(
    readonly dispatcher: Dispatcher,
    readonly admission: Admission,
    readonly rooms: Rooms,
    readonly limits: RateLimits,
    readonly processId: string,
  ) {}

  async open(socket: Socket, query: URLSearchParams): Promise<Closing | undefined> {
    const { dispatcher, admission, processId } = this;
    const sessionId = query.get("sessionId");
    const token = query.get("token");
    if (!sessionId || !token) return missing;
    const storm = await this.#stormOf(`${hashSecret(token)} ${sessionId}`);
    if (storm) return storm;

    const revoked = token.startsWith("eyJ") ? invalidJwt : invalidAgentToken;
    let caller: Caller;
    try {
      caller = await admission.authenticate(token, socket.address);
    } catch (error) {
      return closingOf(error, revoked);
    }
    if (caller.kind !== "agent" && caller.kind !== "user") return revoked;
    const { credentialId } = caller;
    const agentId = caller.kind === "agent" ? caller.agentId : null;
    const userId = caller.kind === "agent" ? caller.ownerId : caller.userId;
    const newcomer = { sessionId, socketId: socket.id, processId };
    return this.rooms.enter({
      socket,
      sessionId,
      shape: "group",
      credentialId,
      agentId,
      knock: () => dispatcher.runSystem(joinGroup, { ...newcomer, credentialId, agentId, userId }),
      refusals: { ...refusals, revoked, suspended: suspendedAs(revoked) },
    });
  }

  /** How a socket closes that comes too often. The client reads the time to wait from the reason. */
  async #stormOf(who: string): Promise<Closing | undefined> {
    try {
      await this.limits.take("groupOpenings", who);
      return undefined;
    } catch (error) {
      if (!(error instanceof CallError) || error.code !== "rate_limited") throw error;
      const seconds = Math.ceil(Number(error.data.retryAfterMs) / 1_000);
      return { code: 4030, reason: `Too many connects, retry after ${seconds}s` };
    }
  }
}
