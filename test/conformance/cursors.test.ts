/**
 * Every list of the registry, paged by cursor: whatever the page holds, the pages are the whole list, each row once. A
 * list that has no row in the table below fails the suite. (functions/model/cursors.ts.)
 */
import { beforeAll, describe, expect, test } from "vitest";
import {
  type Agent,
  type Caller,
  databases,
  day,
  startServer,
  type TestServer,
  type User,
} from "../support/harness.js";
import { asAgent, draft, listed } from "../support/market.js";
import { rentable, serve, task } from "../support/rental.js";

/** How many rows each list has in the world of this test. */
const rows = 7;

interface List {
  path: string;
  as: Caller;
  args?: Record<string, unknown>;
  /** Where its rows stand in the answer; absent where the answer is the array. */
  in?: "data" | "sessions";
  /** Its pages do not follow one another in its order, since none may be one creator's alone. */
  isFair?: true;
  /** What tells its rows apart. */
  key: string;
  /** Filters under which its cursors are not those of the list without. */
  otherwise?: Record<string, unknown>;
}

/** What looks like a list and is none (a tree, one agent's settings), answers all that is kept at once, or takes no cursor. */
const noLists = new Set([
  "docs:getTree",
  "agents:getServeRules",
  "users:listSignIns",
  "events:getSuggestions",
  "agents:getStatus",
  // An agent has at most three.
  "agents:listCredentials",
]);

