/**
 * Nobody's live queries hold the others up: whoever has a thousand of them that are due gets one run in each round, and
 * between the runs ordinary calls are served. Told in runs, not in milliseconds: `runs` is who was served when.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { everyMinute, mutation, query } from "../../../runtime/call/define.js";
import { liveBudget } from "../../../runtime/limits.js";
import { open } from "../../support/event-streams.js";
import { type Agent, databases, minute, type TestServer, useServer } from "../../support/harness.js";
import { until } from "../../support/live-clients.js";
import { amount, isLong } from "../../support/long.js";
import { asAgent, draft } from "../../support/market.js";
import { add, openSync, type RawClient, timeOf } from "../../support/sync-frames.js";

/** Most runs that begin before another caller's one: those that are on together. */
const together = 16;
/** What one caller is subscribed to. */
const lots = amount(300, 1_000);

/** Who was served with what is on the test's board, in order. */
const runs: string[] = [];
let boardId = "";
/** What a run of Alice's takes at least, where a test needs to know. */
let busyMs = 0;

const shown = {
  auth: "none",
  args: { agentId: z.string(), who: z.string(), number: z.number() },
  returns: z.string().nullable(),
} as const;
const read = async (
  // biome-ignore lint/suspicious/noExplicitAny: only the database is used.
  ctx: any,
  { agentId, who }: { agentId: string; who: string },
): Promise<string | null> => {
  if (agentId === boardId) runs.push(who);
  const endsAt = performance.now() + (who === "alice" ? busyMs : 0);
  while (performance.now() < endsAt);
  const row = await ctx.db.selectFrom("agents").select("description").where("agentId", "=", agentId).executeTakeFirst();
  return row?.description ?? null;
};
const board = {
  read: query({ ...shown, summary: "What is on the board", handler: read }),
  readEachMinute: query({ ...shown, summary: "The same, with the clock", refreshMs: everyMinute, handler: read }),
  write: mutation({
    summary: "Writes on the board",
    auth: "none",
    args: { agentId: z.string(), text: z.string() },
    returns: z.null(),
    handler: async (ctx, { agentId, text }) => {
      await ctx.db.updateTable("agents").set({ description: text }).where("agentId", "=", agentId).execute();
      return null;
    },
  }),
};

beforeEach(() => {
  runs.length = 0;
});
afterEach(() => {
  busyMs = 0;
});

const many = (who: string, agentId: string, count: number, path = "board:read") =>
  Array.from({ length: count }, (_, number) => add(number, path, { agentId, who, number }));

const count = (who: string) => runs.filter((one) => one === who).length;

