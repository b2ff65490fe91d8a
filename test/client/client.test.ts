/** The typed client against a running server: calls, refusals, subscriptions that survive a restart, and encryption. */
import { describe, expect, test } from "vitest";
import { generateKeyPair, openPayload, sealPayload } from "../../client/encryption.js";
import { createClient, TidepoolError } from "../../client/index.js";
import type { Api } from "../../functions/index.js";
import { databases, startServer, useServer } from "../support/harness.js";

/** Collects values, and lets a test wait for the next one. */
function values<T>() {
  const seen: T[] = [];
  const waiting: (() => void)[] = [];
  return {
    add: (value: T) => {
      seen.push(value);
      for (const heard of waiting.splice(0)) heard();
    },
    /** Resolves with the newest value that fits. */
    async until(fits: (value: T) => boolean): Promise<T> {
      for (;;) {
        const found = seen.find(fits);
        if (found !== undefined) return found;
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
    },
  };
}

describe.each(databases)("the client on %s", (database) => {
  const server = useServer(database);
  const clientOf = (token?: string) => createClient<Api>({ url: `${server.url}/`, ...(token ? { token } : {}) });

  test("registers, reads and writes with the types of the registry", async () => {
    const { agentId, apiKey } = await clientOf().mutation("agents:register", { name: "Alice's agent" });
    const client = clientOf(apiKey);
    const { publicKey } = generateKeyPair();
    await client.mutation("agents:setPublicKey", { publicKey });
    expect(await client.query("agents:getStatus", {})).toMatchObject({ agentId, publicKey });
    const options = { idempotencyKey: crypto.randomUUID() };
    const invite = await client.mutation("connections:invite", {}, options);
    expect(await client.mutation("connections:invite", {}, options)).toEqual(invite);
  });

  test("a no is an error with its code and details", async () => {
    const { alice } = await server.connectedPair();
    const refused = await clientOf(alice.credential)
      .query("messages:getForThread", { threadId: "nothing" })
      .catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(TidepoolError);
    expect(refused).toMatchObject({ code: "not_found", message: "Thread not found" });
    await expect(clientOf("c2c_wrong").query("agents:getStatus", {})).rejects.toMatchObject({
      code: "unauthenticated",
    });
    await expect(
      clientOf(alice.credential).mutation("events:create", { name: "", startAt: 1, endAt: 2 }),
    ).rejects.toMatchObject({ code: "invalid_args", data: { issues: [{ path: "name" }] } });
  });

  test("a subscription hears every change until it is ended", async () => {
    const { alice, bob, threadId } = await server.negotiatingPair();
    const heard = values<number>();
    const subscription = clientOf(alice.credential).subscribe("messages:getForThread", { threadId }, (messages) =>
      heard.add(messages.length),
    );
    await heard.until((count) => count === 0);
    await bob.send(threadId, "info");
    await heard.until((count) => count === 1);
    await clientOf(bob.credential).mutation("messages:send", { threadId, type: "info", payload: {} });
    await heard.until((count) => count === 2);
    subscription.unsubscribe();
  });

  test("what is refused goes to onError; a credential that is not good ends it", async () => {
    const { alice } = await server.connectedPair();
    const errors = values<string>();
    const nothing = () => expect.fail("there is no value");
    const missing = { threadId: "nothing" };
    const hear = ({ code }: TidepoolError) => errors.add(code);
    const subscription = clientOf(alice.credential).subscribe("messages:getForThread", missing, nothing, hear);
    await errors.until((code) => code === "not_found");
    subscription.unsubscribe();
    clientOf("c2c_wrong").subscribe("agents:getStatus", {}, nothing, hear);
    await errors.until((code) => code === "unauthenticated");
  });

  test("a subscription comes back after the server was away", async () => {
    const first = await startServer(database);
    const { port } = new URL(first.url);
    const { alice, bob, threadId } = await first.negotiatingPair();
    const heard = values<number>();
    const client = createClient<Api>({ url: first.url, token: alice.credential });
    const subscription = client.subscribe("messages:getForThread", { threadId }, (messages) =>
      heard.add(messages.length),
    );
    await heard.until((count) => count === 0);
    await first.server.close();
    const options = { databaseUrl: first.databaseUrl, config: { port: Number(port) } };
    const second = await startServer(database, options);
    try {
      const bobAgain = createClient<Api>({ url: second.url, token: bob.credential });
      await bobAgain.mutation("messages:send", { threadId, type: "info", payload: {} });
      await heard.until((count) => count === 1);
    } finally {
      subscription.unsubscribe();
      await second.close();
      await first.remove();
    }
  });
});

test("what one seals the other opens, and nobody else", () => {
  const [alice, bob, eve] = [generateKeyPair(), generateKeyPair(), generateKeyPair()];
  const sealed = sealPayload({ notes: "早 🌊" }, bob.publicKey, alice.secretKey);
  expect(openPayload(sealed, alice.publicKey, bob.secretKey)).toEqual({ notes: "早 🌊" });
  expect(() => openPayload(sealed, alice.publicKey, eve.secretKey)).toThrow("cannot be opened");
  for (const broken of ["", sealed.slice(0, 20), `${sealed.slice(0, -8)}AAAAAAA=`]) {
    expect(() => openPayload(broken, alice.publicKey, bob.secretKey)).toThrow();
  }
  expect(() => sealPayload({}, "c2hvcnQ=", alice.secretKey)).toThrow("32 bytes");
});
