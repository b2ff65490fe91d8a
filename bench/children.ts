/** Starts the processes of a run, and ends them when the run ends, for whatever reason. */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { freePort } from "../test/support/postgres.js";

const root = join(import.meta.dirname, "..");
const startMs = 30_000;

const children = new Set<ChildProcess>();
const lastly: (() => void)[] = [];

process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  for (const act of lastly) act();
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(1));

/** Runs `act`, which must be synchronous, when this process ends, after its children have ended. */
export function atExit(act: () => void): void {
  lastly.unshift(act);
}

/** Removes a folder when this process ends. */
export function removeAtExit(folder: string): void {
  atExit(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
}

export interface RunningServer {
  port: number;
  /** The time from the spawn to the first 200 of its health route. */
  startedInMs: number;
  stop(): Promise<void>;
}

/** Starts a server with `PORT` set and waits until `healthPath` answers 200. Its output goes to `logFile`. */
export async function startServer(
  script: string,
  { args = [], env = {}, logFile, healthPath }: ServerStart,
): Promise<RunningServer> {
  const port = await freePort();
  const output = openSync(logFile, "a");
  const started = performance.now();
  const child = spawn(process.execPath, ["--import", "tsx", script, ...args], {
    cwd: root,
    env: { ...process.env, ...env, PORT: String(port) },
    stdio: ["ignore", output, output],
  });
  closeSync(output);
  const ended = track(child);
  while (!(await answers(port, healthPath))) {
    if (child.exitCode !== null || performance.now() - started > startMs) {
      child.kill("SIGKILL");
      throw new Error(`${script} did not start:\n${readFileSync(logFile, "utf8").slice(-2_000)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const startedInMs = performance.now() - started;
  return {
    port,
    startedInMs,
    stop: () => {
      child.kill("SIGTERM");
      return ended;
    },
  };
}

export interface ServerStart {
  args?: string[];
  env?: Record<string, string>;
  logFile: string;
  healthPath: string;
}

/** Starts a script with which this process exchanges messages. */
export function startWorker(script: string): ChildProcess {
  const child = fork(join(root, script), { cwd: root, execArgv: ["--import", "tsx"] });
  void track(child);
  return child;
}

function track(child: ChildProcess): Promise<void> {
  children.add(child);
  return new Promise((resolve) => {
    child.once("exit", () => {
      children.delete(child);
      resolve();
    });
  });
}

function answers(port: number, path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ host: "127.0.0.1", port, path, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on("error", () => resolve(false));
  });
}
