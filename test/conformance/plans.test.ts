import SqliteDatabase from "better-sqlite3";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Caller, databases, day, minute, startServer, type TestServer } from "../support/harness.js";
import { marketplaceStory } from "../support/marketplace-story.js";
import { tables } from "../support/refusals.js";

/**
 * What may be read whole: documents, which admins write by hand, and the handful of processes. Every other table grows.
 */
const small = ["docs", "serverProcesses"];
const growing = tables.filter((table) => !small.includes(table)) as string[];

/** The indexes that the timer walks from their front: partial ones hold only what is open. */
const timerIndex = /(ToExpire|ToStart|ToEnd|ToTrim|ToMeter|ToTell|ToRelease|Deadline|Closing|Pending|Open|ByExpiry)$/;

/** It walks along an index and stops: no condition has it look further than its limit. */
function endsAtItsLimit(statement: string): boolean {
  return /\blimit\b/i.test(statement) && !/\bwhere\b/i.test(statement);
}

/** The operator's command reads the whole ledger, which is what it is for. */
const readsAllOnPurpose = "admin:audit";
let watching = true;

/** What PostgreSQL tells of one step of a plan. */
interface PlanNode {
  "Node Type": string;
  "Relation Name"?: string;
  "Index Name"?: string;
  "Index Cond"?: string;
  Plans?: PlanNode[];
}

/** The steps that read a table whole: one after the other, or along an index of which they ask nothing. */
function wholeReads(node: PlanNode | undefined): string[] {
  if (!node) return [];
  const index = node["Index Name"];
  const whole =
    node["Node Type"] === "Seq Scan" ||
    (index !== undefined && node["Index Cond"] === undefined && !timerIndex.test(index));
  const ofSmall = small.some((table) => node["Relation Name"] === table || index?.startsWith(table));
  const here =
    whole && !ofSmall ? [`${node["Node Type"]} of ${node["Relation Name"]} along ${index ?? "nothing"}`] : [];
  return [...here, ...(node.Plans ?? []).flatMap(wholeReads)];
}

/** Calls every function once with success, as two agents would. */
async function story(server: TestServer): Promise<Set<string>> {
  const called = new Set<string>();
  let calls = 0;
  const [alice, bob] = [await server.agent("Alice"), await server.agent("Bob")];
  const as = async (who: Caller, path: string, args: object = {}) => {
    called.add(path);
    calls += 1;
    watching = path !== readsAllOnPurpose;
    const value = await who.call(path, args, { "Idempotency-Key": `story-${calls}` });
    watching = true;
    return value;
  };
  const { claimToken } = await as(server.nobody, "agents:register", { name: "Carol" });
  await as(server.nobody, "agents:getClaim", { claimToken });
  await as(server.nobody, "agents:claim", { claimToken });
  await as(bob, "agents:renewClaim");
  await as(alice, "agents:setPublicKey", { publicKey: Buffer.alloc(32, 7).toString("base64") });
  const invite = await as(alice, "connections:invite");
  await as(server.nobody, "connections:getInvite", { inviteToken: invite.inviteToken });
  const { connectionId } = await as(bob, "connections:accept", { inviteToken: invite.inviteToken });
  await as(alice, "connections:list");
  const { threadId } = await as(alice, "messages:startThread", { connectionId });
  const { messageId } = await alice.send(threadId, "proposal");
  await bob.send(threadId, "info", { referencesMessageId: messageId });
  await as(bob, "messages:send", { threadId, type: "accept", payload: {}, referencesMessageId: messageId });
  for (const page of [{}, { before: server.clock.now() + 1 }, { after: 0, limit: 1 }]) {
    await as(alice, "messages:getForThread", { threadId, ...page });
  }
  await as(alice, "messages:getThreadsForAgent");
  await as(bob, "messages:getThreadsForAgent", { status: "awaiting_approval" });
  await as(alice, "approvals:getPending");
  await as(alice, "agents:getStatus");
  await as(alice, "approvals:submit", { threadId, approved: true });

  await server.nobody.call("agents:claim", { claimToken: alice.claimToken });
  const now = server.clock.now();
  const place = { locationLat: 1, locationLng: 1 };
  const { eventId } = await as(alice, "events:create", { name: "E", ...place, startAt: now, endAt: now + 90 * minute });
  await as(alice, "events:updateTags", { eventId, tags: ["a", "b"] });
  await as(alice, "events:update", { eventId, ...place, locationLng: 1.0001, endAt: now + 91 * minute });
  await as(alice, "events:listLive", { includeScheduled: true });
  await as(alice, "events:listLive");
  for (const agent of [alice, bob]) {
    const { shareToken } = await as(agent, "events:requestLocationShare");
    await as(server.nobody, "events:getShareRequest", { shareToken });
    await as(server.nobody, "events:submitLocationShare", { shareToken, lat: 1, lng: 1 });
    await as(agent, "events:getLocationShare", { shareToken });
    expect(await as(agent, "events:listNearby", { shareToken, includeScheduled: true })).toHaveLength(1);
    await as(agent, "events:checkIn", { eventId, locationShareToken: shareToken });
  }
  await as(alice, "events:checkIn", { eventId, durationMinutes: 70 });
  await as(alice, "events:getById", { eventId });
  expect(await as(alice, "events:getSuggestions", { eventId })).toHaveLength(1);
  const { introId } = await as(alice, "events:proposeIntro", { eventId, toAgentId: bob.agentId });
  await as(bob, "events:respondIntro", { introId, accept: true });
  await as(alice, "events:submitIntroApproval", { introId, approved: true });
  await as(bob, "events:submitIntroApproval", { introId, approved: true });
  await as(alice, "events:listMyIntros", { eventId, includeResolved: true });
  await as(alice, "events:listMyIntros");
  await as(bob, "events:checkOut", { eventId });
  await as(alice, "events:cancel", { eventId });
  await as(alice, "connections:disconnect", { connectionId });
  await as(alice, "events:expireStale");
  await server.advance(100 * minute);
  await marketplaceStory(server, as);
  await server.advance(day);
  return called;
}

