/** Whoever asks for much and reads little: one answer is always sent whole, and none is made that would wait behind it. */
import { describe, expect, test } from "vitest";
import { heldBytes } from "../../../runtime/limits.js";
import { bigModules, refusals, runs } from "../../support/big.js";
import { databases, useServer } from "../../support/harness.js";
import { cutSocketsAfterEach, eventually } from "../../support/sockets.js";
import { add, openSync, timeOf } from "../../support/sync-frames.js";

const MiB = 1024 * 1024;
describe.each(databases)("answers on %s", (database) => {
  const server = useServer(database, { modules: bigModules });
  cutSocketsAfterEach();
  const held = () => server.server.held.answers;
  const big = (number: number, bytes = 2 * MiB) => add(number, "big:read", { number, bytes });

  test("an answer that is larger than every bound of a socket comes whole", async () => {
    const client = (await openSync(server)).connect().modify(big(0, 6 * MiB), big(1, 10));
    await client.answered();
    expect(client.shown.get(0)?.value).toHaveLength(6 * MiB);
    expect(client.shown.get(1)?.value).toHaveLength(10);
    await eventually(
      async () => held().bytes,
      (bytes) => bytes === 0,
    );
  });

  test("queries are not run for a client that does not read, and all are once it does", async () => {
    runs.length = 0;
    const client = (await openSync(server)).connect();
    await client.socket.settled();
    client.socket.ws.pause();
    const count = 24;
    client.modify(...Array.from({ length: count }, (_, number) => big(number)));
    // What one socket may have waiting, and one answer more.
    const most = heldBytes.answers.socket + 3 * MiB;
    await eventually(
      async () => held().bytes,
      (bytes) => bytes >= heldBytes.answers.socket,
    );
    for (let turn = 0; turn < 20; turn += 1) {
      await server.nobody.call("docs:getTree");
      expect(held().bytes).toBeLessThan(most);
    }
    expect(runs.length).toBeLessThan(count);
    client.socket.ws.resume();
    await client.answered();
    expect([...client.shown.keys()].sort((one, other) => one - other)).toEqual(
      Array.from({ length: count }, (_, n) => n),
    );
    expect(new Set(runs).size).toBe(count);
    // No Transition held more than its share and one answer.
    for (const frame of client.socket.of("Transition")) expect(frame.modifications.length).toBeLessThanOrEqual(3);
  });

  test("a mutation is over only with the last part of what its client waits for", async () => {
    const client = (await openSync(server)).connect();
    client.modify(...Array.from({ length: 8 }, (_, number) => big(number))).mutation(0, "big:write", { bytes: 10 });
    const ts = () => client.socket.of("MutationResponse")[0]?.ts;
    do await client.next();
    while (ts() === undefined || timeOf(client.version.ts) < timeOf(ts()));
    expect(client.shown.size).toBe(8);
    expect(client.version.querySet).toBe(1);
  });

  test("answers that are held wait for no reader: they are known again by a hash, and a change is told", async () => {
    const client = (await openSync(server)).connect().modify(big(0, 3 * MiB), big(1, 3 * MiB));
    await client.answered();
    const { lastAnswers } = server.server.held;
    expect(lastAnswers.bytes).toBeLessThan(MiB);
    const before = client.shown.get(1)?.value.slice(0, 10);
    await server.agent("Newcomer", { publicKey: false });
    while (
      client.shown.get(0)?.value.slice(2, 9) !== client.shown.get(1)?.value.slice(2, 9) ||
      client.shown.get(1)?.value.slice(0, 10) === before
    ) {
      await client.next("Transition");
    }
    // What does not change is not sent again.
    const frames = client.socket.frames.length;
    await server.user("No Agent");
    await client.socket.settled();
    expect(client.socket.frames).toHaveLength(frames);
  });

  test("where unread answers take all there is, the reader that stopped longest ago is closed, and others get theirs", async () => {
    const stopped = (await openSync(server)).connect();
    await stopped.socket.settled();
    stopped.socket.ws.pause();
    stopped.modify(...Array.from({ length: 12 }, (_, number) => big(number)));
    await eventually(
      async () => held().bytes,
      (bytes) => bytes >= heldBytes.answers.socket,
    );
    const others = held().hold({ address: "elsewhere", caller: undefined });
    others.add(heldBytes.answers.process);
    const client = (await openSync(server)).connect().modify(big(0, 10));
    await client.socket.settled();
    expect(client.shown.size).toBe(0);
    others.add(-MiB);
    server.clock.jump(6_000);
    await server.settle();
    await client.answered();
    expect(client.shown.get(0)?.value).toHaveLength(10);
    stopped.socket.ws.resume();
    expect(await stopped.socket.closed).toMatchObject({ code: 1013 });
    others.end();
  });

  test("refusals count like answers: a client that asks for thousands is closed where there is no room, a few are told", async () => {
    const others = held().hold({ address: "elsewhere", caller: undefined });
    others.add(heldBytes.answers.process - 100_000);
    const refused = (count: number) =>
      Array.from({ length: count }, (_, queryId) => add(queryId, "big:read", {}, { componentPath: "c" }));
    const many = (await openSync(server)).connect().modify(...refused(4_000));
    expect(await many.socket.closed).toMatchObject({ code: 1013, reason: "TooManyConcurrentRequests" });
    expect(held().bytes).toBe(others.bytes);
    others.add(100_000);
    const few = (await openSync(server)).connect().modify(...refused(20));
    await few.answered();
    expect(few.shown.size).toBe(20);
    others.end();
    await eventually(
      async () => held().bytes,
      (bytes) => bytes === 0,
    );
  });

  test("mutations of a client that reads no replies wait, and all are done once it reads", async () => {
    refusals.length = 0;
    const client = (await openSync(server)).connect();
    await client.socket.settled();
    client.socket.ws.pause();
    const count = 12;
    for (let number = 0; number < count; number += 1) client.mutation(number, "big:refuse", { bytes: 5 * MiB });
    await eventually(
      async () => held().bytes,
      (bytes) => bytes >= heldBytes.answers.socket,
    );
    for (let turn = 0; turn < 50; turn += 1) await server.nobody.call("docs:getTree");
    expect(refusals.length).toBeLessThan(8);
    client.socket.ws.resume();
    while (client.socket.of("MutationResponse").length < count) await client.next();
    expect(refusals).toHaveLength(count);
    await eventually(
      async () => held().bytes,
      (bytes) => bytes === 0,
    );
  });
});
