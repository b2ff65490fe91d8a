/**
 * A right that one process takes away ends the live queries on the other with the commit that took it: nothing that is
 * written afterwards is shown any more, whatever the processes have heard of each other by then. So here the word of one
 * is kept back, and something else has the other read again.
 */
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { createClient, type TidepoolError } from "../../client/index.js";
import type { modules as productModules } from "../../functions/index.js";
import { query } from "../../runtime/call/define.js";
import { open } from "../support/event-streams.js";
import { Caller as Client, day, randomKey, type TestServer, type User } from "../support/harness.js";
import { liveClient, until } from "../support/live-clients.js";
import { description, draft, freshSlug } from "../support/market.js";
import { describeProcesses, holdWord, useTwoServers } from "../support/processes.js";
import { cutSocketsAfterEach } from "../support/sockets.js";
import { add, openSync } from "../support/sync-frames.js";

cutSocketsAfterEach();

const names = query({
  summary: "The names of all agents",
  auth: "user",
  args: {},
  returns: z.array(z.string()),
  handler: async (ctx) => {
    const agents = await ctx.db.selectFrom("agents").select("name").execute();
    return agents.map(({ name }) => name);
  },
});
const modules = { test: { names } };
type TestApi = typeof productModules & typeof modules;

/** Somebody who is subscribed to all names. */
interface Subscriber {
  /** What it was shown, in order. */
  shown: string[][];
  /** Resolves with the code that it was told the end with. */
  ended(): Promise<string>;
}

const subscribers: Record<string, (server: TestServer, secret: string) => Promise<Subscriber>> = {
  "a ConvexClient": async (server, secret) => {
    const live = liveClient(server);
    await live.signIn(secret);
    const seen = live.watch("test:names");
    return {
      shown: seen.values,
      ended: async () => {
        // Its token does not change, so it goes on as nobody.
        await until(() => live.signedIn.includes(false), "onChange(false)");
        return (await seen.fails()).data.code;
      },
    };
  },
  "a sync socket": async (server, secret) => {
    const raw = (await openSync(server)).connect().authenticate(secret).modify(add(0, "test:names"));
    const shown: string[][] = [];
    const end = (async () => {
      for (;;) {
        const frame = await raw.next();
        if (frame.type === "AuthError") {
          expect(frame).toMatchObject({ baseVersion: 1, authUpdateAttempted: false });
          await raw.socket.closed;
          return "unauthenticated";
        }
        if (frame.type === "Transition") {
          for (const { type, value } of frame.modifications) {
            expect(type).toBe("QueryUpdated");
            shown.push(value);
          }
        }
      }
    })();
    // Whether anybody waits for it yet or not.
    end.catch(() => {});
    return { shown, ended: () => end };
  },
  "a stream of events": async (server, secret) => {
    const { reader } = await open(server, { credential: secret }, "test:names");
    return {
      get shown() {
        return reader.events.filter(({ event }) => event === "message").map(({ data }) => data as string[]);
      },
      ended: async () => {
        await until(() => reader.ended, "the end");
        const { event, data } = reader.events.at(-1) ?? {};
        expect(event).toBe("error");
        return data.code === "forbidden" ? "unauthenticated" : data.code;
      },
    };
  },
  "a typed client": async (server, secret) => {
    const shown: string[][] = [];
    const errors: TidepoolError[] = [];
    const client = createClient<TestApi>({ url: server.url, token: secret });
    const { unsubscribe } = client.subscribe(
      "test:names",
      {},
      (value) => shown.push(value),
      (error) => errors.push(error),
    );
    onTestFinished(unsubscribe);
    return {
      shown,
      ended: async () => {
        await until(() => errors.length > 0, "an error");
        expect(["unauthenticated", "forbidden"]).toContain(errors[0]?.code);
        return "unauthenticated";
      },
    };
  },
};

