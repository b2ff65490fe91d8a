/**
 * `npm run bench`: measures our server beside a floor server, in one run on one machine, and prints a table of ratios
 * with their goals. Answers are checked before anything is measured.
 *
 *   --seconds N   per measurement (2)
 *   --rounds N    measurements of each server, taken in turn (3)
 *   --only sqlite | postgres | growth | startup | rents | delivery | browse |
 *          live | processes
 */
import type { ChildProcess } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openStore } from "../runtime/store/database.js";
import { checkAnswers, type MeasuredCall, messagesPerRead } from "./calls.js";
import { type RunningServer, removeAtExit, startServer, startWorker } from "./children.js";
import { type Filling, fill, type Seat } from "./data.js";
import { call, measureDelivery, openEchoes, openSessions } from "./delivery.js";
import { measureFanOut, openFloorSubscribers, openSubscribers } from "./fan-out.js";
import type { Measured } from "./load.js";
import { fillMarketplace, type Marketplace, searched } from "./marketplace-data.js";
import { startPostgres } from "./postgres.js";
import {
  printBeside,
  printCompared,
  printFailed,
  printGrowth,
  printHead,
  printMachine,
  printSkipped,
  printStartUp,
} from "./report.js";
import {
  compare,
  median,
  mediansOf,
  type Pace,
  postgresScenarios,
  runLoad,
  type Scenario,
  sqliteScenarios,
} from "./scenarios.js";

const warmUpSeconds = 1;
const seatsPerRun = 64;
const growthGoal = 1.3;
const growthConnections = 16;
const startUpGoalSeconds = 1.5;
const startUps = 5;

const browseGoal = 1.5;
const differentRequests = 20_000;
const wallets = 64;
const rentedAgents = 2_000;

const parts = {
  sqlite: runSqlite,
  postgres: runPostgres,
  growth: runGrowth,
  startup: runStartUp,
  rents: runRents,
  delivery: runDelivery,
  browse: runBrowse,
  live: runLive,
  processes: runProcesses,
};
const fanOutGoal = 1.25;
const processesGoal = 1.6;
const processesConnections = 64;

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

