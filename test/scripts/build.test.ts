/** `npm run build`, `npm start` and `npm pack`, each on a copy of the sources. */
import { execFile } from "node:child_process";
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { scriptNames } from "../../adapters/documents.js";
import { root } from "../support/build.js";
import { createDatabase, databases } from "../support/databases.js";
import { useServer } from "../support/harness.js";
import { ServerProcess } from "../support/process.js";

const run = promisify(execFile);
const npm = {
  ...process.env,
  npm_config_audit: "false",
  npm_config_fund: "false",
  npm_config_update_notifier: "false",
};
const minutes = 60_000;

let copy: string;
beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), "tidepool-build-"));
  const parts = ["schema", "runtime", "functions", "adapters", "scripts", "server.ts", "package.json", "README.md"];
  for (const part of parts) cpSync(join(root, part), join(copy, part), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
});
afterAll(() => rmSync(copy, { recursive: true, force: true }));

const build = (...args: string[]) => run(process.execPath, [join(copy, "scripts/build.js"), ...args]);
const inode = () => statSync(join(copy, "dist"), { throwIfNoEntry: false })?.ino;
const leftOver = () => readdirSync(copy).filter((name) => name.startsWith(".dist"));

describe("a build", () => {
  test("that several make at the same moment is there, whole, and nothing beside it", async () => {
    const said = await Promise.all([build(), build("--if-changed"), build()]);
    expect(said.filter(({ stderr }) => /^dist\/ is built \(\d+ ms\)\.\n$/.test(stderr)).length).toBeGreaterThan(0);
    expect(said.map(({ stdout }) => stdout)).toEqual(["", "", ""]);
    expect(readdirSync(join(copy, "dist"))).toEqual(
      expect.arrayContaining(["audit.js", "documents", "pages", "serve.js"]),
    );
    expect(leftOver()).toEqual([]);
  });

  test("is made again where a source was changed, came or went, and only then", async () => {
    const changes = [
      () => writeFileSync(join(copy, "adapters/documents/new.md"), ""),
      () => rmSync(join(copy, "adapters/documents/new.md")),
      // As a release that was unpacked with its dates: older than the build.
      () => utimesSync(join(copy, "server.ts"), new Date(2020, 1), new Date(2020, 1)),
      () => writeFileSync(join(copy, "server.ts"), `${readFileSync(join(copy, "server.ts"), "utf8")}\n`),
    ];
    await build("--if-changed");
    for (const change of changes) {
      const before = inode();
      expect((await build("--if-changed")).stderr).toBe("");
      expect(inode()).toBe(before);
      change();
      expect((await build("--if-changed")).stderr).toMatch(/^dist\/ is built/);
      expect(inode()).not.toBe(before);
    }
    expect(leftOver()).toEqual([]);
  });

  test("that fails says where, and leaves the last one as it was", async () => {
    await build("--if-changed");
    const before = inode();
    const file = join(copy, "server.ts");
    const source = readFileSync(file, "utf8");
    onTestFinished(() => writeFileSync(file, source));
    writeFileSync(file, `${source}\nconst half = (`);
    await expect(build("--if-changed")).rejects.toThrow(/server\.ts:\d+/);
    expect(inode()).toBe(before);
    expect(leftOver()).toEqual([]);
  });

  test("names the sources in a stack", async () => {
    await build("--if-changed");
    const failing = { ...process.env, PORT: "0", DATABASE_URL: "sqlite:/dev/null/none.db" };
    const start = run(process.execPath, [join(copy, "dist/serve.js")], { env: failing });
    const { stderr } = (await start.catch((error: unknown) => error)) as { stderr: string };
    const line =
      readFileSync(join(copy, "server.ts"), "utf8")
        .split("\n")
        .findIndex((text) => text.includes("openStore(")) + 1;
    expect(stderr).toContain(`${join(copy, "server.ts")}:${line}:`);
    expect(stderr).toContain(`${join(copy, "runtime/store/database.ts")}:`);
  });
});

test(
  "npm start builds where there is no build, serves, and hands on the signal to stop",
  async () => {
    rmSync(join(copy, "dist"), { recursive: true, force: true });
    const database = await createDatabase("sqlite");
    const server = await ServerProcess.start({
      databaseUrl: database.url,
      environment: { LOG_LEVEL: "info" },
      instead: { command: ["npm", "start"], folder: copy },
    });
    onTestFinished(async () => {
      await server.kill("SIGKILL");
      await database.remove();
    });
    expect(server.stderr).toMatch(/^dist\/ is built/m);
    await server.stop();
    expect(server.stdout).toContain('"msg":"stopped"');
    expect(await server.isReady()).toBe(false);
  },
  2 * minutes,
);

