/** The state of a live client alone: frames go in, what is to be done comes out, and frames come out. No socket, no timer. */
import { describe, expect, test } from "vitest";
import { Answer, writeValue } from "../../../adapters/live/answers.js";
import type { WatchedQuery } from "../../../adapters/live/query-set.js";
import { SyncBytes } from "../../../adapters/live/sync-bytes.js";
import { callFailed, type ModifyQuerySet, parseInbound } from "../../../adapters/live/sync-frames.js";
import { mostDone, type Round, SyncState } from "../../../adapters/live/sync-state.js";
import { CredentialLapsed } from "../../../runtime/call/caller.js";
import type { Caller } from "../../../runtime/context.js";
import { CallError } from "../../../runtime/errors.js";
import { heldBytes, openBudgets, sizes } from "../../../runtime/limits.js";
import { ManualClock } from "../../support/clock.js";

const alice = { kind: "agent", agentId: "agent_a", ownerId: null, owner: null, credentialId: "agent_1" } as Caller;

/** What a text frame says, without its head. */
const said = (frame: Buffer | undefined) =>
  frame && JSON.parse(frame.subarray(frame[1] === 126 ? 4 : frame[1] === 127 ? 10 : 2).toString());

const instantOf = (ts: string) => Buffer.from(ts, "base64").readBigUInt64LE();

const answer = (value: unknown, readAt: bigint) => new Answer(writeValue(value), undefined, "", readAt);

function world() {
  const held = openBudgets(new ManualClock(), true);
  const state = new SyncState(new SyncBytes(held, "192.0.2.1", () => {}));
  let [now, version] = [100n, 0];
  const take = (...modifications: object[]) => {
    version += 1;
    const frame = { type: "ModifyQuerySet", baseVersion: version - 1, newVersion: version, modifications };
    return state.modify(parseInbound(Buffer.from(JSON.stringify(frame))) as ModifyQuerySet);
  };
  const begin = () => {
    const round = state.beginRound(() => now++);
    if (!round) throw new Error("There is no room");
    return round;
  };
  /** Each query that is due answers by its path: what is stored there, or nothing. */
  const finish = (round: Round, answers: Record<string, Answer | undefined>) => {
    for (const [index, { query }] of round.due.entries()) state.answered(round, index, answers[query.udfPath]);
    return state.endRound(round);
  };
  const catchUp = (answers: Record<string, Answer | undefined> = {}) => said(finish(begin(), answers).frame);
  return { held, state, take, begin, finish, catchUp };
}

const add = (queryId: number, udfPath: string, args: unknown[] = [{}]) => ({ type: "Add", queryId, udfPath, args });
const remove = (queryId: number) => ({ type: "Remove", queryId });
const reply = callFailed("Mutation", 1, { status: "fault" }, "0123456789abcdef");

describe("what is to be done next", () => {
  test("nothing before queries are asked for or waited for, and then a Transition", () => {
    const { state, take } = world();
    expect(state.owe()).toBe(true);
    expect(state.owe()).toBe(false);
    expect(state.next).toBe("nothing");
    take();
    expect(state.next).toBe("say");
    const waiting = world().state;
    waiting.owe();
    waiting.begin();
    expect(waiting.next).toBe("say");
  });

  test("a doubted credential goes before everything that is to be said", () => {
    const { state, take } = world();
    take(add(1, "a:b"));
    state.isDoubted = true;
    expect(state.next).toBe("verify");
    state.become({ secret: "c2c_x", caller: alice });
    expect(state.next).toBe("say");
  });

  test("while its own mutation runs a moment is waited, and behind two frames that nobody takes nothing is said", () => {
    const { state, take } = world();
    take(add(1, "a:b"));
    state.isMutating = true;
    expect(state.next).toBe("say in a moment");
    state.isMutating = false;
    expect([state.wrote(10), state.wrote(10)]).toEqual([true, false]);
    expect(state.next).toBe("nothing");
    state.taken();
    expect(state.next).toBe("say");
  });

  test("a reply is said also where no Transition can be, and frames wait while many replies do", () => {
    const { state } = world();
    state.lacksRoom = true;
    for (let count = 0; count < 1_000; count += 1) state.reply(reply);
    expect([state.next, state.isFull]).toEqual(["say", false]);
    state.reply(reply);
    expect(state.isFull).toBe(true);
    expect(state.takeReplies()).toHaveLength(1_001);
    expect([state.next, state.isFull]).toEqual(["nothing", false]);
  });

  test("a client of which many results are kept comes again once nothing goes on", () => {
    const { state } = world();
    for (let count = 0; count < mostDone; count += 1) state.mutationDone(reply, false);
    expect(state.mayComeAgain).toBe(false);
    for (const each of state.takeReplies()) state.wrote(each.length);
    for (let count = 0; count < mostDone; count += 1) state.taken();
    expect(state.mayComeAgain).toBe(true);
    state.isMutating = true;
    expect(state.mayComeAgain).toBe(false);
  });
});

