/** Every REST route × every kind of caller gives the answer of the checked-in table (architecture.md section 6). */
import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { parametersOf, type Route, restRoutes } from "../../adapters/rest-routes.js";
import { Caller, databases, password, type RestReply, type TestServer, User, useServer } from "../support/harness.js";
import { rentable } from "../support/rental.js";
import {
  type Answer,
  type CallerKind,
  callers,
  matrix,
  type Names,
  type Row,
  type Situation,
} from "./rest-auth-matrix.js";

/** The people, their agents and their credentials. They live through the whole suite; what they do is made afresh. */
interface World {
  alice: User;
  bob: User;
  carol: User;
  admin: User;
  /** Two of Bob's, online: one takes every session, one waits for him to approve. */
  autoAgentId: string;
  manualAgentId: string;
  as: Record<CallerKind, Caller>;
}

const description = "An agent for the matrix of callers";

/** The body of a call that has to succeed. */
// biome-ignore lint/suspicious/noExplicitAny: what comes back is what the tests are about to look at.
async function done(caller: Caller, method: string, path: string, body?: unknown): Promise<any> {
  const reply = await caller.rest(method, path, body);
  if (reply.status >= 300) throw new Error(`${method} ${path}: ${reply.text}`);
  return reply.body;
}

async function createAgent(owner: User, slug = `agent-${randomUUID().slice(0, 30)}`) {
  const { id, agentToken } = await done(owner, "POST", "/api/agents", { name: "Agent", slug, description });
  return { agentId: id as string, agentToken: agentToken as string, slug };
}

