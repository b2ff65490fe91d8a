/**
 * Many at once, where only one can have it: exactly one succeeds, every other gets the documented refusal, and what is
 * stored fits the one that won. Calls go over HTTP, so that they meet in the database as calls of different agents do.
 */
import { beforeAll, describe, expect, test } from "vitest";
import { type Agent, databases, hour, type Refused, type TestServer, useServer } from "../support/harness.js";
import { amount } from "../support/long.js";

const atOnce = 50;
const rounds = amount(10, 20);
const venue = { lat: 37.7597, lng: -122.4148 };

// biome-ignore lint/suspicious/noExplicitAny: what a function answers is what the tests look at.
type Value = any;

interface Race {
  won: Value[];
  lost: { code: string; message: string; httpStatus: number }[];
}

/** Starts all calls before any is answered. */
async function race(calls: (() => Promise<Value>)[]): Promise<Race> {
  const outcomes = await Promise.allSettled(calls.map((call) => call()));
  const won: Value[] = [];
  const lost: Race["lost"] = [];
  for (const outcome of outcomes) {
    if (outcome.status === "fulfilled") won.push(outcome.value);
    else {
      const { code, message, httpStatus } = outcome.reason as Refused;
      lost.push({ code, message, httpStatus });
    }
  }
  return { won, lost };
}

const times = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

/** Everybody who lost was told the same. */
function expectLosers({ lost }: Race, count: number, code: string, message: string): void {
  expect(lost).toEqual(Array(count).fill({ code, message, httpStatus: 200 }));
}

async function inRounds(play: (round: number) => Promise<void>): Promise<void> {
  for (let round = 0; round < rounds; round += 1) await play(round);
}

const hostOf = (server: TestServer) => server.agent("Host", { claimed: true });

function liveEvent(server: TestServer, host: Agent, endsIn = 4 * hour) {
  const now = server.clock.now();
  const place = { locationLat: venue.lat, locationLng: venue.lng };
  return host.call("events:create", { name: "Mixer", startAt: now - hour, endAt: now + endsIn, ...place });
}

