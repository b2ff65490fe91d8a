/** Functions for tests only: values of every type, and answers that the product's functions never give. */
import { z } from "zod";
import { mutation, query } from "../../runtime/call/define.js";
import type { Modules } from "../../runtime/call/registry.js";
import { CallError } from "../../runtime/errors.js";

const anyValue = z.unknown();

/** Returns its argument. */
const value = query({
  summary: "Says back what it was given",
  auth: "none",
  args: { value: anyValue },
  returns: anyValue,
  handler: async (_ctx, args) => args.value,
});

/** Returns its argument, as a mutation that writes nothing. */
const change = mutation({
  summary: "Says back what it was given, as a mutation",
  auth: "none",
  args: { value: anyValue },
  returns: anyValue,
  handler: async (_ctx, args) => args.value,
});

const refuse = query({
  summary: "Refuses with data",
  auth: "none",
  args: {},
  returns: z.null(),
  handler: () => Promise.reject(new CallError("conflict", "No, and here is why", { status: "shut", count: 5n })),
});

const breakDown = query({
  summary: "Fails with a secret in its message",
  auth: "none",
  args: {},
  returns: z.null(),
  handler: () => Promise.reject(new Error("the secret is swordfish")),
});

const misdeclared = query({
  summary: "Returns what it does not declare",
  auth: "none",
  args: {},
  returns: z.object({ declared: z.number() }),
  handler: async () => ({ declared: "text" }) as never,
});

const leaky = query({
  summary: "Returns more than it declares",
  auth: "none",
  args: {},
  returns: z.object({ declared: z.number() }),
  handler: async () => ({ declared: 1, undeclared: 2 }),
});

const nothing = query({
  summary: "Returns undefined",
  auth: "none",
  args: {},
  returns: z.undefined(),
  handler: async () => undefined,
});

/** A megabyte, followed by the number of all agents. */
export const large = query({
  summary: "A large value that changes",
  auth: "none",
  args: {},
  returns: z.string(),
  handler: async (ctx) => {
    const agents = await ctx.db.selectFrom("agents").select("name").execute();
    return `${"x".repeat(1024 * 1024)}${agents.length}`;
  },
});

export const echoModules: Modules = {
  echo: { value, change, refuse, breakDown, misdeclared, leaky, nothing },
  "deep/echo": { default: value },
};
