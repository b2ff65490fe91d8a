/** Turns: who is served when, counted in runs. */
import { describe, expect, test } from "vitest";
import { type Budget, type Turn, Turns, type TurnsParts } from "../../runtime/turns.js";
import { ManualClock } from "../support/clock.js";

/** Turns whose runs end when the test says so. `order` is who had a run, and "others" where they were let through. */
function world(parts: Partial<TurnsParts> = {}) {
  const clock = new ManualClock();
  const order: string[] = [];
  const running: { who: string; end: (tookMs: number) => void }[] = [];
  let letGo: (() => void) | undefined;
  const turns = new Turns({
    clock,
    atOnce: 1,
    perCaller: 1,
    togetherMs: 0,
    budget: undefined,
    letOthersThrough: (then) => {
      order.push("others");
      letGo = then;
    },
    ...parts,
  });
  const add = (who: string | string[], expectedMs?: number): Turn =>
    turns.add(typeof who === "string" ? [who] : who, expectedMs, () => {
      const name = String(who);
      order.push(name);
      return new Promise((end) => running.push({ who: name, end }));
    });
  const settle = async () => {
    for (let times = 0; times < 5; times += 1) await Promise.resolve();
  };
  /** Ends the run that began first. */
  const end = async (tookMs = 1) => {
    running.shift()?.end(tookMs);
    await settle();
  };
  /** Ends all there are, one after the other, until nothing runs. */
  const endAll = async (tookMs = 1) => {
    while (running.length > 0 || letGo) {
      if (running.length > 0) await end(tookMs);
      const go = letGo;
      letGo = undefined;
      go?.();
    }
  };
  return { turns, clock, order, running, add, end, endAll };
}

const times = (count: number, work: () => void) => {
  for (let time = 0; time < count; time += 1) work();
};

