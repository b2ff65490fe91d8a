/**
 * Functions that stand behind `/api/cart` while the REST adapter itself is tested: they return what they were given, or
 * answers that the product's functions never give. Their arguments fit the routes' paths.
 */
import { z } from "zod";
import { mutation, query, Refusal } from "../../runtime/call/define.js";
import type { Modules } from "../../runtime/call/registry.js";
import { CallError, type ErrorCode } from "../../runtime/errors.js";
import { limit, page, text } from "../../schema/values.js";

/** Returns what came in the query string. Anybody may call it. */
const list = query({
  summary: "Says back what it was given",
  auth: "none",
  args: { page, limit, search: z.string().optional() },
  returns: z.unknown(),
  handler: async (ctx, args) => ({ ...args, caller: ctx.caller.kind }),
});

/** How often `add` has run. */
export const runs = { add: 0 };

/** Returns what came in the body, counts its runs, and needs a known caller. */
const add = mutation({
  summary: "Says back what it was given",
  auth: "agent",
  args: { name: text(20, 1), note: z.string().optional(), payload: z.unknown().optional() },
  returns: z.unknown(),
  handler: async (ctx, args) => {
    runs.add += 1;
    if (args.name === "refused") return new Refusal(new CallError("conflict", "No, and here is why"));
    return { ...args, caller: ctx.caller.agentId };
  },
});

/** Refuses with any code and data that it is given. */
const update = mutation({
  summary: "Refuses with the given code",
  auth: "none",
  args: { cartItemId: z.string().max(30), code: z.string(), data: z.record(z.string(), z.unknown()).default({}) },
  returns: z.null(),
  handler: (_ctx, { code, data }) => Promise.reject(new CallError(code as ErrorCode, "No, and here is why", data)),
});

const remove = mutation({
  summary: "Says back which item, but breaks on one",
  auth: "none",
  args: { cartItemId: z.string().max(30) },
  returns: z.object({ cartItemId: z.string() }),
  handler: async (_ctx, { cartItemId }) => {
    if (cartItemId === "broken") throw new Error("the secret is swordfish");
    return { cartItemId };
  },
});

const clear = mutation({
  summary: "Takes nothing",
  auth: "none",
  args: {},
  returns: z.object({ message: z.string() }),
  handler: async () => ({ message: "Cleared" }),
});

export const echoCart: Modules = { cart: { list, add, update, remove, clear } };
