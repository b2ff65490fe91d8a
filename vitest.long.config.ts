import { defineConfig } from "vitest/config";

/** The tests that take minutes: kills, cuts and restarts in the middle of the load, hours of use in a few of them, and what has a longer form. */
export default defineConfig({
  test: {
    include: [
      "test/long/**/*.test.ts",
      "test/functions/model/money/ledger-lives.test.ts",
      "test/functions/model/money/money.test.ts",
      "test/functions/model/rules/thread-states.test.ts",
      "test/functions/events/intro-lives.test.ts",
      "test/conformance/races.test.ts",
      "test/conformance/fuzz.test.ts",
      "test/conformance/hostile/bytes-*.test.ts",
      "test/conformance/hostile/reads.test.ts",
      "test/conformance/live.test.ts",
      "test/conformance/hostile/live-turns.test.ts",
      "test/conformance/stored-text.test.ts",
    ],
    env: { TEST_LONG: "1" },
    globalSetup: "test/support/global-setup.ts",
    testTimeout: 15 * 60_000,
    hookTimeout: 120_000,
    pool: "forks",
    // One after the other: they measure time and memory.
    fileParallelism: false,
  },
});
