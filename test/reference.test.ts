import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { withReference } from "../scripts/reference.js";

test("the README's tables of functions, codes, configuration and limits are the code's", () => {
  const readme = readFileSync(join(import.meta.dirname, "..", "README.md"), "utf8");
  expect(readme, "run npm run reference").toBe(withReference(readme));
});
