/**
 * Who gets what answer over REST: every route × every kind of caller. A route without a row fails the suite
 * (rest-auth-matrix.test.ts), so a new route comes with its row.
 */

import { password } from "../support/harness.js";

/** In the order in which they call. Alice rents, Bob provides, Carol has nothing to do with either. */
export const callers = [
  "nobody",
  /** A bearer that is none of ours. */
  "badToken",
  /** Alice by her JWT, by her API key, and by the token of an agent of hers. */
  "consumer",
  "consumerKey",
  "consumerAgent",
  /** Bob by his JWT, by his API key, and by the token of the agent that he rents out. */
  "provider",
  "providerKey",
  "providerAgent",
  /** Carol by her JWT, and by the token of an agent of hers. */
  "stranger",
  "strangerAgent",
  /** Dave, whose account is suspended. */
  "suspended",
  /** Who reviews agents; and the token of an agent of theirs, which never is an admin. */
  "admin",
  "adminAgent",
] as const;
export type CallerKind = (typeof callers)[number];

/** The route's own success, or the no to the letter. */
export type Answer = "ok" | { status: number; error: string; message: string };

const no = (status: number, error: string, message: string): Answer => ({ status, error, message });

const noCredential = no(401, "Unauthorized", "Authentication required");
const badCredential = no(401, "Unauthorized", "Token expired or invalid");
const suspended = no(403, "Forbidden", "Account is suspended");
const agentsOnly = no(403, "Forbidden", "Agent token required");
const notAllowed = no(403, "Forbidden", "Not authorized for this action");
const missing = (thing: string) => no(404, "Not Found", `${thing} not found`);
const ownAgent = no(400, "Bad Request", "Cannot rent your own agent");

/** What the test sets up before a call; a new one after every write that succeeded. */
export type Situation =
  | "nothing"
  | "selfRegistered"
  | "draft"
  | "submitted"
  | "listed"
  | "suspendedAgent"
  | "rentable"
  | "active"
  | "pending"
  | "settled"
  | "paid"
  | "disputed"
  | "topUpCode"
  | "ordered"
  | "inCart"
  | "otherUser"
  | "suspendedUser"
  | "ownCredentials"
  | "doc"
  | "publishedDoc"
  | "event";

/** What a situation gives a path or a body to name. */
export interface Names {
  /** Never used before. */
  slug: string;
  email: string;
  agentId: string;
  claimToken: string;
  sessionId: string;
  participantId: string;
  recordId: string;
  disputeId: string;
  codeId: string;
  code: string;
  orderId: string;
  cartItemId: string;
  /** A sign-in of Alice's. */
  signInId: string;
  userId: string;
  docId: string;
  path: string;
  eventId: string;
}

export interface Row {
  given: Situation;
  body?: (names: Names) => Record<string, unknown>;
  query?: string;
  answers: Record<CallerKind, Answer>;
  /** The answer where the path names nothing: byte for byte what a stranger gets, where a stranger is refused so. */
  missing?: { parameter: keyof Names; answer: Answer };
}

type Answers = Record<CallerKind, Answer>;

function everybodyBut(answer: Answer, others: Partial<Answers>): Answers {
  const all = Object.fromEntries(callers.map((caller) => [caller, answer])) as Answers;
  return { ...all, ...others };
}

/** Nobody needs a credential, and a bad one counts as none. */
const anybody = everybodyBut("ok", {});
const refusedCredentials = { nobody: noCredential, badToken: badCredential, suspended };
/** Every account, each for itself. */
const everyUser = everybodyBut("ok", refusedCredentials);
/** Alice's, however she proves it. */
const consumerOnly = (answer: Answer): Answers =>
  everybodyBut(answer, { ...refusedCredentials, consumer: "ok", consumerKey: "ok", consumerAgent: "ok" });
/** Bob's, however he proves it. */
const providerOnly = (answer: Answer): Answers =>
  everybodyBut(answer, { ...refusedCredentials, provider: "ok", providerKey: "ok", providerAgent: "ok" });
