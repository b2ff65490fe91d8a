/**
 * Who gets what answer: every function × every kind of caller. A function without a row fails the suite
 * (auth-matrix.test.ts), so a new function comes with its row.
 */

/** In the order of the rows below. */
export const callers = [
  /** No credential. */
  "nobody",
  /** A bearer that is none of ours. */
  "badKey",
  /** The agent that the arguments are about, with its API key. */
  "owner",
  /** An agent that has nothing to do with it. */
  "stranger",
  /** The other agent of the same connection, thread or intro; or, where there is none, one that the owner is connected to. */
  "party",
  /** The owner again, with its agent token. */
  "agentToken",
] as const;
export type CallerKind = (typeof callers)[number];

/** An answer: success (its value, where that matters), or the HTTP status, code and text of the no. */
export type Answer = { status: 200; value?: unknown } | { status: 200 | 401; code: string; message: string };

const ok: Answer = { status: 200 };
const nothing: Answer = { status: 200, value: [] };
const no = (code: string, message: string): Answer => ({ status: 200, code, message });

const noKey: Answer = {
  status: 401,
  code: "unauthenticated",
  message: "Missing Authorization header. Use: Authorization: Bearer <apiKey>",
};
const badKey: Answer = { status: 401, code: "unauthenticated", message: "Invalid API key" };

const noConnection = no("not_found", "Connection not found");
const noThread = no("not_found", "Thread not found");
const noIntro = no("not_found", "Intro not found");
const noShare = no("not_found", "Invalid location share token");
const noClaim = no("not_found", "Invalid claim token");
const noInvite = no("not_found", "Invalid invite token");
const noEvent = no("not_found", "Event not found");
const noTarget = no("not_found", "Target agent not found");
const unclaimed = no("forbidden", "Agent must be claimed before creating events");
const notCreator = (to: string) => no("forbidden", `Only the event creator can ${to}`);
const notRecipient = no("forbidden", "Only the recipient can respond to this intro");
const notThere = no("conflict", "Check in to this event before requesting suggestions");
const cannotPropose = no("conflict", "You must have an active check-in with intros enabled");
const ownInvite = no("conflict", "Cannot accept your own invite");

/** What the test sets up before each call. */
export type Situation =
  | "connected"
  | "invitedByParty"
  | "negotiating"
  | "awaiting"
  | "claimedOwner"
  | "ownEvent"
  | "openShare"
  | "sharedLocation"
  | "atEvent"
  | "introProposedByParty"
  | "introAccepted";

/** What a situation gives the arguments to name. */
export interface Names {
  claimToken: string;
  connectionId: string;
  inviteToken: string;
  threadId: string;
  eventId: string;
  shareToken: string;
  introId: string;
  /** A third agent at the event. */
  guestId: string;
  now: number;
}

export interface Row {
  given: Situation;
  args(names: Names): Record<string, unknown>;
  answers: Record<CallerKind, Answer>;
  /** The argument that names something, and the answer where there is no such thing: byte for byte what a stranger gets. */
  missing?: { argument: string; answer: Answer; askedBy?: readonly CallerKind[] };
}

/** A row's answers, in the order of `callers`. */
function answers(...listed: [Answer, Answer, Answer, Answer, Answer, Answer]): Record<CallerKind, Answer> {
  return Object.fromEntries(callers.map((caller, index) => [caller, listed[index]])) as Record<CallerKind, Answer>;
}

/** Any agent may, each for itself. */
const anyAgent = answers(noKey, badKey, ok, ok, ok, ok);
/** Nobody needs a credential, but a wrong one is told so. */
const anybody = answers(ok, badKey, ok, ok, ok, ok);

const hour = 3_600_000;

