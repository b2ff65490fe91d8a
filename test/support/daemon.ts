/** Stands in for `clawrent serve`: a socket that holds an agent's control channel. */
import { WebSocket } from "ws";
import type { TestServer } from "./harness.js";

/** Connects the agent of a token and waits for the greeting. The server closes the socket when it stops. */
export async function serve(server: TestServer, agentToken: string): Promise<{ stop(): Promise<void> }> {
  const socket = new WebSocket(`${server.url.replace("http", "ws")}/ws/agent?token=${agentToken}`);
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.once("close", (code) => reject(new Error(`The server closed the channel with ${code}`)));
    socket.once("message", (frame) => {
      const { type } = JSON.parse(String(frame)) as { type: string };
      if (type === "agent.connected") resolve();
      else reject(new Error(`The first frame was ${type}`));
    });
  });
  return {
    stop: () =>
      new Promise((resolve) => {
        socket.once("close", () => resolve());
        socket.close();
      }),
  };
}