const both = (answer: Answer): Answers => ({
  ...providerOnly(answer),
  consumer: "ok",
  consumerKey: "ok",
  consumerAgent: "ok",
});
const ownCredentialOnly = no(403, "Forbidden", "Only the account's own credential can do this");
const signInOnly = no(403, "Forbidden", "Sign in with your password to do this; an API key cannot");
const agents = {
  consumerAgent: ownCredentialOnly,
  providerAgent: ownCredentialOnly,
  strangerAgent: ownCredentialOnly,
  adminAgent: ownCredentialOnly,
};
/** Every account by its JWT, each for itself. */
const everySignIn = (answer: Answer = "ok"): Answers =>
  everybodyBut(answer, { ...refusedCredentials, ...agents, consumerKey: signInOnly, providerKey: signInOnly });
/** The token's own agent. */
const anyAgent = everybodyBut(agentsOnly, {
  ...refusedCredentials,
  consumerAgent: "ok",
  providerAgent: "ok",
  strangerAgent: "ok",
  adminAgent: "ok",
});
const adminOnly = everybodyBut(notAllowed, { ...refusedCredentials, admin: "ok" });

/** Bob may not where everybody else may. */
const notTheProvider = (answer: Answer): Answers => ({
  ...everyUser,
  provider: answer,
  providerKey: answer,
  providerAgent: answer,
});

/** What changes an agent's credentials is for its owner, and not for the token of another agent of theirs. */
const notByASibling: Answers = {
  ...providerOnly(missing("Agent")),
  providerAgent: no(
    403,
    "Forbidden",
    "An agent token changes its own agent's credentials and those that it made. Use a credential of the owner's own.",
  ),
};
const noKeyByToken = no(
  403,
  "Forbidden",
  "An agent token makes no API key. Rotate it with the key itself, or with a credential of the owner's own.",
);

const agentOf = { parameter: "agentId", answer: missing("Agent") } as const;
const sessionOf = { parameter: "sessionId", answer: missing("Session") } as const;
const orderOf = { parameter: "orderId", answer: missing("Order") } as const;
const itemOf = { parameter: "cartItemId", answer: missing("Cart item") } as const;
const docOf = { parameter: "docId", answer: missing("Document") } as const;
const userOf = { parameter: "userId", answer: missing("User") } as const;

const terms = { pricingModel: "per_session", priceAmount: "0.01" };
const task = "Write a short poem about the tide";