describe("turns", () => {
  test("the first run begins at once, and each caller has one after the other", async () => {
    const { order, add, endAll } = world();
    times(4, () => add("alice"));
    expect(order).toEqual(["alice"]);
    add("bob");
    add("carol");
    add("bob");
    await endAll(0.1);
    expect(order).toEqual(["alice", "bob", "carol", "alice", "bob", "alice", "alice"]);
  });

  test("who comes while another's thousand wait has the very next run", async () => {
    const { order, add, end, endAll } = world();
    times(1_000, () => add("alice"));
    times(9, () => add("dave"));
    for (let ended = 0; ended < 10; ended += 1) await end(0.1);
    const before = order.length;
    add("bob");
    await end(0.1);
    await end(0.1);
    expect(order.slice(before)).toContain("bob");
    await endAll(0.1);
    expect(order.filter((who) => who === "alice")).toHaveLength(1_000);
  });

  test("behind each slice of work everything else is let through, also where the work is one caller's", async () => {
    const long = world();
    times(4, () => long.add("alice"));
    await long.endAll(10);
    expect(long.order).toEqual(["alice", "others", "alice", "others", "alice", "others", "alice"]);
    const short = world();
    times(20, () => short.add("alice"));
    await short.endAll(1);
    expect(short.order.filter((who) => who === "others")).toHaveLength(4);
  });

  test("what is known to be short begins together, what is not known or long alone", async () => {
    const serial = { atOnce: 16, perCaller: 16, togetherMs: 4 };
    const unknown = world(serial);
    times(2, () => unknown.add("alice"));
    expect(unknown.running).toHaveLength(1);
    const short = world(serial);
    times(40, () => short.add("alice", 1));
    expect(short.running).toHaveLength(4);
    const many = world(serial);
    times(40, () => many.add("alice", 0.01));
    expect(many.running).toHaveLength(16);
    const long = world(serial);
    times(2, () => long.add("alice", 1));
    long.add("alice", 50);
    long.add("alice", 1);
    expect(long.running).toHaveLength(2);
    await long.end();
    expect(long.running).toHaveLength(1);
    await long.end();
    // The long one, and nobody beside it.
    expect(long.running).toHaveLength(1);
  });

  test("where several run at once, no caller has more than its share of them", async () => {
    const { running, add, end } = world({ atOnce: 6, perCaller: 2, togetherMs: Number.POSITIVE_INFINITY });
    times(100, () => add("alice"));
    times(100, () => add("bob"));
    expect(running.map(({ who }) => who)).toEqual(["alice", "alice", "bob", "bob"]);
    add("carol");
    expect(running).toHaveLength(5);
    await end(0.1);
    expect(running.map(({ who }) => who)).toEqual(["alice", "bob", "bob", "carol", "alice"]);
  });

  test("a run that fails ends as any other", async () => {
    const { turns, order, add, endAll } = world();
    turns.add(["alice"], undefined, () => Promise.reject(new Error("no")));
    add("bob");
    await Promise.resolve();
    await endAll();
    expect(order).toEqual(["bob"]);
  });

  test("one that is withdrawn before its turn has none", async () => {
    const { turns, order, add, endAll } = world();
    add("alice");
    const withdrawn = [add("bob"), add("alice")];
    for (const turn of withdrawn) turn.withdraw();
    add("carol");
    await endAll();
    for (const turn of withdrawn) turn.withdraw();
    expect(order).toEqual(["alice", "carol"]);
    // Nobody is kept for nothing.
    times(3_000, () => add(`stranger ${Math.random()}`).withdraw());
    expect(turns.size).toBeLessThan(1_100);
  });

  test("what several wait for comes with the first of their turns, once", async () => {
    const { order, add, endAll } = world();
    times(10, () => add("alice"));
    const shared = add(["alice", "bob"]);
    const joined = add("alice");
    joined.join("carol");
    await endAll(0.1);
    expect(order.slice(0, 4)).toEqual(["alice", "alice,bob", "alice", "alice"]);
    expect(order).toHaveLength(12);
    shared.join("dave");
    expect(order).toHaveLength(12);
  });

  describe("with a budget", () => {
    const budget: Budget = { msPerSecond: 100, mostMs: 1_000 };

    test("who has used it up rests while others go on, and has all its runs in the end", async () => {
      const { clock, order, add, endAll } = world({ budget });
      times(50, () => add("alice"));
      await endAll(100);
      const count = (who: string) => order.filter((one) => one === who).length;
      expect(count("alice")).toBe(10);
      times(5, () => add("bob"));
      await endAll(100);
      expect([count("alice"), count("bob")]).toEqual([10, 5]);
      // Each second is good for one more, as one takes all that was saved.
      for (let seconds = 1; count("alice") < 50; seconds += 1) {
        expect(seconds).toBeLessThan(60);
        clock.jump(1_000);
        clock.runDue();
        await endAll(100);
        expect(count("alice")).toBeLessThanOrEqual(11 + seconds);
      }
    });

    test("what a caller shares with another comes in the other's turn while it rests, and is the other's to pay", async () => {
      const { order, add, endAll } = world({ budget });
      times(20, () => add("alice"));
      add(["alice", "bob"]);
      await endAll(100);
      expect(order).toContain("alice,bob");
      expect(order.filter((who) => who === "alice")).toHaveLength(10);
    });

    test("leaving and coming again makes nobody new", async () => {
      const { turns, clock, order, add, endAll } = world({ budget });
      add("alice");
      await endAll(5_000);
      for (let stranger = 0; stranger < 5_000; stranger += 1) add(`stranger ${stranger}`).withdraw();
      add("alice");
      await endAll();
      expect(order.filter((who) => who === "alice")).toHaveLength(1);
      clock.jump(60_000);
      clock.runDue();
      await endAll();
      expect(order.filter((who) => who === "alice")).toHaveLength(2);
      expect(turns.size).toBeLessThan(2_100);
    });
  });
});
