/** Whatever is shown as a name is one that can be seen whole, on every way in. */
import { describe, expect, test } from "vitest";
import type { z } from "zod";
import { restRoutes } from "../../adapters/rest-routes.js";
import { modules } from "../../functions/index.js";
import { Registry } from "../../runtime/call/registry.js";
import { type Caller, databases, Refused, type TestServer, useServer } from "../support/harness.js";
import { asAgent, draft } from "../support/market.js";
import { cutSocketsAfterEach } from "../support/sockets.js";
import { nameAsBefore } from "../support/stored-before.js";
import { openSync } from "../support/sync-frames.js";

type Path = (string | number)[];

const registry = new Registry(modules);

/** Where in arguments a name stands. What a query takes by such a name looks for one. */
function namesIn(schema: z.ZodType, path: Path = []): Path[] {
  // biome-ignore lint/suspicious/noExplicitAny: each kind of schema has parts of its own.
  const { type, shape, element, innerType, in: input, options } = schema._zod.def as any;
  const isName = ["name", "title", "label", "category"].includes(String(path.at(-1)));
  switch (type) {
    case "object":
      return Object.entries(shape).flatMap(([key, field]) => namesIn(field as z.ZodType, [...path, key]));
    case "array":
      return namesIn(element, [...path, 0]);
    case "union":
      return options.flatMap((option: z.ZodType) => namesIn(option, path));
    case "optional":
    case "nullable":
    case "default":
      return namesIn(innerType, path);
    case "pipe":
      return namesIn(input, path);
    case "string":
      return isName ? [path] : [];
    default:
      return [];
  }
}

const shown = [...registry.functions]
  .filter(([, { kind }]) => kind === "mutation")
  .flatMap(([call, { auth, args }]) => namesIn(args).map((path) => ({ call, auth, path, at: path.join(".") })));

/** Arguments that hold a name at the path and nothing else: what is missing is told beside it. */
function holding(path: Path, name: string): unknown {
  return path.reduceRight<unknown>((inner, key) => (typeof key === "number" ? [inner] : { [key]: inner }), name);
}

const hidden: [code: number, kind: string][] = [
  [0x01, "control character"],
  [0x09, "tab"],
  [0x0a, "line feed"],
  [0x0d, "carriage return"],
  [0x1b, "escape"],
  [0x7f, "delete"],
  [0x85, "control character"],
  [0xad, "soft hyphen"],
  [0x34f, "combining grapheme joiner"],
  [0x61c, "Arabic letter mark"],
  [0x3164, "Hangul filler"],
  [0x180e, "invisible character"],
  [0x200b, "zero width space"],
  [0x200c, "zero width non-joiner"],
  [0x200d, "zero width joiner"],
  [0x200e, "left-to-right mark"],
  [0x200f, "right-to-left mark"],
  [0x2028, "line separator"],
  [0x2029, "paragraph separator"],
  [0x202a, "left-to-right embedding"],
  [0x202b, "right-to-left embedding"],
  [0x202c, "pop directional formatting"],
  [0x202d, "left-to-right override"],
  [0x202e, "right-to-left override"],
  [0x2060, "word joiner"],
  [0x2063, "invisible character"],
  [0x2066, "left-to-right isolate"],
  [0x2067, "right-to-left isolate"],
  [0x2068, "first strong isolate"],
  [0x2069, "pop directional isolate"],
  [0xfe0f, "variation selector"],
  [0xfeff, "zero width no-break space"],
  [0xe0041, "invisible character"],
  [0xe0100, "variation selector"],
];
const refusals = hidden.map(([code, kind]) => ({
  name: `Al${String.fromCodePoint(code)}ice`,
  message: `Cannot hold U+${code.toString(16).toUpperCase().padStart(4, "0")} (${kind})`,
}));

const ordinary = [
  "Alice O'Hara-Müller, Ph.D. (2)",
  "Zoë\u0308 Nguyễn Thị",
  "王小明　田中さん",
  "김민수",
  "محمد علي",
  "می\u200cخواهم",
  "דוד כהן",
  "ශ්\u200dරී ලංකා",
  "क्\u200dष र्\u200cक",
  "สมชาย",
  "Ольга Ёлкина",
  "葛\u{e0100}城",
  "👩\u200d👩\u200d👧 🏳\ufe0f\u200d🌈 👩🏽\u200d💻 ❤\ufe0f\u200d🔥 1\ufe0f\u20e3 🇦🇹 🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
];

