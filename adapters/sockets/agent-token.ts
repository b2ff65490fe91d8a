/** The `?token=` of a control channel: the agent that it stands for. */

import type { Runtime } from "../../runtime/call/runtime.js";
import type { AgentCaller } from "../../runtime/context.js";
import { type Closing, closingOf } from "./close-codes.js";
import type { Socket } from "./socket.js";

/** The agent, or how the socket closes. */
export async function agentCallerOf(
  runtime: Runtime,
  socket: Socket,
  token: string,
  refused: Closing,
): Promise<AgentCaller | Closing> {
  try {
    const caller = await runtime.authenticate(token, socket.address);
    return caller.kind === "agent" ? caller : refused;
  } catch (error) {
    return closingOf(error, refused);
  }
}
