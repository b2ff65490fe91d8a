/**
 * What a reply promises: the write is on disk, whole, and alone. The log of SQLite is read as bytes, because a pragma
 * only says what was asked for; PostgreSQL's connections are cut from outside; the process gets real signals.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import type { Outcome } from "../../../runtime/call/call.js";
import { mutation, query } from "../../../runtime/call/define.js";
import type { MutationContext, QueryContext } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import type { Notice } from "../../../runtime/notices.js";
import { createDatabase, type EmptyDatabase } from "../../support/databases.js";
import { databases, startServer, type TestServer } from "../../support/harness.js";
import { ServerProcess } from "../../support/process.js";

const put = (ctx: MutationContext, name: string, value = 0) =>
  sql`insert into scratch (name, value) values (${name}, ${value})`.execute(ctx.db);
const read = async (ctx: QueryContext, name: string) =>
  (await sql<{ value: number }>`select value from scratch where name = ${name}`.execute(ctx.db)).rows[0]?.value;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** What effects saw when they ran. */
const effects: string[] = [];
let inEffect: (name: string) => string = (name) => name;
/** A notice that nothing in the server is for. */
const effect = (name: string): Notice => ({ kind: "serveRulesChanged", agentId: name });
/** Has the effects of this server's commits noted. */
const noteEffects = ({ server }: TestServer) =>
  server.notices.on("serveRulesChanged", ({ agentId }) => effects.push(inEffect(agentId)));

const about = { summary: "For this test", auth: "none", returns: z.null() } as const;
const named = { name: z.string() };

const scratch = {
  write: mutation({
    ...about,
    args: named,
    handler: async (ctx, { name }) => {
      await put(ctx, name);
      ctx.notify(effect(name));
      return null;
    },
  }),
  writeAndRefuse: mutation({
    ...about,
    args: named,
    handler: async (ctx, { name }) => {
      ctx.notify(effect(name));
      await put(ctx, name);
      throw new CallError("conflict", "No");
    },
  }),
  writeAndBreak: mutation({
    ...about,
    args: named,
    handler: async (ctx, { name }) => {
      ctx.notify(effect(name));
      await put(ctx, name);
      throw new TypeError("Broken");
    },
  }),
  writeAndMisdeclare: mutation({
    ...about,
    args: named,
    handler: async (ctx, { name }) => {
      await put(ctx, name);
      return "text" as never;
    },
  }),
  /** Fails while another branch of it still has statements to run. */
  straggle: mutation({
    ...about,
    args: named,
    handler: async (ctx, { name }) => {
      const branch = async () => {
        for (let round = 0; round < 5; round += 1) await read(ctx, name);
        await put(ctx, name);
      };
      await Promise.all([branch(), Promise.reject(new CallError("conflict", "No"))]);
      return null;
    },
  }),
  /** Leaves a write behind that nobody awaits, for as long as other calls need to start. */
  straggleLate: mutation({
    ...about,
    args: named,
    handler: async (ctx, { name }) => {
      void sleep(5)
        .then(() => put(ctx, name))
        .catch(() => {});
      return null;
    },
  }),
  /** Holds its transaction open, which no function should. */
  dawdle: mutation({
    ...about,
    args: { ...named, ms: z.number() },
    handler: async (ctx, { name, ms }) => {
      await put(ctx, name);
      await sleep(ms);
      return null;
    },
  }),
  stick: mutation({
    ...about,
    args: named,
    handler: async (ctx, { name }) => {
      await put(ctx, name);
      await new Promise(() => {});
      return null;
    },
  }),
  stickReading: query({
    ...about,
    args: {},
    handler: async () => {
      await new Promise(() => {});
      return null;
    },
  }),
  /** Comes back to life after the watchdog has ended it. */
  rise: mutation({
    ...about,
    args: named,
    handler: async (ctx, { name }) => {
      await sleep(5_600);
      await put(ctx, name);
      return null;
    },
  }),
  increment: mutation({
    ...about,
    returns: z.number(),
    args: named,
    handler: async (ctx, { name }) => {
      const next = ((await read(ctx, name)) ?? 0) + 1;
      await sql`update scratch set value = ${next} where name = ${name}`.execute(ctx.db);
      return next;
    },
  }),
  incrementDeferred: mutation({
    ...about,
    returns: z.number(),
    args: named,
    handler: async (ctx, { name }) => {
      const next = ((await read(ctx, name)) ?? 0) + 1;
      ctx.commitWaitsFor(sql`update scratch set value = ${next} where name = ${name}`.execute(ctx.db));
      return next;
    },
  }),
  deferAndRefuse: mutation({
    ...about,
    args: named,
    handler: async (ctx, { name }) => {
      ctx.commitWaitsFor(put(ctx, name));
      throw new CallError("conflict", "No");
    },
  }),
  /** Its deferred write breaks a constraint, which the database says only when it comes to it. */
  deferWhatFails: mutation({
    ...about,
    args: named,
    handler: async (ctx, { name }) => {
      await put(ctx, name);
      ctx.commitWaitsFor(sql`insert into scratch (name, value) values (${`${name} too`}, null)`.execute(ctx.db));
      ctx.notify(effect(name));
      return null;
    },
  }),
  sneak: query({
    ...about,
    args: named,
    handler: async (ctx, { name }) => {
      await put(ctx as MutationContext, name);
      return null;
    },
  }),
};
const modules = { scratch };

