/** Functions that only tests have: large answers, and which of them were read. */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import type { Modules } from "../../runtime/call/registry.js";
import { CallError } from "../../runtime/errors.js";

/** The numbers of all that were read, in order. */
export const runs: number[] = [];

/** The bytes of all that was refused, in order. */
export const refusals: number[] = [];

/** A large value of its own for each number, which a new agent changes. */
const read = query({
  summary: "A large value",
  auth: "none",
  args: { number: z.number(), bytes: z.number() },
  returns: z.string(),
  handler: async (ctx, { number, bytes }) => {
    runs.push(number);
    const agents = await ctx.db.selectFrom("agents").select("agentId").execute();
    return `${number} ${agents.length} `.padEnd(bytes, "x");
  },
});

const write = mutation({
  summary: "Answers with a large value",
  auth: "none",
  args: { bytes: z.number() },
  returns: z.string(),
  handler: async (_ctx, { bytes }) => "x".repeat(bytes),
});

/** What is refused is not kept to be given again. */
const refuse = mutation({
  summary: "Refuses with a large message",
  auth: "none",
  args: { bytes: z.number() },
  returns: z.null(),
  handler: async (_ctx, { bytes }) => {
    refusals.push(bytes);
    throw new CallError("conflict", "x".repeat(bytes));
  },
});

export const bigModules: Modules = { big: { read, write, refuse } };
