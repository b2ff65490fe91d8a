import { expect, test } from "vitest";
import { LargeRequests } from "../../runtime/large-requests.js";
import { largeRequests } from "../../runtime/limits.js";
import { ManualClock } from "../support/clock.js";

const MiB = 1024 * 1024;
const turnOfEventLoop = () => new Promise((resolve) => setImmediate(resolve));

test("what is small waits for nobody; of large ones that come together one has its turn at a time, by address", async () => {
  const open = new LargeRequests(new ManualClock(), true);
  const had: string[] = [];
  const ask = (address: string) => void open.turn(address, MiB)?.then(() => had.push(address));
  for (const address of ["a", "a", "a", "b"]) ask(address);
  expect(open.turn("a", largeRequests.smallBytes)).toBeUndefined();
  let before = 0;
  while (had.length < 4) {
    await turnOfEventLoop();
    expect(had.length - before).toBeLessThanOrEqual(1);
    before = had.length;
  }
  expect(had).toEqual(["a", "b", "a", "a"]);
});

test("those that come one after the other in one turn of the event loop are not dealt with in it", async () => {
  const open = new LargeRequests(new ManualClock(), false);
  let had = 0;
  for (const address of ["a", "b", "c"]) {
    setImmediate(
      () =>
        void open.turn(address, MiB)?.then(() => {
          had += 1;
        }),
    );
  }
  await turnOfEventLoop();
  expect(had).toBe(1);
  while (had < 3) await turnOfEventLoop();
});

test("an address that used its budget up waits; others do not, and where rates are off nobody does", async () => {
  const clock = new ManualClock();
  const [open, unbounded] = [new LargeRequests(clock, true), new LargeRequests(clock, false)];
  const burst = largeRequests.mostMs / largeRequests.msPerMiB;
  for (let count = 0; count < burst; count += 1) {
    await open.turn("a", MiB);
    await unbounded.turn("a", MiB);
  }
  await turnOfEventLoop();
  await turnOfEventLoop();
  let isLate = false;
  const late = open.turn("a", MiB)?.then(() => {
    isLate = true;
  });
  await open.turn("b", MiB);
  await unbounded.turn("a", MiB);
  expect(isLate).toBe(false);
  clock.jump(1_000);
  clock.runDue();
  await late;
});