/** One call past HTTP, so that many can be made in the same turn of the event loop. */
function dispatch(server: TestServer, path: string, args: object, idempotencyKey?: string): Promise<Outcome> {
  return server.server.dispatcher.dispatch({
    path: `scratch:${path}`,
    kind: undefined,
    args,
    authorization: undefined,
    idempotencyKey,
    address: "127.0.0.1",
    requestId: "0000000000000000",
  });
}

async function startWithScratch(...args: Parameters<typeof startServer>): Promise<TestServer> {
  const server = await startServer(args[0], { modules, ...args[1] });
  noteEffects(server);
  await server.server.store.write(({ db }) =>
    sql`create table if not exists scratch (name text primary key, value integer not null)`.execute(db),
  );
  return server;
}

const names = async (server: TestServer): Promise<string[]> =>
  (await server.read((db) => sql<{ name: string }>`select name from scratch order by name`.execute(db))).rows.map(
    ({ name }) => name,
  );

describe.each(databases)("a write on %s", (database) => {
  let server: TestServer;
  beforeEach(async () => {
    effects.length = 0;
    inEffect = (name) => name;
    server = await startWithScratch(database);
  });
  afterEach(() => server.close());

  test("that throws after writing leaves nothing and has no effect, and its neighbours stand", async () => {
    const paths = ["write", "writeAndRefuse", "write", "writeAndBreak", "writeAndMisdeclare", "straggle", "write"];
    const outcomes = await Promise.all(
      paths.map((path, index) => dispatch(server, path, { name: `${index} ${path}` })),
    );

    expect(outcomes.map(({ status }) => status)).toEqual([
      "success",
      "refused",
      "success",
      "fault",
      "fault",
      "refused",
      "success",
    ]);
    expect(await names(server)).toEqual(["0 write", "2 write", "6 write"]);
    expect(effects.sort()).toEqual(["0 write", "2 write", "6 write"]);
  });

  test("that throws alone leaves nothing either", async () => {
    for (const path of ["writeAndRefuse", "writeAndBreak", "writeAndMisdeclare", "straggle"]) {
      await dispatch(server, path, { name: path });
    }
    await dispatch(server, "write", { name: "after" });
    expect(await names(server)).toEqual(["after"]);
    expect(effects).toEqual(["after"]);
  });

  test("that is refused under an Idempotency-Key leaves nothing but the remembered answer", async () => {
    const calls = ["writeAndRefuse", "writeAndBreak", "straggle", "write"].flatMap((path) => [
      dispatch(server, path, { name: path }, `key-${path}`),
      dispatch(server, path, { name: path }, `key-${path}`),
    ]);
    const outcomes = (await Promise.all(calls)).map(({ status }) => status);
    expect(outcomes).toEqual(["refused", "refused", "fault", "fault", "refused", "refused", "success", "success"]);
    expect(await names(server)).toEqual(["write"]);
    expect(effects).toEqual(["write"]);
  });

  test("of a call that has ended reaches nobody else's transaction", async () => {
    for (let round = 0; round < 20; round += 1) {
      await Promise.all([
        dispatch(server, "straggleLate", { name: `late ${round}` }),
        dispatch(server, "straggle", { name: `late too ${round}` }),
        ...Array.from({ length: 5 }, (_, index) => dispatch(server, "write", { name: `${round} ${index}` })),
      ]);
      // A transaction that is open at the moment when the straggler's statement comes.
      await dispatch(server, "dawdle", { name: `dawdle ${round}`, ms: 10 });
    }
    expect((await names(server)).filter((name) => name.startsWith("late"))).toEqual([]);
  });

  test("in a query fails, and the database is as before", async () => {
    expect(await dispatch(server, "sneak", { name: "sneaked" })).toEqual({ status: "fault" });
    await Promise.all([
      dispatch(server, "sneak", { name: "sneaked" }),
      dispatch(server, "write", { name: "written" }),
      dispatch(server, "sneak", { name: "sneaked" }),
    ]);
    expect(await names(server)).toEqual(["written"]);
  });

  test("that is deferred belongs to its call, with and without an Idempotency-Key", async () => {
    for (const key of [undefined, "key"]) {
      const calls = ["deferAndRefuse", "deferWhatFails", "write"].map((path) =>
        dispatch(server, path, { name: `${path} ${key}` }, key && `${key}-${path}`),
      );
      expect((await Promise.all(calls)).map(({ status }) => status)).toEqual(["refused", "fault", "success"]);
    }
    expect(await names(server)).toEqual(["write key", "write undefined"]);
    expect(effects).toEqual(["write undefined", "write key"]);
  });

  test.each([
    ["", "increment", undefined],
    [", under Idempotency-Keys", "increment", "key"],
    [", deferred", "incrementDeferred", undefined],
    [", deferred and under Idempotency-Keys", "incrementDeferred", "key"],
  ])("that races another for the same row loses no update%s", async (_how, path, key) => {
    await dispatch(server, "write", { name: "counter" });
    for (let round = 0; round < 50; round += 1) {
      const both = await Promise.all(
        ["one", "other"].map((side) => dispatch(server, path, { name: "counter" }, key && `${key}-${round}-${side}`)),
      );
      expect(both.map(({ status }) => status)).toEqual(["success", "success"]);
      const values = both.map((outcome) => outcome.status === "success" && outcome.value);
      expect(values.sort()).toEqual([round * 2 + 1, round * 2 + 2].sort());
    }
  });

  test("that races 49 others succeeds or asks to be tried again, and the sum is right", async () => {
    await dispatch(server, "write", { name: "counter" });
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, () => dispatch(server, "increment", { name: "counter" })),
    );
    const done = outcomes.filter(({ status }) => status === "success").length;
    for (const outcome of outcomes) {
      if (outcome.status !== "success") {
        expect(outcome).toMatchObject({ status: "rejected", error: { code: "unavailable" } });
      }
    }
    expect(done).toBeGreaterThan(25);
    const value = await server.read((db) => sql<{ value: number }>`select value from scratch`.execute(db));
    expect(value.rows[0]?.value).toBe(done);
  });
});