interface Revocation {
  /** A credential of the owner's, or of an agent of theirs. */
  credential(owner: User, agent: { id: string; agentToken: string }): string;
  /** Takes it away on this process. */
  revoke(on: TestServer, owner: User, agentId: string, admin: User): Promise<unknown>;
}

const suspend: Revocation["revoke"] = (on, owner, _agentId, admin) =>
  new Client(on, admin.apiKey).call("admin:suspendUser", { userId: owner.userId });

const revocations: Record<string, Revocation> = {
  "an agent's token that is revoked": {
    credential: (_owner, agent) => agent.agentToken,
    revoke: (on, owner, agentId) => new Client(on, owner.credential).call("agents:revokeToken", { agentId }),
  },
  "an agent's token that is replaced": {
    credential: (_owner, agent) => agent.agentToken,
    revoke: (on, owner, agentId) => new Client(on, owner.credential).call("agents:replaceToken", { agentId }),
  },
  "an agent's token whose owner is suspended": { credential: (_owner, agent) => agent.agentToken, revoke: suspend },
  "a JWT whose user is suspended": { credential: (owner) => owner.credential, revoke: suspend },
  "an API key whose user is suspended": { credential: (owner) => owner.apiKey, revoke: suspend },
  // No timer runs: what the clock says is to be enough.
  "a JWT that runs out": { credential: (owner) => owner.credential, revoke: async (on) => on.clock.jump(8 * day) },
};

let written = 0;
const newName = (what: string) => {
  written += 1;
  return `${what} ${written}`;
};
const write = (server: TestServer, name: string) => server.agent(name, { publicKey: false });

