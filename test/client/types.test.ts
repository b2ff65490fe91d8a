/** The client's types are the registry's: nothing is generated, nothing of the server comes along. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, expectTypeOf, test } from "vitest";
import { type ArgsOf, createClient, type PathOf, type ValueOf } from "../../client/index.js";
import type { Api } from "../../functions/index.js";

describe("the client's types", () => {
  test("paths are those of each kind", () => {
    expectTypeOf<"messages:getForThread">().toExtend<PathOf<Api, "query">>();
    expectTypeOf<"sessions:create">().toExtend<PathOf<Api, "mutation">>();
    expectTypeOf<"sessions:create">().not.toExtend<PathOf<Api, "query">>();
    expectTypeOf<"messages:nothing">().not.toExtend<PathOf<Api, "query">>();
    expectTypeOf<"agents:register">().toExtend<PathOf<Api, "mutation">>();
  });

  test("arguments and values are those of the declaration", () => {
    type Args = ArgsOf<Api, "messages:getForThread">;
    expectTypeOf<{ threadId: string }>().toExtend<Args>();
    expectTypeOf<{ threadId: number }>().not.toExtend<Args>();
    expectTypeOf<Record<string, never>>().not.toExtend<Args>();
    expectTypeOf<ValueOf<Api, "agents:register">["apiKey"]>().toEqualTypeOf<string>();
    expectTypeOf<ValueOf<Api, "connections:list">[number]["connectedTo"]>().toEqualTypeOf<{
      agentId: string;
      name: string;
      publicKey: string | null;
    } | null>();
    // A top-up may be given as text or as a number; what comes back is text.
    expectTypeOf<{ amount: number }>().toExtend<ArgsOf<Api, "billing:topUp">>();
    expectTypeOf<ValueOf<Api, "billing:topUp">["balance"]>().toEqualTypeOf<string>();
  });

  test("a wrong path or argument does not compile", () => {
    const client = createClient<Api>({ url: "http://localhost" });
    const wrong = () => [
      // @ts-expect-error: there is no such function.
      client.query("messages:nothing", {}),
      // @ts-expect-error: it is a mutation.
      client.query("messages:send", { threadId: "t", type: "info", payload: {} }),
      // @ts-expect-error: threadId is missing.
      client.query("messages:getForThread", {}),
      // @ts-expect-error: there is no such message type.
      client.mutation("messages:send", { threadId: "t", type: "shout", payload: {} }),
    ];
    expect(wrong).toBeTypeOf("function");
  });

  test("nothing of the server comes along: its files import only each other, and tweetnacl", () => {
    const folder = new URL("../../client/", import.meta.url);
    for (const file of readdirSync(folder)) {
      const source = readFileSync(new URL(file, folder), "utf8");
      // What the opening comment shows as an example is no import.
      const code = source.replace(/^\/\*\*.*?\*\//s, "");
      const imported = [...code.matchAll(/from "([^"]+)"/g)].map(([, path]) => path);
      // Which keys may be used is said once, in a file that imports nothing.
      const known = new Set(["tweetnacl", "../schema/public-keys.js"]);
      expect(imported.filter((path) => !path?.startsWith("./") && !known.has(path ?? ""))).toEqual([]);
    }
  });
});
