/**
 * Kills a server under load with SIGKILL, again and again. Clients carry on with their stories as real ones do: once
 * the server is back, they repeat every unanswered call with the same Idempotency-Key. The tests decide what the
 * stories are and what must be true after each death.
 */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { expect } from "vitest";
import type { DatabaseName } from "./databases.js";
import type { ServerProcess } from "./process.js";

/** A restart may take two seconds; on a slow machine, as much longer as its first start took. */
const promisedMs = 2_000;
/** How many acknowledged writes are repeated after each death, and how many of the last ones always are. */
const retried = 100;
const retriedLast = 30;

export const pauseFor = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Checks all items, 32 at a time. */
export async function each<T>(items: readonly T[], check: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += 32) await Promise.all(items.slice(at, at + 32).map(check));
}

/** Somebody who makes calls. */
export interface Speaker {
  name: string;
  credential: string;
}

/** A write that was answered. */
export interface Acknowledged {
  path: string;
  args: object;
  speaker: Speaker | undefined;
  key: string | undefined;
  reply: string;
}

/** The function refused the call. */
export class Refusal extends Error {
  constructor(
    path: string,
    readonly reply: string,
  ) {
    super(`${path} answered ${reply}`);
  }

  get code(): string | undefined {
    return (JSON.parse(this.reply) as { errorData?: { code?: string } }).errorData?.code;
  }
}

/** The clients of a server that is killed: what they were told, and whether they may call now. */
export class Clients {
  readonly acknowledged: Acknowledged[] = [];
  /** Answers with a status other than 200. */
  readonly faults: string[] = [];
  /** How many writes got no answer because the server died. */
  interrupted = 0;
  over = false;
  /** Why the last call got no reply. */
  lastError: unknown;
  #up: Promise<void> = Promise.resolve();
  #raise: () => void = () => {};

  constructor(readonly url: string) {}

  pause(): void {
    this.#up = new Promise((resolve) => {
      this.#raise = resolve;
    });
  }
  resume(): void {
    this.#raise();
  }
  get up(): Promise<void> {
    return this.#up;
  }

  /** The raw reply; undefined if the server died first. */
  async ask(kind: "query" | "mutation", path: string, args: object, speaker?: Speaker, key?: string) {
    try {
      const response = await fetch(`${this.url}/api/${kind}`, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          ...(speaker ? { Authorization: `Bearer ${speaker.credential}` } : {}),
          ...(key ? { "Idempotency-Key": key } : {}),
        },
        body: JSON.stringify({ path, args }),
      });
      const text = await response.text();
      if (response.status !== 200) this.faults.push(`${path}: ${response.status} ${text}`);
      return text;
    } catch (error) {
      this.lastError = error;
      return undefined;
    }
  }

  /** A query at a time when nothing is killed. */
  // biome-ignore lint/suspicious/noExplicitAny: what comes back is what the test is about to look at.
  async read(path: string, args: object, speaker: Speaker): Promise<any> {
    const text = await this.ask("query", path, args, speaker);
    const { status, value } = JSON.parse(text ?? "{}") as { status?: string; value: unknown };
    if (status !== "success") {
      throw new Error(`${path} of ${speaker.name} answered ${text}`, { cause: this.lastError });
    }
    return value;
  }

  /** A query at any time, repeated until it is answered. */
  // biome-ignore lint/suspicious/noExplicitAny: what comes back is what the clients go on with.
  async look(path: string, args: object, speaker: Speaker): Promise<any> {
    for (;;) {
      await this.up;
      const text = await this.ask("query", path, args, speaker);
      if (text === undefined) await pauseFor(20);
      else return successOf(path, text);
    }
  }

  /** A write, repeated until it is answered. Rejects with a `Refusal` if the function refuses. */
  // biome-ignore lint/suspicious/noExplicitAny: what comes back is what the clients go on with.
  async write(path: string, args: object, speaker?: Speaker): Promise<any> {
    const key = crypto.randomUUID();
    let reply: string | undefined;
    for (let attempt = 1; reply === undefined; attempt += 1) {
      await this.up;
      reply = await this.ask("mutation", path, args, speaker, key);
      if (reply === undefined) {
        this.interrupted += 1;
        await pauseFor(20);
      } else if (attempt > 1) {
        // Whatever happened to the first attempt, there is one answer now, and it stays.
        const again = await this.ask("mutation", path, args, speaker, key);
        if (again !== undefined) expect(again).toBe(reply);
      }
    }
    this.acknowledged.push({ path, args, speaker, key, reply });
    return successOf(path, reply);
  }

  /**
   * Checks that retries of writes answered before the kill give the same answer. Repeats a sample of those from `from`
   * on.
   */
  async verifyRetries(from: number): Promise<void> {
    const answered = this.acknowledged.slice(from).filter(({ key }) => key !== undefined);
    const stride = Math.max(1, Math.floor(answered.length / retried));
    await each(
      answered.filter((_write, index) => index % stride === 0 || index > answered.length - retriedLast),
      async ({ path, args, speaker, key, reply }) => {
        expect(await this.ask("mutation", path, args, speaker, key)).toBe(reply);
      },
    );
  }
}

