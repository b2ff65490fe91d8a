/** `npm run backup`, beside a server that goes on, and what a server finds that is started on the copy. */
import { execFile, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { promisify } from "node:util";
import SqliteDatabase from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runAudit } from "../support/audit.js";
import { built, root } from "../support/build.js";
import { ServerProcess } from "../support/process.js";

const run = promisify(execFile);
/** So that a copy takes long enough to see what goes on meanwhile. */
const ballastMiB = 64;

let folder: string;
let databaseUrl: string;
let server: ServerProcess;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tidepool-backup-"));
  databaseUrl = `sqlite:${join(folder, "data/tidepool.db")}`;
  server = await ServerProcess.start({ databaseUrl, environment: { LOG_LEVEL: "info" } });
  const database = new SqliteDatabase(join(folder, "data/tidepool.db"));
  database.exec("create table ballast (bytes blob)");
  const add = database.prepare("insert into ballast values (randomblob(1048576))");
  for (let count = 0; count < ballastMiB; count += 1) add.run();
  database.close();
});
afterAll(async () => {
  await server.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

const environment = (more: object = {}) => ({
  PATH: process.env.PATH,
  HOME: process.env.HOME,
  DATABASE_URL: databaseUrl,
  ...more,
});

/** Runs it as an operator does; `before` is what a shell does first. */
async function backUp(target?: string, { more = {}, before = "true" } = {}) {
  const command = `${before}; exec "$0" "$@"`;
  const args = [await built("backup"), ...(target === undefined ? [] : [target])];
  const ended = run("sh", ["-c", command, process.execPath, ...args], { cwd: root, env: environment(more) });
  return ended.then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
}

async function mutation(url: string, path: string, args: object): Promise<Record<string, unknown>> {
  const response = await fetch(`${url}/api/mutation`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ path, args }),
  });
  const reply = (await response.json()) as { status: string; value: Record<string, unknown> };
  if (reply.status !== "success") throw new Error(`${path} answered ${JSON.stringify(reply)}`);
  return reply.value;
}

/** The JWT of somebody new. */
async function signUp(email: string): Promise<string> {
  await mutation(server.url, "users:sendVerification", { email });
  let code: string | undefined;
  while (!code) {
    await nextTurn();
    code = server.stdout
      .split("\n")
      .find((line) => line.includes(email) && /\b\d{6}\b/.test(line))
      ?.match(/\b\d{6}\b/)?.[0];
  }
  const account = { email, password: "correct horse battery", name: "Alice", verificationCode: code };
  return (await mutation(server.url, "users:register", account))["token"] as string;
}

/** Agents that register one after the other, until told to stop. */
function keepWriting() {
  const acknowledged: string[] = [];
  let goOn = true;
  const writer = async () => {
    while (goOn)
      acknowledged.push((await mutation(server.url, "agents:register", { name: "Bob" }))["agentId"] as string);
  };
  const writers = Promise.all([writer(), writer(), writer(), writer()]);
  return {
    acknowledged,
    async stop() {
      goOn = false;
      await writers;
    },
  };
}

const modeOf = (file: string) => statSync(file).mode & 0o777;

