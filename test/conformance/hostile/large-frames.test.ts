/**
 * A live client is not stuck after a frame that is too large, or contains something that is: on its next socket it
 * sends again whatever was not answered, so each call of the frame gets its own answer and the rest goes on
 * (convex-wire.md sections 8 and 9).
 */
import { describe, expect, test } from "vitest";
import { sizes } from "../../../runtime/limits.js";
import { databases, useServer } from "../../support/harness.js";
import { liveClient } from "../../support/live-clients.js";
import { openSession } from "../../support/rental.js";
import { cutSocketsAfterEach, openAgent, openAt } from "../../support/sockets.js";
import { add, openSync } from "../../support/sync-frames.js";

cutSocketsAfterEach();
const MB = 1_000_000;

describe.each(databases)("large frames on %s", (database) => {
  const server = useServer(database);

  test("a mutation of 1.2 MB fails, and those behind it and the queries beside it go on", async () => {
    const client = liveClient(server);
    const { apiKey } = await server.nobody.call("agents:register", { name: "Alice" });
    await client.signIn(apiKey);
    const status = client.watch("agents:getStatus");
    await status.shows(({ name }) => name === "Alice");
    const large = client.mutate("agents:register", { name: "Bob", description: "x".repeat(1.2 * MB) });
    const behind = client.mutate("agents:register", { name: "Carol" });
    await expect(large).rejects.toThrow(/too large/);
    expect(await behind).toMatchObject({ agentId: expect.any(String) as string });
    await client.mutate("agents:setPublicKey", { publicKey: Buffer.alloc(32, 9).toString("base64") });
    await status.shows(({ publicKey }) => publicKey !== null);
    expect(client.opened).toBe(1);
  });

  test("a query with such arguments fails alone, whichever frame it comes in", async () => {
    const client = liveClient(server);
    const before = client.watch("marketplace:listCategories");
    await before.shows(() => true);
    const large = client.watch("marketplace:browse", { search: "x".repeat(1.2 * MB) });
    const after = client.watch("marketplace:browse", { search: "tea" });
    await large.fails(({ message }: Error) => /too large/.test(message));
    await after.shows(() => true);
    expect(client.opened).toBe(1);
  });

  test("700 subscriptions of 2 KB each can come in one frame", async () => {
    const client = (await openSync(server)).connect();
    const search = "x".repeat(2_000);
    client.modify(
      ...Array.from({ length: 700 }, (_, number) =>
        add(number, "marketplace:getBySlug", { slug: `${number}${search}` }),
      ),
    );
    await client.answered();
    expect(client.shown.size).toBe(700);
  });

  test("arguments nested 200,000 deep fail alone, without a fault in the log", async () => {
    const deep = "[".repeat(200_000) + "]".repeat(200_000);
    const client = (await openSync(server)).connect();
    const args = `[{"limit":${deep}}]`;
    const head = '{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[';
    client.socket.ws.send(`${head}{"type":"Add","queryId":0,"udfPath":"marketplace:browse","args":${args}}]}`);
    client.socket.ws.send(`{"type":"Mutation","requestId":0,"udfPath":"agents:register","args":${args}}`);
    client.socket.ws.send('{"type":"Mutation","requestId":1,"udfPath":"agents:register","args":[{"name":"Dave"}]}');
    expect(await client.socket.next("MutationResponse")).toMatchObject({
      requestId: 0,
      success: false,
      result: expect.stringMatching(/Nested too deeply/),
    });
    expect(await client.socket.next("MutationResponse")).toMatchObject({ requestId: 1, success: true });
    const body = `{"path":"marketplace:browse","args":{"limit":${deep}}}`;
    const headers = { "Content-Type": "application/json" };
    const reply = await (await fetch(`${server.url}/api/query`, { method: "POST", headers, body })).json();
    expect(reply).toMatchObject({ errorData: { code: "invalid_args" } });
  });

  test("only above 16 MiB a live client is told to end for good", async () => {
    const client = (await openSync(server)).connect();
    const fits = "x".repeat(sizes.liveFrameBytes - 4_096);
    client.socket.ws.send(`{"type":"Mutation","requestId":0,"udfPath":"agents:register","args":[{"name":"${fits}"}]}`);
    expect(await client.socket.next("MutationResponse")).toMatchObject({ requestId: 0, success: false });
    client.socket.ws.send(
      `{"type":"Mutation","requestId":1,"udfPath":"agents:register","args":[{"name":"${fits}${"x".repeat(MB)}"}]}`,
    );
    expect(await client.socket.next("FatalError")).toMatchObject({ error: expect.stringMatching(/too large/) });
  });

  test("the other sockets say why up to 4 MiB, and close with 1009 alone beyond", async () => {
    const { agent, provider, sessionId } = await openSession(server);
    const { sessionToken } = await provider.call("sessions:get", { sessionId });
    const control = () => openAgent(server, agent.credential ?? "");
    const session = () => openAt(server, "/ws/session", { sessionId, token: sessionToken, role: "provider" });
    for (const open of [control, session]) {
      for (const [length, isTold] of [
        [2 * MB, true],
        [5 * MB, false],
      ] as const) {
        const socket = await open();
        socket.send({ type: "dialogue.message", payload: { content: "x".repeat(length) } });
        expect((await socket.closed).code).toBe(1009);
        expect(
          socket.frames.some(({ type }) => type === "system.error"),
          `${open} ${length} ${JSON.stringify(socket.frames)}`,
        ).toBe(isTold);
      }
    }
  });
});