describeProcesses("a right that is taken away by the other process", () => {
  const pair = useTwoServers({ modules });

  const revoked = async (revocation: Revocation) => {
    const { one, other } = pair;
    const owner = await one.user("Bob");
    const agent = await draft(owner);
    const secret = revocation.credential(owner, agent);
    const admin = await one.admin();
    return { one, other, secret, revoke: () => revocation.revoke(other, owner, agent.id, admin) };
  };
  const subscribeAll = async (server: TestServer, secret: string) => {
    const all = await Promise.all(Object.values(subscribers).map((subscribe) => subscribe(server, secret)));
    await until(() => all.every(({ shown }) => shown.length > 0), "the first values of all");
    return all;
  };
  const neverSaw = async (all: Subscriber[], canary: string) => {
    expect(await Promise.all(all.map(({ ended }) => ended()))).toEqual(all.map(() => "unauthenticated"));
    for (const { shown } of all) expect(shown.flat()).not.toContain(canary);
  };

  test.each(Object.entries(revocations))(
    "%s: a write of this process's own does not show what came after",
    async (...[, revocation]) => {
      const { one, other, secret, revoke } = await revoked(revocation);
      const all = await subscribeAll(one, secret);
      const held = holdWord(other);
      await revoke();
      const canary = newName("Canary");
      await write(other, canary);
      await write(one, newName("Agent"));
      await neverSaw(all, canary);
      held.release();
      await write(other, newName("Agent"));
      await neverSaw(all, canary);
    },
  );

  test.each(Object.entries(revocations))(
    "%s: hearing of the writes before the revocation shows nothing either",
    async (...[, revocation]) => {
      const { other, one, secret, revoke } = await revoked(revocation);
      const all = await subscribeAll(one, secret);
      const held = holdWord(other);
      await revoke();
      const canary = newName("Canary");
      await write(other, canary);
      held.releaseWrites();
      await neverSaw(all, canary);
    },
  );

  test.each(Object.entries(revocations))(
    "%s: who comes new, on a trust of before, sees nothing",
    async (...[, revocation]) => {
      const { one, other, secret, revoke } = await revoked(revocation);
      // The process has seen the credential, and takes it on trust for a while.
      await new Client(one, secret).call("test:names");
      holdWord(other);
      await revoke();
      const canary = newName("Canary");
      await write(other, canary);
      const live = liveClient(one);
      await live.signIn(secret);
      const seen = live.watch("test:names");
      expect((await seen.fails()).data.code).toBe("unauthenticated");
      expect(seen.values).toEqual([]);
      const { response, reader } = await open(one, { credential: secret }, "test:names");
      await until(() => reader.ended, "the end");
      expect([401, 403]).toContain(response.status);
      expect(reader.text).not.toContain(canary);
    },
  );

  test("who comes new and is refused takes along those who ask the same", async () => {
    const { one, other, secret, revoke } = await revoked(revocations["an agent's token that is revoked"] as Revocation);
    const { reader } = await open(one, { credential: secret }, "test:names");
    await reader.shows(() => true);
    holdWord(other);
    await revoke();
    // Nothing was written, so nobody would have read again.
    const { response } = await open(one, { credential: secret }, "test:names");
    expect(response.status).toBe(401);
    await until(() => reader.ended, "the end");
    expect(reader.events.map(({ event }) => event)).toEqual(["message", "error"]);
  });

  test("an agent that changed hands is asked again as who it is now, and nothing ends", async () => {
    const { one, other } = pair;
    const alice = await one.withAgentToken(await one.agent("Alice"));
    const bob = await one.user("Bob");
    const raw = (await openSync(one)).connect().authenticate(alice.credential);
    raw.modify(add(0, "test:names"), add(1, "agents:getStatus"));
    await raw.answered();
    // Without an owner it is nobody's account.
    expect(raw.shown.get(0)).toMatchObject({ type: "QueryFailed", errorData: { code: "forbidden" } });
    const stream = await open(one, alice, "agents:getStatus");
    await stream.reader.shows(() => true);
    holdWord(other);
    const taken = { claimToken: alice.claimToken, slug: freshSlug(), description };
    await new Client(other, bob.credential).call("agents:takeOver", taken);
    const publicKey = randomKey();
    await alice.call("agents:setPublicKey", { publicKey });
    while (raw.shown.get(0)?.type === "QueryFailed") await raw.next("Transition");
    expect(raw.shown.get(0)?.value).toContain("Alice");
    while (raw.shown.get(1)?.value.publicKey !== publicKey) await raw.next("Transition");
    await stream.reader.shows(({ data }) => data.publicKey === publicKey);
    expect(stream.reader.ended).toBe(false);
  });

  test("a connection that is ended is shown as ended by whatever reads next, and its thread takes no more", async () => {
    const { one, other } = pair;
    const { alice, bob, connectionId, threadId } = await one.negotiatingPair();
    const live = liveClient(one);
    await live.signIn(alice.credential);
    const list = live.watch("connections:list");
    const thread = live.watch("messages:getForThread", { threadId });
    await list.shows(([connection]) => connection.status === "active");
    await thread.shows((value) => value.length === 0);
    const held = holdWord(other);
    await new Client(other, bob.credential).call("connections:disconnect", { connectionId });
    const canary = new Client(other, bob.credential).call("messages:send", { threadId, type: "info", payload: {} });
    await expect(canary).rejects.toMatchObject({ code: "conflict" });
    const before = list.values.length;
    await alice.call("connections:invite", {});
    await list.shows(() => list.values.length > before);
    for (const value of list.values.slice(before)) {
      expect(
        value.find((connection: { connectionId: string }) => connection.connectionId === connectionId)?.status,
      ).not.toBe("active");
    }
    held.release();
    expect(thread.values).toEqual([[]]);
  });

  test("credentials that come and go wake nobody's query", async () => {
    const { one, other } = pair;
    const { alice, bob, threadId } = await one.negotiatingPair();
    const live = liveClient(one);
    await live.signIn(alice.credential);
    const seen = live.watch("messages:getForThread", { threadId });
    await seen.shows((value) => value.length === 0);
    const before = one.server.watches.woken;
    for (const server of [one, other]) await write(server, newName("Agent"));
    await new Client(other, bob.credential).call("messages:send", { threadId, type: "info", payload: {} });
    await seen.shows((value) => value.length === 1);
    expect(one.server.watches.woken - before).toBe(1);
  });
});
