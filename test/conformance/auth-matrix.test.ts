/** Every function × every kind of caller gives the answer of the checked-in table (architecture.md section 6). */
import { describe, expect, test } from "vitest";
import { coordination } from "../../functions/index.js";
import { Registry } from "../../runtime/call/registry.js";
import { type Agent, Caller, databases, hour, type TestServer, useServer } from "../support/harness.js";
import { everything, type RawAnswer, rawCall } from "../support/refusals.js";
import { type Answer, type CallerKind, callers, matrix, type Names, type Row, type Situation } from "./auth-matrix.js";

const venue = { lat: 37.7597, lng: -122.4148 };

interface World {
  names: Names;
  as: Record<CallerKind, Caller>;
}

interface Cast {
  owner: Agent;
  party: Agent;
  stranger: Agent;
}

/** What each situation adds to two connected agents and a stranger. */
const situations: Record<Situation, (server: TestServer, cast: Cast, names: Names) => Promise<Partial<Names>>> = {
  connected: async () => ({}),
  invitedByParty: async (_server, { party }, { connectionId }) => {
    // Two agents share one connection at most.
    await party.call("connections:disconnect", { connectionId });
    return { inviteToken: (await party.call("connections:invite")).inviteToken };
  },
  negotiating: async (_server, { owner, party }, { connectionId }) => {
    const { threadId } = await party.call("messages:startThread", { connectionId });
    await owner.send(threadId, "proposal");
    return { threadId };
  },
  awaiting: async (server, cast, names) => {
    const { threadId } = await situations.negotiating(server, cast, names);
    await cast.party.send(threadId as string, "accept");
    return { threadId };
  },
  claimedOwner: async (server, { owner }) => {
    await server.nobody.call("agents:claim", { claimToken: owner.claimToken });
    return {};
  },
  ownEvent: async (server, cast, names) => {
    await situations.claimedOwner(server, cast, names);
    const times = { startAt: names.now - hour, endAt: names.now + 4 * hour };
    const place = { locationLat: venue.lat, locationLng: venue.lng };
    return { eventId: (await cast.owner.call("events:create", { name: "Mixer", ...times, ...place })).eventId };
  },
  openShare: async (_server, { owner }) => ({
    shareToken: (await owner.call("events:requestLocationShare")).shareToken,
  }),
  sharedLocation: async (server, cast, names) => ({
    ...(await situations.ownEvent(server, cast, names)),
    shareToken: await cast.owner.shareLocation(venue.lat, venue.lng),
  }),
  atEvent: async (server, cast, names) => {
    const { eventId } = await situations.ownEvent(server, cast, names);
    const guest = await server.agent("Guest");
    for (const agent of [cast.owner, cast.party, guest]) {
      const locationShareToken = await agent.shareLocation(venue.lat, venue.lng);
      await agent.call("events:checkIn", { eventId, locationShareToken });
    }
    return { eventId, guestId: guest.agentId };
  },
  introProposedByParty: async (server, cast, names) => {
    const there = await situations.atEvent(server, cast, names);
    const { owner, party } = cast;
    const { introId } = await party.call("events:proposeIntro", { eventId: there.eventId, toAgentId: owner.agentId });
    return { ...there, introId };
  },
  introAccepted: async (server, cast, names) => {
    const there = await situations.introProposedByParty(server, cast, names);
    await cast.owner.call("events:respondIntro", { introId: there.introId, accept: true });
    return there;
  },
};