describe("the query set", () => {
  test("says what to subscribe to and what no more, and every Transition starts where the last one ended", () => {
    const { take, catchUp } = world();
    const { added } = take(add(1, "a:b"), add(2, "c:d"));
    expect(added.map(({ query }) => query.udfPath)).toEqual(["a:b", "c:d"]);
    const first = catchUp({ "a:b": answer(1, 5n), "c:d": answer(2, 6n) });
    expect(first.startVersion).toMatchObject({ querySet: 0, identity: 0 });
    expect(first.modifications.map(({ queryId, value }: never) => [queryId, value])).toEqual([
      [1, 1],
      [2, 2],
    ]);
    expect(take(remove(1)).removed).toEqual([added[0]]);
    const second = catchUp();
    expect(second.startVersion).toEqual(first.endVersion);
    expect(second.modifications).toEqual([{ type: "QueryRemoved", queryId: 1 }]);
    expect(second.endVersion.querySet).toBe(2);
  });

  test("a version that does not follow and a query that is there end the socket; one too many only fails", () => {
    const { state, take } = world();
    const wrong = parseInbound(
      Buffer.from('{"type":"ModifyQuerySet","baseVersion":7,"newVersion":8,"modifications":[]}'),
    );
    expect(state.modify(wrong as ModifyQuerySet).closing).toMatchObject({ code: 1013 });
    expect(take(add(1, "a:b"), add(1, "c:d")).closing).toMatchObject({ code: 1013 });
    const many = world();
    const queries = Array.from({ length: sizes.queriesPerSocket + 1 }, (_, index) => add(index, "a:b"));
    expect(many.take(...queries).added).toHaveLength(sizes.queriesPerSocket);
    const { modifications } = many.catchUp({ "a:b": answer(1, 5n) });
    expect(modifications).toHaveLength(sizes.queriesPerSocket + 1);
    expect(modifications[0]).toMatchObject({ type: "QueryFailed", errorData: { code: "too_large" } });
  });

  test("what is held is counted until it is removed, taken and over", () => {
    const { held, state, take, catchUp } = world();
    take(add(1, "a:b", [{ text: "x".repeat(1_000) }]));
    expect(held.subscriptions.bytes).toBeGreaterThan(1_000);
    catchUp({ "a:b": answer("y".repeat(5_000), 5n) });
    expect(held.answers.bytes).toBe(0);
    state.reply(reply);
    expect(held.answers.bytes).toBe(reply.length);
    take(remove(1));
    expect(held.subscriptions.bytes).toBe(0);
    state.end();
    expect([held.subscriptions.bytes, held.answers.bytes]).toEqual([0, 0]);
  });
});

