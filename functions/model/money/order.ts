/**
 * The life of an order (clawrent.md section 5), which follows from its sessions: `pending` until one of them is active,
 * then `active`; once all have ended `completed`, or `cancelled` where none of them was completed or the consumer
 * cancelled.
 */
import type { SelectQueryBuilder } from "kysely";
import { z } from "zod";
import type { MutationContext, QueryContext, UserCaller } from "../../../runtime/context.js";
import type { Database } from "../../../schema/index.js";
import { currencies } from "../../../schema/listings.js";
import { printAmount } from "../../../schema/money.js";
import {
  type OrderStatus,
  type OrdersTable,
  orderStatuses,
  type SessionStatus,
  type SessionsTable,
  sessionStatuses,
} from "../../../schema/sessions.js";
import { isoTime } from "../../../schema/values.js";
import { agentCard, agentCards } from "../listings/cards.js";
import { isOpenSession, sessionApprovalMs, sessionStatusOf } from "../rules/session-states.js";
import { sessionToken } from "../session/session-token.js";

/** The most that a list counts and pages through: the total stops here, and so do the pages. */
export const mostCounted = 10_000;

/** An order's state, as far as it is stored. */
type OrderState = Pick<OrdersTable, "status" | "awaitsApproval">;

/** The status that an order has by its sessions, if nobody cancelled it. */
export function orderStateOf(sessions: readonly SessionStatus[]): OrderState {
  const has = (status: SessionStatus) => sessions.includes(status);
  if (has("active")) return { status: "active", awaitsApproval: 0 };
  if (has("pending_approval")) return { status: has("completed") ? "active" : "pending", awaitsApproval: 1 };
  return { status: has("completed") ? "completed" : "cancelled", awaitsApproval: 0 };
}

/** Brings the order up to date after one of its sessions changed state. An order that has ended stays as it is. */
export async function followOrder(ctx: MutationContext, orderId: string | null): Promise<void> {
  if (orderId === null) return;
  const sessions = await ctx.db.selectFrom("sessions").select("status").where("orderId", "=", orderId).execute();
  const { status, awaitsApproval } = orderStateOf(sessions.map((session) => session.status));
  await ctx.db
    .updateTable("orders")
    .set({ status, awaitsApproval, updatedAt: ctx.now })
    .where("orderId", "=", orderId)
    .where("status", "in", ["pending", "active"])
    .where(({ or, eb }) => or([eb("status", "<>", status), eb("awaitsApproval", "<>", awaitsApproval)]))
    .execute();
}

/**
 * All sessions of an order are made at one instant, so those that nobody approves run out at one instant too. From
 * that instant on an order has this status by the clock, even before the timer has written it.
 */
const afterItsTime: Partial<Record<OrderStatus, OrderStatus>> = { pending: "cancelled", active: "completed" };

/** Orders made at this instant or earlier have run out of time for approval. */
const overdueAt = (now: number) => now - sessionApprovalMs;

/** The order as it is by the clock. */
export function orderByClock(order: OrdersTable, now: number): OrdersTable {
  if (order.awaitsApproval === 0 || order.createdAt > overdueAt(now)) return order;
  return { ...order, status: afterItsTime[order.status] ?? order.status, awaitsApproval: 0 };
}

/**
 * The orders of a user that have this status by the clock, as parts that belong together. Each part is one range of an
 * index, in the order of the list, so that a page reads no more than it shows and skips.
 */
function partsOf(status: OrderStatus): (OrderState & { isOverdue?: boolean })[] {
  const parts: (OrderState & { isOverdue?: boolean })[] = status === "pending" ? [] : [{ status, awaitsApproval: 0 }];
  for (const stored of ["pending", "active"] as const) {
    if (stored === status) parts.push({ status: stored, awaitsApproval: 1, isOverdue: false });
    if (afterItsTime[stored] === status) parts.push({ status: stored, awaitsApproval: 1, isOverdue: true });
  }
  return parts;
}

type Places = SelectQueryBuilder<Database, "orders", Pick<OrdersTable, "orderId" | "createdAt">>;

/**
 * A user's orders of a status by the clock, or all of them, as positions in the list: the caller sorts and limits them.
 * `narrowed` is applied to each part that the list is put together from.
 */
export function placesOfOrders(
  { db, now }: QueryContext,
  userId: string,
  status: OrderStatus | null,
  narrowed: (part: Places) => Places,
): Places {
  const mine = narrowed(db.selectFrom("orders").select(["orderId", "createdAt"]).where("userId", "=", userId));
  if (status === null) return mine;
  const [first, ...others] = partsOf(status).map(({ status, awaitsApproval, isOverdue }) =>
    mine
      .where("status", "=", status)
      .where("awaitsApproval", "=", awaitsApproval)
      .$if(isOverdue !== undefined, (part) => part.where("createdAt", isOverdue ? "<=" : ">", overdueAt(now))),
  );
  if (!first) throw new Error(`No order is ever ${status}`);
  return others.reduce((all, part) => all.unionAll(part), first);
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
export async function orderViews(ctx: QueryContext<UserCaller>, orders: readonly OrdersTable[]): Promise<OrderView[]> {
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
    const sessionStatus = sessionStatusOf(session, ctx.now);
    return {
      id: sessionId,
      providerAgentId,
      consumerAgentId,
      taskDescription,
      sessionId,
      sessionToken: isOpenSession(sessionStatus)
        ? sessionToken(ctx, sessionId, "consumer", ctx.caller.credentialId)
        : null,
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

/** The sessions of some orders. Their ids were chosen so that they sort as the items did. */
export function sessionsOfOrders(ctx: QueryContext, orderIds: readonly string[]): Promise<SessionsTable[]> {
  return ctx.db
    .selectFrom("sessions")
    .selectAll()
    .where("orderId", "in", orderIds)
    .orderBy("orderId")
    .orderBy("sessionId")
    .execute();
}
