import { describe, expect, test } from "vitest";
import { Caller, databases, type TestServer, type User, useServer } from "../../support/harness.js";
import { connect, draft, listed } from "../../support/market.js";
import { heard } from "../../support/notices.js";
import { expectInvalid, expectRefusal } from "../../support/refusals.js";

const moves = ["approve", "reject", "suspend", "reinstate"] as const;
const states = ["none", "pending_review", "active", "rejected", "suspended"] as const;
type Move = (typeof moves)[number];
type State = (typeof states)[number];

/** The table of clawrent.md section 5, written out: all that is not here is refused. */
const allowed: Partial<Record<State, Partial<Record<Move, State>>>> = {
  pending_review: { approve: "active", reject: "rejected" },
  active: { suspend: "suspended" },
  suspended: { reinstate: "active" },
};

const ownerOf = ({ userId, name, email }: User) => ({ id: userId, name, email, status: "active" });

async function agentIn(server: TestServer, owner: User, state: State) {
  const admin = await server.admin();
  const { id: agentId } = await draft(owner);
  if (state !== "none") await owner.call("agents:publish", { agentId });
  if (state === "active" || state === "suspended") await admin.call("admin:approveAgent", { agentId });
  if (state === "rejected") await admin.call("admin:rejectAgent", { agentId });
  if (state === "suspended") await admin.call("admin:suspendAgent", { agentId });
  return owner.call("agents:get", { agentId });
}

describe.each(databases)("an admin's decisions on agents on %s (clawrent.md sections 2.10, 5)", (database) => {
  const server = useServer(database);

  test.each(states.flatMap((state) => moves.map((move) => ({ state, move }))))(
    "$move of an agent that is $state",
    async ({ state, move }) => {
      const [alice, admin] = [await server.user("Alice"), await server.admin()];
      const { id: agentId, slug } = await agentIn(server, alice, state);
      const before = (await server.nobody.call("marketplace:browse")).total;
      const decide = () => admin.call(`admin:${move}Agent`, { agentId, note: "Because" });
      const next = allowed[state]?.[move];
      if (next === undefined) {
        const message =
          state === "none"
            ? "Agent has no provider profile. Publish it first."
            : `Provider profile status is '${state}'`;
        const status = state === "none" ? "draft" : state;
        await expectRefusal(server, decide, { code: "conflict", message, data: { status } });
        return;
      }
      const decided = await decide();
      expect(decided).toMatchObject({
        id: agentId,
        status: next,
        owner: ownerOf(alice),
        providerProfile: { status: next, reviewNote: "Because" },
      });
      const { owner: _owner, version: _version, ...asOwnerSees } = decided;
      expect(await alice.call("agents:get", { agentId })).toEqual(asOwnerSees);
      const change = Number(next === "active") - Number(state === "active");
      expect(await server.nobody.call("marketplace:browse")).toMatchObject({ total: before + change });
      const seen = server.nobody.call("marketplace:getBySlug", { slug });
      if (next === "active") expect(await seen).toMatchObject({ id: agentId });
      else await expect(seen).rejects.toMatchObject({ code: "not_found", message: "Agent not found" });
    },
  );

  test("an approval makes the agent and its owner both, and that stays", async () => {
    const [alice, admin] = [await server.user("Alice"), await server.admin()];
    const { id: agentId } = await draft(alice);
    expect(await alice.call("users:me")).toMatchObject({ role: "consumer" });
    await alice.call("agents:publish", { agentId });
    expect(await admin.call("admin:approveAgent", { agentId })).toMatchObject({ roles: "both" });
    expect(await alice.call("users:me")).toMatchObject({ role: "both" });
    expect(await admin.call("admin:suspendAgent", { agentId })).toMatchObject({ roles: "both" });
    expect(await alice.call("users:me")).toMatchObject({ role: "both" });
  });

  test("a suspension takes the agent offline at once, and a reinstatement brings it back", async () => {
    const [alice, admin] = [await server.user("Alice"), await server.admin()];
    const { id: agentId } = await listed(server, alice);
    await connect(server, agentId);
    await alice.call("agents:activate", { agentId });
    const notices = heard("agentStatusChanged");
    expect(await admin.call("admin:suspendAgent", { agentId })).toMatchObject({ onlineStatus: "offline" });
    expect(notices).toMatchObject([{ agentId, onlineStatus: "offline" }]);
    expect(await admin.call("admin:reinstateAgent", { agentId })).toMatchObject({ onlineStatus: "online" });
    expect(notices).toMatchObject([{ onlineStatus: "offline" }, { agentId, onlineStatus: "online" }]);
  });

  test("a reinstatement brings nobody online who was never activated", async () => {
    const [alice, admin] = [await server.user("Alice"), await server.admin()];
    const { id: agentId } = await listed(server, alice);
    await connect(server, agentId);
    await admin.call("admin:suspendAgent", { agentId });
    expect(await admin.call("admin:reinstateAgent", { agentId })).toMatchObject({ onlineStatus: "offline" });
  });

  test("puts nothing of a suspended user's on the marketplace", async () => {
    const [alice, admin] = [await server.user("Alice"), await server.admin()];
    const waiting = await agentIn(server, alice, "pending_review");
    const suspended = await agentIn(server, alice, "suspended");
    await admin.call("admin:suspendUser", { userId: alice.userId });
    const refused = { code: "conflict", message: "The owner's account is suspended" };
    await expectRefusal(server, () => admin.call("admin:approveAgent", { agentId: waiting.id }), refused);
    await expectRefusal(server, () => admin.call("admin:reinstateAgent", { agentId: suspended.id }), refused);
    expect(await admin.call("admin:rejectAgent", { agentId: waiting.id })).toMatchObject({ status: "rejected" });
  });

  test("refuses an agent that is not there, and a note that is too long", async () => {
    const admin = await server.admin();
    for (const move of moves) {
      const decide = (args: object) => () => admin.call(`admin:${move}Agent`, { agentId: "nobody", ...args });
      await expectRefusal(server, decide({}), { code: "not_found", message: "Agent not found" });
      await expectInvalid(server, decide({ note: "x".repeat(1_001) }), "note");
    }
  });

  test("is for admins alone, and no agent of theirs is one", async () => {
    const [alice, admin] = [await server.user("Alice"), await server.admin()];
    const { id: agentId } = await agentIn(server, alice, "pending_review");
    const { agentToken } = await draft(admin);
    const adminsAgent = new Caller(server, agentToken);
    for (const path of ["admin:listAgents", ...moves.map((move) => `admin:${move}Agent`)]) {
      const args = path === "admin:listAgents" ? {} : { agentId };
      for (const caller of [alice, adminsAgent]) {
        await expectRefusal(server, () => caller.call(path, args), {
          code: "forbidden",
          message: "Not authorized for this action",
        });
      }
    }
  });

  test("is made once, however many admins decide at once", async () => {
    const [alice, admin] = [await server.user("Alice"), await server.admin()];
    const { id: agentId } = await agentIn(server, alice, "pending_review");
    const before = (await server.nobody.call("marketplace:browse")).total;
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, index) =>
        admin.call(index % 2 === 0 ? "admin:approveAgent" : "admin:rejectAgent", { agentId }),
      ),
    );
    const won = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? outcome.value.status : []));
    expect(won).toHaveLength(1);
    const listedNow = Number(won[0] === "active");
    expect(await server.nobody.call("marketplace:browse")).toMatchObject({ total: before + listedNow });
  });
});

