import { describe, expect, test } from "vitest";
import { z } from "zod";
import { answerOf, Subscriptions } from "../../../adapters/live/subscriptions.js";
import type { Call, Outcome } from "../../../runtime/call/call.js";
import { query } from "../../../runtime/call/define.js";
import { Registry } from "../../../runtime/call/registry.js";
import { openBudgets } from "../../../runtime/limits.js";
import { type Seen, Watches } from "../../../runtime/live/watches.js";
import { Timestamps } from "../../../runtime/timestamps.js";
import { Turns } from "../../../runtime/turns.js";
import { ManualClock } from "../../support/clock.js";

const nothing = {
  auth: "none" as const,
  summary: "Answers with what was stored.",
  args: {},
  returns: z.number(),
  handler: async () => 0,
};

/** A query whose runs the test lets go on one by one; each answers with what was stored when it began. */
function world(sharedDatabase = false, refreshMs?: number) {
  const clock = new ManualClock();
  const live = new Watches();
  const waiting: (() => void)[] = [];
  const state = { stored: 0, runs: 0 };
  const dispatch = async ({ finish }: Call, seen?: Seen): Promise<Outcome> => {
    const value = state.stored;
    seen?.reads.slices.set("events", new Map([[null, new Set<string>()]]));
    state.runs += 1;
    await new Promise<void>((resolve) => waiting.push(resolve));
    return { status: "success", value: finish?.(value, { kind: "anonymous" }) };
  };
  const registry = new Registry({ a: { b: query({ ...nothing, ...(refreshMs === undefined ? {} : { refreshMs }) }) } });
  const subscriptions = new Subscriptions({
    dispatcher: { dispatch },
    registry,
    watches: live,
    held: openBudgets(clock, true),
    timestamps: new Timestamps(clock),
    clock,
    turns: new Turns({ clock, atOnce: 1, perCaller: 1, togetherMs: 0, budget: undefined }),
    sharedDatabase,
  });
  const subscribe = () => {
    const heard = { touched: 0, ready: 0, wants: false };
    const subscription = subscriptions.subscribe(
      { path: "a:b", args: "[{}]", caller: undefined, secret: undefined, address: "x" },
      {
        touched: () => {
          heard.touched += 1;
          return heard.wants;
        },
        ready: () => {
          heard.ready += 1;
        },
        delayed: () => {},
      },
    );
    const ask = async () => {
      const answer = await answerOf(subscription);
      return answer && (answer.failure ?? JSON.parse(answer.json));
    };
    return { heard, ask, end: () => subscription.end() };
  };
  const commit = (value: number) => {
    state.stored = value;
    // Without its writes it concerns everybody.
    live.committed(undefined);
  };
  const letGo = async () => {
    waiting.shift()?.();
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  };
  return { subscriptions, live, clock, state, subscribe, commit, letGo };
}

describe("live queries that subscribers share", () => {
  test("one run answers all who ask while it runs, and later ones until something is committed", async () => {
    const { state, subscribe, commit, letGo } = world();
    const [one, other] = [subscribe(), subscribe()];
    const asked = [one.ask(), other.ask()];
    await letGo();
    expect(await Promise.all(asked)).toEqual([0, 0]);
    expect(await one.ask()).toBe(0);
    expect(await subscribe().ask()).toBe(0);
    expect(state.runs).toBe(1);
    commit(1);
    expect([one.heard.touched, other.heard.touched]).toEqual([1, 1]);
    const again = one.ask();
    await letGo();
    expect(await again).toBe(1);
  });

  test("who would ask at once is told when there is an answer, and for those who would not nothing is read", async () => {
    const { state, subscribe, commit, letGo } = world();
    const [one, other] = [subscribe(), subscribe()];
    const asked = one.ask();
    await letGo();
    await asked;
    commit(1);
    await letGo();
    expect([state.runs, one.heard.ready]).toEqual([1, 0]);
    const again = one.ask();
    await letGo();
    await again;
    other.heard.wants = true;
    commit(2);
    await letGo();
    expect([state.runs, other.heard.ready]).toEqual([3, 0]);
    await letGo();
    expect([state.runs, other.heard.ready]).toEqual([3, 1]);
    expect(await other.ask()).toBe(2);
    expect(state.runs).toBe(3);
  });

  test("an answer that goes on with the clock is asked for anew every so often, as long as somebody is there", async () => {
    const { clock, state, subscribe, letGo } = world(false, 60_000);
    const one = subscribe();
    for (let minutes = 1; minutes <= 3; minutes += 1) {
      const asked = one.ask();
      await letGo();
      expect(await asked).toBe(minutes - 1);
      clock.jump(59_999);
      expect(clock.runDue()).toBe(false);
      clock.jump(1);
      state.stored = minutes;
      expect(clock.runDue()).toBe(true);
      expect(one.heard.touched).toBe(minutes);
    }
    const asked = one.ask();
    await letGo();
    await asked;
    one.end();
    clock.jump(60_000);
    expect(clock.runDue()).toBe(false);
  });

  test("who asks after a commit never gets the answer of a run from before it", async () => {
    const { state, subscribe, commit, letGo } = world();
    const [early, late] = [subscribe(), subscribe()];
    const first = early.ask();
    await Promise.resolve();
    commit(1);
    const second = late.ask();
    await letGo();
    expect(await first).toBe(0);
    await letGo();
    expect(await second).toBe(1);
    expect(state.runs).toBe(2);
    // The first was told that what it got may be outdated.
    expect(early.heard.touched + late.heard.touched).toBeGreaterThan(0);
  });

  test("where other processes write, who is new reads anew, and what that finds all are told", async () => {
    const { state, subscribe, letGo } = world(true);
    const one = subscribe();
    const first = one.ask();
    await letGo();
    expect(await first).toBe(0);
    state.stored = 1;
    const other = subscribe();
    const second = other.ask();
    await letGo();
    expect(await second).toBe(1);
    expect(one.heard.touched).toBe(1);
    expect(await one.ask()).toBe(1);
    expect(state.runs).toBe(2);
  });

  test("the last to leave leaves nothing behind", async () => {
    const { subscriptions, live, subscribe, letGo } = world();
    const [one, other] = [subscribe(), subscribe()];
    const asked = one.ask();
    await letGo();
    await asked;
    one.end();
    expect([subscriptions.queries, live.isWatched]).toEqual([1, true]);
    other.end();
    expect([subscriptions.queries, live.isWatched]).toEqual([0, false]);

    const hasty = subscribe();
    void hasty.ask();
    hasty.end();
    await letGo();
    expect([subscriptions.queries, live.isWatched]).toEqual([0, false]);
  });
});
