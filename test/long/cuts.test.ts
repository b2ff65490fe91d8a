/**
 * Convex's own clients in pairs, writing to each other, whose sockets are cut all the time: at any moment, right behind a
 * mutation, in the middle of the opening, and all at once. Whatever was sent is done exactly once and in order, no value
 * ever goes backwards, a client sees what it wrote, and in the end everybody sees what is there. On PostgreSQL two
 * processes serve them in turns. `CUT_SECONDS` sets how long (60; the whole of it is 300), `CUT_CLIENTS` how many (200).
 */
import { ConvexClient } from "convex/browser";
import { afterEach, describe, expect, onTestFailed, test } from "vitest";
import { WebSocket } from "ws";
import { openStore } from "../../runtime/store/database.js";
import { createDatabase, databases, type EmptyDatabase } from "../support/databases.js";
import { randomKey } from "../support/harness.js";
import { Clients, each, pauseFor, type Speaker } from "../support/kills.js";
import { cuttableSockets, mutationAt, queryAt, type Value } from "../support/live-clients.js";
import { ServerProcess } from "../support/process.js";
import { RoundRobin } from "../support/proxy.js";

const seconds = Number(process.env.CUT_SECONDS ?? 60);
const clients = Number(process.env.CUT_CLIENTS ?? 200);
/** A thread that has so many messages is left for a new one, so that values stay small. */
const messagesPerThread = 20;
/** More than ever get into one thread. */
const limit = 200;
/** Mutations of one client that were not answered yet. */
const mostUnanswered = 3;
/** A client rests for up to 24 s after failures in a row. */
const patienceMs = 60_000;

/** Two connected agents and the thread that they write to now. */
interface Pair {
  connectionId: string;
  threadId: string;
  /** How many messages were begun in the thread. */
  begun: number;
  members: Member[];
}

/** By HTTP. What too many transactions at once did not let happen is asked again, as `Retry-After` says. */
class Callers extends Clients {
  busy = 0;

  override async ask(...call: Parameters<Clients["ask"]>): Promise<string | undefined> {
    const text = await super.ask(...call);
    if (!text?.includes('"errorData":{"code":"unavailable"')) return text;
    this.busy += 1;
    this.faults.splice(this.faults.indexOf(`${call[1]}: 503 ${text}`), 1);
    return undefined;
  }
}

/** A query of a client's, and whether what it shows only ever goes forwards. */
class Watch {
  value: Value;
  values = 0;
  readonly #end: () => void;

  constructor(
    member: Member,
    readonly path: string,
    readonly args: Record<string, unknown>,
    follows: (value: Value, before: Value) => boolean = () => true,
  ) {
    const complain = (what: string) => member.complaints.push(`${member.speaker.name}, ${path}: ${what}`);
    this.#end = member.client.onUpdate(
      queryAt(path),
      args,
      (value) => {
        if (this.values > 0 && !follows(value, this.value)) {
          complain(`${JSON.stringify(value)} came after ${JSON.stringify(this.value)}`);
        }
        this.value = value;
        this.values += 1;
      },
      (error) => complain(String(error)),
    );
  }

  end(): void {
    this.#end();
  }
}

/** The messages that were there are there still, in their places. */
const longer = (now: { messageId: string }[], before: { messageId: string }[]) =>
  before.every(({ messageId }, index) => now[index]?.messageId === messageId);

/** No thread is gone, and none has become shorter. */
function furtherOn(now: Value[], before: Value[]): boolean {
  const counts = new Map(now.map(({ threadId, messageCount }) => [threadId, messageCount]));
  return before.every(({ threadId, messageCount }) => (counts.get(threadId) ?? -1) >= messageCount);
}

/** A client on sockets that can be cut, signed in as an agent. */
class Member {
  readonly client: ConvexClient;
  readonly complaints: string[] = [];
  readonly watches: Watch[];
  /** What its own socket has sent, and what it was told of it. */
  readonly sent = new Map<string, { threadId: string; messageId?: string }>();
  readonly opened: string[] = [];
  unanswered = 0;
  signedIn = false;
  thread: Watch;
  valuesOfThreadsBefore = 0;
  readonly #sockets = cuttableSockets();

