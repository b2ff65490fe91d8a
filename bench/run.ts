/**
 * `npm run bench`: measures our server beside a floor server, in one run on one machine, and prints a table of ratios
 * with their goals. Answers are checked before anything is measured.
 *
 *   --seconds N   per measurement (2)
 *   --rounds N    measurements of each server, taken in turn (3)
 *   --only sqlite | postgres | growth | startup
 */
import type { ChildProcess } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openStore } from "../runtime/database.js";
import { checkAnswers, messagesPerRead } from "./calls.js";
import { type RunningServer, removeAtExit, startServer, startWorker } from "./children.js";
import { type Filling, fill, type Seat } from "./data.js";
import { startPostgres } from "./postgres.js";
import {
  printCompared,
  printFailed,
  printGrowth,
  printHead,
  printMachine,
  printSkipped,
  printStartUp,
} from "./report.js";
import { compare, median, type Pace, postgresScenarios, runLoad, type Scenario, sqliteScenarios } from "./scenarios.js";

const warmUpSeconds = 1;
const seatsPerRun = 64;
const growthGoal = 1.3;
const growthConnections = 16;
const startUpGoalSeconds = 1.5;
const startUps = 5;

const parts = { sqlite: runSqlite, postgres: runPostgres, growth: runGrowth, startup: runStartUp };

const { values: flags } = parseArgs({
  options: {
    seconds: { type: "string", default: "2" },
    rounds: { type: "string", default: "3" },
    only: { type: "string" },
  },
});
const pace: Pace = { seconds: positive("--seconds", flags.seconds), rounds: positive("--rounds", flags.rounds) };
if (flags.only !== undefined && !(flags.only in parts)) {
  console.error(`--only: one of ${Object.keys(parts).join(", ")}`);
  process.exit(1);
}

const folder = mkdtempSync(join(tmpdir(), "tidepool-bench-"));
removeAtExit(folder);
const generator = startWorker("bench/load.ts");
printMachine();
printHead();
for (const [name, run] of Object.entries(parts)) {
  if (flags.only === undefined || flags.only === name) await run(generator);
}
process.exit();

async function runSqlite(generator: ChildProcess): Promise<void> {
  const oursFile = join(folder, "ours.db");
  const floorFile = join(folder, "floor.db");
  const seats = await filled(`sqlite:${oursFile}`, { threads: seatsPerRun, messagesPerThread: messagesPerRead });
  await copyFile(oursFile, floorFile);
  const ours = await startOurs(`sqlite:${oursFile}`);
  const floor = await startFloor("bench/floor-sqlite.ts", floorFile);
  await compareAll(generator, "SQLite", sqliteScenarios, ours, floor, seats);
}

async function runPostgres(generator: ChildProcess): Promise<void> {
  const server = await startPostgres().catch((error: unknown) => {
    printSkipped("PostgreSQL", `no server could be started (${String(error)}); set TEST_DATABASE_URL to use another`);
  });
  if (!server) return;
  const oursUrl = await server.create("tidepool_bench_ours");
  const seats = await filled(oursUrl, { threads: seatsPerRun, messagesPerThread: messagesPerRead });
  const floorUrl = await server.create("tidepool_bench_floor", "tidepool_bench_ours");
  const ours = await startOurs(oursUrl);
  const floor = await startFloor("bench/floor-postgres.ts", floorUrl);
  await compareAll(generator, "PostgreSQL", postgresScenarios, ours, floor, seats);
  await server.stop();
}

async function runGrowth(generator: ChildProcess): Promise<void> {
  const smallFile = `sqlite:${join(folder, "small.db")}`;
  const largeFile = `sqlite:${join(folder, "large.db")}`;
  const smallSeats = await filled(smallFile, { threads: 200, messagesPerThread: messagesPerRead });
  const largeSeats = await filled(largeFile, { threads: 20_000, messagesPerThread: messagesPerRead });
  const small = { port: (await startOurs(smallFile)).port, seats: smallSeats };
  const large = { port: (await startOurs(largeFile)).port, seats: largeSeats };
  const load = { connections: growthConnections, writeShare: 0, anySeat: true };
  for (const server of [small, large]) await runLoad(generator, { ...load, ...server, seconds: warmUpSeconds });
  const compared = await compare(generator, pace, load, large, small);
  printGrowth(`SQLite: getForThread, 10^6 messages beside 10^4, ${growthConnections}`, compared, growthGoal);
}

async function runStartUp(): Promise<void> {
  const seconds: number[] = [];
  for (let start = 1; start <= startUps; start += 1) {
    const server = await startOurs(`sqlite:${join(folder, `empty-${start}.db`)}`);
    seconds.push(server.startedInMs / 1_000);
    await server.stop();
  }
  printStartUp(median(seconds), startUpGoalSeconds);
}

async function compareAll(
  generator: ChildProcess,
  database: string,
  scenarios: Scenario[],
  ours: RunningServer,
  floor: RunningServer,
  seats: Seat[],
): Promise<void> {
  await checkAnswers(ours.port, floor.port, seats);
  for (const { port } of [ours, floor]) {
    for (const writeShare of [1, 0]) {
      await runLoad(generator, { port, seats, writeShare, connections: 1, seconds: warmUpSeconds });
    }
  }
  for (const { name, connections, writeShare, goal } of scenarios) {
    const load = { connections, writeShare };
    const title = `${database}: ${name}, ${connections}`;
    try {
      const compared = await compare(generator, pace, load, { port: ours.port, seats }, { port: floor.port, seats });
      printCompared(title, compared, goal);
    } catch (error) {
      // A reply that is no success: there is no figure, and the run has failed.
      printFailed(title, error);
      process.exitCode = 1;
    }
  }
  await Promise.all([ours.stop(), floor.stop()]);
}

/** Migrates and fills the database of a URL, and lets go of it. */
async function filled(url: string, filling: Filling): Promise<Seat[]> {
  const store = await openStore(url);
  await store.migrate();
  const seats = await fill(store, filling);
  await store.close();
  return seats;
}

/** Our server as its users start it, at its default log level. */
function startOurs(databaseUrl: string): Promise<RunningServer> {
  return startServer("scripts/serve.ts", {
    env: { DATABASE_URL: databaseUrl, RATE_LIMITS: "off", LOG_LEVEL: "info", HOST: "127.0.0.1", PUBLIC_URL: "" },
    logFile: join(folder, "ours.log"),
    healthPath: "/readyz",
  });
}

function startFloor(script: string, database: string): Promise<RunningServer> {
  return startServer(script, { args: [database], logFile: join(folder, "floor.log"), healthPath: "/" });
}

function positive(flag: string, value: string): number {
  const number = Number(value);
  if (number > 0) return number;
  console.error(`${flag}: a number above 0`);
  process.exit(1);
}
