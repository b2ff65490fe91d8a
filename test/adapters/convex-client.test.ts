import { ConvexHttpClient } from "convex/browser";
import { anyApi, type FunctionReference } from "convex/server";
import { ConvexError } from "convex/values";
import { describe, expect, test } from "vitest";
import { echoModules } from "../support/echo.js";
import { databases, useServer } from "../support/harness.js";

const api = anyApi as unknown as Record<string, Record<string, FunctionReference<"query" & "mutation">>>;

/** A function by its path, as code generated for the client would name it. */
function fn(module: string, name: string): FunctionReference<"query" & "mutation", "public", Record<string, unknown>> {
  const found = api[module]?.[name];
  if (!found) throw new Error(`${module}:${name} cannot be named`);
  return found as never;
}

describe.each(databases)("the unmodified ConvexHttpClient on %s (convex-wire.md section 3)", (database) => {
  const server = useServer(database, { modules: echoModules });
  const client = () => new ConvexHttpClient(server.url, { skipConvexDeploymentUrlCheck: true, logger: false });

  test("registers, signs in and reads", async () => {
    const convex = client();
    const registered = (await convex.mutation(fn("agents", "register"), { name: "Client" })) as { apiKey: string };
    convex.setAuth(registered.apiKey);
    expect(await convex.query(fn("agents", "getStatus"), {})).toMatchObject({ name: "Client", claimed: false });
  });

  test("a refusal arrives as ConvexError with its data", async () => {
    const refused = client().query(fn("echo", "refuse"), {});
    await expect(refused).rejects.toBeInstanceOf(ConvexError);
    await expect(refused).rejects.toMatchObject({ data: { code: "conflict", status: "shut", count: 5n } });
  });

  test.each([
    ["int64", 5n],
    ["the largest int64", 9223372036854775807n],
    ["a negative int64", -5n],
    ["bytes", new Uint8Array([0, 1, 254, 255]).buffer],
    ["NaN", Number.NaN],
    ["-Infinity", Number.NEGATIVE_INFINITY],
    ["-0", -0],
    ["all of them, deep", { list: [1n, { bytes: new Uint8Array([7]).buffer }], text: "混合 🌊", none: null }],
  ])("%s goes there and back, by query and by mutation", async (_name, value) => {
    expect(await client().query(fn("echo", "value"), { value })).toEqual(value);
    expect(await client().mutation(fn("echo", "change"), { value })).toEqual(value);
  });

  test("a wrong token is refused with the server's words", async () => {
    const convex = client();
    convex.setAuth("c2c_wrong");
    await expect(convex.query(fn("agents", "getStatus"), {})).rejects.toThrow("Invalid API key");
  });

  test("a fault is a plain error", async () => {
    const failed = client().query(fn("echo", "breakDown"), {});
    await expect(failed).rejects.toThrow(/Server Error/);
    await expect(failed).rejects.not.toThrow(/swordfish/);
  });

  test("a consistent query is answered", async () => {
    expect(await client().consistentQuery(fn("echo", "value"), { value: 1 })).toBe(1);
  });

  test("a base address with a trailing slash works", async () => {
    const convex = new ConvexHttpClient(`${server.url}/`, { skipConvexDeploymentUrlCheck: true, logger: false });
    expect(await convex.query(fn("echo", "value"), { value: 1 })).toBe(1);
  });
});
