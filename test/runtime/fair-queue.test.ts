import { describe, expect, test } from "vitest";
import { FairQueue } from "../../runtime/fair-queue.js";

class Full extends Error {}

/** A queue whose work ends when the test says so. */
function manualQueue(limits: { atOnce: number; atOnceOfOne?: number; waiting: number; waitingOfOne: number }) {
  const queue = new FairQueue({ atOnceOfOne: limits.atOnce, ...limits }, () => new Full());
  const started: string[] = [];
  const refused: string[] = [];
  const running: (() => void)[] = [];
  return {
    started,
    refused,
    ask: (who: string, name = who) =>
      void queue
        .run(who, () => {
          started.push(name);
          return new Promise<void>((resolve) => running.push(resolve));
        })
        .catch(() => refused.push(name)),
    /** Ends what has run for longest, and lets the next one begin. */
    endOne: async () => {
      running.shift()?.();
      await new Promise(setImmediate);
    },
  };
}

describe("a fair queue", () => {
  test("whoever asks for much waits behind itself: the others have the next turns, each in its order", async () => {
    const { ask, endOne, started } = manualQueue({ atOnce: 1, waiting: 100, waitingOfOne: 50 });
    for (let count = 0; count < 20; count += 1) ask("flood", `flood ${count}`);
    ask("alice", "alice 1");
    ask("alice", "alice 2");
    ask("bob", "bob 1");
    for (let count = 0; count < 7; count += 1) await endOne();
    expect(started).toEqual(["flood 0", "flood 1", "alice 1", "bob 1", "flood 2", "alice 2", "flood 3", "flood 4"]);
  });

  test("no more than its places at once, and all that waits is done in the end", async () => {
    const { ask, endOne, started } = manualQueue({ atOnce: 2, waiting: 100, waitingOfOne: 50 });
    for (let count = 0; count < 10; count += 1) ask(`caller ${count % 3}`);
    await new Promise(setImmediate);
    expect(started).toHaveLength(2);
    for (let count = 0; count < 10; count += 1) await endOne();
    expect(started).toHaveLength(10);
    ask("late");
    await new Promise(setImmediate);
    expect(started.at(-1)).toBe("late");
  });

  test("one who has as much waiting as one may is refused, and nobody else", async () => {
    const { ask, refused } = manualQueue({ atOnce: 1, waiting: 100, waitingOfOne: 3 });
    for (let count = 0; count < 6; count += 1) ask("flood", `flood ${count}`);
    ask("alice");
    await new Promise(setImmediate);
    expect(refused).toEqual(["flood 4", "flood 5"]);
  });

  test("a full queue makes room for a newcomer, at the cost of who has the most waiting", async () => {
    const { ask, endOne, refused, started } = manualQueue({ atOnce: 1, waiting: 4, waitingOfOne: 4 });
    for (let count = 0; count < 5; count += 1) ask("flood", `flood ${count}`);
    ask("alice");
    ask("bob");
    await new Promise(setImmediate);
    expect(refused).toEqual(["flood 4", "flood 3"]);
    // Now each would have as much as the others: there is nobody to make room.
    ask("alice", "alice again");
    ask("carol");
    await new Promise(setImmediate);
    expect(refused).toEqual(["flood 4", "flood 3", "alice again", "flood 2"]);
    for (let count = 0; count < 5; count += 1) await endOne();
    expect(started).toEqual(["flood 0", "flood 1", "alice", "bob", "carol"]);
  });

  test("one has no more places than its own, and whoever comes finds the rest", async () => {
    const { ask, endOne, started } = manualQueue({ atOnce: 4, atOnceOfOne: 2, waiting: 10, waitingOfOne: 10 });
    for (let count = 0; count < 4; count += 1) ask("flood", `flood ${count}`);
    ask("alice");
    ask("bob");
    ask("carol");
    await new Promise(setImmediate);
    expect(started).toEqual(["flood 0", "flood 1", "alice", "bob"]);
    await endOne();
    await endOne();
    await endOne();
    await endOne();
    expect(started).toEqual(["flood 0", "flood 1", "alice", "bob", "flood 2", "carol", "flood 3"]);
  });

  test("work that fails gives its place back", async () => {
    const queue = new FairQueue({ atOnce: 1, atOnceOfOne: 1, waiting: 1, waitingOfOne: 1 }, () => new Full());
    await expect(queue.run("alice", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await queue.run("alice", async () => "yes")).toBe("yes");
  });
});