describe.each(databases)("query plans on %s (architecture.md section 3: every query has an index)", (database) => {
  const statements = new Set<string>();
  let server: TestServer;
  let called: Set<string>;

  beforeAll(async () => {
    const seen = (text: unknown) => {
      if (watching && typeof text === "string" && /^\s*(select|insert|update|delete|with)\b/i.test(text))
        statements.add(text);
    };
    const prepare = SqliteDatabase.prototype.prepare;
    vi.spyOn(SqliteDatabase.prototype, "prepare").mockImplementation(function (
      this: SqliteDatabase.Database,
      text: string,
    ) {
      seen(text);
      return prepare.call(this, text) as never;
    });
    const query = pg.Client.prototype.query;
    vi.spyOn(pg.Client.prototype, "query").mockImplementation(function (this: pg.Client, ...args: unknown[]) {
      const [statement] = args;
      seen(typeof statement === "object" && statement !== null ? (statement as { text: unknown }).text : statement);
      return (query as (...given: unknown[]) => never).apply(this, args);
    } as never);
    server = await startServer(database);
    // What the migration and the start-up run is not a call.
    statements.clear();
    called = await story(server);
    vi.restoreAllMocks();
  });
  afterAll(() => server.close());

  const judged = () => [...statements].filter((statement) => !endsAtItsLimit(statement));

  test("the story calls every function", () => {
    expect([...called].sort()).toEqual([...server.server.registry.functions.keys()].sort());
    expect(statements.size).toBeGreaterThan(60);
  });

  test("no statement reads a growing table whole", async () => {
    const whole: string[] = [];
    if (database === "sqlite") {
      const file = new SqliteDatabase(server.databaseUrl.slice("sqlite:".length), { readonly: true });
      for (const statement of judged()) {
        const unbound = file.prepare(`explain query plan ${statement.replaceAll("?", "null")}`);
        const plan = (unbound.all() as { detail: string }[]).map(({ detail }) => detail);
        const scans = plan.filter((step) => {
          const [, table = ""] = /^SCAN (\S+)/.exec(step) ?? [];
          // A partial index holds only what is open, and a timer walks it from its front.
          return (
            growing.includes(table) &&
            !/USING (COVERING )?INDEX \w*(ToExpire|ToStart|ToEnd|ToTrim|ToMeter|Deadline|Closing|Pending|Open|ByExpiry)/.test(
              step,
            )
          );
        });
        if (scans.length > 0) whole.push(`${scans.join("; ")} in ${statement}`);
      }
      file.close();
    } else {
      const client = new pg.Client(server.databaseUrl);
      await client.connect();
      await client.query("set enable_seqscan = off");
      for (const statement of judged()) {
        const explained = await client.query<{ "QUERY PLAN": [{ Plan: PlanNode }] }>(
          `explain (generic_plan, format json) ${statement}`,
        );
        const scans = wholeReads(explained.rows[0]?.["QUERY PLAN"][0].Plan);
        if (scans.length > 0) whole.push(`${scans.join("; ")} in ${statement}`);
      }
      await client.end();
    }
    expect(whole).toEqual([]);
  });
});