  constructor(
    url: string,
    readonly speaker: Speaker,
    readonly pair: Pair,
  ) {
    this.client = new ConvexClient(url, {
      skipConvexDeploymentUrlCheck: true,
      logger: false,
      webSocketConstructor: this.#sockets.constructor,
    });
    this.client.setAuth(
      async () => speaker.credential,
      (isSignedIn) => {
        this.signedIn = isSignedIn;
      },
    );
    this.watches = [
      new Watch(this, "messages:getThreadsForAgent", { limit }, furtherOn),
      new Watch(this, "connections:list", {}),
      new Watch(this, "approvals:getPending", {}),
      new Watch(this, "agents:getStatus", {}),
    ];
    this.thread = this.#watchThread();
  }

  #watchThread(): Watch {
    return new Watch(this, "messages:getForThread", { threadId: this.pair.threadId, limit }, longer);
  }

  /** Turns to the pair's new thread. */
  turn(): void {
    const before = this.thread;
    this.thread = this.#watchThread();
    this.valuesOfThreadsBefore += before.values;
    before.end();
  }

  get values(): number {
    return [...this.watches, this.thread].reduce((sum, { values }) => sum + values, this.valuesOfThreadsBefore);
  }

  /** How many sockets it has opened so far. */
  get sockets(): number {
    return this.#sockets.sockets.length;
  }

  /** Cuts the socket as a broken network would. Whether there was one. */
  cut(): boolean {
    const socket = this.#sockets.sockets.at(-1);
    if (!socket || socket.readyState > WebSocket.OPEN) return false;
    socket.terminate();
    return true;
  }

  /** Has the next socket cut while it says who it is and what it wants. */
  async cutAtOpening(isOver: () => boolean): Promise<boolean> {
    const before = this.sockets;
    while (this.sockets === before && !isOver()) await pauseFor(10);
    if (isOver()) return false;
    const socket = this.#sockets.sockets.at(-1);
    if (socket?.readyState === WebSocket.CONNECTING) {
      await new Promise((resolve) => socket.once("open", resolve).once("close", resolve));
    }
    await pauseFor(Math.random() * 30);
    return !isOver() && this.cut();
  }

  async send(body: string): Promise<void> {
    const { threadId } = this.pair;
    const sent: { threadId: string; messageId?: string } = { threadId };
    this.sent.set(body, sent);
    this.pair.begun += 1;
    const { messageId } = await this.#mutate("messages:send", { threadId, type: "info", payload: { body } });
    sent.messageId = messageId;
    // Whoever was told that it is done sees it.
    const { args, values, value } = this.thread;
    if (args.threadId === threadId && values > 0 && !value.some((message: Value) => message.messageId === messageId)) {
      this.complaints.push(`${this.speaker.name} does not see ${body}, which was acknowledged`);
    }
  }

  async open(): Promise<string> {
    const { threadId } = await this.#mutate("messages:startThread", { connectionId: this.pair.connectionId });
    this.opened.push(threadId);
    return threadId;
  }

  async #mutate(path: string, args: Record<string, unknown>): Promise<Value> {
    this.unanswered += 1;
    try {
      return await this.client.mutation(mutationAt(path), args);
    } finally {
      this.unanswered -= 1;
    }
  }
}

async function waitFor(isSo: () => boolean, what: string | (() => string)): Promise<void> {
  const givenUpAt = Date.now() + patienceMs;
  while (!isSo()) {
    if (Date.now() > givenUpAt) throw new Error(`Waited in vain for ${typeof what === "string" ? what : what()}`);
    await pauseFor(20);
  }
}

async function makePair(http: Clients, proxy: RoundRobin, number: number): Promise<Pair> {
  const register = async (name: string): Promise<Speaker> => {
    const { apiKey } = await http.write("agents:register", { name });
    const speaker = { name, credential: apiKey };
    await http.write("agents:setPublicKey", { publicKey: randomKey() }, speaker);
    return speaker;
  };
  const [one, other] = await Promise.all([register(`Agent ${2 * number}`), register(`Agent ${2 * number + 1}`)]);
  const { inviteToken } = await http.write("connections:invite", {}, one);
  const { connectionId } = await http.write("connections:accept", { inviteToken }, other);
  const { threadId } = await http.write("messages:startThread", { connectionId }, one);
  const pair: Pair = { connectionId, threadId, begun: 0, members: [] };
  pair.members = [one, other].map((speaker) => new Member(proxy.url, speaker, pair));
  return pair;
}

