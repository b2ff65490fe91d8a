/**
 * The table of the REST adapter (clawrent.md sections 2 and 8): one row names a method, a path and the function behind
 * them. A path parameter is called as the argument that it fills; every other argument of the function comes from the
 * query of a GET and from the body of anything else. Whether a credential is asked for is the function's `auth`.
 */

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

export interface Route {
  method: Method;
  /** As Hono's routers read it. Fixed segments stand before parameters (section 0, rule 16). */
  path: string;
  /** The path of the function in the registry. */
  call: string;
  /** Of a success: 201 where a POST creates something (section 2.1). */
  status: 200 | 201;
}

const get = (path: string, call: string): Route => ({ method: "GET", path, call, status: 200 });
const post = (path: string, call: string): Route => ({ method: "POST", path, call, status: 200 });
const create = (path: string, call: string): Route => ({ method: "POST", path, call, status: 201 });
const put = (path: string, call: string): Route => ({ method: "PUT", path, call, status: 200 });
const patch = (path: string, call: string): Route => ({ method: "PATCH", path, call, status: 200 });
const remove = (path: string, call: string): Route => ({ method: "DELETE", path, call, status: 200 });

export const restRoutes: readonly Route[] = [
  // Account, section 2.3
  post("/api/auth/send-verification", "users:sendVerification"),
  create("/api/auth/register", "users:register"),
  post("/api/auth/login", "users:signIn"),
  get("/api/auth/me", "users:me"),
  post("/api/auth/logout", "users:signOut"),
  post("/api/auth/change-password", "users:changePassword"),
  post("/api/auth/reset-password", "users:resetPassword"),
  post("/api/auth/api-key", "users:rotateApiKey"),
  get("/api/auth/sign-ins", "users:listSignIns"),
  remove("/api/auth/sign-ins", "users:endSignIn"),
  remove("/api/auth/sign-ins/:signInId", "users:endSignIn"),

  // Agents, section 2.4
  create("/api/agents", "agents:create"),
  get("/api/agents/my", "agents:listMine"),
  post("/api/agents/take-over", "agents:takeOver"),
  get("/api/agents/me/agent", "agents:getMine"),
  get("/api/agents/me/sessions", "agents:listMySessions"),
  get("/api/agents/me/serve-rules", "agents:getServeRules"),
  put("/api/agents/me/serve-rules", "agents:setServeRules"),
  get("/api/agents/slug/:slug", "marketplace:getBySlug"),
  get("/api/agents/:agentId", "agents:get"),
  patch("/api/agents/:agentId", "agents:update"),
  post("/api/agents/:agentId/publish", "agents:publish"),
  post("/api/agents/:agentId/apply-provider", "agents:applyAsProvider"),
  post("/api/agents/:agentId/activate", "agents:activate"),
  patch("/api/agents/:agentId/status", "agents:setOnlineStatus"),
  post("/api/agents/:agentId/token", "agents:replaceToken"),
  remove("/api/agents/:agentId/token", "agents:revokeToken"),
  post("/api/agents/:agentId/key", "agents:rotateKey"),
  remove("/api/agents/:agentId/key", "agents:revokeKey"),
  get("/api/agents/:agentId/credentials", "agents:listCredentials"),

  // Marketplace, section 2.5
  get("/api/marketplace/browse", "marketplace:browse"),
  get("/api/marketplace/categories", "marketplace:listCategories"),
  get("/api/marketplace/agents/:slug", "marketplace:getBySlug"),

  // Sessions, sections 2.6 and 8.3
  create("/api/sessions", "sessions:create"),
  get("/api/sessions", "sessions:list"),
  get("/api/sessions/rented-agents", "sessions:listRentedAgents"),
  get("/api/sessions/:sessionId", "sessions:get"),
  post("/api/sessions/:sessionId/approve", "sessions:approve"),
  post("/api/sessions/:sessionId/end", "sessions:end"),
  post("/api/sessions/:sessionId/limit", "sessions:raiseLimit"),
  post("/api/sessions/:sessionId/dispute", "sessions:dispute"),
  remove("/api/sessions/:sessionId/dispute", "sessions:withdrawDispute"),
  get("/api/sessions/:sessionId/messages", "sessions:listMessages"),
  create("/api/sessions/:sessionId/messages", "sessions:sendMessage"),
  post("/api/sessions/:sessionId/participants/:participantId/pause", "sessions:pauseParticipant"),
  post("/api/sessions/:sessionId/participants/:participantId/resume", "sessions:resumeParticipant"),

  // Billing, section 2.7
  get("/api/billing/wallet", "billing:getWallet"),
  post("/api/billing/wallet/topup", "billing:topUp"),
  post("/api/billing/wallet/redeem", "billing:redeem"),
  get("/api/billing/wallet/transactions", "billing:listTransactions"),
  get("/api/billing/records", "billing:listRecords"),

  // Orders, section 2.8
  create("/api/orders", "orders:create"),
  get("/api/orders", "orders:list"),
  get("/api/orders/:orderId", "orders:get"),
  post("/api/orders/:orderId/cancel", "orders:cancel"),

  // Cart, favorites and follows, section 2.9
  get("/api/cart", "cart:list"),
  create("/api/cart", "cart:add"),
  remove("/api/cart", "cart:clear"),
  patch("/api/cart/:cartItemId", "cart:update"),
  remove("/api/cart/:cartItemId", "cart:remove"),
  get("/api/favorites", "favorites:list"),
  create("/api/favorites/:agentId", "favorites:add"),
  remove("/api/favorites/:agentId", "favorites:remove"),
  get("/api/favorites/:agentId/check", "favorites:check"),
  get("/api/follows/following", "follows:listFollowing"),
  get("/api/follows/followers", "follows:listFollowers"),
  create("/api/follows/:userId", "follows:add"),
  remove("/api/follows/:userId", "follows:remove"),

  // Admin, section 2.10
  get("/api/admin/agents", "admin:listAgents"),
  post("/api/admin/agents/:agentId/approve", "admin:approveAgent"),
  post("/api/admin/agents/:agentId/reject", "admin:rejectAgent"),
  post("/api/admin/agents/:agentId/suspend", "admin:suspendAgent"),
  post("/api/admin/agents/:agentId/reinstate", "admin:reinstateAgent"),
  get("/api/admin/sessions", "admin:listSessions"),
  post("/api/admin/sessions/:sessionId/terminate", "admin:terminateSession"),
  patch("/api/admin/events/:eventId", "admin:updateEvent"),
  post("/api/admin/events/:eventId/cancel", "admin:cancelEvent"),
  post("/api/admin/billing/records/:recordId/refund", "admin:refund"),
  get("/api/admin/disputes", "admin:listDisputes"),
  post("/api/admin/disputes/:disputeId/decide", "admin:decideDispute"),
  post("/api/admin/users/:userId/credit", "admin:credit"),
  get("/api/admin/billing/codes", "admin:listTopUpCodes"),
  create("/api/admin/billing/codes", "admin:createTopUpCodes"),
  post("/api/admin/billing/codes/:codeId/revoke", "admin:revokeTopUpCode"),
  post("/api/admin/users/:userId/suspend", "admin:suspendUser"),
  post("/api/admin/users/:userId/reinstate", "admin:reinstateUser"),
  get("/api/admin/audit", "admin:audit"),

  // Documents, section 8.1
  get("/api/mcp/docs/tree", "docs:getTree"),
  get("/api/mcp/docs/search", "docs:search"),
  // The one path that has slashes of its own.
  get("/api/mcp/docs/by-path/:path{.+}", "docs:getByPath"),
  create("/api/mcp/docs", "docs:create"),
  get("/api/mcp/docs/:docId", "docs:get"),
  patch("/api/mcp/docs/:docId", "docs:update"),
  remove("/api/mcp/docs/:docId", "docs:remove"),
  post("/api/mcp/docs/:docId/publish", "docs:publish"),
  post("/api/mcp/docs/:docId/unpublish", "docs:unpublish"),
];

/** The parameters of a route's path, in order. */
export function parametersOf({ path }: Pick<Route, "path">): string[] {
  return [...path.matchAll(/:(\w+)/g)].map(([, name = ""]) => name);
}
