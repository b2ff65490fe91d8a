/** `/ws/session`: one side of a session, by its session token (clawrent.md section 4.3). */
import { credentialNamedBy } from "../../../functions/model/session/session-token.js";
import { joinSession } from "../../../functions/system/joins.js";
import type { Dispatcher } from "../../../runtime/call/dispatch.js";
import type { Closing } from "../close-codes.js";
import type { Entrance } from "../rooms/entrances.js";
import type { Rooms } from "../rooms/rooms.js";
import type { Socket } from "../socket.js";
import type { Channel } from "../socket-server.js";

const missing: Closing = { code: 4000, reason: "sessionId, token and role are required" };
const badRole: Closing = { code: 4001, reason: "role must be provider or consumer" };
const unknown: Closing = { code: 4002, reason: "Unknown session or wrong token" };
const suspended: Closing = { code: 4001, reason: "Account is suspended" };

const refusals: Entrance["refusals"] = {
  unknown,
  notParticipant: unknown,
  revoked: unknown,
  suspended,
  notActive: { code: 4003, reason: "Session is not active" },
  noSuchSlot: { code: 4004, reason: "No such slot" },
  slotFull: { code: 4006, reason: "Too many sockets" },
  paused: { code: 4013, reason: "Participant paused" },
};

export class SessionChannel implements Channel {
  constructor(
    readonly dispatcher: Dispatcher,
    readonly rooms: Rooms,
    readonly processId: string,
  ) {}

  async open(socket: Socket, query: URLSearchParams): Promise<Closing | undefined> {
    const [sessionId, token, role] = ["sessionId", "token", "role"].map((name) => query.get(name));
    if (!sessionId || !token || !role) return missing;
    if (role !== "provider" && role !== "consumer") return badRole;
    const { dispatcher, processId } = this;
    const slotIndex = slotOf(query.get("slotIndex"));
    return this.rooms.enter({
      socket,
      sessionId,
      shape: "session",
      credentialId: credentialNamedBy(token),
      agentId: null,
      knock: () =>
        dispatcher.runSystem(joinSession, { sessionId, socketId: socket.id, processId, token, role, slotIndex }),
      refusals,
    });
  }
}

/** Without a slot it is the first. Text that is no whole number names no slot. */
function slotOf(given: string | null): number | null {
  if (given === null || given === "") return 0;
  return /^\d{1,4}$/.test(given) ? Number(given) : null;
}
