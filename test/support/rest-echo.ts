/**
 * What stands behind `/api/cart` while the REST adapter itself is tested: functions that say back what they were given,
 * and answers that the product's own never give. They take what the routes' paths name.
 */
import { z } from "zod";
import { mutation, query, Refusal } from "../../runtime/call/define.js";
import type { Modules } from "../../runtime/call/registry.js";
import { CallError, type ErrorCode } from "../../runtime/errors.js";
import { limit, page, text } from "../../schema/values.js";

/** Says back what came in by the query. Anybody may. */
const list = query({
  summary: "Says back what it was given",
  auth: "none",
  args: { page, limit, search: z.string().optional() },
  returns: z.unknown(),
  handler: async (ctx, args) => ({ ...args, caller: ctx.caller.kind }),
});

/** How often `add` ran. */
export const runs = { add: 0 };

/** Says back what came in by the body, to a known caller, and counts. */
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

/** Every no, by its code, with what it says to programs. */
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
