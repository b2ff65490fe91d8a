/** Functions for tests only: they give large answers, and record which of them ran. */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import type { Modules } from "../../runtime/call/registry.js";
import { CallError } from "../../runtime/errors.js";

/** The numbers of all values that were read, in order. */
export const runs: number[] = [];

/** The sizes of all messages that were refused with, in order. */
export const refusals: number[] = [];

/** A different large value for each number. A new agent changes all of them. */
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

/** Refuses with a large message. A refusal is not kept to be given again. */
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
