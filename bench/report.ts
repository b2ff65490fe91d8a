/** Prints the table of a run, which docs/measured.md quotes. */
import { cpus } from "node:os";
import type { Measured } from "./load.js";
import type { Compared } from "./scenarios.js";

export function printMachine(): void {
  const processors = cpus();
  console.log(`${processors[0]?.model.trim()}, ${processors.length} cores, Node ${process.versions.node}\n`);
}

export function printHead(): void {
  console.log("| scenario | ours req/s | floor req/s | ratio | goal | ours p50 / p99 ms | floor p50 / p99 ms |");
  console.log("|---|---|---|---|---|---|---|");
}

export function printCompared(name: string, { ours, floor, ratio }: Compared, goal: number): void {
  const cells = [
    name,
    rate(ours),
    rate(floor),
    ratio.toFixed(2),
    judge("≥", goal, ratio >= goal),
    times(ours),
    times(floor),
  ];
  console.log(`| ${cells.join(" | ")} |`);
}

/** The cost of a call with the large filling beside that with the small one: how much more expensive it became. */
export function printGrowth(name: string, { ours: large, floor: small, ratio }: Compared, goal: number): void {
  const growth = 1 / ratio;
  const cells = [
    name,
    rate(large),
    rate(small),
    growth.toFixed(2),
    judge("≤", goal, growth <= goal),
    times(large),
    times(small),
  ];
  console.log(`| ${cells.join(" | ")} |`);
}

/** Two figures side by side, without a goal. */
export function printBeside(name: string, { ours, floor, ratio }: Compared): void {
  console.log(
    `| ${[name, rate(ours), rate(floor), ratio.toFixed(2), "none", times(ours), times(floor)].join(" | ")} |`,
  );
}

export function printStartUp(seconds: number, goal: number): void {
  console.log(
    `| start on an empty database, to ready | | | ${seconds.toFixed(2)} s | ${judge("≤", goal, seconds <= goal)} | | |`,
  );
}

export function printFailed(name: string, error: unknown): void {
  const reason = String(error).split("\r\n").join(" ").split("\n").join(" ").slice(0, 400);
  console.log(`| ${name} | **failed**: ${reason} | | | | | |`);
}

export function printSkipped(name: string, reason: string): void {
  console.log(`| ${name} | skipped: ${reason} | | | | | |`);
}

function rate({ requestsPerSecond }: Measured): string {
  return Math.round(requestsPerSecond).toLocaleString("en");
}

function times({ p50Ms, p99Ms }: Measured): string {
  return `${p50Ms.toFixed(2)} / ${p99Ms.toFixed(2)}`;
}

function judge(relation: string, goal: number, met: boolean): string {
  return `${relation} ${goal} ${met ? "met" : "**missed**"}`;
}
