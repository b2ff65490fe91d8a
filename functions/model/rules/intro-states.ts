/**
 * Intros: one agent proposes to introduce its human to another's at an event, the other agent answers, and then both
 * humans decide. An intro lives no longer than the two check-ins that it rests on; a confirmed one stays as a record,
 * with a short thread until the event ends.
 *
 * | state | what moves it |
 * |---|---|
 * | `proposed` | the recipient accepts → `accepted`, or rejects → `rejected` |
 * | `accepted` | one human approves → stays, both have → `confirmed`, one declines → `rejected` |
 * | `proposed`, `accepted` | a check-in ends or runs out → `expired` |
 * | `confirmed`, `rejected`, `expired` | nothing |
 */
import { sql } from "kysely";
import type { IntroStatus, IntrosTable } from "../../../schema/events.js";

/**
 * What can happen to an intro. `approve` is the first of the two humans, `confirm` the second, `lapse` a check-in's
 * end.
 */
export type IntroMessage = "accept" | "reject" | "approve" | "confirm" | "decline" | "lapse";

const transitions: Record<IntroStatus, Partial<Record<IntroMessage, IntroStatus>>> = {
  proposed: { accept: "accepted", reject: "rejected", lapse: "expired" },
  accepted: { approve: "accepted", confirm: "confirmed", decline: "rejected", lapse: "expired" },
  confirmed: {},
  rejected: {},
  expired: {},
};

/** The state after `message`, or undefined where `status` does not take it. */
export function nextIntroStatus(status: IntroStatus, message: IntroMessage): IntroStatus | undefined {
  return transitions[status][message];
}

// Literals, in the migration's order: a bound parameter could not use the partial indexes.
/** The states that end when a check-in does. */
export const unresolvedIntros = [sql.lit<IntroStatus>("proposed"), sql.lit<IntroStatus>("accepted")];
/** The states in which a pair has at most one intro at an event. */
export const openIntros = [...unresolvedIntros, sql.lit<IntroStatus>("confirmed")];

/** The status by the clock: the stored one may lag behind until the timer has run. */
export function introStatus(intro: Pick<IntrosTable, "status" | "expiresAt">, now: number): IntroStatus {
  return intro.expiresAt <= now ? (nextIntroStatus(intro.status, "lapse") ?? intro.status) : intro.status;
}