async function createWorld(server: TestServer): Promise<World> {
  const admin = await server.admin();
  const [alice, bob, carol, dave] = await Promise.all(
    ["Alice", "Bob", "Carol", "Dave"].map((name) => server.user(name, { topUp: "10000.00" })),
  );
  if (!alice || !bob || !carol || !dave) throw new Error("Four users were made");
  await done(admin, "POST", "/api/billing/wallet/topup", { amount: "1000.00" });
  await done(admin, "POST", `/api/admin/users/${dave.userId}/suspend`);

  const terms = { pricingModel: "per_token", priceAmount: "0.001", maxConcurrentSessions: 1_000 };
  const auto = await rentable(server, { ...terms, approvalMode: "auto" }, bob);
  const manual = await rentable(server, { ...terms, approvalMode: "manual" }, bob);
  const token = async (user: User) => new Caller(server, (await createAgent(user)).agentToken);
  return {
    alice,
    bob,
    carol,
    admin,
    autoAgentId: auto.agentId,
    manualAgentId: manual.agentId,
    as: {
      nobody: server.nobody,
      badToken: new Caller(server, "agt_clawrent_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
      consumer: alice,
      consumerKey: new ByApiKey(server, alice.apiKey),
      consumerAgent: await token(alice),
      provider: bob,
      providerKey: new ByApiKey(server, bob.apiKey),
      providerAgent: auto.agent,
      stranger: carol,
      strangerAgent: await token(carol),
      suspended: dave,
      admin,
      adminAgent: await token(admin),
    },
  };
}

/** A user who sends the API key in the header of its own. */
class ByApiKey extends Caller {
  constructor(
    on: TestServer,
    readonly apiKey: string,
  ) {
    super(on);
  }

  override rest(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    return super.rest(method, path, body, { "x-api-key": this.apiKey, ...headers });
  }
}

/** What each situation adds. */
const situations: Record<Situation, (server: TestServer, world: World) => Promise<Partial<Names>>> = {
  nothing: async () => ({}),
  selfRegistered: async (server) => ({ claimToken: (await server.agent("New")).claimToken }),
  draft: (_server, { bob }) => createAgent(bob),
  submitted: async (_server, { bob }) => {
    const agent = await createAgent(bob);
    await done(bob, "POST", `/api/agents/${agent.agentId}/publish`);
    return agent;
  },
  listed: async (server, world) => {
    const agent = await situations.submitted(server, world);
    await done(world.admin, "POST", `/api/admin/agents/${agent.agentId}/approve`);
    return agent;
  },
  suspendedAgent: async (server, world) => {
    const agent = await situations.listed(server, world);
    await done(world.admin, "POST", `/api/admin/agents/${agent.agentId}/suspend`);
    return agent;
  },
  rentable: async (_server, { autoAgentId }) => ({ agentId: autoAgentId }),
  active: async (_server, { alice, autoAgentId }) => {
    const rent = { agentId: autoAgentId, taskDescription: "Write a short poem about the tide" };
    const { id } = await done(alice, "POST", "/api/sessions", rent);
    return { sessionId: id, participantId: autoAgentId };
  },
  pending: async (_server, { alice, manualAgentId }) => {
    const rent = { agentId: manualAgentId, taskDescription: "Write a short poem about the tide" };
    return { sessionId: (await done(alice, "POST", "/api/sessions", rent)).id };
  },
  settled: async (server, world) => {
    const { sessionId } = await situations.active(server, world);
    await done(world.alice, "POST", `/api/sessions/${sessionId}/end`);
    const { data } = await done(world.alice, "GET", "/api/billing/records?limit=100");
    return { recordId: data.find((record: { sessionId: string }) => record.sessionId === sessionId).id };
  },
  paid: async (server, world) => {
    const { sessionId } = await situations.active(server, world);
    const said = { type: "dialogue.message", payload: { content: "A poem", usage: { totalTokens: 1 } } };
    await done(world.bob, "POST", `/api/sessions/${sessionId}/messages`, said);
    await done(world.alice, "POST", `/api/sessions/${sessionId}/end`);
    return { sessionId };
  },
  disputed: async (server, world) => {
    const { sessionId } = await situations.paid(server, world);
    const { dispute } = await done(world.alice, "POST", `/api/sessions/${sessionId}/dispute`, { reason: "No rhyme" });
    return { sessionId, disputeId: dispute.id };
  },
  topUpCode: async (_server, { admin }) => {
    const { codes } = await done(admin, "POST", "/api/admin/billing/codes", { amount: "1.00" });
    return { codeId: codes[0].id, code: codes[0].topUpCode };
  },
  ordered: async (_server, { alice, autoAgentId }) => {
    const items = [{ providerAgentId: autoAgentId, taskDescription: "A poem" }];
    return { orderId: (await done(alice, "POST", "/api/orders", { items })).id };
  },
  inCart: async (_server, { alice, autoAgentId }) => {
    const item = { providerAgentId: autoAgentId, taskDescription: "A poem" };
    return { cartItemId: (await done(alice, "POST", "/api/cart", item)).id };
  },
  otherUser: async (server) => ({ userId: (await server.user("Erin")).userId }),
  suspendedUser: async (server, { admin }) => {
    const { userId } = await server.user("Erin");
    await done(admin, "POST", `/api/admin/users/${userId}/suspend`);
    return { userId };
  },
  event: async (server) => {
    const host = await server.agent("Host", { claimed: true });
    const startAt = server.clock.now();
    const { eventId } = await host.call("events:create", { name: "Mixer", startAt, endAt: startAt + 3_600_000 });
    return { eventId };
  },
  // What was ended by the call before is there again.
  ownCredentials: async (server, world) => {
    for (const [name, kind] of [
      ["alice", "consumer"],
      ["bob", "provider"],
      ["carol", "stranger"],
      ["admin", "admin"],
    ] as const) {
      const { email } = world[name];
      const { token, user } = await server.nobody.call("users:signIn", { email, password });
      const { apiKey } = await new Caller(server, token).call("users:rotateApiKey");
      world[name] = new User(server, token, user.id, email, user.name, apiKey);
      world.as[kind] = world[name];
      if (kind === "consumer" || kind === "provider") world.as[`${kind}Key`] = new ByApiKey(server, apiKey);
    }
    const { data } = await done(world.alice, "GET", "/api/auth/sign-ins");
    return { signInId: data.at(-1).id };
  },
  doc: async (_server, { admin }) => {
    const doc = { type: "document", title: `Tide ${randomUUID()}`, content: "About the tide" };
    const { id, path } = await done(admin, "POST", "/api/mcp/docs", doc);
    return { docId: id, path };
  },
  publishedDoc: async (server, world) => {
    const doc = await situations.doc(server, world);
    await done(world.admin, "POST", `/api/mcp/docs/${doc.docId}/publish`);
    return doc;
  },
};

const keyOf = ({ method, path }: Route) => `${method} ${path.replace("{.+}", "")}`;

/** Asks as the row says; `replaced` stands in for names of the situation. */
function ask(caller: Caller, route: Route, row: Row, names: Names, replaced: Partial<Names> = {}): Promise<RestReply> {
  const named = { ...names, ...replaced } as unknown as Record<string, string>;
  const path = parametersOf(route).reduce(
    (filled, name) => filled.replace(`:${name}`, named[name] ?? ""),
    route.path.replace("{.+}", ""),
  );
  return caller.rest(route.method, path + (row.query ?? ""), row.body?.(names));
}

function expectAnswer(reply: RestReply, answer: Answer, route: Route, who: string): void {
  if (answer === "ok") {
    expect(reply.status, `${who}: ${reply.text}`).toBe(route.status);
    expect(reply.body, who).toBeTypeOf("object");
    expect(reply.body, who).not.toHaveProperty("error");
    return;
  }
  const { status, ...told } = answer;
  expect([reply.status, reply.body], who).toEqual([status, expect.objectContaining(told)]);
}

test("every route has a row, and every row a route", () => {
  expect(Object.keys(matrix).sort()).toEqual(restRoutes.map(keyOf).sort());
});

describe.each(databases)("who gets what over REST on %s", (database) => {
  const server = useServer(database);
  let world: World;
  beforeAll(async () => {
    world = await createWorld(server);
  });

  const namesFor = async (situation: Situation): Promise<Names> => ({
    slug: `slug-${randomUUID().slice(0, 30)}`,
    email: `${randomUUID()}@example.com`,
    agentId: "",
    claimToken: "",
    sessionId: "",
    participantId: "",
    recordId: "",
    disputeId: "",
    codeId: "",
    code: "",
    orderId: "",
    cartItemId: "",
    signInId: "",
    userId: "",
    docId: "",
    path: "",
    eventId: "",
    ...(await situations[situation](server, world)),
  });

  test.each(restRoutes.map((route) => [keyOf(route), route] as const))("%s", async (key, route) => {
    const row = matrix[key];
    if (!row) throw new Error(`${key} has no row`);
    let names = await namesFor(row.given);
    for (const kind of callers) {
      const answer = row.answers[kind];
      expectAnswer(await ask(world.as[kind], route, row, names), answer, route, kind);
      if (answer === "ok" && route.method !== "GET") names = await namesFor(row.given);
    }
    if (!row.missing) return;

    // What is not there and what is somebody else's cannot be told apart, byte for byte.
    const { parameter, answer } = row.missing;
    for (const kind of callers) {
      const usual = row.answers[kind];
      if (usual !== "ok" && usual.status !== 404) continue;
      const unknown = await ask(world.as[kind], route, row, names, { [parameter]: randomUUID() });
      expectAnswer(unknown, answer, route, `${kind}, of what is not there`);
      if (usual === "ok") continue;
      const foreign = await ask(world.as[kind], route, row, names);
      expect([foreign.status, foreign.text], kind).toEqual([unknown.status, unknown.text]);
    }
  });
});