function successOf(path: string, reply: string): unknown {
  const { status, value } = JSON.parse(reply) as { status: string; value: unknown };
  if (status !== "success") throw new Refusal(path, reply);
  return value;
}

export interface Killing {
  database: DatabaseName;
  process: ServerProcess;
  clients: Clients;
  /** The clients' running stories. */
  living: Promise<void>[];
  deaths: number;
  /** How long the server runs between a start and its next death. */
  lifeMs: () => number;
  /** Checks the database while no server runs. */
  inspect(): Promise<void>;
  /** Checks through the restarted server: with `all` everything, else what is new. */
  verify(all: boolean): Promise<void>;
}

/**
 * Kills the server `deaths` times, and returns a line about how long restarts took. The stories are over when it
 * resolves.
 */
export async function killAgainAndAgain(killing: Killing, firstMs: number): Promise<string> {
  const { database, process, clients, living, deaths, lifeMs, inspect, verify } = killing;
  const lived = Promise.allSettled(living);
  const startsMs: number[] = [];
  for (let death = 1; death <= deaths; death += 1) {
    await pauseFor(lifeMs());
    // A failed client ends the test now, not at the end.
    await Promise.race([Promise.all(living), pauseFor(0)]);
    const dying = process.kill("SIGKILL");
    clients.pause();
    expect(await dying).toEqual({ code: null, signal: "SIGKILL" });
    await inspect();
    if (death % 5 === 0) {
      // It may also be killed while it recovers.
      const ended = process.spawn();
      await pauseFor(Math.random() * firstMs);
      process.signal("SIGKILL");
      await ended;
    }
    startsMs.push(await process.start());
    await verify(false);
    clients.resume();
    expect(clients.faults).toEqual([]);
  }
  clients.over = true;
  expect((await lived).filter(({ status }) => status === "rejected")).toEqual([]);
  await verify(true);
  expect(await process.stop()).toEqual({ code: 0, signal: null });
  await inspect();
  expect(process.stderr).toBe("");
  expect(clients.faults).toEqual([]);
  expect(clients.interrupted).toBeGreaterThan(deaths);

  const sorted = startsMs.toSorted((one, other) => one - other);
  expect(sorted.at(-1)).toBeLessThan(Math.max(promisedMs, firstMs + promisedMs));
  return (
    `${database}: ${deaths} kills, ${clients.acknowledged.length} acknowledged writes, ${clients.interrupted} interrupted; ` +
    `ready after ${Math.round(sorted[Math.floor(sorted.length / 2)] ?? 0)} ms (median), ${Math.round(sorted.at(-1) ?? 0)} ms (most), ` +
    `${Math.round(firstMs)} ms without a kill`
  );
}

/** Passes a copy of an SQLite database to `look`, so that the server finds its files exactly as its death left them. */
export async function withCopy(url: string, look: (copy: string) => Promise<void>): Promise<void> {
  const file = url.slice("sqlite:".length);
  const folder = mkdtempSync(join(tmpdir(), "tidepool-killed-"));
  for (const suffix of ["", "-wal"]) {
    if (existsSync(file + suffix)) copyFileSync(file + suffix, join(folder, `copy.db${suffix}`));
  }
  try {
    await look(join(folder, "copy.db"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Waits until PostgreSQL has finished what a dead process had sent to it. */
export async function untilUnused(url: string): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    for (;;) {
      const { rows } = await client.query<{ running: string }>(
        "select count(*) as running from pg_stat_activity where application_name = 'tidepool' and datname = current_database()",
      );
      if (rows[0]?.running === "0") return;
      await pauseFor(5);
    }
  } finally {
    await client.end();
  }
}
