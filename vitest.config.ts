import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** The largest files first, and before them the one that waits most of a minute, so that nobody waits for it at the end. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const waits = (file: TestSpecification) => Number(file.moduleId.endsWith("/processes/stopped.test.ts"));
    return (await super.sort(files)).sort((one, other) => waits(other) - waits(one));
  }
}

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
    sequence: { sequencer: LongestFirst },
    // Not one less, as is the default. With more, transactions that race take so long that they give up.
    maxWorkers: availableParallelism(),
  },
});
