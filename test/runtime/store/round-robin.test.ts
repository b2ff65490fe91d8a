import { expect, test } from "vitest";
import { RoundRobin } from "../../../runtime/store/round-robin.js";

test("each caller's come in their order, and the callers in turns, from one take to the next", () => {
  const queue = new RoundRobin<string>();
  for (let number = 0; number < 100; number += 1) queue.push("alice", `alice ${number}`);
  queue.push("bob", "bob 0");
  expect(queue.take(3)).toEqual(["alice 0", "bob 0", "alice 1"]);
  queue.push("carol", "carol 0");
  queue.push("carol", "carol 1");
  expect(queue.take(4)).toEqual(["alice 2", "carol 0", "alice 3", "carol 1"]);
  expect(queue.length).toBe(96);
  expect(queue.take(200)).toHaveLength(96);
  expect([queue.length, queue.take(5)]).toEqual([0, []]);
});

test("what is put back comes first, in its order", () => {
  const queue = new RoundRobin<string>();
  for (const item of ["one", "two", "three"]) queue.push("alice", item);
  queue.push("bob", "his");
  const [, ...rest] = queue.take(3);
  queue.unshift(...rest);
  expect(queue.length).toBe(3);
  expect(queue.take(2)).toEqual(rest);
  expect(queue.take(2)).toEqual(["three"]);
});