/** Every message of the database with its body, in the order of its thread. */
async function stored(url: string): Promise<{ messageId: string; threadId: string; body: string }[]> {
  const store = await openStore(url);
  try {
    const rows = await store.read((db) =>
      db
        .selectFrom("messages")
        .select(["messageId", "threadId", "payload"])
        .orderBy("threadId")
        .orderBy("createdAt")
        .execute(),
    );
    return rows.map(({ payload, ...message }) => ({ ...message, body: JSON.parse(String(payload)).body }));
  } finally {
    await store.close();
  }
}

describe.each(databases)("live clients whose sockets are cut on %s", (database) => {
  let created: EmptyDatabase | undefined;
  let proxy: RoundRobin | undefined;
  let servers: ServerProcess[] = [];
  let members: Member[] = [];
  afterEach(async () => {
    await Promise.all(members.map(({ client }) => client.close()));
    await proxy?.stop();
    await Promise.all(servers.map((server) => server.stop()));
    await created?.remove();
    [members, servers] = [[], []];
  });

  test(`${clients} clients lose nothing and do nothing twice in ${seconds} s`, async () => {
    created = await createDatabase(database);
    const options = { databaseUrl: created.url, environment: { JWT_SECRET: "a secret that only this test knows" } };
    for (let count = database === "sqlite" ? 1 : 2; count > 0; count -= 1) {
      servers.push(await ServerProcess.start(options));
    }
    onTestFailed(() => {
      for (const { stdout, stderr } of servers) console.log(stdout.slice(-5_000), stderr);
    });
    const front = await RoundRobin.start(servers.map(({ port }) => port));
    proxy = front;
    const direct = servers.map(({ url }) => new Callers(url));
    const anyOf = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;

    const pairs: Pair[] = [];
    const numbers = Array.from({ length: clients / 2 }, (_, number) => number);
    await each(numbers, async (number) => {
      pairs.push(await makePair(anyOf(direct), front, number));
    });
    members = pairs.flatMap((pair) => pair.members);
    await waitFor(() => members.every((member) => member.signedIn && member.thread.values > 0), "the first values");

    const failures: unknown[] = [];
    /** Lets it go on beside everything else. */
    const begin = (work: Promise<void>) => {
      underWay += 1;
      void work.catch((error: unknown) => failures.push(error)).then(() => (underWay -= 1));
    };
    let underWay = 0;
    let over = false;
    let written = 0;
    const cuts = { anywhere: 0, behindMutation: 0, atOpening: 0, together: 0 };
    const count = (kind: keyof typeof cuts, isCut: boolean) => {
      if (isCut) cuts[kind] += 1;
    };
    const byHttp = new Map<string, string>();

    const renew = async (pair: Pair) => {
      pair.begun = Number.NEGATIVE_INFINITY;
      pair.threadId = await anyOf(pair.members).open();
      pair.begun = 0;
      for (const member of pair.members) member.turn();
    };
    const live = async (member: Member) => {
      while (!over) {
        await pauseFor(Math.random() * 4_000);
        if (over || member.unanswered >= mostUnanswered) continue;
        written += 1;
        begin(member.send(`${member.speaker.name}, ${written}`));
        if (Math.random() < 0.3) {
          await pauseFor(Math.random() * 10);
          count("behindMutation", member.cut());
        }
        if (member.pair.begun >= messagesPerThread) begin(renew(member.pair));
      }
    };
    const writeByHttp = async () => {
      while (!over) {
        await pauseFor(Math.random() * 200);
        const pair = anyOf(pairs);
        written += 1;
        const body = `http, ${written}`;
        pair.begun += 1;
        const args = { threadId: pair.threadId, type: "info", payload: { body } };
        const { messageId } = await anyOf(direct).write("messages:send", args, anyOf(pair.members).speaker);
        byHttp.set(body, messageId);
      }
    };
    const cutAny = async () => {
      while (!over) {
        await pauseFor(Math.random() * 40);
        const member = anyOf(members);
        count("anywhere", member.cut());
        if (Math.random() < 0.1) begin(member.cutAtOpening(() => over).then((isCut) => count("atOpening", isCut)));
      }
    };
    const cutAll = async () => {
      for (let turn = 1; !over; turn += 1) {
        await pauseFor(500);
        if (turn % 30 !== 0) continue;
        cuts.together += 1;
        front.cut();
      }
    };
    for (const member of members) begin(live(member));
    for (let writer = 0; writer < 4; writer += 1) begin(writeByHttp());
    begin(cutAny());
    begin(cutAll());
    await pauseFor(seconds * 1_000);
    over = true;

    const waiting = () =>
      members.flatMap(({ speaker, unanswered, client }) =>
        unanswered > 0 ? [speaker.name, JSON.stringify(client.connectionState())] : [],
      );
    await waitFor(
      () => underWay === 0,
      () => `the last replies, ${underWay} in all, to ${waiting()}`,
    );
    await waitFor(() => members.every(({ client }) => client.connectionState().isWebSocketConnected), "all sockets");
    expect(failures).toEqual([]);

    // Nobody writes any more: what everybody sees becomes what is there.
    await each(members, async (member) => {
      for (const watch of [...member.watches, member.thread]) {
        for (const http of direct) {
          const fresh = JSON.stringify(await http.read(watch.path, watch.args, member.speaker));
          const isSame = () => JSON.stringify(sorted(watch.value)) === JSON.stringify(sorted(JSON.parse(fresh)));
          await waitFor(isSame, `${watch.path} of ${member.speaker.name} to be ${fresh}`);
        }
      }
    });
    expect(members.flatMap(({ complaints }) => complaints)).toEqual([]);
    expect(direct.flatMap(({ faults }) => faults)).toEqual([]);
    const values = members.reduce((sum, member) => sum + member.values, 0);
    const sockets = members.reduce((sum, member) => sum + member.sockets, 0);
    const opened = members.flatMap((member) => member.opened);
    const sent = new Map(members.flatMap((member) => [...member.sent]));
    console.log(
      `${database}: ${clients} clients for ${seconds} s on ${servers.length} servers; cuts: ${JSON.stringify(cuts)}, ` +
        `${sockets} sockets; ${sent.size} mutations of messages and ${opened.length} of threads by socket, ${byHttp.size} by HTTP; ` +
        `${values} values shown; ${direct.reduce((sum, { busy }) => sum + busy, 0)} calls by HTTP asked again`,
    );
    await Promise.all(members.map(({ client }) => client.close()));
    for (const server of servers) {
      expect(server.stdout).not.toMatch(/"level":(50|60)/);
      expect(server.stderr).toBe("");
      expect(await server.stop()).toEqual({ code: 0, signal: null });
    }

    const rows = await stored(created.url);
    const told = new Map([...byHttp, ...[...sent].map(([body, { messageId }]) => [body, messageId] as const)]);
    const bodies = rows.map(({ body }) => body);
    expect(new Set(bodies).size).toBe(bodies.length);
    expect(new Map(rows.map(({ body, messageId }) => [body, messageId]))).toEqual(told);
    expect(new Set(rows.map(({ threadId }) => threadId)).size).toBeLessThanOrEqual(pairs.length + opened.length);
    const store = await openStore(created.url);
    const threads = await store.read((db) => db.selectFrom("threads").select("threadId").execute());
    await store.close();
    expect(threads.length).toBe(pairs.length + opened.length);
    for (const member of members) {
      const order = new Map([...member.sent.keys()].map((body, index) => [body, index]));
      const lastOf = new Map<string, number>();
      for (const { threadId, body } of rows) {
        const place = order.get(body);
        if (place === undefined) continue;
        expect(place).toBeGreaterThan(lastOf.get(threadId) ?? -1);
        lastOf.set(threadId, place);
      }
    }
    expect(cuts.anywhere).toBeGreaterThan(seconds * 5);
  });
});

/** The same value with its fields in the order of their names. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted()
      .map(([name, field]) => [name, sorted(field)]),
  );
}
