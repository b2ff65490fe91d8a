/**
 * The `?token=` of a control channel: the agent that it stands for, and how a socket closes where it stands for none.
 */
import type { Lapse } from "../../functions/model/standing.js";
import type { Admission } from "../../runtime/call/admission.js";
import type { AgentCaller } from "../../runtime/context.js";
import { type Closing, closingOf, closings, suspendedAs } from "./close-codes.js";
import type { Socket } from "./socket.js";

const missingToken: Closing = { code: 4000, reason: "Missing token" };
export const invalidToken: Closing = { code: 4001, reason: "Invalid or revoked agent token" };

/**
 * How a socket closes whose token opens nothing any more. An agent that has changed hands comes again, for its new
 * owner.
 */
export const lapsedClosings: Record<Lapse, Closing> = {
  revoked: invalidToken,
  suspended: suspendedAs(invalidToken),
  moved: closings.restart,
};

/** The agent, or how the socket closes. */
export async function agentCallerOf(
  admission: Admission,
  socket: Socket,
  token: string | null,
): Promise<AgentCaller | Closing> {
  if (!token) return missingToken;
  try {
    const caller = await admission.authenticate(token, socket.address);
    return caller.kind === "agent" ? caller : invalidToken;
  } catch (error) {
    return closingOf(error, invalidToken);
  }
}
