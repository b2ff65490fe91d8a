/** Opens everything that an agent's credential can open, and checks that all of it ends with the credential. */
import { expect } from "vitest";
import { open as openStream } from "./event-streams.js";
import { Caller, type TestServer, User } from "./harness.js";
import { until } from "./live-clients.js";
import { description, freshSlug } from "./market.js";
import { openSession as rentAgent, rentable } from "./rental.js";
import { openAgent, openAt, openGroup, openSession, type TestSocket } from "./sockets.js";
import { add, openSync } from "./sync-frames.js";

/** Why a credential ended. */
export type Why = "revoked" | "suspended";

/** Something that was opened with a credential. */
export interface Opened {
  /** Resolves once it has ended in the right way. */
  ended(why: Why): Promise<void>;
  /** Tries to open it again; resolves once that was refused in the right way. */
  refused(why: Why): Promise<void>;
}

export interface Cast {
  /** The agent's owner, and the agent whose token made it. */
  owner: User;
  parent: User;
  admin: User;
  parentId: string;
  agentId: string;
  token: string;
  /** Two sessions that the agent provides, and one that its owner rents. */
  sessionIds: [string, string];
  rentedId: string;
  /**
   * Session tokens that the agent has read: for its second session as provider, and for the one that its owner rents.
   */
  tokens: { provider: string; consumer: string };
}

/** An agent in the middle of its work, made by another agent of the same owner. */
export async function castFor(server: TestServer): Promise<Cast> {
  const owner = await server.user("Owner", { topUp: "50" });
  const elder = await owner.call("agents:create", { name: "Elder", slug: freshSlug(), description });
  const parent = new User(server, elder.agentToken, owner.userId, owner.email, "Elder", "");
  const made = await rentable(server, { maxConcurrentSessions: 5 }, parent);
  const { agentId } = made;
  const first = await rentAgent(server, {}, { of: made });
  const second = await rentAgent(server, {}, { of: made });
  const rented = await rentAgent(server, {}, { by: owner });
  const tokenOf = async (sessionId: string) => (await made.agent.call("sessions:get", { sessionId })).sessionToken;
  return {
    owner,
    parent,
    admin: await server.admin(),
    parentId: elder.id,
    agentId,
    token: made.agent.credential,
    sessionIds: [first.sessionId, second.sessionId],
    rentedId: rented.sessionId,
    tokens: { provider: await tokenOf(second.sessionId), consumer: await tokenOf(rented.sessionId) },
  };
}

type Codes = Record<Why, number[]>;

/** Opens everything that the agent's token opens. */
export async function openAll(server: TestServer, cast: Cast): Promise<Record<string, Opened>> {
  const { token, sessionIds, rentedId, tokens } = cast;
  const [inGroup, inSession] = sessionIds;
  const asProvider = { sessionId: inSession, token: tokens.provider, role: "provider" };
  const asConsumer = { sessionId: rentedId, token: tokens.consumer, role: "consumer" };
  const control: Codes = { revoked: [4001], suspended: [4001] };
  return {
    ...(await openShared(server, token, "users:me")),
    "/ws/agent": socketOf(await openAgent(server, token), control, () => openAt(server, "/ws/agent", { token })),
    "/ws/agent/consumer": socketOf(await openConsumer(server, token), control, () =>
      openAt(server, "/ws/agent/consumer", { token }),
    ),
    "/ws/group": socketOf(await openGroup(server, inGroup, token), { revoked: [4012], suspended: [4012] }, () =>
      openAt(server, "/ws/group", { sessionId: inGroup, token }),
    ),
    "/ws/session as the provider": socketOf(
      await openSession(server, asProvider),
      { revoked: [4002], suspended: [4001] },
      () => openAt(server, "/ws/session", asProvider),
    ),
    // Sessions that a suspended user rents end with the suspension.
    "/ws/session as the consumer": socketOf(
      await openSession(server, asConsumer),
      { revoked: [4002], suspended: [4001, 4004] },
      () => openAt(server, "/ws/session", asConsumer),
    ),
  };
}