/** Transactions in the log: frames whose header says how large the database is after the commit. */
function walCommits(file: string): number {
  const wal = readFileSync(`${file}-wal`);
  const pageBytes = wal.readUInt32BE(8);
  const salts = wal.subarray(16, 24);
  let commits = 0;
  for (let at = 32; at + 24 + pageBytes <= wal.length; at += 24 + pageBytes) {
    // Frames behind the log's restart have other salts: they are left over.
    if (!wal.subarray(at + 8, at + 16).equals(salts)) break;
    if (wal.readUInt32BE(at + 4) !== 0) commits += 1;
  }
  return commits;
}

const fileOf = (url: string) => url.slice("sqlite:".length);

describe("SQLite", () => {
  const pragma = async (server: TestServer, name: string): Promise<unknown> => {
    const { rows } = await server.read((db) => sql<object>`select * from ${sql.raw(`pragma_${name}`)}`.execute(db));
    return Object.values(rows[0] ?? {})[0];
  };

  // architecture.md section 16, trap 1: better-sqlite3 is compiled so that a reopened WAL database is at NORMAL (1).
  test("flushes every commit, on a new database and on one that is opened again", async () => {
    const created = await createDatabase("sqlite", { bare: true });
    for (const _opening of ["first", "second", "third"]) {
      const server = await startServer("sqlite", { databaseUrl: created.url });
      expect(await pragma(server, "journal_mode")).toBe("wal");
      expect(await pragma(server, "synchronous")).toBe(2);
      await server.agent("Somebody");
      expect(await pragma(server, "synchronous")).toBe(2);
      await server.close();
    }
    await created.remove();
  });

  test("still holds its log when it is opened over one that a dead process left", async () => {
    const created = await createDatabase("sqlite");
    const process = await ServerProcess.start({ databaseUrl: created.url });
    const registered = await fetch(`${process.url}/api/mutation`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ path: "agents:register", args: { name: "Survivor" } }),
    });
    expect(registered.status).toBe(200);
    await process.kill("SIGKILL");
    expect(statSync(`${fileOf(created.url)}-wal`).size).toBeGreaterThan(0);

    const server = await startServer("sqlite", { databaseUrl: created.url });
    expect(await pragma(server, "synchronous")).toBe(2);
    expect(await server.read((db) => db.selectFrom("agents").select("name").execute())).toEqual([{ name: "Survivor" }]);
    await server.close();
    await created.remove();
  });

  const strace = spawnSync("strace", ["-e", "trace=fdatasync", "true"]).status === 0;
  test.skipIf(!strace)("asks the disk to flush before each reply, also on a reopened database", async () => {
    const created = await createDatabase("sqlite");
    const folder = mkdtempSync(join(tmpdir(), "tidepool-strace-"));
    const trace = join(folder, "trace");
    const process = await ServerProcess.start({ databaseUrl: created.url });
    await process.stop();
    const traced = await ServerProcess.start({
      databaseUrl: created.url,
      // With -D the server stays our child and gets our signals.
      wrapper: ["strace", "-D", "-f", "-y", "-e", "trace=fdatasync,fsync", "-o", trace],
    });
    const flushes = () => readFileSync(trace, "utf8").match(/f(data)?sync\(\d+<[^>]*-wal>/g)?.length ?? 0;
    const before = flushes();
    const calls = 20;
    for (let call = 1; call <= calls; call += 1) {
      const response = await fetch(`${traced.url}/api/mutation`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ path: "agents:register", args: { name: `Agent ${call}` } }),
      });
      await response.text();
      expect(flushes() - before).toBeGreaterThanOrEqual(call);
    }
    await traced.stop();
    await created.remove();
    rmSync(folder, { recursive: true });
  });

  describe("a group", () => {
    let server: TestServer;
    let file: string;
    beforeEach(async () => {
      effects.length = 0;
      server = await startWithScratch("sqlite");
      file = fileOf(server.databaseUrl);
      inEffect = (name) => `${name} after commit ${walCommits(file)}`;
      // A group also ends when it has taken long. How long calls take on a busy machine is not what is tested here.
      vi.spyOn(performance, "now").mockReturnValue(performance.now());
    });
    afterEach(async () => {
      vi.restoreAllMocks();
      inEffect = (name) => name;
      await server.close();
    });

    test("of calls in one turn shares one commit, and all effects come after it", async () => {
      const before = walCommits(file);
      const outcomes = await Promise.all(
        Array.from({ length: 100 }, (_, index) => dispatch(server, "write", { name: `call ${index}` })),
      );
      expect(outcomes.every(({ status }) => status === "success")).toBe(true);
      expect(walCommits(file)).toBe(before + 1);
      expect(effects).toEqual(Array.from({ length: 100 }, (_, index) => `call ${index} after commit ${before + 1}`));
    });

    test("is bounded: 600 calls in one turn take three commits", async () => {
      const before = walCommits(file);
      await Promise.all(Array.from({ length: 600 }, (_, index) => dispatch(server, "write", { name: `${index}` })));
      expect(walCommits(file)).toBe(before + 3);
      expect(await names(server)).toHaveLength(600);
    });

    test("of one call after the other has a commit for each", async () => {
      const before = walCommits(file);
      for (let index = 0; index < 20; index += 1) {
        await dispatch(server, "write", { name: `call ${index}` });
        expect(walCommits(file)).toBe(before + index + 1);
      }
    });

    test("in which one fails still has one commit, without the failed one", async () => {
      const before = walCommits(file);
      await Promise.all([
        dispatch(server, "write", { name: "first" }),
        dispatch(server, "writeAndRefuse", { name: "refused" }),
        dispatch(server, "writeAndBreak", { name: "broken" }),
        dispatch(server, "write", { name: "last" }),
      ]);
      expect(walCommits(file)).toBe(before + 1);
      expect(await names(server)).toEqual(["first", "last"]);
    });

    test("that fails whole commits nothing", async () => {
      const before = walCommits(file);
      await dispatch(server, "writeAndRefuse", { name: "alone" });
      expect(walCommits(file)).toBe(before);
    });

    test("over HTTP is answered after its commit", async () => {
      // Once to open the connections.
      await Promise.all(Array.from({ length: 64 }, () => server.nobody.call("agents:register", { name: "Agent" })));
      const before = walCommits(file);
      await Promise.all(
        Array.from({ length: 64 }, (_, index) => server.nobody.call("scratch:write", { name: `${index}` })),
      );
      const commits = walCommits(file) - before;
      expect(commits).toBeGreaterThanOrEqual(1);
      expect(commits).toBeLessThan(64);
      expect(effects).toHaveLength(64);
    });

    test("with a handler that waits for something else goes on without it", async () => {
      const outcomes = await Promise.all([
        dispatch(server, "write", { name: "first" }),
        dispatch(server, "stick", { name: "stuck" }),
        dispatch(server, "writeAndRefuse", { name: "refused" }),
        dispatch(server, "write", { name: "last" }),
        dispatch(server, "stickReading", {}),
        server.read((db) => sql<{ name: string }>`select name from scratch order by name`.execute(db)),
      ]);
      expect(outcomes.slice(0, 5).map((outcome) => "status" in outcome && outcome.status)).toEqual([
        "success",
        "fault",
        "refused",
        "success",
        "fault",
      ]);
      expect(outcomes[5]).toMatchObject({ rows: [{ name: "first" }, { name: "last" }] });
      expect(await names(server)).toEqual(["first", "last"]);
      // Once each, though the calls ran twice.
      expect(effects).toHaveLength(2);
    });

    test("stays whole when a handler that was ended wakes up in its middle", async () => {
      const risen = dispatch(server, "rise", { name: "risen" });
      await sleep(5_300);
      // The watchdog has ended it by now; this holds a transaction open while it wakes up.
      const [outcome] = await Promise.all([risen, dispatch(server, "dawdle", { name: "dawdling", ms: 700 })]);
      expect(outcome.status).toBe("fault");
      await dispatch(server, "write", { name: "last" });
      expect(await names(server)).toEqual(["dawdling", "last"]);
    });
  });
});

