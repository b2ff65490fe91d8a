import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/long/**", "node_modules/**"],
    globalSetup: "test/support/global-setup.ts",
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: "forks",
    // No module keeps state, so a worker loads the product once and not anew for each file: a third of all the time.
    isolate: false,
    // One more than there are cores: some files mostly wait, for a lease to run out or a process to end.
    maxWorkers: availableParallelism() + 1,
  },
});
