/**
 * Runs the real server as a child process, from the build, as `npm start` does. A test can send it any signal and start
 * it again on the same port and database. Its output is kept.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { built, root } from "./build.js";

/** How long a start may take before the test gives up. How long it should take is for the tests to say. */
const startTimeoutMs = 30_000;

export interface ProcessOptions {
  databaseUrl: string;
  /** Default: a free port. */
  port?: number;
  /** More environment variables. Of the test's own environment the server gets only its paths. */
  environment?: Record<string, string>;
  /** A command put before `node`, such as `strace` with its options. */
  wrapper?: string[];
  /** Another command that starts the server, and the folder to run it in. */
  instead?: { command: string[]; folder: string };
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export class ServerProcess {
  stdout = "";
  stderr = "";
  #child: ChildProcess | undefined;
  #exit: Promise<Exit> | undefined;

  private constructor(
    readonly options: ProcessOptions,
    readonly port: number,
    readonly script: string,
  ) {}

  /** Starts a server and waits until it is ready. */
  static async start(options: ProcessOptions): Promise<ServerProcess> {
    const process = new ServerProcess(options, options.port ?? (await freePort()), await built("serve"));
    await process.start();
    return process;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error("The server does not run");
    return pid;
  }

  /** Resolves once the process has ended, for whatever reason. */
  get exited(): Promise<Exit> {
    return this.#exit ?? Promise.resolve({ code: null, signal: null });
  }

  /** Starts the server (again) and waits until it is ready. Resolves with how long that took, in ms. */
  async start(): Promise<number> {
    const started = performance.now();
    let ended: Exit | undefined;
    void this.spawn().then((exit) => {
      ended = exit;
    });
    while (!(await this.isReady())) {
      if (ended) throw new Error(`The server ended with ${JSON.stringify(ended)} before it was ready:\n${this.stderr}`);
      if (performance.now() - started > startTimeoutMs) {
        await this.kill("SIGKILL");
        throw new Error(`The server was not ready in ${startTimeoutMs} ms:\n${this.stdout}\n${this.stderr}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return performance.now() - started;
  }

  /** Starts the server without waiting. Resolves when it ends. */
  spawn(): Promise<Exit> {
    const { databaseUrl, environment, wrapper = [], instead } = this.options;
    const [command = "", ...args] = instead?.command ?? [...wrapper, process.execPath, this.script];
    const child = spawn(command, args, {
      cwd: instead?.folder ?? root,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        TMPDIR: process.env.TMPDIR,
        LOG_LEVEL: "warn",
        RATE_LIMITS: "off",
        ...environment,
        PORT: String(this.port),
        DATABASE_URL: databaseUrl,
      },
    });
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    this.#child = child;
    this.#exit = new Promise((resolve, reject) => {
      child.on("error", reject);
      // "close" comes after all output; "exit" may come before it.
      child.on("close", (code, signal) => {
        this.#child = undefined;
        resolve({ code, signal });
      });
    });
    return this.#exit;
  }

  async isReady(): Promise<boolean> {
    try {
      const response = await fetch(`${this.url}/readyz`);
      await response.text();
      return response.ok;
    } catch {
      return false;
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Sends the signal and waits for the end. */
  async kill(signal: NodeJS.Signals): Promise<Exit> {
    this.signal(signal);
    return this.exited;
  }

  /** Ends the server with SIGTERM. Safe if it has already ended. */
  async stop(): Promise<Exit> {
    return this.kill("SIGTERM");
  }

  /** The memory that the process uses, in bytes (Linux only; 0 elsewhere). */
  residentBytes(): number {
    try {
      const pages = readFileSync(`/proc/${this.pid}/status`, "utf8");
      return Number(/^VmRSS:\s+(\d+) kB$/m.exec(pages)?.[1] ?? 0) * 1024;
    } catch {
      return 0;
    }
  }
}

/**
 * A free port below the range from which the system gives ports to others, so that nobody takes it while the server is
 * down.
 */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.on("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}