type Issues = { path: string; message: string }[];

describe.each(databases)("names on %s", (database) => {
  const server = useServer(database);
  cutSocketsAfterEach();

  const callerFor = async (auth: string): Promise<Caller> => {
    if (auth === "none") return server.nobody;
    if (auth === "agent" || auth === "agentOrUser") return server.agent("Alice", { claimed: true });
    return auth === "admin" ? server.admin() : server.user("Bob");
  };
  const byRpc = async (caller: Caller, call: string, args: unknown): Promise<Issues> => {
    try {
      await caller.call(call, args);
      return [];
    } catch (refused) {
      if (!(refused instanceof Refused)) throw refused;
      return (refused.data["issues"] ?? []) as Issues;
    }
  };
  const byRest = async (caller: Caller, { method, path }: { method: string; path: string }, args: unknown) => {
    const { body } = await caller.rest(method, path.replaceAll(/:\w+/g, "some-id"), args);
    return (body?.details ?? []) as Issues;
  };
  const bySync = async (on: TestServer, caller: Caller, call: string, all: unknown[]): Promise<Issues[]> => {
    const client = (await openSync(on)).connect();
    if (caller.credential !== undefined) client.authenticate(caller.credential);
    client.modify();
    const answers: Issues[] = [];
    for (const [requestId, args] of all.entries()) {
      client.mutation(requestId, call, args as object);
      let frame = await client.next();
      while (frame.type !== "MutationResponse") frame = await client.next();
      answers.push(frame.errorData?.issues ?? []);
    }
    return answers;
  };

  test("are walked wherever something is named", () => {
    expect(shown.map(({ call, at }) => `${call} ${at}`).sort()).toEqual([
      "admin:updateEvent name",
      "agents:create capabilities.0.category",
      "agents:create capabilities.0.name",
      "agents:create name",
      "agents:register name",
      "agents:update capabilities.0.category",
      "agents:update capabilities.0.name",
      "agents:update name",
      "docs:create title",
      "docs:update title",
      "events:create name",
      "events:requestLocationShare label",
      "events:update name",
      "users:register name",
    ]);
  });

  test.each(shown)("$call refuses what nobody sees in $at, by name, and takes every script", async (one) => {
    const { call, auth, path, at } = one;
    const caller = await callerFor(auth);
    const route = restRoutes.find((row) => row.call === call);
    const bad = refusals.map(({ name }) => holding(path, name));
    const good = ordinary.map((name) => holding(path, name));
    const expected = refusals.map(({ message }) => message);
    const told = (answers: Issues[]) =>
      answers.map((issues) => issues.find((issue) => issue.path === at)?.message ?? "nothing");

    const surfaces: ((all: unknown[]) => Promise<Issues[]>)[] = [
      (all) => Promise.all(all.map((args) => byRpc(caller, call, args))),
      (all) => bySync(server, caller, call, all),
      ...(route ? [(all: unknown[]) => Promise.all(all.map((args) => byRest(caller, route, args)))] : []),
    ];
    for (const surface of surfaces) {
      expect(told(await surface(bad))).toEqual(expected);
      expect(told(await surface(good))).toEqual(good.map(() => "nothing"));
    }
  });

  test("come back as they were written, and the refusal says which character", async () => {
    for (const name of ordinary) {
      const agent = await server.agent(name);
      expect(await agent.call("agents:getStatus")).toMatchObject({ name });
    }
    const refused = server.nobody.call("agents:register", { name: "Al\u202eice" });
    await expect(refused).rejects.toMatchObject({
      message: "Invalid arguments: name: Cannot hold U+202E (right-to-left override)",
    });
  });

  test("that were stored before stay as they are, and their agents go on changing", async () => {
    const bob = await server.user("Bob");
    const made = await draft(bob);
    const name = "Old\u202e\u200b name";
    await nameAsBefore(server, made.id, name);
    expect(await asAgent(server, made).call("agents:getMine")).toMatchObject({ name });
    const description = "Reads contracts, and now letters too";
    await bob.call("agents:update", { agentId: made.id, description });
    expect(await bob.call("agents:get", { agentId: made.id })).toMatchObject({ name, description });
    const again = bob.call("agents:update", { agentId: made.id, name });
    await expect(again).rejects.toMatchObject({
      message: "Invalid arguments: name: Cannot hold U+202E (right-to-left override)",
    });
  });
});
