/**
 * The cart: agents that a user means to rent, each with its task (clawrent.md section 2.9). `orders:create` orders it.
 */
import type { Selectable } from "kysely";
import { z } from "zod";
import { mutation, query } from "../runtime/call/define.js";
import type { QueryContext, UserCaller } from "../runtime/context.js";
import { CallError } from "../runtime/errors.js";
import { type CartItemsTable, currencies, pricingModels } from "../schema/listings.js";
import { printAmount } from "../schema/money.js";
import { cursor, id, isoTime, limitOf, text } from "../schema/values.js";
import { agentNotFound } from "./model/agents/agents.js";
import { caps, requireRoom } from "./model/caps.js";
import { cursorsOf } from "./model/cursors.js";
import { type AgentCard, agentCard, agentCards } from "./model/listings/cards.js";

const taskDescription = text(2_000, 1);

const cartPrice = z.object({ model: z.enum(pricingModels), amount: z.string(), currency: z.enum(currencies) });

const cartItem = z.object({
  id: z.string(),
  providerAgentId: z.string(),
  taskDescription: z.string(),
  agent: agentCard,
  /** The price when the agent was put in, and the present one; null for an agent that no longer has a price. */
  price: cartPrice.nullable(),
  currentPrice: cartPrice.nullable(),
  createdAt: z.string(),
  updatedAt: z.string(),
});

const asFilled = cursorsOf("cart:list", { cartItemId: "id" });

/** The caller's cart, in the order in which it was filled. */
export const list = query({
  summary: "The caller's cart",
  auth: "user",
  args: { limit: limitOf(caps.cartItems.most, caps.cartItems.most), cursor },
  returns: z.object({ data: z.array(cartItem), total: z.number(), nextCursor: z.string().nullable() }),
  handler: async (ctx, args) => {
    const cursors = asFilled.under(ctx);
    const after = cursors.read(args.cursor);
    const [found, { total }] = await Promise.all([
      itemsOf(ctx)
        .$call((all) => cursors.behind(all, after, { cartItemId: "cartItemId" }, "asc"))
        .orderBy("cartItemId")
        .limit(args.limit + 1)
        .execute(),
      ctx.db
        .selectFrom("cartItems")
        .select(({ fn }) => fn.countAll<number>().as("total"))
        .where("userId", "=", ctx.caller.userId)
        .executeTakeFirstOrThrow(),
    ]);
    const { rows, nextCursor } = cursors.page(found, args.limit, (item) => item);
    return { data: await itemViews(ctx, rows), total: Number(total), nextCursor };
  },
});

/** Puts a listed agent into the cart. For an agent that is there already it replaces the task. */
export const add = mutation({
  summary: "Puts an agent into the cart, or replaces its task",
  auth: "user",
  args: { providerAgentId: id, taskDescription },
  returns: cartItem,
  oneAtATime: (_args, { userId }) => `cart ${userId}`,
  handler: async (ctx, args) => {
    const { userId } = ctx.caller;
    const agent = await ctx.db
      .selectFrom("agents")
      .innerJoin("providerProfiles as profile", "profile.agentId", "agents.agentId")
      .select(["agents.ownerId", "profile.pricingModel", "profile.priceMinor", "profile.currency"])
      .where("agents.agentId", "=", args.providerAgentId)
      .where("profile.status", "=", "active")
      .executeTakeFirst();
    if (!agent) throw agentNotFound();
    if (agent.ownerId === userId) throw new CallError("failed_precondition", "Cannot rent your own agent");

    const items = await itemsOf(ctx).execute();
    const known = items.find(({ providerAgentId }) => providerAgentId === args.providerAgentId);
    const { ownerId: _owner, ...priced } = agent;
    // Whoever puts it in again has seen its present price.
    if (known) return change(ctx, known, { taskDescription: args.taskDescription, ...priced });
    requireRoom("cartItems", items.length, `The cart is full (max ${caps.cartItems.most} items)`);
    const item = {
      cartItemId: ctx.newUuid(),
      userId,
      ...args,
      ...priced,
      createdAt: ctx.now,
      updatedAt: ctx.now,
    };
    await ctx.db.insertInto("cartItems").values(item).execute();
    return itemView(ctx, item);
  },
});

/** Replaces the task of an agent in the cart. */
export const update = mutation({
  summary: "Replaces the task of a cart item",
  auth: "user",
  args: { cartItemId: id, taskDescription },
  returns: cartItem,
  handler: async (ctx, args) => {
    const item = await itemsOf(ctx).where("cartItemId", "=", args.cartItemId).executeTakeFirst();
    if (!item) throw new CallError("not_found", "Cart item not found");
    return change(ctx, item, { taskDescription: args.taskDescription });
  },
});

/** Takes one item out of the cart. */
export const remove = mutation({
  summary: "Takes an item out of the cart",
  auth: "user",
  args: { cartItemId: id },
  returns: z.object({ message: z.string() }),
  handler: async (ctx, args) => {
    const removed = await ctx.db
      .deleteFrom("cartItems")
      .where("userId", "=", ctx.caller.userId)
      .where("cartItemId", "=", args.cartItemId)
      .executeTakeFirstOrThrow();
    if (removed.numDeletedRows === 0n) throw new CallError("not_found", "Cart item not found");
    return { message: "Item removed from cart" };
  },
});

/** Empties the cart. */
export const clear = mutation({
  summary: "Empties the cart",
  auth: "user",
  args: {},
  returns: z.object({ message: z.string(), removed: z.number() }),
  handler: async (ctx) => {
    const { numDeletedRows } = await ctx.db
      .deleteFrom("cartItems")
      .where("userId", "=", ctx.caller.userId)
      .executeTakeFirstOrThrow();
    return { message: "Cart cleared", removed: Number(numDeletedRows) };
  },
});

type Item = Selectable<CartItemsTable>;
type UserContext = QueryContext<UserCaller>;

function itemsOf(ctx: UserContext) {
  return ctx.db.selectFrom("cartItems").selectAll().where("userId", "=", ctx.caller.userId);
}

async function change(ctx: UserContext, item: Item, changes: Partial<Item>) {
  const changed = { ...changes, updatedAt: ctx.now };
  await ctx.db.updateTable("cartItems").set(changed).where("cartItemId", "=", item.cartItemId).execute();
  return itemView(ctx, { ...item, ...changed });
}

async function itemView(ctx: UserContext, item: Item): Promise<z.input<typeof cartItem>> {
  const [view] = await itemViews(ctx, [item]);
  if (!view) throw agentNotFound();
  return view;
}

async function itemViews(ctx: UserContext, items: Item[]): Promise<z.input<typeof cartItem>[]> {
  const cards = await agentCards(
    ctx,
    items.map(({ providerAgentId }) => providerAgentId),
  );
  return items.flatMap((item) => {
    const { cartItemId, providerAgentId, taskDescription, createdAt, updatedAt } = item;
    const agent = cards.get(providerAgentId);
    if (!agent) return [];
    const { pricingModel, priceMinor, currency } = item;
    return {
      id: cartItemId,
      providerAgentId,
      taskDescription,
      agent,
      price: priceOf(pricingModel, priceMinor === null ? null : printAmount(priceMinor), currency),
      currentPrice: priceOf(agent.pricingModel, agent.priceAmount, agent.currency),
      createdAt: isoTime(createdAt),
      updatedAt: isoTime(updatedAt),
    };
  });
}

function priceOf(
  model: AgentCard["pricingModel"],
  amount: string | null,
  currency: AgentCard["currency"],
): z.input<typeof cartPrice> | null {
  return model === null || amount === null || currency === null ? null : { model, amount, currency };
}