/** Writes to two processes on one database, beside writes to one process that has such a database to itself. */
async function runProcesses(generator: ChildProcess): Promise<void> {
  const server = await startPostgres().catch((error: unknown) => {
    printSkipped("PostgreSQL, two processes", `no server could be started (${String(error)})`);
  });
  if (!server) return;
  const sharedUrl = await server.create("tidepool_bench_two");
  const seats = await filled(sharedUrl, { threads: seatsPerRun, messagesPerThread: messagesPerRead });
  const aloneUrl = await server.create("tidepool_bench_one", "tidepool_bench_two");
  const [alone, one, other] = [await startOurs(aloneUrl), await startOurs(sharedUrl), await startOurs(sharedUrl)];
  const two = { port: [one.port, other.port], seats };
  for (const [name, writeShare] of [
    ["send", 1],
    ["getForThread", 0],
  ] as const) {
    const load = { connections: processesConnections, writeShare };
    for (const servers of [alone, two])
      await runLoad(generator, { ...load, seats, ...servers, seconds: warmUpSeconds });
    const compared = await compare(generator, pace, load, two, { port: alone.port, seats });
    const title = `PostgreSQL: ${name}, two processes beside one, ${processesConnections}`;
    if (writeShare === 1) printCompared(title, compared, processesGoal);
    else printBeside(title, compared);
  }
  await Promise.all([alone.stop(), one.stop(), other.stop()]);
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

/**
 * Rents that all take from one wallet, beside rents from 64 wallets: the price of being certain that money is spent
 * only once.
 */
async function runRents(generator: ChildProcess): Promise<void> {
  const databases: [string, string][] = [["SQLite", `sqlite:${join(folder, "rents.db")}`]];
  const server = await startPostgres().catch(() => undefined);
  if (server) databases.push(["PostgreSQL", await server.create("tidepool_bench_rents")]);
  else printSkipped("PostgreSQL: rents", "no server could be started");
  for (const [name, url] of databases) {
    const market = await filledMarket(url, { consumers: wallets, agents: rentedAgents });
    const { port, stop } = await startOurs(url);
    for (const apiKey of market.consumers) {
      await call(port, apiKey, "POST", "/api/billing/wallet/topup", { amount: "10000" });
    }
    const rents = (consumers: string[]) =>
      market.agentIds.map((agentId, index) => ({
        apiKey: consumers[index % consumers.length] ?? "",
        call: mutationCall("sessions:create", { agentId, taskDescription: "Rented to be measured" }),
      }));
    const hot = { port, seats: [], requests: rents(market.consumers.slice(0, 1)) };
    const spread = { port, seats: [], requests: rents(market.consumers) };
    const load = { connections: 16, writeShare: 1 };
    await runLoad(generator, { ...load, ...spread, seconds: warmUpSeconds });
    printBeside(
      `${name}: rents from one wallet, beside 64 wallets, 16`,
      await compare(generator, pace, load, hot, spread),
    );
    await stop();
  }
  await server?.stop();
}

/** From the REST call to the provider's socket, beside an echo over bare `ws` with as many open sockets. */
async function runDelivery(): Promise<void> {
  const url = `sqlite:${join(folder, "delivery.db")}`;
  const market = await filledMarket(url, { consumers: 1, agents: 1_000 });
  const ours = await startOurs(url);
  const echo = await startFloor("bench/echo-socket.ts", "");
  await call(ours.port, market.consumers[0] ?? "", "POST", "/api/billing/wallet/topup", { amount: "100" });
  for (const open of [1, 100, 1_000]) {
    const sessions = await openSessions(ours.port, market, open);
    const echoes = await openEchoes(echo.port, open);
    const measured: Measured[] = [];
    const floor: Measured[] = [];
    for (let round = 0; round < pace.rounds; round += 1) {
      measured.push(await measureDelivery(sessions, pace.seconds));
      floor.push(await measureDelivery(echoes, pace.seconds));
    }
    printBeside(`SQLite: REST message to provider's socket, beside a bare echo, ${open} open`, {
      ours: mediansOf(measured),
      floor: mediansOf(floor),
      ratio: median(measured.map(({ p50Ms }, round) => p50Ms / (floor[round]?.p50Ms ?? Number.NaN))),
    });
    sessions.close();
    echoes.close();
  }
  await Promise.all([ours.stop(), echo.stop()]);
}

async function runBrowse(generator: ChildProcess): Promise<void> {
  const markets: { port: number; apiKey: string }[] = [];
  for (const agents of [100_000, 10_000]) {
    const url = `sqlite:${join(folder, `browse-${agents}.db`)}`;
    const market = await filledMarket(url, { consumers: 1, agents, agentsPerOwner: 100 });
    markets.push({ port: (await startOurs(url)).port, apiKey: market.provider });
  }
  const [large, small] = markets as [(typeof markets)[number], (typeof markets)[number]];
  for (const [name, args] of [
    ["search", { search: searched.word }],
    ["search of two words, one in half of all", { search: `agent ${searched.word}` }],
    ["newest", {}],
  ] as const) {
    const side = ({ port, apiKey }: (typeof markets)[number]) => {
      // Each request has other words, so that none is answered with a kept reply.
      const requests = Array.from({ length: differentRequests }, (_, number) => ({
        apiKey,
        call: { url: "/api/query" as const, body: JSON.stringify({ path: "marketplace:browse", args, number }) },
      }));
      return { port, seats: [], requests };
    };
    const load = { connections: growthConnections, writeShare: 0 };
    for (const server of [small, large]) {
      await runLoad(generator, { ...load, ...side(server), seconds: warmUpSeconds });
    }
    const compared = await compare(generator, pace, load, side(large), side(small));
    printGrowth(`SQLite: browse, ${name}, 10^5 listed beside 10^4, ${growthConnections}`, compared, browseGoal);
  }
}

/** From a write to its subscribers, beside a bare fan-out; and what it costs subscribers of other threads. */
async function runLive(): Promise<void> {
  const url = `sqlite:${join(folder, "live.db")}`;
  const seats = await filled(url, { threads: 1_000, messagesPerThread: 2 });
  const ours = await startOurs(url);
  const floor = await startFloor("bench/fan-out-floor.ts", join(folder, "fan-out-floor.db"));
  for (const open of [1, 100, 1_000]) {
    const subscribers = await openSubscribers(ours.port, seats.slice(0, 1), open);
    const bare = await openFloorSubscribers(floor.port, open);
    const measured: Measured[] = [];
    const beside: Measured[] = [];
    for (let round = 0; round < pace.rounds; round += 1) {
      measured.push(await measureFanOut(subscribers, pace.seconds));
      beside.push(await measureFanOut(bare, pace.seconds));
    }
    const ratio = median(measured.map(({ p50Ms }, round) => p50Ms / (beside[round]?.p50Ms ?? Number.NaN)));
    const compared = { ours: mediansOf(measured), floor: mediansOf(beside), ratio };
    const title = `SQLite: write to subscriber of its thread, beside a bare fan-out, ${open} subscribed`;
    if (open === 1_000) printGrowth(title, { ...compared, ratio: 1 / ratio }, fanOutGoal);
    else printBeside(title, compared);
    subscribers.close();
    bare.close();
  }
  const apart = await openSubscribers(ours.port, seats, 1_000);
  apart.countFrames();
  const { requestsPerSecond, p50Ms, p99Ms } = await measureFanOut(apart, pace.seconds);
  const perWrite = apart.countFrames() / (requestsPerSecond * pace.seconds);
  console.log(
    `| SQLite: write to one of 1,000 threads with a subscriber each | ${Math.round(requestsPerSecond)} | | ${perWrite.toFixed(2)} updates a write | | ${p50Ms.toFixed(2)} / ${p99Ms.toFixed(2)} | |`,
  );
  apart.close();
  await Promise.all([ours.stop(), floor.stop()]);
}

async function filledMarket(url: string, filling: Parameters<typeof fillMarketplace>[1]): Promise<Marketplace> {
  const store = await openStore(url);
  await store.migrate();
  const market = await fillMarketplace(store, filling);
  await store.close();
  return market;
}

function mutationCall(path: string, args: object): MeasuredCall {
  return { url: "/api/mutation", body: JSON.stringify({ path, args }) };
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
      // A call did not succeed: there is no figure, and the run has failed.
      printFailed(title, error);
      process.exitCode = 1;
    }
  }
  await Promise.all([ours.stop(), floor.stop()]);
}

/** Migrates and fills the database of a URL, and closes it. */
async function filled(url: string, filling: Filling): Promise<Seat[]> {
  const store = await openStore(url);
  await store.migrate();
  const seats = await fill(store, filling);
  await store.close();
  return seats;
}

/** Starts our server as its users do, at its default log level. */
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