describe("a Transition", () => {
  test("of one answer alone is dated by it, and the same value again is not said", () => {
    const { state, take, catchUp } = world();
    const [query] = take(add(1, "a:b")).added as [WatchedQuery];
    catchUp({ "a:b": answer(1, 5n) });
    state.touch(query);
    expect(state.isAlone(query)).toBe(true);
    const frame = said(state.tellAlone(query, answer(2, 1_000n)));
    expect(instantOf(frame.endVersion.ts)).toBe(1_000n);
    state.touch(query);
    expect(state.tellAlone(query, answer(2, 2_000n))).toBeUndefined();
    expect(state.next).toBe("nothing");
    state.touch(query);
    state.reply(reply);
    expect(state.isAlone(query)).toBe(false);
  });

  test("that a client waits for is of now; any other is of its answers, unless something was touched meanwhile", () => {
    const { state, take, begin, finish, catchUp } = world();
    const [query] = take(add(1, "a:b")).added as [WatchedQuery];
    expect(instantOf(catchUp({ "a:b": answer(1, 5n) }).endVersion.ts)).toBe(100n);
    state.touch(query);
    expect(instantOf(catchUp({ "a:b": answer(2, 500n) }).endVersion.ts)).toBe(500n);
    state.touch(query);
    const round = begin();
    state.touch(query);
    const late = said(finish(round, { "a:b": answer(3, 900n) }).frame);
    expect(late.modifications).toHaveLength(1);
    expect(instantOf(late.endVersion.ts)).toBe(500n);
    expect(state.next).toBe("say");
  });

  test("without room for all answers brings a part, and only the last part reaches what the client waits for", () => {
    const { state, take, begin, finish, catchUp } = world();
    take(add(1, "a:b"), add(2, "c:d"));
    const part = finish(begin(), { "a:b": answer(1, 5n) });
    expect(part.isPart).toBe(true);
    const { endVersion, modifications } = said(part.frame);
    expect([endVersion.querySet, instantOf(endVersion.ts), modifications.length]).toEqual([0, 0n, 1]);
    expect(state.next).toBe("say");
    const rest = catchUp({ "c:d": answer(2, 6n) });
    expect([rest.endVersion.querySet, rest.modifications.length]).toEqual([1, 1]);
    expect(instantOf(rest.endVersion.ts)).toBeGreaterThanOrEqual(100n);
  });

  test("is not prepared while there is no room for more answers", () => {
    const { held, state, take } = world();
    take(add(1, "a:b"));
    const other = held.answers.hold({ address: "192.0.2.1", caller: undefined });
    other.add(2 * heldBytes.answers.address);
    expect(state.beginRound(() => 1n)).toBeUndefined();
    other.end();
    expect(state.beginRound(() => 1n)).toBeDefined();
  });

  test("is not said to whoever may have lost the right to it, and nothing of it is lost", () => {
    const { state, take, begin, finish, catchUp } = world();
    take(add(1, "a:b"), add(2, "c:d"));
    catchUp({ "a:b": answer(1, 5n), "c:d": answer(2, 6n) });
    take(remove(2));
    for (const query of state.queries) state.touch(query);
    const round = begin();
    state.become({ secret: "c2c_x", caller: alice });
    expect(finish(round, { "a:b": answer("alice's", 7n) }).frame).toBeUndefined();
    const next = catchUp({ "a:b": answer("public", 8n) });
    expect(next.modifications).toEqual([
      { type: "QueryRemoved", queryId: 2 },
      { type: "QueryUpdated", queryId: 1, value: "public", logLines: [], journal: null },
    ]);
  });

  test("with an answer whose credential has lapsed asks who the client is", () => {
    const { state, take, begin, finish } = world();
    take(add(1, "a:b"));
    const lapsed = Answer.ofFailure({ status: "rejected", error: new CredentialLapsed() }, "", 5n);
    expect(finish(begin(), { "a:b": lapsed }).frame).toBeUndefined();
    expect(state.next).toBe("verify");
    const refused = Answer.ofFailure({ status: "refused", error: new CallError("not_found", "No") }, "", 5n);
    expect([lapsed.isLapsed, refused.isLapsed]).toEqual([true, false]);
  });

  test("after a mutation that another process did asks every query anew", () => {
    const { state, take, begin, catchUp } = world();
    take(add(1, "a:b"));
    catchUp({ "a:b": answer(1, 5n) });
    state.mutationDone(reply, true);
    state.owe();
    expect(begin().due.map(({ anew }) => anew)).toEqual([true]);
  });
});