describe("npm run backup", () => {
  test("copies a database that is written to, with every write from before it, and sign-ins go on on the copy", async () => {
    const jwt = await signUp("alice@example.com");
    const load = keepWriting();
    while (load.acknowledged.length < 20) await nextTurn();
    const before = [...load.acknowledged];
    const file = join(folder, "elsewhere/copy.db");
    const { code, stdout, stderr } = await backUp(file);
    const during = load.acknowledged.length - before.length;
    await load.stop();

    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/copy\.db: \d+\.\d MiB, checked\.\n.*jwt-secret: the secret that belongs to it\.\n$/);
    expect(readdirSync(join(folder, "elsewhere")).sort()).toEqual(["copy.db", "jwt-secret"]);
    expect([modeOf(file), modeOf(join(folder, "elsewhere/jwt-secret"))]).toEqual([0o600, 0o600]);
    // The server went on; it said yes to each.
    expect(during).toBeGreaterThan(0);

    const copy = new SqliteDatabase(file, { readonly: true });
    const there = new Set(copy.prepare(`select "agentId" from agents`).pluck().all());
    copy.close();
    expect(before.filter((agentId) => !there.has(agentId))).toEqual([]);
    await runAudit(`sqlite:${file}`);

    const restored = await ServerProcess.start({ databaseUrl: `sqlite:${file}` });
    try {
      const me = await fetch(`${restored.url}/api/auth/me`, { headers: { Authorization: `Bearer ${jwt}` } });
      expect(await me.json()).toMatchObject({ email: "alice@example.com" });
      await mutation(restored.url, "users:signIn", { email: "alice@example.com", password: "correct horse battery" });
    } finally {
      await restored.kill("SIGKILL");
    }
  });

  test("puts a copy without a name beside the data, and a second one beside the first", async () => {
    expect((await backUp()).code).toBe(0);
    const [name, ...others] = readdirSync(join(folder, "data/backups")).filter((file) => file.endsWith(".db"));
    expect(others).toEqual([]);
    expect(name).toMatch(/^tidepool-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.db$/);
    expect((await backUp(join(folder, "data/backups/second.db"))).code).toBe(0);
    expect(readdirSync(join(folder, "data/backups")).sort()).toEqual(["jwt-secret", "second.db", name].sort());
  });

  test("that is killed leaves nothing that looks like a backup, and nothing in the way of the next one", async () => {
    const target = join(folder, "copies");
    const file = join(target, "copy.db");
    const child = spawn(process.execPath, [await built("backup"), file], { cwd: root, env: environment() });
    const ended = new Promise((resolve) => child.once("close", resolve));
    const unfinished = () =>
      (existsSync(target) ? readdirSync(target) : []).some((name) => {
        const copy = join(target, name, "unfinished");
        return existsSync(copy) && statSync(copy).size > 1_000_000;
      });
    while (!unfinished()) {
      expect(child.exitCode).toBeNull();
      await nextTurn();
    }
    child.kill("SIGKILL");
    await ended;
    expect(readdirSync(target)).toEqual([expect.stringMatching(/^\.backup-/)]);
    expect((await backUp(file)).code).toBe(0);
    expect(existsSync(file)).toBe(true);
  });

  test("on a disk that is full says so and leaves nothing", async () => {
    const target = join(folder, "full");
    const { code, stderr, stdout } = await backUp(join(target, "copy.db"), { before: "trap '' XFSZ; ulimit -f 4096" });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^There is no backup: (disk I\/O error|database or disk is full)\n$/);
    expect(readdirSync(target)).toEqual([]);
  });

  test("of a database that is damaged is none", async () => {
    const target = join(folder, "damaged");
    const damages: Record<string, (file: string) => void> = {
      "a page of nothing": (file) => {
        const descriptor = openSync(file, "r+");
        for (let page = 2; page < 40; page += 1) writeSync(descriptor, Buffer.alloc(4096, 0x55), 0, 4096, page * 4096);
        closeSync(descriptor);
      },
      "a row that its table forbids": (file) => {
        const database = new SqliteDatabase(file);
        database.exec("create table counts (number integer check (number > 0))");
        database.pragma("ignore_check_constraints = on");
        database.exec("insert into counts values (0)");
        database.close();
      },
    };
    for (const [name, damage] of Object.entries(damages)) {
      const original = join(folder, "original", name, "tidepool.db");
      expect((await backUp(original)).code).toBe(0);
      damage(original);
      const { code, stdout, stderr } = await backUp(join(target, "copy.db"), {
        more: { DATABASE_URL: `sqlite:${original}` },
      });
      expect({ code, stdout }, name).toEqual({ code: 1, stdout: "" });
      expect(stderr, name).toMatch(
        /^There is no backup: (the copy is damaged: CHECK|database disk image is malformed)/,
      );
    }
    expect(existsSync(target) ? readdirSync(target) : []).toEqual([]);
  });

  test("overwrites nothing, neither a file nor the secret of another server", async () => {
    const taken = join(folder, "taken.db");
    writeFileSync(taken, "not to be lost");
    expect(await backUp(taken)).toMatchObject({ code: 1, stderr: `There is no backup: ${taken} is there already\n` });
    expect(readFileSync(taken, "utf8")).toBe("not to be lost");

    mkdirSync(join(folder, "other"));
    const secret = join(folder, "other/jwt-secret");
    writeFileSync(secret, "of somebody else");
    const refused = await backUp(join(folder, "other/copy.db"));
    expect(refused).toMatchObject({
      code: 1,
      stderr: `There is no backup: ${secret} is the secret of another server; choose another folder\n`,
    });
    expect(readdirSync(join(folder, "other"))).toEqual(["jwt-secret"]);
    expect(readFileSync(secret, "utf8")).toBe("of somebody else");
  });

  test("says what belongs to it where the secret is configured, and what to do for PostgreSQL or without a database", async () => {
    const file = join(folder, "configured/copy.db");
    const more = { JWT_SECRET: "a secret that is written in the configuration" };
    expect((await backUp(file, { more })).stdout).toContain("The secret that belongs to it is JWT_SECRET.\n");
    expect(readdirSync(join(folder, "configured"))).toEqual(["copy.db"]);

    const postgres = await backUp(undefined, { more: { DATABASE_URL: "postgres://nobody@127.0.0.1/none" } });
    expect(postgres).toMatchObject({ code: 1, stdout: "" });
    expect(postgres.stderr).toContain('pg_dump --format=custom --file=tidepool.dump "$DATABASE_URL"');
    const none = await backUp(undefined, { more: { DATABASE_URL: `sqlite:${join(folder, "none.db")}` } });
    expect(none).toMatchObject({ code: 1, stderr: `There is no backup: ${join(folder, "none.db")} does not exist\n` });
  });
});
