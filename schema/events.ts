/** Events: gatherings with a time and perhaps a place, who is there, and the introductions made there. */
import type { Decision } from "./threads.js";

export const eventStatuses = ["scheduled", "live", "ended"] as const;
export type EventStatus = (typeof eventStatuses)[number];

/**
 * Written by `events:create`, `events:update`, `events:updateTags`, `events:cancel` and admins; the timer sets
 * `startedAt` and `endedAt`. Never deleted.
 */
export interface EventsTable {
  eventId: string;
  name: string;
  description: string | null;
  location: string | null;
  locationLat: number | null;
  locationLng: number | null;
  /**
   * The square of the coordinates and their exact number (place-code.ts), so that a search near a place reads few rows.
   */
  geoCell: number | null;
  placeCode: number | null;
  /** JSON array of strings. */
  tags: string;
  startAt: number;
  endAt: number;
  /**
   * When the timer wrote that it has started. Without it the status follows the clock
   * (functions/model/events/event.ts).
   */
  startedAt: number | null;
  /** When it was cancelled, or the timer wrote that it is over. Without it the status follows the clock. */
  endedAt: number | null;
  cancelledAt: number | null;
  /** Set while check-ins and intros have yet to follow an end that has moved. */
  trimAt: number | null;
  /**
   * At most three open events of a creator have the same, so that lists take turns
   * (functions/model/events/fair-pages.ts).
   */
  turn: number;
  createdBy: string;
  createdAt: number;
}

export const outreachModes = ["suggest_only", "propose_for_me"] as const;
export type OutreachMode = (typeof outreachModes)[number];

const checkinStatuses = ["active", "checked_out", "expired"] as const;
type CheckinStatus = (typeof checkinStatuses)[number];

/** Written by `events:checkIn`, `events:checkOut` and the timer. At most one active row per event and agent. */
export interface CheckinsTable {
  checkinId: string;
  eventId: string;
  agentId: string;
  status: CheckinStatus;
  checkedInAt: number;
  expiresAt: number;
  /** JSON array of strings. */
  intentTags: string;
  eventGoal: string | null;
  introNote: string | null;
  introConstraints: string | null;
  /** 1 or 0: SQLite has no boolean. */
  introEnabled: number;
  /** Null where nobody chose. */
  outreachMode: OutreachMode | null;
  /** When the next intro would be due at one a minute: the state of the rate limit of `events:proposeIntro`. */
  introDueAt: number;
}

export const introStatuses = ["proposed", "accepted", "confirmed", "rejected", "expired"] as const;
export type IntroStatus = (typeof introStatuses)[number];

/** Written by the intro functions, `events:checkOut` and the timer. At most one open row per event and pair. */
export interface IntrosTable {
  introId: string;
  eventId: string;
  fromAgentId: string;
  toAgentId: string;
  fromCheckinId: string;
  toCheckinId: string;
  /** Both agents, sorted and joined. */
  pairKey: string;
  status: IntroStatus;
  opener: string | null;
  context: string | null;
  fromDecision: Decision | null;
  toDecision: Decision | null;
  /** The short thread that a confirmed intro opens. */
  threadId: string | null;
  createdAt: number;
  /** While unresolved: the earlier end of the two check-ins. Once confirmed: the event's end. */
  expiresAt: number;
}

/**
 * Written by the location-share functions, a first check-in (which spends it) and the timer, which deletes it a day
 * after its end.
 */
export interface LocationSharesTable {
  shareId: string;
  shareTokenHash: string;
  agentId: string;
  label: string | null;
  /** `spent`: used for a check-in, or its time passed; the coordinates are gone. */
  status: "pending" | "completed" | "spent";
  /** Latitude, longitude and accuracy, readable only with the share's token. */
  sealedPlace: string | null;
  createdAt: number;
  sharedAt: number | null;
  /** While pending, the end of the link; once completed, the end of the location's use. */
  expiresAt: number;
}
