import { readdirSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { beforeAll, expect, test } from "vitest";
import { restRoutes } from "../../../adapters/rest-routes.js";
import { modules } from "../../../functions/index.js";
import { expireDueRows } from "../../../functions/system/deadlines.js";
import { startProcess } from "../../../functions/system/processes.js";
import type { SystemFunction } from "../../../runtime/call/define.js";
import { Registry } from "../../../runtime/call/registry.js";
import { useServer } from "../../support/harness.js";
import { add, openSync } from "../../support/sync-frames.js";

const lines: Record<string, unknown>[] = [];
const log = pino({ level: "debug" }, { write: (line: string) => lines.push(JSON.parse(line)) });
const server = useServer("sqlite", { log });
const folder = join(import.meta.dirname, "../../../functions/system");

/** Every function of the server's own, with all the paths by which somebody may try to call it. */
const found: { definition: SystemFunction<never, unknown>; paths: string[] }[] = [];

beforeAll(async () => {
  for (const file of readdirSync(folder)) {
    const module = file.replace(/\.ts$/, "");
    const camel = module.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    const exported = (await import(join(folder, file))) as Record<string, unknown>;
    for (const [name, definition] of Object.entries(exported)) {
      if (typeof definition !== "object" || definition === null || !("handler" in definition)) continue;
      const { name: logged } = definition as SystemFunction<never, unknown>;
      found.push({
        definition: definition as SystemFunction<never, unknown>,
        paths: [
          ...["", "system/", "functions/system/"].flatMap((above) =>
            [module, camel].flatMap((name_) => [`${above}${name_}:${name}`, `${above}${name_}.js:${name}`]),
          ),
          `system:${name}`,
          `system:${logged}`,
          logged,
          logged.replace(".", ":"),
        ],
      });
    }
  }
});

async function post(path: string, body: object): Promise<string> {
  const { status, text } = await (await server.admin()).rest("POST", path, body);
  return `${status} ${text}`;
}

/** What each way in says to a path. */
async function answersTo(path: string): Promise<string[]> {
  const admin = await server.admin();
  const stream = await admin.rest("GET", `/api/subscribe?path=${encodeURIComponent(path)}`);
  const run = path.replace(":", "/");
  const client = (await openSync(server)).connect().authenticate(admin.credential);
  client.modify(add(1, path)).mutation(1, path);
  const live: string[] = [];
  while (live.length < 2) {
    const frame = await client.next();
    if (frame.type === "MutationResponse" || frame.modifications?.length > 0) live.push(JSON.stringify(frame));
  }
  client.socket.close();
  const said = [
    await post("/api/query", { path, args: {} }),
    await post("/api/mutation", { path, args: {} }),
    await post("/api/action", { path, args: {} }),
    await post(`/api/run/${run}`, { args: {} }),
    `${stream.status} ${stream.text}`,
    ...live.sort(),
  ];
  // Nothing tells them apart but the path, which they repeat, and what differs at each call.
  const name = path.split(":").at(-1) ?? "";
  return said.map((text) =>
    text
      .replaceAll(path, "(path)")
      .replaceAll(name, "(name)")
      .replaceAll(/[0-9a-f]{16}|"ts":"[^"]*"/g, "(changes)"),
  );
}

test("none of the server's own functions is reachable, by any path on any surface", async () => {
  expect(found.length).toBeGreaterThan(20);
  const registry = new Registry(modules);
  const callable = new Set<unknown>(registry.functions.values());
  const unknown = await answersTo("nobody:knowsThis");
  for (const text of unknown) expect(text).toContain("Could not find public function");
  for (const { definition, paths } of found) {
    expect(callable.has(definition), definition.name).toBe(false);
    for (const path of paths) {
      expect(registry.find(path), path).toBeUndefined();
      expect(restRoutes.map(({ call }) => call)).not.toContain(path);
    }
    expect(await answersTo(paths[0] ?? ""), paths[0]).toEqual(unknown);
  }
});

test("none can be listed as a module's function by mistake: the server does not start", () => {
  expect(() => new Registry({ deadlines: { expireDueRows } })).toThrow("is not a query() or mutation()");
});

test("each has a name of its own, and a line in the log at debug level", async () => {
  const names = found.map(({ definition }) => definition.name);
  expect(new Set(names).size).toBe(names.length);
  for (const name of names) expect(name).toMatch(/^[a-z]\w+\.[a-z]\w+$/i);

  const { dispatcher } = server.server;
  await dispatcher.runSystem(expireDueRows);
  expect(lines).toContainEqual(
    expect.objectContaining({ level: 20, path: "system:deadlines.expire", outcome: "success" }),
  );
  const again = { processId: "the same twice", alone: false };
  await dispatcher.runSystem(startProcess, again);
  await expect(dispatcher.runSystem(startProcess, again)).rejects.toThrow(/unique/i);
  expect(lines).toContainEqual(
    expect.objectContaining({ level: 20, path: "system:processes.start", outcome: "fault" }),
  );
});