export const matrix: Record<string, Row> = {
  "POST /api/auth/send-verification": { given: "nothing", body: ({ email }) => ({ email }), answers: anybody },
  "POST /api/auth/register": {
    // Whoever holds the code; this one is none.
    given: "nothing",
    body: ({ email }) => ({ email, password: "long enough", name: "Eve", verificationCode: "000000" }),
    answers: everybodyBut(no(400, "Bad Request", "Invalid or expired verification code"), {}),
  },
  "POST /api/auth/login": {
    given: "nothing",
    body: ({ email }) => ({ email, password: "long enough" }),
    answers: everybodyBut(no(401, "Unauthorized", "Invalid email or password"), {}),
  },
  "GET /api/auth/me": { given: "nothing", answers: everyUser },
  "POST /api/auth/logout": { given: "ownCredentials", answers: everySignIn() },
  "POST /api/auth/change-password": {
    given: "ownCredentials",
    body: () => ({ password, newPassword: password }),
    answers: everySignIn(),
  },
  "POST /api/auth/reset-password": {
    // Whoever holds the code; this one is none.
    given: "nothing",
    body: ({ email }) => ({ email, resetCode: "ABCDEFGHJK", newPassword: "long enough" }),
    answers: everybodyBut(no(400, "Bad Request", "Invalid or expired reset code"), {}),
  },
  "POST /api/auth/api-key": {
    given: "ownCredentials",
    answers: everybodyBut("ok", { ...refusedCredentials, ...agents }),
  },
  "GET /api/auth/sign-ins": { given: "nothing", answers: everySignIn() },
  "DELETE /api/auth/sign-ins": { given: "ownCredentials", answers: everySignIn() },
  "DELETE /api/auth/sign-ins/:signInId": {
    given: "ownCredentials",
    answers: { ...everySignIn(missing("Sign-in")), consumer: "ok" },
    missing: { parameter: "signInId", answer: missing("Sign-in") },
  },

  "POST /api/agents": {
    given: "nothing",
    body: ({ slug }) => ({ name: "New", slug, description: "An agent of the caller's" }),
    answers: everyUser,
  },
  "GET /api/agents/my": { given: "nothing", answers: everyUser },
  "POST /api/agents/take-over": {
    // The token is the permission.
    given: "selfRegistered",
    body: ({ claimToken, slug }) => ({ claimToken, slug, description: "An agent that registered itself" }),
    answers: everyUser,
  },
  "GET /api/agents/me/agent": { given: "nothing", answers: anyAgent },
  "GET /api/agents/me/sessions": { given: "nothing", answers: anyAgent },
  "GET /api/agents/me/serve-rules": { given: "nothing", answers: anyAgent },
  "PUT /api/agents/me/serve-rules": { given: "nothing", body: () => ({ rules: [] }), answers: anyAgent },
  "GET /api/agents/slug/:slug": {
    given: "listed",
    answers: anybody,
    missing: { parameter: "slug", answer: missing("Agent") },
  },
  "GET /api/agents/:agentId": { given: "draft", answers: providerOnly(missing("Agent")), missing: agentOf },
  "PATCH /api/agents/:agentId": {
    given: "draft",
    body: () => ({ name: "Renamed" }),
    answers: providerOnly(missing("Agent")),
    missing: agentOf,
  },
  "POST /api/agents/:agentId/publish": {
    given: "draft",
    body: () => terms,
    answers: providerOnly(missing("Agent")),
    missing: agentOf,
  },
  "POST /api/agents/:agentId/apply-provider": {
    given: "draft",
    body: () => terms,
    answers: providerOnly(missing("Agent")),
    missing: agentOf,
  },
  "POST /api/agents/:agentId/activate": {
    given: "rentable",
    answers: providerOnly(missing("Agent")),
    missing: agentOf,
  },
  "PATCH /api/agents/:agentId/status": {
    given: "rentable",
    body: () => ({ onlineStatus: "online" }),
    answers: providerOnly(missing("Agent")),
    missing: agentOf,
  },
  "POST /api/agents/:agentId/token": { given: "draft", answers: notByASibling, missing: agentOf },
  "DELETE /api/agents/:agentId/token": { given: "draft", answers: notByASibling, missing: agentOf },
  "POST /api/agents/:agentId/key": {
    given: "draft",
    answers: {
      ...providerOnly(missing("Agent")),
      ...{ consumerAgent: noKeyByToken, providerAgent: noKeyByToken },
      ...{ strangerAgent: noKeyByToken, adminAgent: noKeyByToken },
    },
    missing: agentOf,
  },
  "DELETE /api/agents/:agentId/key": { given: "draft", answers: notByASibling, missing: agentOf },
  "GET /api/agents/:agentId/credentials": { given: "draft", answers: providerOnly(missing("Agent")), missing: agentOf },

  "GET /api/marketplace/browse": { given: "nothing", answers: anybody },
  "GET /api/marketplace/categories": { given: "nothing", answers: anybody },
  "GET /api/marketplace/agents/:slug": {
    given: "listed",
    answers: anybody,
    missing: { parameter: "slug", answer: missing("Agent") },
  },

  "POST /api/sessions": {
    given: "rentable",
    body: ({ agentId }) => ({ agentId, taskDescription: task }),
    answers: notTheProvider(ownAgent),
  },
  "GET /api/sessions": { given: "nothing", answers: everyUser },
  "GET /api/sessions/rented-agents": { given: "nothing", answers: everyUser },
  "GET /api/sessions/:sessionId": {
    given: "active",
    answers: { ...both(missing("Session")), admin: "ok" },
    missing: sessionOf,
  },
  "POST /api/sessions/:sessionId/approve": {
    given: "pending",
    answers: {
      ...providerOnly(missing("Session")),
      consumer: notAllowed,
      consumerKey: notAllowed,
      consumerAgent: notAllowed,
    },
    missing: sessionOf,
  },
  "POST /api/sessions/:sessionId/end": { given: "active", answers: both(missing("Session")), missing: sessionOf },
  "POST /api/sessions/:sessionId/limit": {
    given: "active",
    body: () => ({ maxAmount: "21.00" }),
    answers: {
      ...consumerOnly(missing("Session")),
      provider: notAllowed,
      providerKey: notAllowed,
      providerAgent: notAllowed,
    },
    missing: sessionOf,
  },
  "POST /api/sessions/:sessionId/dispute": {
    given: "paid",
    body: () => ({ reason: "The poem does not rhyme" }),
    answers: {
      ...consumerOnly(missing("Session")),
      provider: notAllowed,
      providerKey: notAllowed,
      providerAgent: notAllowed,
    },
    missing: sessionOf,
  },
  "DELETE /api/sessions/:sessionId/dispute": {
    given: "disputed",
    answers: {
      ...consumerOnly(missing("Session")),
      provider: notAllowed,
      providerKey: notAllowed,
      providerAgent: notAllowed,
    },
    missing: sessionOf,
  },
  "GET /api/sessions/:sessionId/messages": {
    given: "active",
    answers: both(missing("Session")),
    missing: sessionOf,
  },
  "POST /api/sessions/:sessionId/messages": {
    given: "active",
    body: () => ({ type: "dialogue.message", payload: { content: "Hello" } }),
    answers: both(missing("Session")),
    missing: sessionOf,
  },
  "POST /api/sessions/:sessionId/participants/:participantId/pause": {
    given: "active",
    answers: {
      ...consumerOnly(missing("Session")),
      provider: notAllowed,
      providerKey: notAllowed,
      providerAgent: notAllowed,
    },
    missing: sessionOf,
  },
  "POST /api/sessions/:sessionId/participants/:participantId/resume": {
    given: "active",
    answers: {
      ...consumerOnly(missing("Session")),
      provider: notAllowed,
      providerKey: notAllowed,
      providerAgent: notAllowed,
    },
    missing: sessionOf,
  },

  "GET /api/billing/wallet": { given: "nothing", answers: everyUser },
  "POST /api/billing/wallet/topup": { given: "nothing", body: () => ({ amount: "1.00" }), answers: everyUser },
  "POST /api/billing/wallet/redeem": { given: "topUpCode", body: ({ code }) => ({ code }), answers: everyUser },
  "GET /api/billing/wallet/transactions": { given: "nothing", answers: everyUser },
  "GET /api/billing/records": { given: "nothing", answers: everyUser },

  "POST /api/orders": {
    given: "rentable",
    body: ({ agentId }) => ({ items: [{ providerAgentId: agentId, taskDescription: task }] }),
    answers: notTheProvider(ownAgent),
  },
  "GET /api/orders": { given: "nothing", answers: everyUser },
  "GET /api/orders/:orderId": { given: "ordered", answers: consumerOnly(missing("Order")), missing: orderOf },
  "POST /api/orders/:orderId/cancel": { given: "ordered", answers: consumerOnly(missing("Order")), missing: orderOf },

  "GET /api/cart": { given: "nothing", answers: everyUser },
  "POST /api/cart": {
    given: "rentable",
    body: ({ agentId }) => ({ providerAgentId: agentId, taskDescription: task }),
    answers: notTheProvider(ownAgent),
  },
  "DELETE /api/cart": { given: "inCart", answers: everyUser },
  "PATCH /api/cart/:cartItemId": {
    given: "inCart",
    body: () => ({ taskDescription: task }),
    answers: consumerOnly(missing("Cart item")),
    missing: itemOf,
  },
  "DELETE /api/cart/:cartItemId": { given: "inCart", answers: consumerOnly(missing("Cart item")), missing: itemOf },

  "GET /api/favorites": { given: "nothing", answers: everyUser },
  "POST /api/favorites/:agentId": { given: "rentable", answers: everyUser, missing: agentOf },
  "DELETE /api/favorites/:agentId": { given: "rentable", answers: everyUser },
  "GET /api/favorites/:agentId/check": { given: "rentable", answers: everyUser },

  "GET /api/follows/following": { given: "nothing", answers: everyUser },
  "GET /api/follows/followers": { given: "nothing", answers: everyUser },
  "POST /api/follows/:userId": { given: "otherUser", answers: everyUser, missing: userOf },
  "DELETE /api/follows/:userId": { given: "otherUser", answers: everyUser },

  "GET /api/admin/agents": { given: "nothing", answers: adminOnly },
  "POST /api/admin/agents/:agentId/approve": { given: "submitted", answers: adminOnly, missing: agentOf },
  "POST /api/admin/agents/:agentId/reject": { given: "submitted", answers: adminOnly, missing: agentOf },
  "POST /api/admin/agents/:agentId/suspend": { given: "listed", answers: adminOnly, missing: agentOf },
  "POST /api/admin/agents/:agentId/reinstate": { given: "suspendedAgent", answers: adminOnly, missing: agentOf },
  "GET /api/admin/sessions": { given: "nothing", answers: adminOnly },
  "POST /api/admin/sessions/:sessionId/terminate": { given: "active", answers: adminOnly, missing: sessionOf },
  "PATCH /api/admin/events/:eventId": {
    given: "event",
    body: () => ({ name: "Renamed" }),
    answers: adminOnly,
    missing: { parameter: "eventId", answer: missing("Event") },
  },
  "POST /api/admin/events/:eventId/cancel": {
    given: "event",
    answers: adminOnly,
    missing: { parameter: "eventId", answer: missing("Event") },
  },
  "POST /api/admin/billing/records/:recordId/refund": {
    given: "settled",
    answers: adminOnly,
    missing: { parameter: "recordId", answer: missing("Billing record") },
  },
  "GET /api/admin/disputes": { given: "disputed", answers: adminOnly },
  "POST /api/admin/disputes/:disputeId/decide": {
    given: "disputed",
    body: () => ({ decision: "all" }),
    answers: adminOnly,
    missing: { parameter: "disputeId", answer: missing("Dispute") },
  },
  "POST /api/admin/users/:userId/credit": {
    given: "otherUser",
    body: () => ({ amount: "1.00", reason: "A welcome" }),
    answers: adminOnly,
    missing: userOf,
  },
  "GET /api/admin/billing/codes": { given: "topUpCode", answers: adminOnly },
  "POST /api/admin/billing/codes": { given: "nothing", body: () => ({ amount: "1.00" }), answers: adminOnly },
  "POST /api/admin/billing/codes/:codeId/revoke": {
    given: "topUpCode",
    answers: adminOnly,
    missing: { parameter: "codeId", answer: missing("Code") },
  },
  "POST /api/admin/users/:userId/suspend": { given: "otherUser", answers: adminOnly, missing: userOf },
  "POST /api/admin/users/:userId/reinstate": { given: "suspendedUser", answers: adminOnly, missing: userOf },
  "GET /api/admin/audit": { given: "nothing", answers: adminOnly },

  "GET /api/mcp/docs/tree": { given: "publishedDoc", answers: anybody },
  "GET /api/mcp/docs/search": { given: "publishedDoc", query: "?q=tide", answers: anybody },
  "GET /api/mcp/docs/by-path/:path": {
    given: "publishedDoc",
    answers: anybody,
    missing: { parameter: "path", answer: missing("Document") },
  },
  "POST /api/mcp/docs": {
    given: "nothing",
    body: ({ slug }) => ({ type: "document", title: `About ${slug}`, content: "The tide" }),
    answers: adminOnly,
  },
  "GET /api/mcp/docs/:docId": {
    // A draft. What is published is everybody's, as by its path.
    given: "doc",
    answers: everybodyBut(missing("Document"), { admin: "ok" }),
    missing: docOf,
  },
  "PATCH /api/mcp/docs/:docId": {
    given: "doc",
    body: () => ({ title: "Another title" }),
    answers: adminOnly,
    missing: docOf,
  },
  "DELETE /api/mcp/docs/:docId": { given: "doc", answers: adminOnly, missing: docOf },
  "POST /api/mcp/docs/:docId/publish": { given: "doc", answers: adminOnly, missing: docOf },
  "POST /api/mcp/docs/:docId/unpublish": { given: "publishedDoc", answers: adminOnly, missing: docOf },
};