describe("SQLite, asked by those who ask again as soon as they are answered", () => {
  test("lets everything else have its turn", async () => {
    const server = await startServer("sqlite");
    let asked = 0;
    const asking = (async () => {
      for (; asked < 50_000; asked += 1) await server.read((db) => sql`select 1`.execute(db));
    })();
    await server.read((db) => sql`select 1`.execute(db));
    await sleep(1);
    const askedByThen = asked;
    asked = 50_000;
    await asking;
    await server.close();
    expect(askedByThen).toBeGreaterThan(0);
    expect(askedByThen).toBeLessThan(50_000);
  });
});

describe.skipIf(!databases.includes("postgres"))("PostgreSQL going away", () => {
  let created: EmptyDatabase;
  let process: ServerProcess;
  let outside: pg.Client;
  beforeAll(async () => {
    created = await createDatabase("postgres");
    process = await ServerProcess.start({ databaseUrl: created.url });
    const url = new URL(created.url);
    url.pathname = "/postgres";
    outside = new pg.Client(url.href);
    await outside.connect();
  });
  afterAll(async () => {
    await process.stop();
    await outside.end();
    await created.remove();
  });

  const cut = async () => {
    const { rowCount } = await outside.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tidepool' and datname = $1",
      [new URL(created.url).pathname.slice(1)],
    );
    return rowCount ?? 0;
  };
  const call = async (kind: "query" | "mutation", path: string, args: object, headers: Record<string, string> = {}) => {
    const response = await fetch(`${process.url}/api/${kind}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: JSON.stringify({ path, args }),
    });
    const body = (await response.json()) as {
      value: { agentId: string; apiKey: string };
      errorData: { code: string };
    };
    return { status: response.status, retryAfter: response.headers.get("retry-after"), body };
  };

  test("is answered with 503 and Retry-After, never with the end of the process, and heals by itself", async () => {
    const { body } = await call("mutation", "agents:register", { name: "Watcher" });
    const bearer = { Authorization: `Bearer ${body.value.apiKey}` };
    const replies = { 200: 0, 503: 0 } as Record<number, number>;
    const acknowledged: string[] = [];
    let running = true;
    let next = 0;
    const clients = Array.from({ length: 24 }, async () => {
      while (running) {
        next += 1;
        const name = `Agent ${next}`;
        const write = next % 2 === 0;
        const reply = write
          ? await call("mutation", "agents:register", { name })
          : await call("query", "agents:getStatus", {}, bearer);
        replies[reply.status] = (replies[reply.status] ?? 0) + 1;
        if (reply.status === 503) {
          expect(reply.retryAfter).toMatch(/^[1-9]\d*$/);
          expect(reply.body.errorData.code).toBe("unavailable");
        } else if (write && reply.status === 200) acknowledged.push(reply.body.value.agentId);
      }
    });
    let connectionsCut = 0;
    for (let round = 0; round < 30; round += 1) {
      await sleep(40);
      connectionsCut += await cut();
    }
    running = false;
    const clientErrors = (await Promise.allSettled(clients)).flatMap((client) =>
      client.status === "rejected" ? [client.reason as unknown] : [],
    );
    expect(process.stderr).toBe("");
    expect(clientErrors).toEqual([]);

    console.log(`connections cut: ${connectionsCut}; replies: ${JSON.stringify(replies)}`);
    expect(connectionsCut).toBeGreaterThan(30);
    expect(Object.keys(replies)).toEqual(["200", "503"]);
    expect(replies[200]).toBeGreaterThan(0);
    expect(await process.isReady()).toBe(true);
    expect((await call("query", "agents:getStatus", {}, bearer)).status).toBe(200);

    const store = new pg.Client(created.url);
    await store.connect();
    const { rows } = await store.query<{ agentId: string }>('select "agentId" from agents');
    await store.end();
    const stored = new Set(rows.map(({ agentId }) => agentId));
    expect(acknowledged.filter((agentId) => !stored.has(agentId))).toEqual([]);
  });

  test("while idle is not even noticed", async () => {
    await call("mutation", "agents:register", { name: "Before" });
    await sleep(50);
    expect(await cut()).toBeGreaterThan(0);
    await sleep(100);
    expect((await call("mutation", "agents:register", { name: "After" })).status).toBe(200);
    expect(process.stderr).toBe("");
  });
});

describe.each(databases)("SIGTERM on %s", (database) => {
  let created: EmptyDatabase;
  beforeEach(async () => {
    created = await createDatabase(database);
  });
  afterEach(() => created.remove());

  /** A call whose body the server has half of; `finish` sends the rest and resolves with the whole reply. */
  async function halfSent(port: number, name: string): Promise<{ finish(): Promise<string> }> {
    const body = JSON.stringify({ path: "agents:register", args: { name } });
    const socket = connect(port, "127.0.0.1");
    let reply = "";
    socket.setEncoding("utf8").on("data", (text: string) => {
      reply += text;
    });
    const ended = new Promise<void>((resolve) => {
      socket.on("close", () => resolve());
      socket.on("error", () => {});
    });
    const heads = new Promise<void>((resolve) => {
      socket.once("data", () => resolve());
    });
    socket.write(
      `POST /api/mutation HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    // The server has read the head.
    await Promise.race([heads, ended]);
    expect(reply).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    reply = "";
    socket.write(body.slice(0, 20));
    return {
      finish: async () => {
        socket.write(body.slice(20));
        await ended;
        return reply;
      },
    };
  }

  test("lets the calls in flight finish, checkpoints and exits with 0, also when it comes twice", async () => {
    const process = await ServerProcess.start({ databaseUrl: created.url, environment: { LOG_LEVEL: "info" } });
    const flying = await Promise.all(
      Array.from({ length: 32 }, (_, index) => halfSent(process.port, `Agent ${index}`)),
    );

    process.signal("SIGTERM");
    process.signal("SIGINT");
    await sleep(150);
    process.signal("SIGTERM");
    await expect(fetch(`${process.url}/livez`)).rejects.toThrow();

    const replies = await Promise.all(flying.map((call) => call.finish()));
    expect(await process.exited).toEqual({ code: 0, signal: null });
    const agentIds = replies.map((reply) => {
      expect(reply).toMatch(/^HTTP\/1\.1 200 /);
      return /"agentId":"([^"]+)"/.exec(reply)?.[1];
    });
    expect(process.stderr).toBe("");
    // The log is written to its end.
    expect(process.stdout.match(/"path":"agents:register"/g)).toHaveLength(32);
    expect(process.stdout.trimEnd().split("\n").at(-1)).toContain('"msg":"stopped"');

    if (database === "sqlite") {
      const wal = `${fileOf(created.url)}-wal`;
      expect(existsSync(wal) ? statSync(wal).size : 0).toBe(0);
    }
    const server = await startServer(database, { databaseUrl: created.url });
    const stored = await server.read((db) => db.selectFrom("agents").select("agentId").execute());
    expect(stored.map(({ agentId }) => agentId).sort()).toEqual(agentIds.sort());
    await server.close();
  });

  test("ends a process that nobody talks to at once", async () => {
    const process = await ServerProcess.start({ databaseUrl: created.url });
    // A connection that is kept alive after its reply must not hold the end up.
    await (await fetch(`${process.url}/livez`)).text();
    const started = performance.now();
    expect(await process.stop()).toEqual({ code: 0, signal: null });
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});
