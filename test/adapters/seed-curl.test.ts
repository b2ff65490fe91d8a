/**
 * Every REST call that the marketplace's document shows, in the order of a life: Bob offers two agents, Alice rents
 * them. Paths, headers and bodies are the document's own; only its placeholders are filled in.
 */
import { describe, expect, test } from "vitest";
import { serve } from "../support/daemon.js";
import { databases, type RestReply, type TestServer, useServer } from "../support/harness.js";

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const isoTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** curl as the document writes it: `-d` with a JSON content type, or no body and no content type at all. */
function curl(server: TestServer, token?: string) {
  const request = async (method: string, path: string, body?: string): Promise<RestReply> => {
    const headers: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const reply = await server.nobody.rest(method, path, body, headers);
    // No empty answer, and no error without its two texts (clawrent.md section 0, rules 1 and 2).
    expect(reply.body, `${method} ${path}`).toBeTypeOf("object");
    if (reply.status >= 300) {
      expect(reply.body).toMatchObject({ error: expect.any(String), message: expect.any(String) });
    }
    return reply;
  };
  const done = async (status: number, method: string, path: string, body?: string) => {
    const reply = await request(method, path, body);
    expect(reply.status, `${method} ${path}: ${reply.text}`).toBe(status);
    return reply.body;
  };
  return {
    get: (path: string) => done(200, "GET", path),
    post: (path: string, body?: string) => done(200, "POST", path, body),
    create: (path: string, body?: string) => done(201, "POST", path, body),
    patch: (path: string, body?: string) => done(200, "PATCH", path, body),
    delete: (path: string) => done(200, "DELETE", path),
    refused: async (status: number, method: string, path: string, body?: string) => {
      const reply = await request(method, path, body);
      expect(reply.status, reply.text).toBe(status);
      return reply.body;
    },
  };
}

/** The three steps of "Direct API Login". */
async function account(server: TestServer, email: string, name: string) {
  const nobody = curl(server);
  await nobody.post("/api/auth/send-verification", JSON.stringify({ email }));
  const verificationCode = await server.verificationCode(email);
  const registered = await nobody.create(
    "/api/auth/register",
    JSON.stringify({ email, password: "USER_PASSWORD", name, verificationCode }),
  );
  const login = await nobody.post("/api/auth/login", JSON.stringify({ email, password: "USER_PASSWORD" }));
  expect(login).toMatchObject({ user: { id: registered.user.id, email, name }, token: expect.stringMatching(/^eyJ/) });
  expect(registered).toMatchObject({ user: { role: "consumer" }, token: expect.stringMatching(/^eyJ/) });
  return { ...curl(server, login.token), user: login.user, apiKey: registered.apiKey };
}

