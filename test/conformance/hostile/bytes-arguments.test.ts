/** Whoever sends arguments that take more than their share: what is over a bound fails by name, and all else goes on. */
import { describe, expect, test } from "vitest";
import { heldBytes, subscriptionBytes } from "../../../runtime/limits.js";
import { echoModules } from "../../support/echo.js";
import { databases, useServer } from "../../support/harness.js";
import { cutSocketsAfterEach, eventually } from "../../support/sockets.js";
import { add, openSync, type RawClient } from "../../support/sync-frames.js";

/** An `Add` whose arguments count as so many bytes. */
function addOf(bytes: number, queryId: number, udfPath = "echo:value"): object {
  const frame = (value: string) => add(queryId, udfPath, { value });
  const empty = Buffer.byteLength(JSON.stringify([{ value: "" }])) + subscriptionBytes;
  return frame("x".repeat(bytes - empty));
}

const manyObjects = `[${"{},".repeat(340_000).slice(0, -1)}]`;

describe.each(databases)("arguments on %s", (database) => {
  const server = useServer(database, { modules: echoModules });
  const { socket: mostBytes } = heldBytes.subscriptions;
  cutSocketsAfterEach();

  const held = () => server.server.held.subscriptions.bytes;
  const codeOf = (client: RawClient, queryId: number) => client.shown.get(queryId)?.errorData?.code;

  test("a socket's queries are answered up to the last byte of its share; one byte more fails alone", async () => {
    const client = (await openSync(server)).connect();
    const part = 1_000_000;
    for (let queryId = 0; queryId < 4; queryId += 1) client.modify(addOf(part, queryId));
    await client.answered();
    client.modify(addOf(mostBytes - 4 * part + 1, 4));
    await client.answered();
    expect(codeOf(client, 4)).toBe("too_large");
    expect(held()).toBe(4 * part);
    client.modify(addOf(mostBytes - 4 * part, 5), add(6, "echo:value", { value: "one too many" }));
    await client.answered();
    expect([client.shown.get(5)?.type, codeOf(client, 6)]).toEqual(["QueryUpdated", "too_large"]);
    expect(held()).toBe(mostBytes);
    // What is given back can be taken again, and all of it goes with the socket.
    client.modify({ type: "Remove", queryId: 0 }, add(7, "echo:value", { value: "small" }));
    await client.answered();
    expect(client.shown.get(7)?.value).toBe("small");
    await client.socket.close();
    await eventually(
      async () => held(),
      (bytes) => bytes === 0,
    );
  });

  test("arguments of a query that is refused count as well", async () => {
    const client = (await openSync(server)).connect();
    client.modify(addOf(100_000, 0, "marketplace:listCategories"));
    await client.answered();
    expect([codeOf(client, 0), held()]).toEqual(["invalid_args", 100_000]);
    await client.socket.close();
    await eventually(
      async () => held(),
      (bytes) => bytes === 0,
    );
  });

  test("what it takes to look at arguments counts for their caller's turns, also where they are refused", async () => {
    const { dispatcher, watches } = server.server;
    const seen = watches.begin();
    const args = { value: JSON.parse(`[${"{},".repeat(50_000)}0]`) };
    const call = { path: "marketplace:listCategories", kind: "query" as const, args, address: "192.0.2.1" };
    const outcome = await dispatcher.dispatch(
      { ...call, authorization: undefined, idempotencyKey: undefined, requestId: "" },
      seen,
    );
    seen.end();
    expect(outcome).toMatchObject({ status: "refused", error: { code: "invalid_args" } });
    expect(seen.tookMs).toBeGreaterThan(0);
  });

  test("all sockets of an account count together, whatever the address", async () => {
    const user = await server.user("Many Sockets");
    const { subscriptions } = server.server.held;
    const others = subscriptions.hold({ address: "elsewhere", caller: user.userId });
    others.add(heldBytes.subscriptions.caller - 20_000);
    const client = (await openSync(server)).connect().authenticate(user.credential);
    client.modify(addOf(20_001, 0));
    await client.answered();
    expect(codeOf(client, 0)).toBe("too_large");
    client.modify(addOf(20_000, 1));
    await client.answered();
    expect(client.shown.get(1)?.type).toBe("QueryUpdated");
    others.end();
    // Somebody else is not concerned, and who signs in takes along what they hold.
    const nobody = (await openSync(server)).connect().modify(addOf(30_000, 0));
    await nobody.answered();
    nobody.authenticate(user.credential);
    await nobody.answered();
    expect(subscriptions.refusal({ address: "x", caller: user.userId })).toBeUndefined();
    expect(held()).toBe(50_000);
  });

  test("a megabyte of small values is refused by name, for a query, a mutation and a call", async () => {
    const client = (await openSync(server)).connect();
    client.socket.send(
      `{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[{"type":"Add","queryId":0,"udfPath":"echo:value","args":[{"value":${manyObjects}}]},{"type":"Add","queryId":1,"udfPath":"echo:value","args":[{"value":"beside it"}]}]}`,
    );
    const first = await client.next("Transition");
    expect(first.modifications).toMatchObject([
      { type: "QueryFailed", queryId: 0, errorData: { code: "too_large" } },
      { type: "QueryUpdated", queryId: 1, value: "beside it" },
    ]);
    client.socket.send(`{"type":"Mutation","requestId":0,"udfPath":"echo:change","args":[{"value":${manyObjects}}]}`);
    expect(await client.next()).toMatchObject({ requestId: 0, success: false, errorData: { code: "too_large" } });
    client.mutation(1, "echo:change", { value: "the next one" });
    expect(await client.next()).toMatchObject({ requestId: 1, success: true, result: "the next one" });
  });

  test("arguments are found wherever a frame has them, and in no text that looks like them", async () => {
    const client = (await openSync(server)).connect();
    const odd = { 'a"b': '"args":[1]', args: [{ args: "\\" }], path: '{"args":' };
    client.socket.send(
      `{ "modifications" : [ { "args" : [ { "value" : ${JSON.stringify(odd)} } ] , "queryId":0, "type":"Add","udfPath":"echo:value" }, {"type":"Add","queryId":1,"udfPath":"echo:value","args":[{"value":"\\"}]"}]}, {"type":"Add","queryId":2,"udfPath":"echo:nothing"} ], "type":"ModifyQuerySet","baseVersion":0,"newVersion":1}`,
    );
    const { modifications } = await client.next("Transition");
    expect(modifications).toMatchObject([{ value: odd }, { value: '"}]' }, { value: null }]);
  });

  test("refused queries of a client that reads nothing do not pile up", async () => {
    const client = (await openSync(server)).connect();
    await client.socket.settled();
    client.socket.ws.pause();
    const frames = 8;
    const perFrame = 4_000;
    const adds = (from: number) =>
      Array.from({ length: perFrame }, (_, index) => add(from + index, "echo:value", {}, { componentPath: "c" }));
    for (let frame = 0; frame < frames; frame += 1) client.modify(...adds(frame * perFrame));
    client.socket.ws.resume();
    await client.answered();
    expect(client.shown.size).toBe(frames * perFrame);
    expect([...client.shown.values()].every(({ errorData }) => errorData.code === "invalid_args")).toBe(true);
  });
});