/** Opens what every credential can open: calls, a stream and a live client. `path` is a query that it may run. */
export async function openShared(server: TestServer, secret: string, path: string): Promise<Record<string, Opened>> {
  const who = new Caller(server, secret);
  const isRefused = (why: Why) => ({ httpStatus: why === "revoked" ? 401 : 403 });
  // Called often enough that the reply is kept and the credential trusted.
  for (let count = 0; count < 3; count += 1) await who.call(path);
  const { reader } = await openStream(server, who, path);
  await reader.shows(({ event }) => event === "message");
  const live = (await openSync(server)).connect().authenticate(secret).modify(add(0, path));
  await live.answered();
  const nothingOpen = async () => {};
  return {
    "a query": { ended: nothingOpen, refused: (why) => expect(who.call(path)).rejects.toMatchObject(isRefused(why)) },
    "a mutation": {
      ended: nothingOpen,
      refused: (why) => expect(who.call("connections:invite")).rejects.toMatchObject(isRefused(why)),
    },
    "a REST call": {
      ended: nothingOpen,
      refused: async (why) => {
        expect(await who.rest("GET", "/api/agents/me/agent")).toMatchObject({ status: why === "revoked" ? 401 : 403 });
      },
    },
    "a stream": {
      ended: async (why) => {
        await until(() => reader.ended, "the end of the stream");
        const { event, data } = reader.events.at(-1) ?? {};
        expect(event).toBe("error");
        expect(data.code).toBe(why === "revoked" ? "unauthenticated" : "forbidden");
      },
      refused: async (why) => {
        const { response } = await openStream(server, who, path);
        expect(response.status).toBe(why === "revoked" ? 401 : 403);
      },
    },
    "a live client": {
      ended: async () => {
        await live.socket.next("AuthError");
        await live.socket.closed;
      },
      refused: async () => {
        const again = (await openSync(server)).connect().authenticate(secret).modify(add(0, path));
        await again.socket.next("AuthError");
        await again.socket.closed;
      },
    },
  };
}

/** Opens `/ws/agent/consumer` and waits for the greeting. */
export async function openConsumer(server: TestServer, token: string): Promise<TestSocket> {
  const socket = await openAt(server, "/ws/agent/consumer", { token });
  await socket.next("agent.connected");
  return socket;
}

function socketOf(socket: TestSocket, codes: Codes, again: () => Promise<TestSocket>): Opened {
  return {
    ended: async (why) => expect(codes[why]).toContain((await socket.closed).code),
    refused: async (why) => {
      const late = await again();
      // A session that has ended closes with its own code first.
      expect([...codes[why], ...(why === "suspended" ? [4003] : [])]).toContain((await late.closed).code);
    },
  };
}

/** Every way to end the token of the cast's agent, on a given server. */
export const ends: Record<string, { why: Why; end(on: TestServer, cast: Cast): Promise<unknown> }> = {
  "its owner revokes it": {
    why: "revoked",
    end: (on, { owner, agentId }) => as(on, owner).call("agents:revokeToken", { agentId }),
  },
  "its owner replaces it": {
    why: "revoked",
    end: (on, { owner, agentId }) => as(on, owner).call("agents:replaceToken", { agentId }),
  },
  "it replaces itself": {
    why: "revoked",
    end: (on, { token, agentId }) => new Caller(on, token).call("agents:replaceToken", { agentId }),
  },
  "it revokes itself": {
    why: "revoked",
    end: (on, { token, agentId }) => new Caller(on, token).call("agents:revokeToken", { agentId }),
  },
  "the token that made it replaces it": {
    why: "revoked",
    end: (on, { parent, agentId }) => as(on, parent).call("agents:replaceToken", { agentId }),
  },
  "the token that made it is revoked": {
    why: "revoked",
    end: (on, { owner, parentId }) => as(on, owner).call("agents:revokeToken", { agentId: parentId }),
  },
  "the token that made it is replaced": {
    why: "revoked",
    end: (on, { owner, parentId }) => as(on, owner).call("agents:replaceToken", { agentId: parentId }),
  },
  "its owner is suspended": {
    why: "suspended",
    end: (on, { owner, admin }) => as(on, admin).call("admin:suspendUser", { userId: owner.userId }),
  },
};

/** The same person, calling another server. */
function as(on: TestServer, { credential }: Caller): Caller {
  return new Caller(on, credential);
}

/**
 * Checks that everything that was opened has ended and none of it opens again, and that the sessions go on for those
 * who may still read them.
 */
export async function expectNothingLeft(
  server: TestServer,
  opened: Record<string, Opened>,
  why: Why,
  cast: Cast,
  /** How long the news may take from another process. */
  withinMs = 0,
): Promise<void> {
  const givenUpAt = Date.now() + withinMs;
  const isRefused = (refused: () => Promise<unknown>): Promise<unknown> =>
    refused().catch((error: Error) => {
      if (Date.now() > givenUpAt) throw error;
      return isRefused(refused);
    });
  const left: string[] = [];
  for (const [name, { ended, refused }] of Object.entries(opened)) {
    await ended(why).catch((error: Error) => left.push(`${name} is open: ${error.message}`));
    await isRefused(() => refused(why)).catch((error: Error) => left.push(`${name} opens again: ${error.message}`));
  }
  expect(left).toEqual([]);
  if (why === "suspended") return;
  const [, sessionId] = cast.sessionIds;
  const session = await as(server, cast.owner).call("sessions:get", { sessionId });
  expect(session.status).toBe("active");
  expect(session.sessionToken).not.toBe(cast.tokens.provider);
  await (await openSession(server, { sessionId, token: session.sessionToken, role: "provider" })).close();
}