describe("the package that npm pack makes, installed in an empty folder", () => {
  let folder: string | undefined;
  let whyNot = "";
  beforeAll(async () => {
    const { stdout } = await run("npm", ["pack", "--json", "--foreground-scripts=false"], { cwd: copy, env: npm });
    const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
    const empty = mkdtempSync(join(tmpdir(), "tidepool-installed-"));
    folder = empty;
    await run("npm", ["init", "--yes"], { cwd: empty, env: npm });
    // To compile better-sqlite3 takes minutes where its ready-made binary cannot be had: that of the project does.
    const install = ["install", "--ignore-scripts", "--prefer-offline", "--fetch-retries=1", join(copy, filename)];
    try {
      await run("npm", install, { cwd: empty, env: npm, timeout: 3 * minutes });
    } catch (error) {
      if (!/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENOTCACHED|ENETUNREACH/.test(String(error))) throw error;
      whyNot = "npm's registry cannot be reached";
      console.warn(`The package is not tried: ${whyNot}.`);
      return;
    }
    const binary = "node_modules/better-sqlite3/build";
    cpSync(join(root, binary), join(empty, binary), { recursive: true });
  }, 5 * minutes);
  afterAll(() => folder && rmSync(folder, { recursive: true, force: true }));

  const source = useServer("sqlite");
  const start = (databaseUrl: string) => {
    const command = [join(folder ?? "", "node_modules/.bin/tidepool")];
    return ServerProcess.start({ databaseUrl, instead: { command, folder: folder ?? "" } });
  };

  test("holds no tool that only makes it", ({ skip }) => {
    if (whyNot) skip(whyNot);
    const installed = readdirSync(join(folder ?? "", "node_modules"));
    expect(installed).toContain("better-sqlite3");
    for (const tool of ["esbuild", "tsx", "typescript", "vitest"]) expect(installed).not.toContain(tool);
  });

  test(
    "serves what the sources serve: documents, scripts, pages and their assets",
    async ({ skip }) => {
      if (whyNot) skip(whyNot);
      const server = await start("sqlite:./data/tidepool.db");
      onTestFinished(() => void server.kill("SIGKILL"));
      const read = async (base: string, path: string) => {
        const response = await fetch(`${base}${path}`);
        const { port } = new URL(base);
        return {
          status: response.status,
          type: response.headers.get("content-type"),
          text: (await response.text()).replaceAll(`:${port}`, ""),
        };
      };
      const pages = ["/", "/admin", "/connect", "/nothing-here"];
      const found = new Set([
        "/skill.md",
        "/heartbeat.md",
        "/clawrent.md",
        ...scriptNames.map((name) => `/scripts/${name}`),
      ]);
      for (const page of pages) {
        const { text } = await read(server.url, page);
        for (const [, asset = ""] of text.matchAll(/(?:href|src)="([^"]*assets\/[^"]+)"/g)) {
          found.add(new URL(asset, `${server.url}${page}`).href.slice(server.url.length));
        }
        found.add(page);
      }
      expect([...found].filter((path) => path.startsWith("/assets/")).length).toBeGreaterThan(2);
      for (const path of found) expect(await read(server.url, path), path).toEqual(await read(source.url, path));
      expect((await server.stop()).code).toBe(0);
    },
    2 * minutes,
  );

  test.each(databases)(
    "takes calls on %s, and its commands know the database",
    async (database) => {
      if (whyNot) return;
      const { url, remove } = await createDatabase(database);
      onTestFinished(remove);
      const server = await start(url);
      onTestFinished(() => void server.kill("SIGKILL"));
      const call = { path: "agents:register", args: { name: "Alice" } };
      const body = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(call) };
      const reply = (await (await fetch(`${server.url}/api/mutation`, body)).json()) as { value: { agentId: string } };
      expect(reply.value.agentId).toMatch(/^[0-9a-f-]{36}$|^agt_/);
      const env = { ...process.env, DATABASE_URL: url };
      const audit = await run(join(folder ?? "", "node_modules/.bin/tidepool-audit"), { env });
      expect(audit.stdout).toMatch(/^ok /);
      const file = join(folder ?? "", `${database}.db`);
      const backup = await run(join(folder ?? "", "node_modules/.bin/tidepool-backup"), [file], { env }).catch(
        (e) => e,
      );
      expect(backup).toMatchObject(database === "sqlite" ? { stderr: "" } : { code: 1, stdout: "" });
      const migrate = await run(join(folder ?? "", "node_modules/.bin/tidepool-migrate"), { env });
      expect(migrate.stdout).toBe("The database has the newest schema.\n");
      expect((await server.stop()).code).toBe(0);
    },
    2 * minutes,
  );
});
