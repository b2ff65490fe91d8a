/** The `?token=` of a control channel: the agent that it stands for. */
import type { AgentCaller } from "../../runtime/context.js";
import type { Runtime } from "../../runtime/dispatch.js";
import { type Closing, closingOf } from "./close-codes.js";
import type { Socket } from "./socket.js";

/** The agent, or undefined after closing the socket. */
export async function agentCallerOf(
  runtime: Runtime,
  socket: Socket,
  token: string,
  refused: Closing,
): Promise<AgentCaller | undefined> {
  try {
    const caller = await runtime.authenticate(token, socket.address);
    if (caller.kind === "agent") return caller;
    socket.close(refused);
  } catch (error) {
    socket.close(closingOf(error, refused));
  }
  return undefined;
}
