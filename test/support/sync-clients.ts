/** Clients of the sync protocol that are signed in, and functions that answer oddly or not at once. */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import { CallError } from "../../runtime/errors.js";
import { echoModules, large } from "./echo.js";
import type { TestServer } from "./harness.js";
import { add, openSync, type RawClient } from "./sync-frames.js";

/** What the test functions below do next. */
export const world = { failures: 0, runs: 0 };

const odd = query({
  summary: "A value that Convex's clients cannot read",
  auth: "none",
  args: {},
  returns: z.unknown(),
  handler: async () => ({ $odd: 1, 名: 2 }),
});
const oddly = mutation({
  summary: "A change whose value Convex's clients cannot read",
  auth: "none",
  args: {},
  returns: z.unknown(),
  handler: async () => ({ $odd: 1 }),
});

const sometimes = query({
  summary: "Cannot be had for a while",
  auth: "none",
  args: {},
  returns: z.string(),
  handler: async () => {
    if (world.failures > 0) {
      world.failures -= 1;
      throw new CallError("unavailable", "Not now", { retryAfterMs: 2_000 });
    }
    return "here";
  },
});
const sometimesChange = mutation({
  summary: "Cannot be done for a while",
  auth: "none",
  args: {},
  returns: z.number(),
  handler: async () => {
    if (world.failures > 0) {
      world.failures -= 1;
      throw new CallError("unavailable", "Not now", { retryAfterMs: 2_000 });
    }
    world.runs += 1;
    return world.runs;
  },
});
/** Reads all agents, and says the same whoever they are. */
const constant = query({
  summary: "The same value at all times",
  auth: "none",
  args: {},
  returns: z.string(),
  handler: async (ctx) => {
    await ctx.db.selectFrom("agents").select("name").execute();
    return "the same";
  },
});

export const syncModules = { ...echoModules, test: { odd, oddly, sometimes, sometimesChange, constant, large } };

export const echo = (queryId: number, value: unknown) => add(queryId, "echo:value", { value });

/** Connected and signed in, with its first Transition taken. */
export async function signedIn(server: TestServer, secret: string, ...queries: object[]): Promise<RawClient> {
  const client = (await openSync(server))
    .connect()
    .authenticate(secret)
    .modify(...queries);
  await client.answered();
  return client;
}

/** Moves time on until it has come. */
export async function whileTimePasses<T>(server: TestServer, coming: Promise<T>): Promise<T> {
  let hasCome = false;
  const watching = coming.finally(() => {
    hasCome = true;
  });
  while (!hasCome) {
    await server.advance(1_000);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return watching;
}
