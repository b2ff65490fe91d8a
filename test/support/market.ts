/** Puts agents on the marketplace as their owners would. */
import { systemMutation } from "../../runtime/call/define.js";
import type { TestServer, User } from "./harness.js";
import { Agent } from "./harness.js";

/** A slug that nobody uses yet. */
let made = 0;
export function freshSlug(): string {
  made += 1;
  return `agent-${made}`;
}

export const description = "Reads contracts and says what they mean";

/** Registers an agent of the user's without publishing it. */
// biome-ignore lint/suspicious/noExplicitAny: what comes back is what the tests are about to look at.
export async function draft(owner: User, fields: object = {}): Promise<any> {
  return owner.call("agents:create", { name: "Reader", slug: freshSlug(), description, ...fields });
}

/** An agent that an admin approved: listed, never connected. `fields` are those of the registration. */
// biome-ignore lint/suspicious/noExplicitAny: as above.
export async function listed(server: TestServer, owner: User, fields: object = {}): Promise<any> {
  const { id } = await draft(owner, fields);
  await owner.call("agents:publish", { agentId: id });
  return (await server.admin()).call("admin:approveAgent", { agentId: id });
}

/** The agent as a caller, with its newest token. */
export function asAgent(server: TestServer, made: { id: string; name: string; agentToken: string }): Agent {
  return new Agent(server, made.agentToken, made.id, made.name, "");
}

/** Writes the row of an open control channel, without a socket. */
export async function connect(server: TestServer, agentId: string): Promise<void> {
  const open = systemMutation("test: opens an agent's control channel", async (ctx) => {
    await ctx.db
      .insertInto("agentSockets")
      .values({ agentId, socketId: "s", processId: "p", onlineStatus: "offline", connectedAt: ctx.now })
      .execute();
  });
  await server.server.dispatcher.runSystem(open);
}

/** Deletes that row. */
export async function disconnect(server: TestServer, agentId: string): Promise<void> {
  const close = systemMutation("test: closes an agent's control channel", async (ctx) => {
    await ctx.db.deleteFrom("agentSockets").where("agentId", "=", agentId).execute();
  });
  await server.server.dispatcher.runSystem(close);
}
