/** A tour of the marketplace that calls each of its functions with success at least once. */
import { Caller, minute, type TestServer } from "./harness.js";
import { connect } from "./market.js";
import { task } from "./rental.js";

// biome-ignore lint/suspicious/noExplicitAny: what comes back is what the story goes on with.
type Call = (who: Caller, path: string, args?: object) => Promise<any>;

const rentNow = { pricingModel: "per_session", priceAmount: "5.00", approvalMode: "auto" };

/** `as` makes the calls, so a test can see each of them. */
export async function marketplaceStory(server: TestServer, as: Call): Promise<void> {
  const admin = await server.admin();
  const email = "carol@example.com";
  await as(server.nobody, "users:sendVerification", { email });
  const verificationCode = await server.verificationCode(email);
  await as(server.nobody, "users:register", { email, password: "a good password", name: "Carol", verificationCode });
  const carol = async (password: string) =>
    new Caller(server, (await as(server.nobody, "users:signIn", { email, password })).token);
  const [here, there] = [await carol("a good password"), await carol("a good password")];
  await as(here, "users:listSignIns");
  await as(there, "users:signOut");
  await as(here, "users:endSignIn");
  await as(here, "users:changePassword", { password: "a good password", newPassword: "a better password" });
  await as(here, "users:rotateApiKey");
  server.clock.jump(minute);
  await as(server.nobody, "users:sendVerification", { email });
  const resetCode = await server.resetCode(email);
  await as(server.nobody, "users:resetPassword", { email, resetCode, newPassword: "the best password" });
  const [alice, bob] = [await server.user("Alice"), await server.user("Bob")];
  await as(alice, "users:me");
  await as(alice, "follows:add", { userId: bob.userId });
  await as(alice, "follows:listFollowing");
  await as(bob, "follows:listFollowers");
  await as(alice, "follows:remove", { userId: bob.userId });

  // Bob's agent, from its registration to the day on which it is rented.
  const capabilities = [{ category: "law", name: "Contracts", description: "Reads them", tags: ["合同"] }];
  const reader = {
    name: "Reader",
    slug: "reader",
    description: "Reads contracts and says what they mean",
    capabilities,
  };
  const { id: agentId } = await as(bob, "agents:create", reader);
  await as(bob, "agents:publish", { agentId, ...rentNow });
  await as(admin, "admin:listAgents", { status: "pending_review" });
  await as(admin, "admin:rejectAgent", { agentId, note: "Say more" });
  await as(bob, "agents:applyAsProvider", { agentId, ...rentNow });
  await as(admin, "admin:approveAgent", { agentId });
  await as(admin, "admin:suspendAgent", { agentId });
  await as(admin, "admin:reinstateAgent", { agentId });
  await as(bob, "agents:update", { agentId, description: "Reads contracts, and says in plain words what they mean" });
  for (const page of [{}, { limit: 1 }]) await as(admin, "admin:listAgents", { status: "changed", ...page });
  await as(admin, "admin:approveAgent", { agentId });
  const { token } = await as(bob, "agents:replaceToken", { agentId });
  await connect(server, agentId);
  await as(bob, "agents:activate", { agentId });
  await as(bob, "agents:setOnlineStatus", { agentId, onlineStatus: "busy" });
  await as(bob, "agents:setOnlineStatus", { agentId, onlineStatus: "online" });
  await as(bob, "agents:get", { agentId });
  for (const roles of [undefined, "both"]) await as(bob, "agents:listMine", { roles });
  const itself = new (server.nobody.constructor as typeof Caller)(server, token);
  await as(itself, "agents:getMine");
  await as(itself, "agents:setServeRules", { rules: [{ match: {}, action: "serve" }] });
  await as(itself, "agents:getServeRules");
  const { claimToken } = await server.nobody.call("agents:register", { name: "Planner" });
  const plans = { slug: "planner", description: "Plans dinners with others" };
  const { id: plannerId } = await as(alice, "agents:takeOver", { claimToken, ...plans });
  await as(alice, "agents:rotateKey", { agentId: plannerId });
  await as(alice, "agents:listCredentials", { agentId: plannerId });
  await as(alice, "agents:revokeKey", { agentId: plannerId });

  // Alice looks around.
  for (const args of [
    {},
    { search: "contract" },
    { search: "合同 contracts", sort: "popular" },
    { category: "law", sort: "rating" },
    { ownerId: bob.userId },
    { search: "plain", category: "law", ownerId: bob.userId, sort: "popular", page: 2 },
    { sort: "rating" },
    { sort: "popular" },
  ]) {
    await as(alice, "marketplace:browse", args);
  }
  await as(alice, "marketplace:listCategories");
  await as(alice, "marketplace:getBySlug", { slug: "reader" });
  await as(alice, "favorites:add", { agentId });
  await as(alice, "favorites:list");
  await as(alice, "favorites:check", { agentId });
  await as(alice, "favorites:remove", { agentId });
  const added = await as(alice, "cart:add", { providerAgentId: agentId, taskDescription: "Read it" });
  await as(alice, "cart:update", { cartItemId: added.id, taskDescription: "Read it twice" });
  await as(alice, "cart:list");
  await as(alice, "cart:remove", { cartItemId: added.id });
  await as(alice, "cart:add", { providerAgentId: agentId, taskDescription: "Read it" });
  await as(alice, "cart:clear");

  // She rents the agent, talks to it and ends the session.
  await as(alice, "billing:topUp", { amount: "100.00" });
  const rent = { agentId, taskDescription: task, consumerAgentId: plannerId };
  const { id: sessionId } = await as(alice, "sessions:create", rent);
  await as(alice, "sessions:get", { sessionId });
  const said = { sessionId, type: "dialogue.message", payload: { content: "Hello", usage: { totalTokens: 3 } } };
  await as(alice, "sessions:sendMessage", { ...said, id: "m-1" });
  await as(bob, "sessions:sendMessage", { ...said, targetSlot: 0 });
  await as(bob, "sessions:listMessages", { sessionId, since: "2020-01-01T00:00:00.000Z" });
  await as(alice, "sessions:pauseParticipant", { sessionId, participantId: agentId });
  await as(alice, "sessions:resumeParticipant", { sessionId, participantId: agentId });
  const planner = await server.withOwnToken(alice, plannerId);
  await as(planner, "agents:listMySessions");
  for (const args of [
    {},
    { role: "consumer" },
    { role: "provider", status: "active" },
    { status: "active,completed" },
  ]) {
    await as(alice, "sessions:list", args);
  }
  await as(itself, "sessions:list", { role: "provider", status: "active,pending_approval" });
  await as(alice, "sessions:end", { sessionId });
  const byTheToken = { pricingModel: "per_token", priceAmount: "0.001" };
  await bob.call("agents:update", { agentId, ...byTheToken });
  const expectedPrice = { model: "per_token", amount: "0.001", currency: "CNY" };
  const metered = await as(alice, "sessions:create", { ...rent, maxAmount: "2.00", expectedPrice });
  await as(alice, "sessions:raiseLimit", { sessionId: metered.id, maxAmount: "3.00" });
  await as(alice, "sessions:end", { sessionId: metered.id });
  await bob.call("agents:update", { agentId, ...rentNow });
  await as(alice, "sessions:listRentedAgents");
  await as(alice, "billing:getWallet");
  for (const args of [{}, { type: "payment" }]) await as(alice, "billing:listTransactions", args);
  const { data: records } = await as(bob, "billing:listRecords");
  await as(admin, "admin:refund", { recordId: records[0].id });

  // One session waits for approval, and an admin ends another.
  await bob.call("agents:update", { agentId, approvalMode: "manual" });
  const pending = await as(alice, "sessions:create", { agentId, taskDescription: task });
  await as(bob, "sessions:approve", { sessionId: pending.id });
  for (const args of [{}, { status: "active" }]) await as(admin, "admin:listSessions", args);
  await as(admin, "admin:terminateSession", { sessionId: pending.id, reason: "Reported" });
  const items = [{ providerAgentId: agentId, taskDescription: "Part 1" }];
  const order = await as(alice, "orders:create", { items, note: "Both", fromCart: true });
  for (const args of [{}, { status: "pending" }]) await as(alice, "orders:list", args);
  await as(alice, "orders:get", { orderId: order.id });
  await as(alice, "orders:cancel", { orderId: order.id });

  // Alice disputes what she paid for, and money comes in by other ways.
  const disputed = async () => {
    const session = await as(alice, "sessions:create", { agentId, taskDescription: task });
    await bob.call("sessions:approve", { sessionId: session.id });
    await as(bob, "sessions:sendMessage", { ...said, sessionId: session.id });
    await as(alice, "sessions:end", { sessionId: session.id });
    return as(alice, "sessions:dispute", { sessionId: session.id, reason: "It says nothing" });
  };
  await as(alice, "sessions:withdrawDispute", { sessionId: (await disputed()).id });
  const { dispute } = await disputed();
  for (const args of [{}, { status: "open" }, { status: "lapsed" }]) await as(admin, "admin:listDisputes", args);
  await as(admin, "admin:decideDispute", {
    disputeId: dispute.id,
    decision: "part",
    amount: "1.00",
    note: "Half of it",
  });
  await as(admin, "admin:credit", { userId: alice.userId, amount: "1.00", reason: "For the trouble" });
  const { codes } = await as(admin, "admin:createTopUpCodes", { amount: "1.00", count: 2, note: "The fair" });
  await as(alice, "billing:redeem", { code: codes[0].topUpCode });
  await as(admin, "admin:revokeTopUpCode", { codeId: codes[1].id });
  await as(admin, "admin:listTopUpCodes");
  await as(admin, "admin:audit");

  const host = await server.agent("Host", { claimed: true });
  const startAt = server.clock.now();
  const { eventId } = await host.call("events:create", { name: "E", startAt, endAt: startAt + 60_000 });
  await as(admin, "admin:updateEvent", { eventId, name: "Evening" });
  await as(admin, "admin:cancelEvent", { eventId, reason: "Reported" });

  await as(admin, "admin:suspendUser", { userId: bob.userId });
  await as(admin, "admin:reinstateUser", { userId: bob.userId });
  await as(bob, "agents:revokeToken", { agentId });

  const folder = await as(admin, "docs:create", { type: "folder", title: "Guide" });
  const page = { type: "document", title: "Welcome", content: "Welcome, 欢迎", parentId: folder.id };
  const { id: docId } = await as(admin, "docs:create", page);
  await as(admin, "docs:update", { docId, content: "Welcome to all, 欢迎" });
  await as(admin, "docs:publish", { docId: folder.id });
  await as(admin, "docs:publish", { docId });
  await as(alice, "docs:get", { docId });
  await as(alice, "docs:getTree");
  await as(alice, "docs:getByPath", { path: "guide/welcome" });
  await as(alice, "docs:search", { q: "欢迎" });
  await as(admin, "docs:unpublish", { docId });
  await as(admin, "docs:remove", { docId });
}
