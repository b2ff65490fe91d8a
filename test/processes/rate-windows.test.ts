/** The rate of a caller who knows when the windows of two processes begin. */
import { expect, onTestFinished, test, vi } from "vitest";
import { systemClock } from "../../runtime/clock.js";
import { rates } from "../../runtime/limits.js";
import { RateLimits, type SharedCounting } from "../../runtime/rate-limits.js";

/** Two processes that tell each other at once. The database is not asked by what is counted here. */
function startTwoLimits(): [RateLimits, RateLimits] {
  const both: RateLimits[] = [];
  const shared = (other: number): SharedCounting => ({
    query: async () => ({}),
    tell: (notice) => both[other]?.counted(notice),
    pseudonym: (who) => who,
  });
  both.push(new RateLimits(true, systemClock, shared(1)), new RateLimits(true, systemClock, shared(0)));
  return both as [RateLimits, RateLimits];
}

test("calls that alternate at the ends of the windows get no second rate", async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const [one, other] = startTwoLimits();
  const { points, seconds } = rates.calls;
  let passed = 0;
  const spend = async (limits: RateLimits) => {
    for (let call = 0; call < points + 1; call += 1) {
      const isPassed = await limits.take("calls", "Alice").then(
        () => true,
        () => false,
      );
      if (!isPassed) break;
      passed += 1;
    }
  };
  const minutes = 10;
  // The window of the other begins a second before that of the one.
  await other.take("calls", "Alice");
  vi.advanceTimersByTime(1_000);
  for (let minute = 0; minute < minutes; minute += 1) {
    await spend(one);
    vi.advanceTimersByTime((seconds - 1) * 1_000);
    await spend(other);
    vi.advanceTimersByTime(1_000);
  }
  expect(passed).toBeLessThanOrEqual((minutes + 1) * points * (1 + 1 / 16));
});
