import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fold } from "../../schema/folding.js";
import { normalizeTags } from "../../schema/values.js";

/** Every character that has a meaning. */
function* characters(): Generator<string> {
  for (let code = 1; code <= 0x10ffff; code += 1) {
    const character = String.fromCodePoint(code);
    if (/[^\p{Cs}\p{Co}\p{Cn}]/u.test(character)) yield character;
  }
}

describe("folding", () => {
  test("keeps thirty marks of a run, since to put them in order takes the square of how many there are", () => {
    const marked = `a${"\u0323".repeat(200_000)}${"\u0301".repeat(200_000)} b\u0323\u0301`;
    expect([...fold(marked)].length).toBeLessThan(40);
    expect(fold(marked)).toContain(fold("b\u0323\u0301"));
    expect(normalizeTags([marked])).toHaveLength(1);
  });

  test("is how all text of callers comes into a normal form", () => {
    const root = new URL("../../", import.meta.url);
    // The second gets what is folded; passwords are short, and what they are hashed as must not change.
    const own = new Set(["schema/folding.ts", "schema/search-words.ts", "runtime/passwords.ts"]);
    const files = ["schema", "runtime", "functions", "adapters"].flatMap((directory) =>
      readdirSync(new URL(directory, root), { recursive: true, encoding: "utf8" }).map(
        (name) => `${directory}/${name}`,
      ),
    );
    const others = files.filter(
      (file) =>
        file.endsWith(".ts") && !own.has(file) && readFileSync(new URL(file, root), "utf8").includes(".normalize("),
    );
    expect(others).toEqual([]);
  });

  test.each([
    ["full", "ＦＵＬＬ", "ｆｕｌｌ", "FULL"],
    ["strasse", "Straße", "STRASSE", "STRAẞE", "straſse"],
    ["οδοσ", "ΟΔΟΣ", "οδος", "Οδοσ"],
    ["izmir", "İzmir", "IZMIR", "ızmir", "i̇zmir"],
    ["office", "oﬃce", "OFFICE"],
    ["coworking", "co\u00adworking", "co\u200bworking", "\ufeffCo\u2060working\u200d", "\u202eCoworking\u202c"],
    ["café", "CAFÉ", "cafe\u0301", "cafe\u200b\u0301"],
    ["میخواهم", "می\u200cخواهم", "میخواهم"],
    ["❤", "❤\ufe0f", "❤"],
    ["ガ", "ｶﾞ", "ガ"],
    ["", "\u200b", "\u00ad\u200d\ufeff", "\u3164"],
  ])("gives %j for %j and the like", (folded, ...spellings) => {
    for (const spelling of spellings) expect(fold(spelling), JSON.stringify(spelling)).toBe(folded);
  });

  test("keeps apart what is written apart", () => {
    expect(fold("resume")).not.toBe(fold("résumé"));
    expect(fold("и")).not.toBe(fold("й"));
  });

  test("is done after once, shows all that it keeps, and knows no case: every character, in several places", () => {
    const wrong: string[] = [];
    for (const character of characters()) {
      for (const text of [character, `a${character}`, `i${character}\u0307`, `${character}\u0301`]) {
        const folded = fold(text);
        if (fold(folded) !== folded || /\p{Default_Ignorable_Code_Point}/u.test(folded)) wrong.push(text);
      }
      const folded = fold(character);
      if (fold(character.toUpperCase()) !== folded || fold(character.toLowerCase()) !== folded) wrong.push(character);
    }
    expect(wrong).toEqual([]);
  });
});

describe("the tags that are kept", () => {
  test.each([
    [
      "one of those that read alike, where the first stood",
      ["b", "Straße", "STRASSE", "B", "a"],
      ["b", "strasse", "a"],
    ],
    ["none of nothing to see", ["\u200b", " \u00ad ", "", "\u3000", "\u2060\ufe0f"], []],
    ["fifty characters of what is left", [`${"\u200b".repeat(90)}${"ß".repeat(30)}`], ["s".repeat(50)]],
    ["ten of those that are left", [..."\u200b\u200c\u200dabcdefghijkl"], [..."abcdefghij"]],
    ["white space inside, but not around, and of one kind", ["\u2003wine\u00a0bar\u200b "], ["wine bar"]],
  ])("are %s", (_what, sent, kept) => {
    expect(normalizeTags(sent)).toEqual(kept);
  });

  test("are kept as they are when they come again", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary", maxLength: 80 }), { maxLength: 15 }), (tags) => {
        const kept = normalizeTags(tags.map((tag) => tag.toWellFormed()));
        expect(normalizeTags(kept)).toEqual(kept);
      }),
      { numRuns: 1_000 },
    );
  });
});
