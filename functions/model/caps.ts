/**
 * How much one caller may pile up: rows that stay until somebody acts on them. Each cap is counted in the transaction
 * that adds to it, so two calls at the same moment cannot both take the last one. What was above a cap before the cap
 * existed stays and goes on working.
 *
 * Where many share a cap it counts owners and not agents, because one owner can have a hundred of those: each owner has
 * a small share, so that nobody's agents close a place to others.
 */
import { CallError } from "../../runtime/errors.js";

/** The most of each; the table in docs/limits.md is made of this. */
export const caps = {
  openInvites: { most: 100, of: "open invites of an agent" },
  invitesPerDay: { most: 1_000, of: "invites of an agent made within 24 hours" },
  openThreads: { most: 50, of: "open threads (`negotiating` or `awaiting_approval`) of a connection" },
  threadsPerDay: { most: 500, of: "threads of a connection opened within 24 hours" },
  proposals: { most: 40, of: "proposals and counters in a thread; then only `accept`, `reject` and `info`" },
  messages: { most: 10_000, of: "messages in a thread; then only `accept` and `reject`" },
  agents: { most: 100, of: "agents of a user" },
  cartItems: { most: 100, of: "items in a cart" },
  favorites: { most: 1_000, of: "favorites of a user" },
  follows: { most: 1_000, of: "users whom a user follows" },
  openSessions: { most: 200, of: "open sessions (`pending_approval` or `active`) that a user rents" },
  openEvents: { most: 20, of: "open events (`scheduled` or `live`) of an agent" },
  openEventsAtPlace: {
    most: 20,
    of: "open events at one place (100 to 200 m across) of a user with all their agents, or of an agent that nobody owns",
  },
  eventsAtPlace: { most: 200, of: "open events at one place, of which at most 3 of each user or unowned agent count" },
  openShares: { most: 20, of: "open location shares of an agent" },
  checkins: { most: 10, of: "events at which an agent is checked in" },
  pendingIntros: { most: 50, of: "intros proposed by an agent that nobody has confirmed or rejected" },
  pendingAtProvider: { most: 20, of: "sessions of a user that wait for the approval of one provider" },
} as const satisfies Record<string, { most: number; of: string }>;

/** How many events of one owner at a place count toward `eventsAtPlace`. */
export const countedOfOwner = 3;

export const dayMs = 24 * 60 * 60 * 1_000;

/** Refuses one more where the cap is reached. `message` says what is full and what to do. */
export function requireRoom(cap: keyof typeof caps, have: number | string, message: string): void {
  const limit = caps[cap].most;
  if (Number(have) >= limit) throw new CallError("conflict", message, { limit, have: Number(have) });
}
