import { describe, expect, test } from "vitest";
import { shownName } from "../../schema/names.js";

const told = (name: string) =>
  shownName(200)
    .safeParse(name)
    .error?.issues.map(({ message }) => message) ?? [];

describe("a name (its characters on every surface: conformance/shown-names.test.ts)", () => {
  test.each([
    ["at its end", "Alice\u200b", "200B"],
    ["at its beginning", "\ufeffAlice", "FEFF"],
    ["that join nothing", "👩\u200d", "200D"],
    ["that join a letter to an emoji", "A\u200d👩", "200D"],
    ["between Arabic letters, where a joiner shows nothing", "م\u200dم", "200D"],
    ["before and behind Arabic letters", "\u200cمحمد", "200C"],
    ["between words", "می \u200c خواهم", "200C"],
    ["behind a letter that joins nothing", "क\u200dष", "200D"],
    ["that vary a letter", "Ali\ufe0fce", "FE0F"],
    ["that spell without a flag", "A\u{e0067}\u{e0062}\u{e007f}", "E0067"],
    ["behind an emoji that has had its own", "❤\ufe0f\ufe0f", "FE0F"],
    ["behind one that is needed", "👩\u200d👩\u202e", "202E"],
  ])("cannot hold what nobody sees %s", (_where, name, code) => {
    expect(told(name)).toEqual([expect.stringMatching(`^Cannot hold U\\+${code} \\(`)]);
  });

  test("keeps its limits", () => {
    expect(shownName(3, 1).safeParse("👩🌊潮").success).toBe(true);
    expect(shownName(3, 1).safeParse("👩🌊潮!").success).toBe(false);
    expect(shownName(3, 1).safeParse("  ").success).toBe(false);
    expect(shownName(3).safeParse("").success).toBe(true);
  });
});