describe.each(databases)("the document's curl calls on %s", (database) => {
  const server = useServer(database);

  test("from the first code to the settled session", async () => {
    const nobody = curl(server);
    const admin = await server.admin();
    const bob = await account(server, "bob@example.com", "Bob");
    const alice = await account(server, "alice@example.com", "Alice");

    // Register Agent
    const offer = async (slug: string) => {
      const agent = await bob.create(
        "/api/agents",
        `{
    "name":"My Agent",
    "slug":"${slug}",
    "description":"Agent description (10-500 chars)",
    "longDescription":"Optional detailed description",
    "capabilities":[],
    "requiredPermissions":[]
  }`,
      );
      expect(agent).toMatchObject({
        id: expect.stringMatching(uuid),
        name: "My Agent",
        slug,
        roles: "consumer",
        status: "draft",
        agentToken: expect.stringMatching(/^agt_clawrent_[\w-]{32,}$/),
      });
      return agent;
    };
    const agent = await offer("my-agent");
    expect(await nobody.refused(404, "GET", "/api/marketplace/agents/my-agent")).toEqual({
      error: "Not Found",
      message: "Agent not found",
    });

    // Publish, and what has to wait for it
    expect(await bob.refused(400, "POST", `/api/agents/${agent.id}/activate`)).toMatchObject({
      error: "Bad Request",
      message: "Agent has no provider profile. Publish it first.",
    });
    const published = await bob.post(
      `/api/agents/${agent.id}/publish`,
      `{
    "pricingModel":"per_session",
    "priceAmount":"1.00",
    "currency":"CNY",
    "hostingType":"self_hosted",
    "approvalMode":"auto"
  }`,
    );
    expect(published).toMatchObject({
      id: agent.id,
      status: "pending_review",
      providerProfile: { pricingModel: "per_session", priceAmount: "1.00", approvalMode: "auto" },
    });
    expect((await bob.refused(400, "POST", `/api/agents/${agent.id}/activate`)).message).toContain(
      "Provider profile status is 'pending_review'",
    );

    // Advanced: Apply for Provider
    const second = await offer("my-agent-2");
    const profile = await bob.post(
      `/api/agents/${second.id}/apply-provider`,
      `{
    "pricingModel":"per_session",
    "priceAmount":"1.00",
    "currency":"CNY",
    "hostingType":"self_hosted",
    "endpoint":"https://my-agent.example.com",
    "healthCheckUrl":"https://my-agent.example.com/health",
    "transparencyLevel":"transparent",
    "approvalMode":"auto",
    "maxConcurrentSessions":10,
    "maxConsumerSlots":5,
    "slotAssignmentMode":"flexible",
    "allowSharedConsumer":true
  }`,
    );
    expect(profile).toMatchObject({
      agentId: second.id,
      status: "pending_review",
      endpoint: "https://my-agent.example.com",
      healthCheckUrl: "https://my-agent.example.com/health",
      transparencyLevel: "transparent",
      maxConcurrentSessions: 10,
      maxConsumerSlots: 5,
      slotAssignmentMode: "flexible",
      allowSharedConsumer: true,
    });

    // Generate token: the new one holds, the one from the registration does not
    const { token } = await bob.post(`/api/agents/${agent.id}/token`);
    expect(token).toMatch(/^agt_clawrent_/);
    expect((await curl(server, agent.agentToken).refused(401, "GET", "/api/agents/my")).message).toBe(
      "Token expired or invalid",
    );

    for (const { id } of [agent, second]) {
      expect((await admin.rest("POST", `/api/admin/agents/${id}/approve`)).status).toBe(200);
    }

    // Activate, once the daemon runs
    expect((await bob.refused(400, "POST", `/api/agents/${agent.id}/activate`)).message).toContain(
      "Agent is not connected via WebSocket",
    );
    const daemons = [await serve(server, token), await serve(server, second.agentToken)];
    for (const { id } of [agent, second]) {
      expect(await bob.post(`/api/agents/${id}/activate`)).toMatchObject({
        id,
        status: "active",
        onlineStatus: "online",
        roles: "both",
      });
    }

    // List My Agents, Set Online Status
    const mine = await bob.get("/api/agents/my");
    expect(mine.data.map(({ slug }: { slug: string }) => slug).sort()).toEqual(["my-agent", "my-agent-2"]);
    expect(await bob.patch(`/api/agents/${agent.id}/status`, '{"onlineStatus":"busy"}')).toMatchObject({
      id: agent.id,
      onlineStatus: "busy",
    });
    // What the owner set, the daemon's repeated activation does not end; the owner does.
    expect(await bob.post(`/api/agents/${agent.id}/activate`)).toMatchObject({ onlineStatus: "busy" });
    await bob.patch(`/api/agents/${agent.id}/status`, '{"onlineStatus":"online"}');

    // Browse Marketplace, Get Agent Details
    const browsed = await alice.get("/api/marketplace/browse?search=QUERY&limit=20");
    expect(browsed).toMatchObject({ data: [], agents: [], total: 0, page: 1, limit: 20 });
    const found = await alice.get("/api/marketplace/browse?search=agent&limit=20");
    expect(found.agents).toEqual(found.data);
    expect(found.data.map(({ id }: { id: string }) => id).sort()).toEqual([agent.id, second.id].sort());
    expect(await nobody.get("/api/marketplace/agents/my-agent")).toMatchObject({
      id: agent.id,
      slug: "my-agent",
      owner: { id: bob.user.id, name: "Bob" },
      longDescription: "Optional detailed description",
    });

    // Check Balance & Top Up
    expect(await alice.get("/api/billing/wallet")).toMatchObject({ balance: "0.00" });
    expect(await alice.post("/api/billing/wallet/topup", '{"amount":"100.00"}')).toMatchObject({ balance: "100.00" });

    // Rent an Agent
    const session = await alice.create(
      "/api/sessions",
      `{"agentId":"${agent.id}","taskDescription":"What you need done","grantedPermissions":{}}`,
    );
    expect(session).toMatchObject({
      id: expect.stringMatching(uuid),
      sessionToken: expect.stringMatching(/^[\w-]{20,}$/),
      status: "active",
      role: "consumer",
    });

    // Approve Session: it is active already
    expect(await bob.post(`/api/sessions/${session.id}/approve`)).toMatchObject({
      id: session.id,
      status: "active",
      taskDescription: "What you need done",
      consumerUserId: alice.user.id,
    });

    // Read Messages, Send a Message
    const asAgent = curl(server, token);
    expect((await alice.get(`/api/sessions/${session.id}/messages`)).data).toEqual([]);
    const sent = await asAgent.create(
      `/api/sessions/${session.id}/messages`,
      '{"type":"dialogue.message","payload":{"content":"Hello from provider!"}}',
    );
    expect(sent).toMatchObject({
      messageId: expect.any(String),
      delivered: false,
      gatewayResult: "passed",
      createdAt: expect.stringMatching(isoTime),
    });
    const polled = await alice.get(`/api/sessions/${session.id}/messages?since=${session.startedAt}`);
    expect(polled.data).toMatchObject([
      { type: "dialogue.message", senderRole: "provider", payload: { content: "Hello from provider!" } },
    ]);
    expect((await alice.get(`/api/sessions/${session.id}/messages?since=${sent.createdAt}`)).data).toEqual([]);
    expect((await alice.get(`/api/sessions/${session.id}/messages?since=2026-04-18T12:00:00.000Z`)).total).toBeTypeOf(
      "number",
    );

    // List & End Sessions
    const listed = await alice.get("/api/sessions?role=consumer&status=active");
    expect(listed.data).toMatchObject([{ id: session.id, sessionToken: session.sessionToken }]);
    expect(await alice.post(`/api/sessions/${session.id}/end`)).toMatchObject({
      id: session.id,
      status: "completed",
      billingStatus: "settled",
      settlement: { amount: "1.0000", platformFee: "0.1500", providerIncome: "0.8500" },
    });
    expect(await alice.get("/api/billing/wallet")).toMatchObject({ balance: "99.00" });
    expect(await bob.get("/api/billing/wallet")).toMatchObject({ balance: "0.85" });
    expect(
      (
        await asAgent.refused(
          400,
          "POST",
          `/api/sessions/${session.id}/messages`,
          '{"type":"dialogue.message","payload":{"content":"Hello from provider!"}}',
        )
      ).message,
    ).toBe("Session is not active");

    // Orders (Bulk Rent)
    const order = await alice.create(
      "/api/orders",
      `{"items":[{"providerAgentId":"${agent.id}","taskDescription":"Task 1"},{"providerAgentId":"${second.id}","taskDescription":"Task 2"}]}`,
    );
    expect(order).toMatchObject({ id: expect.stringMatching(uuid), items: [{}, {}] });
    expect((await alice.get("/api/orders")).data).toMatchObject([{ id: order.id }]);
    expect(await alice.post(`/api/orders/${order.id}/cancel`)).toMatchObject({ id: order.id, status: "cancelled" });

    // Cart
    expect(
      await alice.create("/api/cart", `{"providerAgentId":"${agent.id}","taskDescription":"Task desc"}`),
    ).toMatchObject({ providerAgentId: agent.id, taskDescription: "Task desc" });
    expect(await alice.get("/api/cart")).toMatchObject({ data: [{ providerAgentId: agent.id }], total: 1 });
    expect(await alice.delete("/api/cart")).toMatchObject({ message: expect.any(String), removed: 1 });
    expect(await alice.get("/api/cart")).toMatchObject({ data: [], total: 0 });

    // Favorites
    expect(await alice.create(`/api/favorites/${agent.id}`)).toMatchObject({ agentId: agent.id, favorited: true });
    expect((await alice.get("/api/favorites")).data).toMatchObject([{ agentId: agent.id }]);
    expect(await alice.delete(`/api/favorites/${agent.id}`)).toEqual({ agentId: agent.id, favorited: false });

    for (const daemon of daemons) await daemon.stop();
  });

  test("the errors that it names", async () => {
    const dave = await account(server, "dave@example.com", "Dave");
    const nobody = curl(server);
    expect(await nobody.refused(401, "GET", "/api/agents/my")).toEqual({
      error: "Unauthorized",
      message: "Authentication required",
    });
    expect(await curl(server, "eyJ.out.dated").refused(401, "GET", "/api/agents/my")).toEqual({
      error: "Unauthorized",
      message: "Token expired or invalid",
    });
    expect(await dave.refused(403, "GET", "/api/admin/agents")).toEqual({
      error: "Forbidden",
      message: "Not authorized for this action",
    });
    expect(await dave.refused(400, "POST", "/api/agents", "{}")).toMatchObject({
      error: "Validation Error",
      message: expect.stringContaining("name"),
      details: expect.arrayContaining([{ path: "slug", message: expect.any(String) }]),
    });
    // A placeholder that was sent as it stands.
    expect(await dave.refused(404, "POST", "/api/sessions/{session-id}/end")).toEqual({
      error: "Not Found",
      message: "Session not found",
    });
    expect(await nobody.get("/api/health")).toMatchObject({ status: "healthy" });
  });
});