async function world(server: TestServer): Promise<List[]> {
  const [alice, bob, admin] = [
    await server.user("Alice", { topUp: "1000.00" }),
    await server.user("Bob"),
    await server.admin(),
  ];
  const others: User[] = [];
  for (let made = 0; made < rows; made += 1) {
    const other = await server.user(`Other ${made}`);
    others.push(other);
    await alice.call("follows:add", { userId: other.userId });
    await other.call("follows:add", { userId: alice.userId });
    // All of it within one instant, or each in its own: both must page alike.
    if (made < 3) await server.advance(1);
  }

  const agentIds: string[] = [];
  for (let made = 0; made < rows; made += 1) {
    const { agentId } = await rentable(server, {}, bob);
    agentIds.push(agentId);
    await alice.call("favorites:add", { agentId });
    const { id: sessionId } = await alice.call("sessions:create", { agentId, taskDescription: task });
    if (made % 2 === 0) {
      await serve(bob, sessionId);
      await alice.call("sessions:end", { sessionId });
      await alice.call("sessions:dispute", { sessionId, reason: "Not what was asked for" });
    }
    await admin.call("admin:createTopUpCodes", { amount: "1.00" });
    const items = [{ providerAgentId: agentId, taskDescription: "Part 1" }];
    await alice.call("orders:create", { items });
    await alice.call("billing:topUp", { amount: "1.00", currency: made % 2 === 0 ? "CNY" : "USD" });
    if (made < 3) await server.advance(1);
  }
  const { data: orders } = await alice.call("orders:list");
  for (const { id: orderId } of orders) await alice.call("orders:cancel", { orderId });

  // Sessions with her agent, of which one is talked in; a cart; categories of one size and of another; documents.
  const made = await draft(alice);
  const planner = asAgent(server, made);
  let talkative = "";
  for (const agentId of agentIds) {
    const rent = { agentId, taskDescription: task, consumerAgentId: made.id };
    talkative = (await alice.call("sessions:create", rent)).id;
    await alice.call("cart:add", { providerAgentId: agentId, taskDescription: "Read it" });
  }
  for (let sent = 0; sent < rows; sent += 1) {
    const said = { type: "dialogue.message", payload: { content: "Hello" } };
    await alice.call("sessions:sendMessage", { sessionId: talkative, ...said });
  }
  const categories = ["law", "法律", "maths", "art", "tax", "Ärzte"].map((category) => ({ category, name: "Reading" }));
  await listed(server, bob, { capabilities: categories });
  await listed(server, bob, { capabilities: categories.slice(0, 2) });
  for (let written = 0; written < rows; written += 1) {
    const { id: docId } = await admin.call("docs:create", {
      type: "document",
      title: `Guide ${"法a"[written % 2]} ${written}`,
    });
    await admin.call("docs:publish", { docId });
  }

  const inviter = await server.agent("Inviter");
  for (let made = 0; made < rows; made += 1) {
    const { inviteToken } = await inviter.call("connections:invite");
    if (made % 2 === 0) await (await server.agent(`Peer ${made}`)).call("connections:accept", { inviteToken });
    if (made < 3) await server.advance(1);
  }
  const peer = await server.agent("Eager peer");
  await inviter.call(
    "connections:accept",
    await peer.call("connections:invite").then(({ inviteToken }) => ({ inviteToken })),
  );

  const startAt = server.clock.now();
  let host = await server.agent("Host", { claimed: true });
  for (let made = 0; made < rows; made += 1) {
    // Of one creator no more than a page shows while others' remain: those are tried in test/functions/events/lists.
    if (made % 3 === 0) host = await server.agent("Host", { claimed: true });
    const event = {
      name: "Mixer",
      locationLat: 1,
      locationLng: 2,
      startAt: startAt - (made % 3),
      endAt: startAt + day,
    };
    await host.call("events:create", event);
  }
  // Everybody at a gathering wants to meet the peer.
  const gathering = { name: "Reading", startAt, endAt: startAt + day };
  const { eventId } = await (await server.agent("Host", { claimed: true })).call("events:create", gathering);
  const arrive = async (agent: Agent) => {
    const locationShareToken = await agent.shareLocation(1, 2);
    await agent.call("events:checkIn", { eventId, locationShareToken, introEnabled: true });
  };
  await arrive(peer);
  for (let made = 0; made < rows; made += 1) {
    const guest = await server.agent(`Guest ${made}`);
    await arrive(guest);
    await guest.call("events:proposeIntro", { eventId, toAgentId: peer.agentId });
    if (made < 3) await server.advance(1);
  }
  const near = { shareToken: await peer.shareLocation(1, 2) };

  // An eager peer's threads, and one of each of the others: more than a small page holds.
  const accepted = (await inviter.call("connections:list")).filter(({ status }: Row) => status === "active");
  const eager = accepted.find(({ connectedTo }: Row) => connectedTo.agentId === peer.agentId);
  const threadIds: string[] = [];
  for (const { connectionId } of [...accepted, ...Array(rows).fill(eager)]) {
    threadIds.push((await inviter.call("messages:startThread", { connectionId })).threadId);
    if (threadIds.length < 4) await server.advance(1);
  }
  const threadId = threadIds.at(-1) ?? "";
  for (const each of threadIds.slice(-rows)) {
    const { messageId } = await inviter.send(each, "proposal");
    if (each !== threadId) await peer.send(each, "accept", { referencesMessageId: messageId });
  }
  for (let sent = 0; sent < rows; sent += 1) await peer.send(threadId, "info");

  return [
    { path: "events:listLive", as: peer, key: "eventId", otherwise: { includeScheduled: true } },
    { path: "events:listNearby", as: peer, key: "eventId", args: near, otherwise: { ...near, radiusKm: 2 } },
    {
      path: "messages:getThreadsForAgent",
      as: inviter,
      key: "threadId",
      isFair: true,
      otherwise: { status: "expired" },
    },
    {
      path: "messages:getThreadsForAgent",
      as: inviter,
      key: "threadId",
      isFair: true,
      args: { status: "negotiating" },
    },
    { path: "events:listMyIntros", as: peer, key: "introId", otherwise: { includeResolved: true } },
    { path: "messages:getForThread", as: inviter, key: "messageId", args: { threadId, after: 0 } },
    { path: "approvals:getPending", as: peer, key: "threadId" },
    { path: "cart:list", as: alice, in: "data", key: "id" },
    { path: "docs:search", as: alice, in: "data", key: "id", args: { q: "guide" }, otherwise: { q: "GUIDE" } },
    { path: "sessions:listMessages", as: alice, in: "data", key: "id", args: { sessionId: talkative } },
    { path: "agents:listMySessions", as: planner, in: "sessions", key: "sessionId" },
    { path: "marketplace:browse", as: alice, in: "data", key: "id", otherwise: { sort: "popular" } },
    { path: "marketplace:browse", as: alice, in: "data", key: "id", args: { sort: "rating", search: "contracts" } },
    { path: "marketplace:browse", as: alice, in: "data", key: "id", args: { sort: "popular", ownerId: bob.userId } },
    { path: "marketplace:listCategories", as: alice, in: "data", key: "name" },
    { path: "follows:listFollowing", as: alice, in: "data", key: "userId" },
    { path: "follows:listFollowers", as: alice, in: "data", key: "userId" },
    { path: "favorites:list", as: alice, in: "data", key: "agentId" },
    { path: "agents:listMine", as: bob, in: "data", key: "id", otherwise: { roles: "both" } },
    { path: "sessions:list", as: alice, in: "data", key: "id", otherwise: { role: "consumer" } },
    { path: "sessions:list", as: alice, in: "data", key: "id", args: { role: "consumer", status: "completed" } },
    { path: "sessions:listRentedAgents", as: alice, in: "data", key: "id" },
    { path: "orders:list", as: alice, in: "data", key: "id", otherwise: { status: "cancelled" } },
    { path: "billing:listRecords", as: alice, in: "data", key: "id" },
    { path: "billing:listTransactions", as: alice, in: "data", key: "id", otherwise: { type: "recharge" } },
    { path: "billing:listTransactions", as: alice, in: "data", key: "id", args: { type: "recharge" } },
    { path: "admin:listAgents", as: admin, in: "data", key: "id", otherwise: { status: "active" } },
    { path: "admin:listAgents", as: admin, in: "data", key: "id", args: { status: "active" } },
    { path: "admin:listSessions", as: admin, in: "data", key: "id", otherwise: { status: "completed" } },
    { path: "admin:listSessions", as: admin, in: "data", key: "id", args: { status: "completed" } },
    { path: "admin:listDisputes", as: admin, in: "data", key: "id", otherwise: { status: "open" } },
    { path: "admin:listDisputes", as: admin, in: "data", key: "id", args: { status: "open" } },
    { path: "admin:listTopUpCodes", as: admin, in: "data", key: "id" },
    { path: "connections:list", as: inviter, key: "connectionId" },
  ];
}

