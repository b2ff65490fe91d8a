/**
 * What is measured side by side, the goals, and the measuring: ours and the floor in turn, and the median of the
 * ratios.
 */
import type { ChildProcess } from "node:child_process";
import type { Load, LoadReply, Measured } from "./load.js";

export interface Scenario {
  name: string;
  connections: number;
  /** 0 is reads only, 1 is sends only. */
  writeShare: number;
  /** The lowest ratio of our requests per second to the floor's that is good enough. */
  goal: number;
}

export const sqliteScenarios: Scenario[] = [
  { name: "send", connections: 1, writeShare: 1, goal: 0.8 },
  { name: "send", connections: 16, writeShare: 1, goal: 3 },
  { name: "send", connections: 64, writeShare: 1, goal: 4 },
  { name: "getForThread", connections: 1, writeShare: 0, goal: 2 },
  { name: "getForThread", connections: 16, writeShare: 0, goal: 5 },
  { name: "getForThread", connections: 64, writeShare: 0, goal: 5 },
  { name: "20 % send, 80 % getForThread", connections: 64, writeShare: 0.2, goal: 1.7 },
];

export const postgresScenarios: Scenario[] = [
  { name: "send", connections: 64, writeShare: 1, goal: 1.2 },
  { name: "getForThread", connections: 64, writeShare: 0, goal: 1.5 },
];

export interface Compared {
  ours: Measured;
  floor: Measured;
  /** Our requests per second divided by the floor's. */
  ratio: number;
}

export interface Pace {
  seconds: number;
  rounds: number;
}

/** Makes the load generator run once. */
export function runLoad(generator: ChildProcess, load: Load): Promise<Measured> {
  return new Promise((resolve, reject) => {
    const ended = () => reject(new Error("The load generator ended"));
    generator.once("exit", ended);
    generator.once("message", (reply: LoadReply) => {
      generator.off("exit", ended);
      if ("error" in reply) reject(new Error(reply.error));
      else resolve(reply.measured);
    });
    generator.send(load);
  });
}

/** Measures two servers in turn, `rounds` times. Each figure is the median over the rounds. */
export async function compare(
  generator: ChildProcess,
  { rounds, seconds }: Pace,
  load: Pick<Load, "connections" | "writeShare" | "anySeat">,
  ours: Pick<Load, "port" | "seats" | "requests">,
  floor: Pick<Load, "port" | "seats" | "requests">,
): Promise<Compared> {
  const oursMeasured: Measured[] = [];
  const floorMeasured: Measured[] = [];
  for (let round = 0; round < rounds; round += 1) {
    oursMeasured.push(await runLoad(generator, { ...load, ...ours, seconds }));
    floorMeasured.push(await runLoad(generator, { ...load, ...floor, seconds }));
  }
  const ratios = oursMeasured.map(
    ({ requestsPerSecond }, round) => requestsPerSecond / (floorMeasured[round]?.requestsPerSecond ?? Number.NaN),
  );
  return { ours: mediansOf(oursMeasured), floor: mediansOf(floorMeasured), ratio: median(ratios) };
}

/** The median of each figure. */
export function mediansOf(measured: Measured[]): Measured {
  return {
    requestsPerSecond: median(measured.map(({ requestsPerSecond }) => requestsPerSecond)),
    p50Ms: median(measured.map(({ p50Ms }) => p50Ms)),
    p99Ms: median(measured.map(({ p99Ms }) => p99Ms)),
  };
}

export function median(values: number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}