describe.each(databases)("live queries take turns on %s", (database) => {
  const server = useServer(database, { modules: { board }, config: { trustProxy: true } });
  let alice: Agent;
  let bob: Agent;
  const open = async (who: Agent | undefined, address?: string, on: TestServer = server) => {
    const client = await openSync(on, address ? { headers: { "x-forwarded-for": address } } : {});
    client.connect();
    return who ? client.authenticate(who.credential) : client;
  };

  beforeEach(async () => {
    [alice, bob] = await people(server);
  });

  test("a thousand that one adds in one frame come behind another's first one, and let calls through", async () => {
    const [hers, his] = [await open(alice), await open(bob)];
    hers.modify(...many("alice", boardId, lots));
    await until(() => runs.length > 0, "the first of them");
    his.modify(...many("bob", boardId, 1));
    await his.answered();
    expect(count("bob")).toBe(1);
    expect(count("alice")).toBeLessThan(lots / 2);
    await server.nobody.call("agents:getClaim", { claimToken: bob.claimToken });
    expect((await fetch(`${server.url}/api/health`)).status).toBe(200);
    await bob.call("agents:setPublicKey", { publicKey: Buffer.alloc(32, 9).toString("base64") });
    expect(count("alice")).toBeLessThan(lots);
    await hers.answered();
    expect(hers.shown.size).toBe(lots);
    expect(count("alice")).toBe(lots);
  });

  test("after a write, whoever has one has it in the first round, whoever has a thousand in all of them", async () => {
    const [hers, his] = [await open(alice), await open(bob)];
    hers.modify(...many("alice", boardId, lots));
    await hers.answered();
    his.modify(...many("bob", boardId, 1));
    await his.answered();
    runs.length = 0;
    await server.nobody.call("board:write", { agentId: boardId, text: "news" });
    await his.next("Transition");
    expect(his.shown.get(0)).toMatchObject({ value: "news" });
    expect(runs.indexOf("bob")).toBeLessThanOrEqual(together);
    expect(count("alice")).toBeLessThan(lots);
    await hers.next("Transition");
    expect([...hers.shown.values()].every(({ value }) => value === "news")).toBe(true);
    expect([count("alice"), count("bob")]).toEqual([lots, 1]);
  });

  test("a user with many agents has one turn in each round, not one for each agent", async () => {
    const his = await open(bob);
    const agents = await agentsOfOne(server, 2 * together);
    const theirs = await Promise.all(agents.map((agent) => open(agent)));
    for (const [number, socket] of theirs.entries()) {
      socket.modify(add(0, "board:read", { agentId: boardId, who: "alice", number }));
      await socket.answered();
    }
    his.modify(...many("bob", boardId, 1));
    await his.answered();
    runs.length = 0;
    await server.nobody.call("board:write", { agentId: boardId, text: "for all of them" });
    await his.next("Transition");
    expect(runs.indexOf("bob")).toBeLessThanOrEqual(together);
    for (const socket of theirs) await socket.next("Transition");
  });

  test("those that the clock refreshes are not all refreshed at once", async () => {
    const [hers, his] = [await open(alice), await open(bob)];
    hers.modify(...many("alice", boardId, lots, "board:readEachMinute"));
    await hers.answered();
    his.modify(...many("bob", boardId, 1, "board:readEachMinute"));
    await his.answered();
    runs.length = 0;
    server.clock.jump(minute);
    server.clock.runDue();
    await until(() => count("bob") > 0, "his");
    expect(runs.indexOf("bob")).toBeLessThanOrEqual(together);
    await server.nobody.call("agents:getClaim", { claimToken: bob.claimToken });
    expect(count("alice")).toBeLessThan(lots / 2);
    await until(() => count("alice") === lots, "all of hers");
  });

  test("a stream's updates have their turns among a socket's", async () => {
    const hers = await open(alice);
    hers.modify(...many("alice", boardId, lots));
    await hers.answered();
    const { reader } = await streamOf(server, bob, { agentId: boardId, who: "bob", number: 0 });
    await reader.shows(() => true);
    runs.length = 0;
    await server.nobody.call("board:write", { agentId: boardId, text: "for streams" });
    await reader.shows(({ data }) => data === "for streams");
    expect(runs.indexOf("bob")).toBeLessThanOrEqual(together);
    expect(count("alice")).toBeLessThan(lots / 2);
  });

  test("without a credential it is each address that has its turn, and what two share comes with the first", async () => {
    const [hers, his] = [await open(undefined, "192.0.2.1"), await open(undefined, "192.0.2.2")];
    const shared = many("both", boardId, 1)[0] as object;
    hers.modify(...many("alice", boardId, lots).slice(1), shared);
    await hers.answered();
    his.modify(shared);
    await his.answered();
    runs.length = 0;
    await server.nobody.call("board:write", { agentId: boardId, text: "for addresses" });
    await his.next("Transition");
    expect(his.shown.get(0)).toMatchObject({ value: "for addresses" });
    expect(runs.indexOf("both")).toBeLessThanOrEqual(together);
    await hers.next("Transition");
    expect([count("both"), count("alice")]).toEqual([1, lots - 1]);
  });

  test("what is removed before its turn is not run, and its socket goes on", async () => {
    const hers = await open(alice);
    busyMs = 2;
    hers.modify(...many("alice", boardId, lots));
    hers.modify(...Array.from({ length: lots - 1 }, (_, index) => ({ type: "Remove", queryId: index + 1 })));
    await hers.answered();
    expect([...hers.shown.keys()]).toEqual([0]);
    expect(count("alice")).toBeLessThan(lots / 2);
    busyMs = 0;
    await server.nobody.call("board:write", { agentId: boardId, text: "still here" });
    await hers.next("Transition");
    expect(hers.shown.get(0)).toMatchObject({ value: "still here" });
  });

  test("a mutation of one's own is not taken for shown while some queries wait for their turns", async () => {
    const hers = await open(alice);
    const boards = await Promise.all(Array.from({ length: 40 }, () => server.agent("Board")));
    const addOf = ({ agentId }: Agent, number: number) =>
      add(number, "board:read", { agentId: number === 0 ? agentId : boardId, who: "alice", number });
    hers.modify(...boards.map(addOf));
    await hers.answered();
    const first = boards[0]?.agentId ?? "";
    for (let round = 1; round <= amount(12, 200); round += 1) {
      const text = `round ${round}`;
      runs.length = 0;
      const written = server.nobody.call("board:write", { agentId: boardId, text });
      // Somewhere in the middle of the others' runs.
      await until(() => runs.length > round % 12, "some runs");
      hers.mutation(round, "board:write", { agentId: first, text });
      await written;
      await untilShown(hers, round, text);
    }
  });
});

/** Follows the frames until the client takes its mutation for shown; then it has to be. */
async function untilShown(client: RawClient, requestId: number, text: string): Promise<void> {
  let committedAt: bigint | undefined;
  for (;;) {
    const frame = await client.next();
    if (frame.type === "MutationResponse" && frame.requestId === requestId) committedAt = timeOf(frame.ts);
    if (committedAt !== undefined && timeOf(client.version.ts) >= committedAt) break;
  }
  expect(client.shown.get(0)).toMatchObject({ value: text });
}

