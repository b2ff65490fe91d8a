/** Runs several servers on one PostgreSQL database, within one test process or as child processes. */
import { randomUUID } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, describe, onTestFinished } from "vitest";
import type { Notice } from "../../runtime/notices.js";
import { ManualClock } from "./clock.js";
import { createDatabase, databases } from "./databases.js";
import { startServer, type TestOptions, type TestServer } from "./harness.js";
import { until } from "./live-clients.js";

/** A `describe` that needs PostgreSQL. Without it the global set-up has printed why. */
export const describeProcesses = describe.runIf(databases.includes("postgres"));

export interface Pair {
  one: TestServer;
  other: TestServer;
}

/** Two servers on one database and one clock, for all tests of the surrounding `describe`. */
export function useTwoServers(options: TestOptions = {}): Pair {
  let running: Pair | undefined;
  beforeAll(async () => {
    running = await startTwo(options);
  });
  afterAll(() => running && closeBoth(running));
  return new Proxy({} as Pair, {
    get(_target, property) {
      if (!running) throw new Error("The servers have not started yet");
      return running[property as keyof Pair];
    },
  });
}

export async function startTwo(options: TestOptions = {}): Promise<Pair> {
  const clock = options.clock ?? new ManualClock();
  const one = await startServer("postgres", { ...options, clock });
  const other = await startServer("postgres", { ...options, clock, databaseUrl: one.databaseUrl });
  return { one, other };
}

export async function closeBoth({ one, other }: Pair): Promise<void> {
  await other.server.close();
  await one.close();
}

/**
 * Resolves once each server has heard everything that happened on the other: notifications arrive in order. `notices`
 * must come from `heard("serveRulesChanged")`.
 */
export async function caughtUp({ one, other }: Pair, notices: readonly Notice[]): Promise<void> {
  const wait = async (from: TestServer) => {
    const agentId = randomUUID();
    await until(() => from.server.bus?.isHeard === true, "a listener of the bus");
    from.server.bus?.notice([{ kind: "serveRulesChanged", agentId }]);
    await until(() => notices.some((notice) => "agentId" in notice && notice.agentId === agentId), "a marker");
  };
  await Promise.all([wait(one), wait(other)]);
}

/** Queries the database directly. */
export async function ask<Row extends pg.QueryResultRow>(
  url: string,
  query: string,
  values?: unknown[],
): Promise<Row[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query<Row>(query, values)).rows;
  } finally {
    await client.end();
  }
}

/** Cuts the connections of the buses, or only the `newest` of them. Returns how many it cut. */
export async function cutBuses(url: string, newest = Number.MAX_SAFE_INTEGER): Promise<number> {
  const cut = await ask(
    url,
    `select pg_terminate_backend(pid) from
      (select pid from pg_stat_activity where datname = current_database() and application_name like 'tidepool bus%'
        order by backend_start desc limit $1) as buses`,
    [newest],
  );
  return cut.length;
}

/** What a server has to tell the others, held back until the test releases it, as on a slow or broken network. */
export interface Held {
  /** Sends the writes alone, as if they came in an earlier message than the notices. */
  releaseWrites(): void;
  release(): void;
}

export function holdWord({ server: { bus } }: TestServer): Held {
  bus?.hold();
  onTestFinished(() => bus?.release());
  return { releaseWrites: () => bus?.release("writes"), release: () => bus?.release() };
}

/** A new database for child processes. */
export async function createShared(): Promise<{ url: string; remove(): Promise<void> }> {
  return createDatabase("postgres");
}
