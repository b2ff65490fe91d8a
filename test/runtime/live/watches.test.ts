/** A commit that touches many: who is touched is known at once, and a part of them is woken in each turn of the loop. */
import { describe, expect, test } from "vitest";
import { ReadSet, WriteSet } from "../../../runtime/live/read-and-write-sets.js";
import { ReplyCache } from "../../../runtime/live/reply-cache.js";
import { type Watch, Watches } from "../../../runtime/live/watches.js";

function reading(agentId: string) {
  const reads = new ReadSet();
  reads.slices.set("agents", new Map([["agentId", new Set([agentId])]]));
  return { reads, asOf: 0, usedClock: false, changesAt: undefined, tookMs: 0, caller: undefined };
}

function writing(agentId: string): WriteSet {
  const writes = new WriteSet();
  writes.tables.set("agents", new Map([["agentId", new Set([agentId])]]));
  return writes;
}

function world(many: number) {
  const live = new Watches();
  const woken: string[] = [];
  const watch = (agentId: string): Watch => live.watch(reading(agentId), () => woken.push(agentId));
  const watches = Array.from({ length: many }, () => watch("popular"));
  return { live, woken, watch, watches };
}

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

describe("a commit that touches a thousand", () => {
  test("wakes some of them at once and the rest in later turns, each once", async () => {
    const { live, woken, watches } = world(1_000);
    live.committed(writing("popular"));
    expect(watches.every(({ isTouched }) => isTouched)).toBe(true);
    expect(woken.length).toBeLessThan(500);
    const first = woken.length;
    live.committed(writing("popular"));
    expect(woken).toHaveLength(first);
    await nextTurn();
    expect(woken.length).toBeGreaterThan(first);
    expect(woken.length).toBeLessThan(1_000);
    await live.awake();
    expect(woken).toHaveLength(1_000);
    expect([live.woken, live.isWatched, live.awake()]).toEqual([1_000, false, undefined]);
  });

  test("does not hold up whom the next commit touches", async () => {
    const { live, woken, watch } = world(1_000);
    watch("lonely");
    live.committed(writing("popular"));
    live.committed(writing("lonely"));
    expect(woken).toContain("lonely");
    await live.awake();
    expect(woken).toHaveLength(1_001);
  });

  test("wakes nobody who has left meanwhile", async () => {
    const { live, woken, watches } = world(1_000);
    live.committed(undefined);
    const before = woken.length;
    for (const watch of watches) watch.end();
    await live.awake();
    expect(woken).toHaveLength(before);
    expect(live.isWatched).toBe(false);
  });

  test("leaves no kept reply to be found that is not woken yet", async () => {
    const { live } = world(1_000);
    const replies = new ReplyCache(live, () => 0);
    const about = { countedAs: null, expiresAt: undefined, about: {} };
    for (const agentId of ["popular", "lonely"]) {
      replies.keep(agentId, { body: new Uint8Array(1), ...about }, reading(agentId), replies.generation);
    }
    live.committed(writing("popular"));
    expect(replies.find("popular")).toBeUndefined();
    expect(replies.find("lonely")).toBeDefined();
    await live.awake();
  });
});

test("a reply that was on its way when a credential ended is not kept for whoever still has that", () => {
  const replies = new ReplyCache(new Watches(), () => 0);
  const reply = { body: new Uint8Array(1), countedAs: null, expiresAt: undefined, about: {} };
  const { generation } = replies;
  replies.clear();
  replies.keep("asked with it", reply, reading("agent"), generation);
  expect(replies.find("asked with it")).toBeUndefined();
  replies.keep("asked afterwards", reply, reading("agent"), replies.generation);
  expect(replies.find("asked afterwards")).toBeDefined();
});