async function worldFor(server: TestServer, situation: Situation): Promise<World> {
  const { alice: owner, bob: party, connectionId } = await server.connectedPair();
  const stranger = await server.agent("Stranger");
  const names: Names = {
    claimToken: owner.claimToken,
    connectionId,
    inviteToken: "",
    threadId: "",
    eventId: "",
    shareToken: "",
    introId: "",
    guestId: "",
    now: server.clock.now(),
  };
  Object.assign(names, await situations[situation](server, { owner, party, stranger }, names));
  return {
    names,
    as: {
      nobody: server.nobody,
      badKey: new Caller(server, "c2c_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
      owner,
      stranger,
      party,
      agentToken: await server.withAgentToken(owner),
    },
  };
}

function expectAnswer(answer: RawAnswer, expected: Answer): void {
  expect(answer.status, answer.body).toBe(expected.status);
  const envelope = JSON.parse(answer.body) as Record<string, unknown>;
  if ("code" in expected) {
    expect(envelope).toMatchObject({
      status: "error",
      errorMessage: expected.message,
      errorData: { code: expected.code },
    });
    expect(envelope).not.toHaveProperty("value");
  } else {
    expect(envelope).toEqual({
      status: "success",
      value: "value" in expected ? expected.value : expect.anything(),
    });
  }
}

const refuses = (answer: Answer) => "code" in answer;

describe.each(databases)("who may call what, on %s", (database) => {
  const server = useServer(database);

  // The marketplace's rows are its routes (rest-auth-matrix.test.ts).
  const functions = new Registry(coordination).functions;

  test("every function of Claw-to-Claw has its row, and every row its function", () => {
    expect(Object.keys(matrix).sort()).toEqual([...functions.keys()].sort());
  });

  test("what needs no credential is what the specification says", () => {
    const open = [...functions].filter(([, { auth }]) => auth === "none");
    expect(open.map(([path]) => path).sort()).toEqual([
      "agents:claim",
      "agents:getClaim",
      "agents:register",
      "connections:getInvite",
      "events:getShareRequest",
      "events:submitLocationShare",
    ]);
  });

  test("the server's own functions do not exist for anybody", async () => {
    for (const path of ["deadlines:expire", "index:modules", "model/credentials:issueCredential"]) {
      for (const caller of [server.nobody, await server.agent()]) {
        expectAnswer(await rawCall(caller, path), {
          status: 200,
          code: "not_found",
          message: `Could not find public function for '${path}'`,
        });
      }
    }
  });

  describe.each(Object.entries(matrix))("%s", (path: string, row: Row) => {
    test.each(callers)("%s", async (kind) => {
      const { names, as } = await worldFor(server, row.given);
      const before = await everything(server);
      const answer = await rawCall(as[kind], path, row.args(names));
      expectAnswer(answer, row.answers[kind]);
      if (refuses(row.answers[kind])) expect(await everything(server)).toEqual(before);
    });

    test("a key and a token of the same agent are the same caller", async () => {
      if (server.server.registry.find(path)?.kind !== "query") return;
      const { names, as } = await worldFor(server, row.given);
      expect(await rawCall(as.agentToken, path, row.args(names))).toEqual(
        await rawCall(as.owner, path, row.args(names)),
      );
    });

    test("without a good credential not even the arguments are looked at", async () => {
      const { as } = await worldFor(server, "connected");
      for (const kind of ["nobody", "badKey"] as const) {
        const expected = row.answers[kind];
        if (expected.status !== 401) continue;
        for (const args of [{ nonsense: true }, []]) expectAnswer(await rawCall(as[kind], path, args), expected);
      }
    });

    test("what is not yours answers byte for byte like what is not there", async () => {
      if (!row.missing) return;
      const { names, as } = await worldFor(server, row.given);
      const before = await everything(server);
      const { argument, answer: expected } = row.missing;
      const args = row.args(names);
      const real = String(args[argument]);
      // As long as the real one and as likely, and in other shapes.
      const missing = [real.replace(/[^_-]/g, "0"), `${real.slice(0, -1)}!`, "x", "潮", "' or 1=1 --"];
      const answers: RawAnswer[] = [];
      for (const kind of callers) {
        if (row.answers[kind].status === 401 || !(row.missing.askedBy ?? callers).includes(kind)) continue;
        for (const name of missing) answers.push(await rawCall(as[kind], path, { ...args, [argument]: name }));
        if (row.answers[kind] === expected) answers.push(await rawCall(as[kind], path, args));
      }
      expectAnswer(answers[0] as RawAnswer, expected);
      expect(new Set(answers.map(({ status, body }) => `${status} ${body}`)).size, JSON.stringify(answers)).toBe(1);
      expect(await everything(server)).toEqual(before);
    });
  });
});
