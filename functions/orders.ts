/** Orders: several rents that happen together or not at all (clawrent.md section 2.8). */
import { z } from "zod";
import { mutation, query } from "../runtime/call/define.js";
import type { UserMutation, UserQuery } from "../runtime/context.js";
import { CallError } from "../runtime/errors.js";
import { type OrdersTable, orderStatuses, type SessionsTable } from "../schema/sessions.js";
import { cursor, id, limit, page, pageOf, text } from "../schema/values.js";
import { cursorsOf, skippedBy } from "./model/cursors.js";
import { walletTurn } from "./model/money/ledger.js";
import {
  mostCounted,
  orderByClock,
  orderStateOf,
  orderView,
  orderViews,
  placesOfOrders,
  sessionsOfOrders,
} from "./model/money/order.js";
import { requiredToStart } from "./model/rules/charge.js";
import { placesTurn, type RentRequest, rentAgent, rentalArgs, taskDescription } from "./model/session/renting.js";
import { catchUp, endSession } from "./model/session/session.js";

const mostItems = 50;

const item = z.object({ providerAgentId: id, taskDescription: taskDescription(1), ...rentalArgs });

/** Rents several agents at once, or none of them. Every item passes the checks of `sessions:create`. */
export const create = mutation({
  summary: "Rents several agents together, or none of them",
  auth: "user",
  args: {
    items: z.array(item).min(1).max(mostItems),
    note: text(500).nullish(),
    fromCart: z.boolean().nullish(),
  },
  returns: orderView,
  oneAtATime: ({ items }, { userId }) => [
    walletTurn(userId),
    ...items.map(({ providerAgentId }) => placesTurn(providerAgentId)),
  ],
  handler: async (ctx, args) => {
    const order: OrdersTable = {
      orderId: ctx.newUuid(),
      userId: ctx.caller.userId,
      note: args.note ?? null,
      status: "pending",
      awaitsApproval: 1,
      totalMinor: 0,
      currency: "CNY",
      createdAt: ctx.now,
      updatedAt: ctx.now,
    };
    await ctx.db.insertInto("orders").values(order).execute();

    // Items are listed in the order of their sessions' ids.
    const sessionIds = args.items.map(() => ctx.newUuid()).sort();
    const sessions: SessionsTable[] = [];
    for (const [index, { providerAgentId: agentId, ...request }] of args.items.entries()) {
      const ids = { orderId: order.orderId, sessionId: sessionIds[index] };
      const session = await rentItem(ctx, { agentId, ...request }, ids, index);
      if (session.currency !== (sessions[0] ?? session).currency) {
        throw atItem(
          new CallError("failed_precondition", "All agents of one order must be priced in the same currency"),
          index,
        );
      }
      sessions.push(session);
    }

    const settled = {
      ...orderStateOf(sessions.map(({ status }) => status)),
      totalMinor: sessions.reduce((sum, session) => sum + requiredToStart(session), 0),
      currency: (sessions[0] as SessionsTable).currency,
    };
    await ctx.db.updateTable("orders").set(settled).where("orderId", "=", order.orderId).execute();
    if (args.fromCart) await ctx.db.deleteFrom("cartItems").where("userId", "=", ctx.caller.userId).execute();
    return viewOrder(ctx, { ...order, ...settled });
  },
});

async function rentItem(
  ctx: UserMutation,
  request: RentRequest,
  ids: Parameters<typeof rentAgent>[2],
  index: number,
): Promise<SessionsTable> {
  try {
    return await rentAgent(ctx, request, ids);
  } catch (error) {
    throw error instanceof CallError ? atItem(error, index) : error;
  }
}

/** The refusal of one item, which says which item it is about. */
function atItem({ code, message, data }: CallError, index: number): CallError {
  return new CallError(code, message, { ...data, item: index, issues: [{ path: `items.${index}`, message }] });
}

const newestFirst = cursorsOf("orders:list", { createdAt: "integer", orderId: "id" });

