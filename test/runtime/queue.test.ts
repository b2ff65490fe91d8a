/** Turns: calls with a key in common run one after the other, in the order in which they came. */
import { expect, test } from "vitest";
import { InTurn } from "../../runtime/queue.js";

const turns = new InTurn();

/** Work that ends when the test says so. */
function held() {
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { ended, end };
}

test("the same key waits, another does not, and a failure lets the next one go on", async () => {
  const log: string[] = [];
  const first = held();
  const one = turns.run(["a"], async () => {
    log.push("one starts");
    await first.ended;
    throw new Error("one fails");
  });
  const two = turns.run(["a"], async () => log.push("two"));
  await turns.run(["b"], async () => log.push("other"));
  expect(log).toEqual(["one starts", "other"]);
  first.end();
  await expect(one).rejects.toThrow("one fails");
  await two;
  expect(log).toEqual(["one starts", "other", "two"]);
});

test("several keys in any order never wait for each other in a ring", async () => {
  const done: number[] = [];
  await Promise.all(
    Array.from({ length: 100 }, (_, index) =>
      turns.run(index % 2 === 0 ? ["wallet", "agent"] : ["agent", "wallet"], async () => {
        await Promise.resolve();
        done.push(index);
      }),
    ),
  );
  expect(done).toEqual(Array.from({ length: 100 }, (_, index) => index));
});

test("a call without a common key is not held up by one that has several", async () => {
  const first = held();
  const both = turns.run(["a", "b"], () => first.ended);
  const later = turns.run(["b"], async () => "later");
  expect(await turns.run(["c"], async () => "free")).toBe("free");
  first.end();
  await both;
  expect(await later).toBe("later");
});