export const matrix: Record<string, Row> = {
  "agents:register": { given: "connected", args: () => ({ name: "New" }), answers: anybody },
  "agents:claim": {
    given: "connected",
    args: ({ claimToken }) => ({ claimToken }),
    answers: anybody,
    missing: { argument: "claimToken", answer: noClaim },
  },
  "agents:getClaim": {
    given: "connected",
    args: ({ claimToken }) => ({ claimToken }),
    answers: anybody,
    missing: { argument: "claimToken", answer: noClaim },
  },
  "agents:setPublicKey": {
    given: "connected",
    args: () => ({ publicKey: Buffer.alloc(32, 9).toString("base64") }),
    answers: anyAgent,
  },
  "agents:renewClaim": { given: "connected", args: () => ({}), answers: anyAgent },
  "agents:getStatus": { given: "awaiting", args: () => ({}), answers: anyAgent },

  "connections:invite": { given: "connected", args: () => ({}), answers: anyAgent },
  "connections:getInvite": {
    given: "invitedByParty",
    args: ({ inviteToken }) => ({ inviteToken }),
    answers: anybody,
    missing: { argument: "inviteToken", answer: noInvite },
  },
  "connections:accept": {
    // The token is the permission: whoever holds it may, but for its maker.
    given: "invitedByParty",
    args: ({ inviteToken }) => ({ inviteToken }),
    answers: answers(noKey, badKey, ok, ok, ownInvite, ok),
    missing: { argument: "inviteToken", answer: noInvite },
  },
  "connections:disconnect": {
    given: "connected",
    args: ({ connectionId }) => ({ connectionId }),
    answers: answers(noKey, badKey, ok, noConnection, ok, ok),
    missing: { argument: "connectionId", answer: noConnection },
  },
  "connections:list": { given: "connected", args: () => ({}), answers: answers(noKey, badKey, ok, nothing, ok, ok) },

  "messages:startThread": {
    given: "connected",
    args: ({ connectionId }) => ({ connectionId }),
    answers: answers(noKey, badKey, ok, noConnection, ok, ok),
    missing: { argument: "connectionId", answer: noConnection },
  },
  "messages:send": {
    given: "negotiating",
    args: ({ threadId }) => ({ threadId, type: "info", payload: { notes: "hello" } }),
    answers: answers(noKey, badKey, ok, noThread, ok, ok),
    missing: { argument: "threadId", answer: noThread },
  },
  "messages:getForThread": {
    given: "negotiating",
    args: ({ threadId }) => ({ threadId }),
    answers: answers(noKey, badKey, ok, noThread, ok, ok),
    missing: { argument: "threadId", answer: noThread },
  },
  "messages:getThreadsForAgent": {
    given: "negotiating",
    args: () => ({}),
    answers: answers(noKey, badKey, ok, nothing, ok, ok),
  },

  "approvals:getPending": { given: "awaiting", args: () => ({}), answers: answers(noKey, badKey, ok, nothing, ok, ok) },
  "approvals:submit": {
    given: "awaiting",
    args: ({ threadId }) => ({ threadId, approved: true }),
    answers: answers(noKey, badKey, ok, noThread, ok, ok),
    missing: { argument: "threadId", answer: noThread },
  },

  "events:create": {
    given: "claimedOwner",
    args: ({ now }) => ({ name: "Mixer", startAt: now + hour, endAt: now + 2 * hour }),
    answers: answers(noKey, badKey, ok, unclaimed, unclaimed, ok),
  },
  "events:updateTags": {
    // Events are public, so the refusal may say that there is one.
    given: "ownEvent",
    args: ({ eventId }) => ({ eventId, tags: ["ai"] }),
    answers: answers(noKey, badKey, ok, notCreator("update tags"), notCreator("update tags"), ok),
    missing: { argument: "eventId", answer: noEvent },
  },
  "events:update": {
    given: "ownEvent",
    args: ({ eventId }) => ({ eventId, name: "Evening mixer" }),
    answers: answers(noKey, badKey, ok, notCreator("update the event"), notCreator("update the event"), ok),
    missing: { argument: "eventId", answer: noEvent },
  },
  "events:cancel": {
    given: "ownEvent",
    args: ({ eventId }) => ({ eventId }),
    answers: answers(noKey, badKey, ok, notCreator("cancel the event"), notCreator("cancel the event"), ok),
    missing: { argument: "eventId", answer: noEvent },
  },
  "events:listLive": { given: "ownEvent", args: () => ({}), answers: anyAgent },
  "events:getById": {
    given: "ownEvent",
    args: ({ eventId }) => ({ eventId }),
    answers: anyAgent,
    missing: { argument: "eventId", answer: noEvent },
  },
  "events:requestLocationShare": { given: "connected", args: () => ({}), answers: anyAgent },
  "events:getShareRequest": {
    given: "openShare",
    args: ({ shareToken }) => ({ shareToken }),
    answers: anybody,
    missing: { argument: "shareToken", answer: noShare },
  },
  "events:submitLocationShare": {
    given: "openShare",
    args: ({ shareToken }) => ({ shareToken, lat: 37.7597, lng: -122.4148 }),
    answers: anybody,
    missing: { argument: "shareToken", answer: noShare },
  },
  "events:getLocationShare": {
    given: "sharedLocation",
    args: ({ shareToken }) => ({ shareToken }),
    answers: answers(noKey, badKey, ok, noShare, noShare, ok),
    missing: { argument: "shareToken", answer: noShare },
  },
  "events:listNearby": {
    given: "sharedLocation",
    args: ({ shareToken }) => ({ shareToken }),
    answers: answers(noKey, badKey, ok, noShare, noShare, ok),
    missing: { argument: "shareToken", answer: noShare },
  },
  "events:checkIn": {
    // Anybody may come, but each with a location of its own.
    given: "sharedLocation",
    args: ({ eventId, shareToken }) => ({ eventId, locationShareToken: shareToken }),
    answers: answers(noKey, badKey, ok, noShare, noShare, ok),
    missing: { argument: "locationShareToken", answer: noShare },
  },
  "events:checkOut": {
    // Who is not there has left already.
    given: "atEvent",
    args: ({ eventId }) => ({ eventId }),
    answers: anyAgent,
    missing: { argument: "eventId", answer: noEvent },
  },
  "events:getSuggestions": {
    given: "atEvent",
    args: ({ eventId }) => ({ eventId }),
    answers: answers(noKey, badKey, ok, notThere, ok, ok),
    missing: { argument: "eventId", answer: noEvent },
  },
  "events:proposeIntro": {
    given: "atEvent",
    args: ({ eventId, guestId }) => ({ eventId, toAgentId: guestId }),
    answers: answers(noKey, badKey, ok, cannotPropose, ok, ok),
    // Who is not at the event is told so first.
    missing: { argument: "toAgentId", answer: noTarget, askedBy: ["owner", "party", "agentToken"] },
  },
  "events:respondIntro": {
    given: "introProposedByParty",
    args: ({ introId }) => ({ introId, accept: true }),
    answers: answers(noKey, badKey, ok, noIntro, notRecipient, ok),
    missing: { argument: "introId", answer: noIntro },
  },
  "events:submitIntroApproval": {
    given: "introAccepted",
    args: ({ introId }) => ({ introId, approved: true }),
    answers: answers(noKey, badKey, ok, noIntro, ok, ok),
    missing: { argument: "introId", answer: noIntro },
  },
  "events:listMyIntros": {
    given: "introProposedByParty",
    args: () => ({}),
    answers: answers(noKey, badKey, ok, nothing, ok, ok),
  },
  "events:expireStale": { given: "connected", args: () => ({}), answers: anyAgent },
};