describe.each(databases)("admin:listAgents on %s", (database) => {
  const server = useServer(database);

  test("shows what was submitted, by state, with its owner", async () => {
    const [alice, admin] = [await server.user("Alice"), await server.admin()];
    const ids: Partial<Record<State, string[]>> = {};
    for (const state of [...states, "pending_review"] as const) {
      ids[state] = [...(ids[state] ?? []), (await agentIn(server, alice, state)).id];
      await server.advance(1);
    }
    const idsOf = async (args: object) => {
      const { data, total } = await admin.call("admin:listAgents", args);
      for (const { owner } of data) expect(owner).toEqual(ownerOf(alice));
      return { ids: data.map(({ id }: { id: string }) => id), total };
    };
    for (const status of ["pending_review", "active", "rejected", "suspended"] as const) {
      expect(await idsOf({ status })).toEqual({ ids: ids[status], total: ids[status]?.length });
    }
    const all = await idsOf({});
    expect(all.total).toBe(5);
    expect(new Set(all.ids)).toEqual(
      new Set(Object.entries(ids).flatMap(([state, of]) => (state === "none" ? [] : of))),
    );
    expect(await idsOf({ page: 2, limit: 2 })).toEqual({ ids: all.ids.slice(2, 4), total: 5 });
    expect(await idsOf({ status: "pending_review", page: 2, limit: 1 })).toEqual({
      ids: ids.pending_review?.slice(1),
      total: 2,
    });
    expect(await idsOf({ agentId: ids.rejected?.[0] })).toEqual({ ids: ids.rejected, total: 1 });
    expect(await idsOf({ page: 1_000_000, limit: 100 })).toEqual({ ids: [], total: 5 });
  });

  test("refuses a state that no profile has", async () => {
    const admin = await server.admin();
    await expectInvalid(server, () => admin.call("admin:listAgents", { status: "draft" }), "status");
  });
});
