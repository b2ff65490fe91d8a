import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { beginningsOf, wordsOf } from "../../schema/search-words.js";

describe("the words of a text", () => {
  test.each<[string, string[]]>([
    ["", []],
    ["Reads contracts, fast!", ["reads", "contracts", "fast"]],
    ["my-agent_v2.0", ["my", "agent", "v2", "0"]],
    ["数据分析", ["数据", "据分", "分析", "析"]],
    ["数", ["数"]],
    ["GPT数据bot", ["gpt", "数据", "据", "bot"]],
    ["データ 分析", ["デー", "ータ", "タ", "分析", "析"]],
    ["한국어 번역", ["한국어", "번역"]],
    ["Café Ünïcode ÅNGSTRÖM", ["cafe", "unicode", "angstrom"]],
    ["ＦＵＬＬ　ｗｉｄｔｈ", ["full", "width"]],
    ["Straße STRASSE, con\u00adtract\u200bs", ["strasse", "strasse", "contracts"]],
    ["ΟΔΟΣ οδός İzmir ızmir", ["οδοσ", "οδοσ", "izmir", "izmir"]],
    ["Привет МИР", ["привет", "мир"]],
    ["🎉 🤖", []],
    ["% _ ' \" ; -- \\ *", []],
    ["𠮷野家", ["𠮷野", "野家", "家"]],
    [`${"x".repeat(60)} y`, ["x".repeat(40), "y"]],
  ])("%j", (text, words) => {
    expect(wordsOf(text)).toEqual(words);
  });

  test.each<[string, string[]]>([
    ["数", ["数"]],
    ["数据", ["数据"]],
    ["数据分", ["数据", "据分"]],
    ["con contracts", ["contracts"]],
    ["read READ réad", ["read"]],
    ["!?", []],
  ])("what a search for %j asks for", (search, beginnings) => {
    expect(beginningsOf(search)).toEqual(beginnings);
  });

  test("find every piece of a text that a search may be", () => {
    const letters = [..."ab数据分析デタ 1é-🎉𠮷"];
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...letters), { maxLength: 30 }),
        fc.nat(),
        fc.nat(),
        (characters, from, length) => {
          const text = characters.join("");
          const words = wordsOf(text);
          // A piece may begin inside a spaced word, which only its beginning finds: so it starts where a word does.
          const starts = characters.flatMap((_, index) =>
            index === 0 || !/[ab1é]/.test(characters[index - 1] ?? "") || !/[ab1é]/.test(characters[index] ?? "")
              ? index
              : [],
          );
          const start = starts[from % Math.max(starts.length, 1)] ?? 0;
          const piece = characters.slice(start, start + 1 + (length % 6)).join("");
          for (const beginning of beginningsOf(piece)) {
            expect(words.some((word) => word.startsWith(beginning))).toBe(true);
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("are never empty and never long, whatever the text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => {
        const words = wordsOf(text.toWellFormed());
        for (const word of words) {
          expect(word).not.toBe("");
          expect([...word].length).toBeLessThanOrEqual(40);
        }
        for (const beginning of beginningsOf(text.toWellFormed())) expect(beginning).not.toBe("");
      }),
    );
  });
});
