/**
 * The states of a session and what leads from one to the next (clawrent.md section 5). It starts `active`, or
 * `pending_approval` where the agent's owner approves by hand or the guardrail wants a human to look. Approved, it is
 * `active` until either side ends it or its money has run out: `completed`, and settled in the same transaction. What
 * is ended before it was approved is `aborted`; what nobody approves within a day is `expired`. Both cost nothing.
 */
import { type Expression, type SqlBool, sql } from "kysely";
import { z } from "zod";
import { type SessionStatus, type SessionsTable, sessionStatuses } from "../../../schema/sessions.js";

/** How long a session waits for approval. */
export const sessionApprovalMs = 24 * 60 * 60 * 1_000;

const sessionActs = ["approve", "send", "end", "expire"] as const;
export type SessionAct = (typeof sessionActs)[number];

/** State × act → the state after it. What is missing is refused; what leads to the same state changes nothing. */
export const afterAct: Record<SessionStatus, Partial<Record<SessionAct, SessionStatus>>> = {
  pending_approval: { approve: "active", end: "aborted", expire: "expired" },
  active: { approve: "active", send: "active", end: "completed" },
  completed: { end: "completed" },
  aborted: { end: "aborted" },
  expired: { end: "expired" },
};

/** The session's status by the clock: the stored one may lag behind until the timer has run. */
export function sessionStatusOf(
  { status, expiresAt, limitAt }: Pick<SessionsTable, "status" | "expiresAt" | "limitAt">,
  now: number,
): SessionStatus {
  if (status === "pending_approval" && expiresAt !== null && expiresAt <= now) return "expired";
  return status === "active" && limitAt !== null && limitAt <= now ? "completed" : status;
}

/** Whether a session's status is one of these by the clock, for a query. The stored status is what an index finds. */
export function hasStatus(statuses: readonly SessionStatus[], now: number): Expression<SqlBool> {
  if (statuses.length === 0) return sql<SqlBool>`1 = 0`;
  const stored = new Set<SessionStatus>(statuses);
  if (stored.has("expired")) stored.add("pending_approval");
  if (stored.has("completed")) stored.add("active");
  return sql<SqlBool>`sessions.status in (${sql.join([...stored])})
    and case when sessions.status = 'pending_approval' and sessions."expiresAt" <= ${now} then 'expired'
      when sessions.status = 'active' and sessions."limitAt" <= ${now} then 'completed'
      else sessions.status end in (${sql.join([...statuses])})`;
}

/** Whether the session is active or may become so. */
export function isOpenSession(status: SessionStatus): boolean {
  return status === "active" || status === "pending_approval";
}

/** States that clients know and ask for, but that no session here is ever in (clawrent.md section 5). */
const unusedStatuses = ["created", "pending_authorization", "paused", "checkpoint_saved", "settled"] as const;

/** The status filter of a list: one, or several separated by commas. The clients' other states find nothing. */
export const statusFilter = z
  .string()
  .transform((given) => given.split(",").map((status) => status.trim()))
  .pipe(z.array(z.enum([...sessionStatuses, ...unusedStatuses])))
  .transform((given) => sessionStatuses.filter((status) => given.includes(status)));