/** The caller's orders, newest first. */
export const list = query({
  summary: "Your orders, newest first",
  auth: "user",
  args: { status: z.enum(orderStatuses).nullish(), page, limit, cursor },
  returns: pageOf(orderView),
  handler: async (ctx, args) => {
    const cursors = newestFirst.under(ctx, { status: args.status });
    const after = cursors.read(args.cursor);
    const order = { createdAt: "createdAt", orderId: "orderId" };
    const places = (from: typeof after) =>
      placesOfOrders(ctx, ctx.caller.userId, args.status ?? null, (part) => cursors.behind(part, from, order));
    const offset = Math.min(skippedBy(args), mostCounted);
    const [found, { total }] = await Promise.all([
      places(after)
        .orderBy("createdAt", "desc")
        .orderBy("orderId", "desc")
        .limit(offset < mostCounted ? args.limit + 1 : 0)
        .offset(offset)
        .execute(),
      ctx.db
        .selectFrom(places(undefined).limit(mostCounted).as("counted"))
        .select(({ fn }) => fn.countAll<number>().as("total"))
        .executeTakeFirstOrThrow(),
    ]);
    const { rows, nextCursor } = cursors.page(found, args.limit, (row) => row);
    const data = await orderViews(ctx, await ordersAt(ctx, rows));
    return { data, total: Number(total), page: args.page, limit: args.limit, nextCursor };
  },
});

/** The orders at these positions of a list, in its order. */
async function ordersAt(ctx: UserQuery, places: readonly Pick<OrdersTable, "orderId">[]): Promise<OrdersTable[]> {
  const orderIds = places.map(({ orderId }) => orderId);
  if (orderIds.length === 0) return [];
  const orders = await ordersOf(ctx).selectAll().where("orderId", "in", orderIds).execute();
  const byId = new Map(orders.map((order) => [order.orderId, orderByClock(order, ctx.now)]));
  return orderIds.flatMap((orderId) => byId.get(orderId) ?? []);
}

/** One order. */
export const get = query({
  summary: "One of your orders",
  auth: "user",
  args: { orderId: id },
  returns: orderView,
  handler: async (ctx, args) => viewOrder(ctx, await requireOrder(ctx, args.orderId)),
});

/** Ends the open sessions of an order: pending ones cost nothing, active ones settle. */
export const cancel = mutation({
  summary: "Cancels an order and ends its sessions",
  auth: "user",
  args: { orderId: id },
  returns: orderView,
  oneAtATime: (_args, { userId }) => walletTurn(userId),
  handler: async (ctx, args) => {
    const { orderId } = await requireOrder(ctx, args.orderId);
    const sessions = await sessionsOfOrders(ctx, [orderId]);
    for (const session of sessions) await catchUp(ctx, session);
    const order = await requireOrder(ctx, orderId);
    if (order.status !== "pending" && order.status !== "active") {
      throw new CallError("failed_precondition", "Only pending or active orders can be cancelled", {
        status: order.status,
      });
    }
    for (const session of sessions) {
      if (session.status === "active") await endSession(ctx, session, { as: "completed", reason: "cancelled" });
      else if (session.status === "pending_approval") {
        await endSession(ctx, session, { as: "aborted", reason: "cancelled" });
      }
    }
    // Even where its sessions are `completed`, the consumer has cancelled the order.
    const cancelled = { status: "cancelled" as const, awaitsApproval: 0, updatedAt: ctx.now };
    await ctx.db.updateTable("orders").set(cancelled).where("orderId", "=", orderId).execute();
    return viewOrder(ctx, { ...order, ...cancelled });
  },
});

/** The caller's order. Anybody else's reads as missing. */
async function requireOrder(ctx: UserQuery, orderId: string): Promise<OrdersTable> {
  const order = await ordersOf(ctx).selectAll().where("orderId", "=", orderId).executeTakeFirst();
  if (!order) throw new CallError("not_found", "Order not found");
  return orderByClock(order, ctx.now);
}

function ordersOf(ctx: UserQuery) {
  return ctx.db.selectFrom("orders").where("userId", "=", ctx.caller.userId);
}

async function viewOrder(ctx: UserQuery, order: OrdersTable) {
  const [view] = await orderViews(ctx, [order]);
  if (!view) throw new Error("An order has a view");
  return view;
}