/** Alice, Bob, and the board. */
async function people(server: TestServer): Promise<[Agent, Agent, Agent]> {
  const [alice, bob, board] = [await server.agent("Alice"), await server.agent("Bob"), await server.agent("Board")];
  boardId = board.agentId;
  return [alice, bob, board];
}

/** Agents of one user, who could have a hundred. */
async function agentsOfOne(server: TestServer, count: number): Promise<Agent[]> {
  const owner = await server.user("Alice");
  return Promise.all(Array.from({ length: count }, async () => asAgent(server, await draft(owner))));
}

async function streamOf(server: TestServer, who: Agent, args: object) {
  return open(server, who, "board:read", args);
}

describe.each(databases)("a caller's budget for live queries on %s", (database) => {
  const server = useServer(database, { modules: { board }, config: { rateLimits: true, trustProxy: true } });

  test("who has used it up waits, others do not, and with time all of it comes", async () => {
    const [alice, bob, { agentId }] = await people(server);
    const open = async (who: Agent) => (await openSync(server)).connect().authenticate(who.credential);
    const [hers, his] = [await open(alice), await open(bob)];
    busyMs = 250;
    const budgeted = Math.ceil(liveBudget.mostMs / busyMs);
    hers.modify(...many("alice", agentId, 2 * budgeted));
    await until(() => runs.length > 0, "her first");
    // The clock stands still, so what she has used does not come back. Each of his has its turn, and so would one of hers.
    let number = 0;
    for (let rounds = 0, hadBefore = -1; rounds < 10; number += 1) {
      his.modify(add(number, "board:read", { agentId, who: "bob", number }));
      await his.answered();
      rounds = count("alice") === hadBefore ? rounds + 1 : 0;
      hadBefore = count("alice");
    }
    await server.nobody.call("board:write", { agentId, text: "meanwhile" });
    await until(() => count("bob") === 2 * number, "his again");
    // Half of what she asked for, and one that was on when the budget ran out.
    expect(count("alice")).toBeLessThanOrEqual(budgeted + 1);
    busyMs = 0;
    await server.advance(20_000);
    // Late, but not wrong: what was read before the write is read again.
    const isThere = () =>
      hers.shown.size === 2 * budgeted && [...hers.shown.values()].every(({ value }) => value === "meanwhile");
    while (!isThere()) await hers.next();
  });
});

describe.each(databases)("the budget of a user's agents on %s", (database) => {
  const server = useServer(database, { modules: { board }, config: { rateLimits: true, trustProxy: true } });

  test("is one for all of them: what one has used up, the other has not", async () => {
    const [, bob, { agentId }] = await people(server);
    const agents = await agentsOfOne(server, 2);
    const open = async (who: Agent) => (await openSync(server)).connect().authenticate(who.credential);
    const [first, second, his] = await Promise.all([...agents, bob].map(open));
    if (!first || !second || !his) throw new Error("Somebody is missing");
    let number = 0;
    /** Each of his has its turn, and so would one of anybody else who has something left. */
    const tenOfHis = async () => {
      for (let asked = 0; asked < 10; asked += 1, number += 1) {
        his.modify(add(number, "board:read", { agentId, who: "bob", number }));
        await his.answered();
      }
    };
    busyMs = 250;
    first.modify(...many("alice", agentId, Math.ceil((2 * liveBudget.mostMs) / busyMs)));
    await until(() => count("alice") > 0, "the first");
    for (let rounds = 0, before = -1; rounds < 5; before = count("alice")) {
      await tenOfHis();
      rounds = count("alice") === before ? rounds + 1 : 0;
    }
    busyMs = 0;
    second.modify(...many("also alice", agentId, 1));
    await tenOfHis();
    expect(count("also alice")).toBe(0);
    await server.advance(20_000);
    while (second.shown.size === 0) await second.next();
    expect(count("also alice")).toBe(1);
  });
});

describe.runIf(isLong).each(databases)("in milliseconds, on %s", (database) => {
  const server = useServer(database, { modules: { board } });

  test("others' calls stay below 250 ms at p99 while a thousand of one's queries are run again", async () => {
    const [alice, bob, { agentId }] = await people(server);
    const hers = (await openSync(server)).connect().authenticate(alice.credential);
    const took: number[] = [];
    const timed = async (done: () => boolean) => {
      while (!done()) {
        const began = performance.now();
        await bob.call("agents:getStatus", {});
        took.push(performance.now() - began);
      }
    };
    busyMs = 6;
    hers.modify(...many("alice", agentId, 1_000));
    await timed(() => runs.length >= 1_000);
    await hers.answered();
    for (let times = 1; times <= 3; times += 1) {
      runs.length = 0;
      await server.nobody.call("board:write", { agentId, text: `news ${times}` });
      await timed(() => runs.length >= 1_000);
      await hers.next("Transition");
    }
    took.sort((one, other) => one - other);
    expect(took[Math.floor(took.length * 0.99)]).toBeLessThan(250);
  });
});
