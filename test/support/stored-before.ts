/** Stores what an earlier release stored and this one would refuse. */
import { systemMutation } from "../../runtime/call/define.js";
import type { MutationContext } from "../../runtime/context.js";
import type { TestServer } from "./harness.js";

/** Writes to the database without calling any of the product's functions. */
export async function storeAsBefore(server: TestServer, write: (ctx: MutationContext) => Promise<unknown>) {
  const store = systemMutation("test: stores what an earlier release stored", async (ctx) => {
    await write(ctx);
  });
  await server.server.dispatcher.runSystem(store);
}

/** Gives an agent a name that an earlier release would have accepted. */
export async function nameAsBefore(server: TestServer, agentId: string, name: string): Promise<void> {
  await storeAsBefore(server, ({ db }) =>
    db.updateTable("agents").set({ name }).where("agentId", "=", agentId).execute(),
  );
}