describe.each(databases)(`${atOnce} at once, ${rounds} rounds, on %s`, (database) => {
  const server = useServer(database);

  describe("connections", () => {
    let crowd: Agent[];
    beforeAll(async () => {
      crowd = await Promise.all(times(atOnce, (index) => server.agent(`Agent ${index}`)));
    });

    test("one invite, accepted by different agents: one gets it", () =>
      inRounds(async () => {
        const inviter = await server.agent("Inviter");
        const { inviteToken, connectionId } = await inviter.call("connections:invite");
        const accepted = await race(
          crowd.map((agent) => async () => ({
            agentId: agent.agentId,
            ...(await agent.call("connections:accept", { inviteToken })),
          })),
        );
        expect(accepted.won).toHaveLength(1);
        expectLosers(accepted, atOnce - 1, "conflict", "Invite already accepted");
        const [winner] = accepted.won;
        expect(winner).toMatchObject({ connectionId, connectedTo: { agentId: inviter.agentId } });
        expect(await inviter.call("connections:list")).toMatchObject([
          { connectionId, status: "active", connectedTo: { agentId: winner.agentId } },
        ]);
      }));

    test("many invites between the same two agents: one connection", () =>
      inRounds(async () => {
        const [alice, bob] = await Promise.all([server.agent("Alice"), server.agent("Bob")]);
        const invites = await Promise.all(
          times(atOnce, async (index) => {
            const [inviter, accepter] = index % 2 === 0 ? [alice, bob] : [bob, alice];
            return { accepter, inviteToken: (await inviter.call("connections:invite")).inviteToken as string };
          }),
        );
        const accepted = await race(
          invites.map(
            ({ accepter, inviteToken }) =>
              () =>
                accepter.call("connections:accept", { inviteToken }),
          ),
        );
        expect(accepted.won).toHaveLength(1);
        expectLosers(accepted, atOnce - 1, "conflict", "You are already connected to this agent");
        for (const agent of [alice, bob]) {
          expect(await agent.call("agents:getStatus")).toMatchObject({ connections: { active: 1 } });
        }
      }));
  });

  describe("approvals", () => {
    test("one side's decision, sent again and again, yes and no: it counts once", () =>
      inRounds(async () => {
        const { alice, bob, threadId } = await server.awaitingPair();
        const decided = await race(
          times(atOnce, (index) => () => alice.call("approvals:submit", { threadId, approved: index % 2 === 0 })),
        );
        expect(decided.won).toHaveLength(1);
        const [{ status, approvals }] = decided.won;
        // A no ends the thread, so whoever comes later finds it ended.
        if (approvals.mine === "approved") {
          expect(status).toBe("awaiting_approval");
          expectLosers(decided, atOnce - 1, "conflict", "Already submitted approval for this thread");
          expect(await bob.call("approvals:getPending")).toMatchObject([{ threadId, otherDecision: "approved" }]);
        } else {
          expect(status).toBe("rejected");
          expectLosers(decided, atOnce - 1, "conflict", "Cannot approve thread with status: rejected");
        }
      }));

    test("both sides approve at once: each counts once, and the second of the two confirms", () =>
      inRounds(async () => {
        const { alice, bob, threadId } = await server.awaitingPair();
        const decided = await race(
          times(
            atOnce,
            (index) => () =>
              [alice, bob][index % 2]?.call("approvals:submit", { threadId, approved: true }) as Promise<Value>,
          ),
        );
        expect(decided.won.map(({ status }) => status).sort()).toEqual(["awaiting_approval", "confirmed"]);
        expect(decided.lost).toHaveLength(atOnce - 2);
        for (const { code, message } of decided.lost) {
          expect(code).toBe("conflict");
          expect([
            "Already submitted approval for this thread",
            "Cannot approve thread with status: confirmed",
          ]).toContain(message);
        }
        expect(await alice.call("messages:getThreadsForAgent")).toMatchObject([{ threadId, status: "confirmed" }]);
      }));
  });

  describe("messages", () => {
    test("one counters while the other accepts: exactly one of the two outcomes", () =>
      inRounds(async (round) => {
        const { alice, bob, threadId } = await server.negotiatingPair();
        const { messageId } = await alice.send(threadId, "proposal");
        const accept = () => bob.send(threadId, "accept", { referencesMessageId: messageId });
        const counter = () => alice.send(threadId, "counter");
        const calls = times(atOnce, (index) => ((index + round) % 2 === 0 ? accept : counter));
        const { won, lost } = await race(calls);

        const [thread] = await bob.call("messages:getThreadsForAgent");
        const half = atOnce / 2;
        if (thread.status === "awaiting_approval") {
          expect(won).toMatchObject([{ threadStatus: "awaiting_approval" }]);
          const message = "Cannot send messages to thread with status: awaiting_approval";
          expectLosers({ won, lost }, atOnce - 1, "conflict", message);
          expect(await bob.call("approvals:getPending")).toMatchObject([{ proposal: { messageId } }]);
        } else {
          expect(thread).toMatchObject({ status: "negotiating", messageCount: half + 1 });
          expect(won.map(({ threadStatus }) => threadStatus)).toEqual(Array(half).fill("negotiating"));
          expectLosers(
            { won, lost },
            half,
            "conflict",
            "referencesMessageId is not the current proposal: it was replaced meanwhile. Read the thread and answer the current one.",
          );
        }
        const messages: { createdAt: number }[] = await alice.call("messages:getForThread", { threadId });
        expect(messages).toHaveLength(thread.messageCount);
        expect(new Set(messages.map(({ createdAt }) => createdAt)).size).toBe(messages.length);
      }));

    test("sends against a disconnect: what was answered is there, and nothing comes after it", () =>
      inRounds(async () => {
        const { alice, bob, connectionId, threadId } = await server.negotiatingPair();
        const disconnect = () => bob.call("connections:disconnect", { connectionId });
        const calls = times(atOnce, (index) => (index === 10 ? disconnect : () => alice.send(threadId, "info")));
        const { won, lost } = await race(calls);
        const sent = won.flatMap(({ messageId }) => messageId ?? []);
        expectLosers({ won, lost }, atOnce - 1 - sent.length, "conflict", "Connection is not active");
        await expect(alice.send(threadId, "info")).rejects.toMatchObject({ message: "Connection is not active" });
        const messages: { messageId: string }[] = await bob.call("messages:getForThread", { threadId });
        expect(messages.map(({ messageId }) => messageId).sort()).toEqual(sent.sort());
      }));

    test("an accept, many times: the thread moves once", () =>
      inRounds(async () => {
        const { alice, bob, threadId } = await server.negotiatingPair();
        await alice.send(threadId, "proposal");
        const accepted = await race(times(atOnce, () => () => bob.send(threadId, "accept")));
        expect(accepted.won).toHaveLength(1);
        const message = "Cannot send messages to thread with status: awaiting_approval";
        expectLosers(accepted, atOnce - 1, "conflict", message);
        expect(await alice.call("messages:getForThread", { threadId })).toHaveLength(2);
      }));
  });

  describe("events", () => {
    test("one location share, submitted from many places: one is stored", () =>
      inRounds(async () => {
        const agent = await server.agent();
        const { shareToken } = await agent.call("events:requestLocationShare");
        const submitted = await race(
          times(
            atOnce,
            (index) => () => server.nobody.call("events:submitLocationShare", { shareToken, lat: index, lng: -index }),
          ),
        );
        expect(submitted.won).toEqual([{ status: "completed", claimed: true }]);
        expectLosers(submitted, atOnce - 1, "conflict", "Location already shared with this link");
        const { lat, lng } = await agent.call("events:getLocationShare", { shareToken });
        expect(lat + lng).toBe(0);
      }));

    test("one agent's first check-in, many times: one is the first, the others renew it", () =>
      inRounds(async () => {
        const { eventId } = await liveEvent(server, await hostOf(server));
        const agent = await server.agent();
        const locationShareToken = await agent.shareLocation(venue.lat, venue.lng);
        const { won, lost } = await race(
          times(atOnce, () => () => agent.call("events:checkIn", { eventId, locationShareToken })),
        );
        expect(lost).toEqual([]);
        expect(won.filter(({ updated }) => !updated)).toHaveLength(1);
        expect(new Set(won.map(({ checkinId }) => checkinId)).size).toBe(1);
        expect(await agent.call("events:getById", { eventId })).toMatchObject({ checkinCount: 1 });
      }));

    test("one share, spent at many events: it is good for one", async () => {
      const events = await Promise.all(times(atOnce, async () => liveEvent(server, await hostOf(server))));
      await inRounds(async () => {
        const agent = await server.agent();
        const locationShareToken = await agent.shareLocation(venue.lat, venue.lng);
        const checkedIn = await race(
          events.map(
            ({ eventId }) =>
              () =>
                agent.call("events:checkIn", { eventId, locationShareToken }),
          ),
        );
        expect(checkedIn.won).toMatchObject([{ updated: false }]);
        expectLosers(
          checkedIn,
          atOnce - 1,
          "conflict",
          "Location share token has already been used. Request a new one with events:requestLocationShare.",
        );
        const rows = await server.read((db) =>
          db.selectFrom("checkins").select("eventId").where("agentId", "=", agent.agentId).execute(),
        );
        expect(rows).toEqual([{ eventId: checkedIn.won[0].eventId }]);
      });
    });

    test("two agents propose an intro to one another, many times: one intro", () =>
      inRounds(async () => {
        const { eventId } = await liveEvent(server, await hostOf(server));
        const pair = await Promise.all([server.agent("Alice"), server.agent("Bob")]);
        for (const agent of pair) {
          const locationShareToken = await agent.shareLocation(venue.lat, venue.lng);
          await agent.call("events:checkIn", { eventId, locationShareToken });
        }
        const [alice, bob] = pair;
        const proposed = await race(
          times(
            atOnce,
            (index) => () =>
              index % 2 === 0
                ? alice.call("events:proposeIntro", { eventId, toAgentId: bob.agentId })
                : bob.call("events:proposeIntro", { eventId, toAgentId: alice.agentId }),
          ),
        );
        expect(proposed.won).toMatchObject([{ status: "proposed" }]);
        const message = "There is already an active intro flow with this agent";
        expectLosers(proposed, atOnce - 1, "conflict", message);
        for (const agent of pair) expect(await agent.call("events:listMyIntros")).toHaveLength(1);
      }));
  });

  describe("one Idempotency-Key", () => {
    test("a send: one message, and the same answer for everybody", () =>
      inRounds(async (round) => {
        const { alice, threadId } = await server.negotiatingPair();
        const args = { threadId, type: "info", payload: { notes: "once" } };
        const { won, lost } = await race(
          times(atOnce, () => () => alice.call("messages:send", args, { "Idempotency-Key": `send-${round}` })),
        );
        expect(lost).toEqual([]);
        expect(won).toEqual(Array(atOnce).fill(won[0]));
        expect(await alice.call("messages:getForThread", { threadId })).toMatchObject([
          { messageId: won[0].messageId },
        ]);
      }));

    test("a registration: one agent, and the same secret for everybody who has the key", () =>
      inRounds(async (round) => {
        const name = `Once ${round}`;
        const { won, lost } = await race(
          times(
            atOnce,
            () => () => server.nobody.call("agents:register", { name }, { "Idempotency-Key": `register-${round}` }),
          ),
        );
        expect(lost).toEqual([]);
        expect(won).toEqual(Array(atOnce).fill(won[0]));
        const agents = await server.read((db) =>
          db.selectFrom("agents").select("agentId").where("name", "=", name).execute(),
        );
        expect(agents).toEqual([{ agentId: won[0].agentId }]);
      }));

    test("a refusal: the same for everybody", () =>
      inRounds(async (round) => {
        const { alice, threadId } = await server.negotiatingPair();
        const args = { threadId, type: "accept", payload: {} };
        const refused = await race(
          times(atOnce, () => () => alice.call("messages:send", args, { "Idempotency-Key": `refused-${round}` })),
        );
        expect(refused.won).toEqual([]);
        expectLosers(refused, atOnce, "conflict", "There is no proposal to accept yet. Send a proposal first.");
      }));

    test("under different keys the same call is as many calls", () =>
      inRounds(async (round) => {
        const { alice, threadId } = await server.negotiatingPair();
        const args = { threadId, type: "info", payload: { notes: "each" } };
        const { won, lost } = await race(
          times(
            atOnce,
            (index) => () => alice.call("messages:send", args, { "Idempotency-Key": `each-${round}-${index}` }),
          ),
        );
        expect(lost).toEqual([]);
        expect(new Set(won.map(({ createdAt }) => createdAt)).size).toBe(atOnce);
        expect(await alice.call("messages:getForThread", { threadId })).toHaveLength(atOnce);
      }));
  });
});