// biome-ignore lint/suspicious/noExplicitAny: each list has rows of its own.
type Row = any;

function rowsIn({ in: place }: List, answer: Row): Row[] {
  return place === undefined ? answer : answer[place];
}

/** Reads on behind a cursor until the list says that it ends. */
async function pages(list: List, limit: number | undefined): Promise<Row[]> {
  const found: Row[] = [];
  let cursor: string | undefined | null;
  do {
    const args = { ...list.args, ...(limit === undefined ? {} : { limit }), ...(cursor == null ? {} : { cursor }) };
    const answer = await list.as.call(list.path, args);
    const page = rowsIn(list, answer);
    expect(page.length).toBeLessThanOrEqual(limit ?? 1_000);
    found.push(...page);
    cursor = list.in === undefined ? page.at(-1)?.cursor : answer.nextCursor;
    if (list.in !== undefined && cursor !== null) expect(page).toHaveLength(limit ?? 1_000);
  } while (cursor != null);
  return found;
}

describe.each(databases)("cursors on %s", (database) => {
  let server: TestServer;
  let lists: List[];

  beforeAll(async () => {
    server = await startServer(database);
    lists = await world(server);
    return () => server.close();
  });

  test("every list of the registry takes a cursor, and is tried here", () => {
    const tried = new Set(lists.map(({ path }) => path));
    const missing: string[] = [];
    for (const [path, { kind, args }] of server.server.registry.functions) {
      if (kind !== "query" || noLists.has(path)) continue;
      const takesCursor = "cursor" in (args as unknown as { shape: object }).shape;
      const isNamedList = /:(list|browse|search|get\w*s$|get\w*ForAgent|getPending|getForThread)/.test(path);
      if ((takesCursor || isNamedList) && !(takesCursor && tried.has(path))) missing.push(path);
    }
    expect(missing).toEqual([]);
  });

  test("pages of any size are the whole list, each row once and in its order", async () => {
    for (const list of lists) {
      const takesLimit = "limit" in shapeOf(server, list.path);
      const whole = rowsIn(
        list,
        await list.as.call(list.path, { ...list.args, ...(takesLimit ? { limit: 100 } : {}) }),
      );
      expect(new Set(whole.map((row) => row[list.key])).size, list.path).toBe(whole.length);
      expect(whole.length, list.path).toBeGreaterThan(2);
      for (const limit of takesLimit ? [1, 2, 3, 7] : [undefined]) {
        const paged = await pages(list, limit);
        // What places a row among the others of its page is in its cursor.
        const plain = (found: Row[]) => found.map(({ cursor: _, ...row }) => row);
        if (list.isFair) {
          const sorted = (found: Row[]) =>
            plain(found).sort((one, other) => (one[list.key] < other[list.key] ? -1 : 1));
          expect(sorted(paged), `${list.path} by ${limit}`).toEqual(sorted(whole));
        } else expect(paged, `${list.path} by ${limit}`).toEqual(whole);
      }
    }
  });

  test("each row of an array goes on behind itself", async () => {
    for (const list of lists) {
      if (list.in !== undefined) continue;
      const whole: Row[] = await list.as.call(list.path, { ...list.args });
      for (const [index, { cursor }] of whole.entries()) {
        const rest = { ...list.args, cursor, ...("limit" in shapeOf(server, list.path) ? { limit: 100 } : {}) };
        expect(await list.as.call(list.path, rest), list.path).toEqual(whole.slice(index + 1));
      }
    }
  });

  test("a cursor beats the page", async () => {
    for (const list of lists) {
      if (!("page" in shapeOf(server, list.path))) continue;
      const { nextCursor } = await list.as.call(list.path, { ...list.args, limit: 1 });
      const args = { ...list.args, limit: 1, cursor: nextCursor };
      const second = await list.as.call(list.path, args);
      expect(rowsIn(list, await list.as.call(list.path, { ...args, page: 3 }))).toEqual(rowsIn(list, second));
      expect(rowsIn(list, await list.as.call(list.path, { ...list.args, limit: 1, page: 2 }))).toEqual(
        rowsIn(list, second),
      );
    }
  });

  test("a cursor of another list, of other filters or of nobody's making is refused in words", async () => {
    const cursors = new Map<List, string>();
    for (const list of lists) {
      const answer = await list.as.call(list.path, {
        ...list.args,
        ...("limit" in shapeOf(server, list.path) ? { limit: 1 } : {}),
      });
      cursors.set(list, list.in === undefined ? answer[0].cursor : answer.nextCursor);
    }
    for (const [list, own] of cursors) {
      const refused = { code: "invalid_args", message: expect.stringContaining("is not a cursor of this list") };
      const foreign = [...cursors].filter(([other]) => other.path !== list.path).map(([, cursor]) => cursor);
      const [mark = "", ...places] = own.split("~");
      const forged = [
        "x",
        "~",
        mark,
        `${own}~1`,
        own.slice(1),
        [mark, ...places.map(() => "")].join("~"),
        [mark, ...places.map(() => "' or 1=1")].join("~"),
        ...["1e999", "0.5", "01", "9007199254740993"].map((number) =>
          [mark, ...places.map((place) => (isNumber(place) ? number : "' or 1=1"))].join("~"),
        ),
      ];
      for (const cursor of [...foreign, ...forged]) {
        await expect(list.as.call(list.path, { ...list.args, cursor }), `${list.path} ${cursor}`).rejects.toMatchObject(
          refused,
        );
      }
      if (list.otherwise) {
        await expect(list.as.call(list.path, { ...list.otherwise, cursor: own })).rejects.toMatchObject(refused);
      }
    }
  });

  test("a place that somebody wrote is a place in the caller's own list, and nothing breaks", async () => {
    const stranger = await server.user("Stranger");
    const strangeAgent = await server.agent("Stranger");
    for (const list of lists) {
      if (list.path.startsWith("admin:") || list.path.startsWith("marketplace:")) continue;
      const answer = await list.as.call(list.path, {
        ...list.args,
        ...("limit" in shapeOf(server, list.path) ? { limit: 1 } : {}),
      });
      const own: string = list.in === undefined ? answer[0].cursor : answer.nextCursor;
      const [mark, ...places] = own.split("~");
      for (const number of ["0", "-1", "9007199254740991", "-9007199254740991"]) {
        const cursor = [mark, ...places.map((place) => (isNumber(place) ? number : place))].join("~");
        await list.as.call(list.path, { ...list.args, cursor });
      }
      // Events are everybody's to see, and a search needs the caller's own share.
      if (list.path.startsWith("events:")) continue;
      if (list.args && ("threadId" in list.args || "sessionId" in list.args)) continue;
      // What everybody may read, a stranger may too.
      if (list.path.startsWith("docs:")) continue;
      const whose = list.as === strangeAgent || "claimToken" in list.as ? strangeAgent : stranger;
      const theirs = rowsIn(list, await whose.call(list.path, { ...list.args, cursor: own }));
      expect(theirs, list.path).toEqual([]);
    }
  });
});

function shapeOf(server: TestServer, path: string): object {
  const definition = server.server.registry.find(path);
  if (!definition) throw new Error(`There is no ${path}`);
  return (definition.args as unknown as { shape: object }).shape;
}

function isNumber(place: string): boolean {
  return /^-?\d+$/.test(place);
}
