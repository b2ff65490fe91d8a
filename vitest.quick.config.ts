import { defineConfig, mergeConfig } from "vitest/config";
import whole from "./vitest.config.js";

/** What takes long, or needs more than Node. */
const leftOut = {
  "in a browser": ["test/**/*.browser.test.ts"],
  "several processes": ["test/processes/**"],
  "sockets and live queries": ["test/adapters/sockets/**", "test/adapters/live/**", "test/runtime/limits.test.ts"],
  "commands and scripts": ["test/scripts/**", "test/demo.test.ts", "test/adapters/documents/**"],
  "what must hold on every surface: matrices, races, fuzz, attackers, live worlds": ["test/conformance/**"],
  "hundreds of lives, and what a crash leaves": [
    "test/functions/model/rules/thread-states.test.ts",
    "test/functions/events/intro*.test.ts",
    "test/runtime/store/durability.test.ts",
  ],
};

/** `npm run test:quick`: what a change breaks most often, on SQLite, within a minute. */
export default mergeConfig(
  whole,
  defineConfig({
    test: {
      exclude: Object.values(leftOut).flat(),
      env: { TEST_QUICK: "1" },
      reporters: [
        "dot",
        {
          onTestRunEnd() {
            console.log("\nLeft out; npm run check has it:\n  everything on PostgreSQL");
            for (const [what, patterns] of Object.entries(leftOut)) console.log(`  ${what} (${patterns.join(", ")})`);
          },
        },
      ],
    },
  }),
);
