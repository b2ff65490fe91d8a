/**
 * The life of an order (clawrent.md section 5): it is what its sessions are. `pending` until one of them is active, then
 * `active`; once all have ended `completed`, or `cancelled` where none of them was completed or the consumer cancelled.
 */
import { type RawBuilder, sql } from "kysely";
import { z } from "zod";
import type { MutationContext, QueryContext } from "../../runtime/context.js";
import { currencies } from "../../schema/listings.js";
import { printAmount } from "../../schema/money.js";
import { partitions } from "../../schema/partitions.js";
import {
  type OrderStatus,
  type OrdersTable,
  orderStatuses,
  type SessionStatus,
  type SessionsTable,
  sessionStatuses,
} from "../../schema/sessions.js";
import { isoTime } from "../../schema/values.js";
import { agentCard, agentCards } from "./cards.js";
import { isOpen, statusOf } from "./session-status.js";
import { sessionToken } from "./session-token.js";

/** What an order is that nobody cancelled, by its sessions. */
export function orderStatusOf(sessions: readonly SessionStatus[]): OrderStatus {
  const has = (status: SessionStatus) => sessions.includes(status);
  if (has("active")) return "active";
  if (has("pending_approval")) return has("completed") ? "active" : "pending";
  return has("completed") ? "completed" : "cancelled";
}

/** Has the order follow after one of its sessions moved. What has ended stays so. */
export async function followOrder(ctx: MutationContext, orderId: string | null): Promise<void> {
  if (orderId === null) return;
  const sessions = await ctx.db.selectFrom("sessions").select("status").where("orderId", "=", orderId).execute();
  const status = orderStatusOf(sessions.map((session) => session.status));
  await ctx.db
    .updateTable("orders")
    .set({ status, updatedAt: ctx.now })
    .where("orderId", "=", orderId)
    .where("status", "in", ["pending", "active"])
    .where("status", "<>", status)
    .returning(partitions.orders)
    .execute();
}

/** What an order is by the clock, for a query: sessions that nobody approved in time no longer keep it open. */
export function orderStatusInSql(now: number): RawBuilder<OrderStatus> {
  const status = sql.ref("orders.status");
  const sessions = sql`select 1 from sessions where sessions."orderId" = ${sql.ref("orders.orderId")} and sessions.status`;
  return sql<OrderStatus>`case
    when ${status} in ('completed', 'cancelled') then ${status}
    when exists (${sessions} = 'active') then ${status}
    when exists (${sessions} = 'pending_approval' and sessions."expiresAt" > ${now}) then ${status}
    when exists (${sessions} = 'completed') then 'completed'
    else 'cancelled' end`;
}

/** An order as its user sees it (section 2.2). Each item is one session and has its id. */
export const orderView = z.object({
  id: z.string(),
  userId: z.string(),
  status: z.enum(orderStatuses),
  note: z.string().nullable(),
  totalAmount: z.string(),
  currency: z.enum(currencies),
  items: z.array(
    z.object({
      id: z.string(),
      providerAgentId: z.string(),
      consumerAgentId: z.string().nullable(),
      taskDescription: z.string(),
      sessionId: z.string(),
      sessionToken: z.string().nullable(),
      sessionStatus: z.enum(sessionStatuses),
      agent: agentCard,
    }),
  ),
  createdAt: z.string(),
  updatedAt: z.string(),
});
type OrderView = z.input<typeof orderView>;

/** The orders with their items, in the order given. */
export async function orderViews(ctx: QueryContext, orders: readonly OrdersTable[]): Promise<OrderView[]> {
  if (orders.length === 0) return [];
  const sessions = await sessionsOfOrders(
    ctx,
    orders.map(({ orderId }) => orderId),
  );
  const cards = await agentCards(ctx, [...new Set(sessions.map(({ providerAgentId }) => providerAgentId))]);
  const itemOf = (session: SessionsTable): OrderView["items"][number] => {
    const { sessionId, providerAgentId, consumerAgentId, taskDescription } = session;
    const agent = cards.get(providerAgentId);
    if (!agent) throw new Error(`Session ${sessionId} has no provider agent`);
    const sessionStatus = statusOf(session, ctx.now);
    return {
      id: sessionId,
      providerAgentId,
      consumerAgentId,
      taskDescription,
      sessionId,
      sessionToken: isOpen(sessionStatus) ? sessionToken(ctx, sessionId, "consumer") : null,
      sessionStatus,
      agent,
    };
  };
  return orders.map((order) => ({
    id: order.orderId,
    userId: order.userId,
    status: order.status,
    note: order.note,
    totalAmount: printAmount(order.totalMinor),
    currency: order.currency,
    items: sessions.filter(({ orderId }) => orderId === order.orderId).map(itemOf),
    createdAt: isoTime(order.createdAt),
    updatedAt: isoTime(order.updatedAt),
  }));
}

/** The sessions of some orders. Their ids are given so that they sort as the items did. */
export function sessionsOfOrders(ctx: QueryContext, orderIds: readonly string[]): Promise<SessionsTable[]> {
  return ctx.db
    .selectFrom("sessions")
    .selectAll()
    .where("orderId", "in", orderIds)
    .orderBy("orderId")
    .orderBy("sessionId")
    .execute();
}
