/** Scores (claw-to-claw.md section 3, "Score": 0–100, tags weigh most, then shared words, then recency). */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Brief, matchBriefs, meaningfulWords } from "../../../../functions/model/rules/matching.js";

const now = Date.UTC(2026, 1, 10, 18);
const hourAgo = now - 3_600_000;
const brief = (of: Partial<Brief> = {}): Brief => ({ intentTags: [], eventGoal: null, introNote: null, ...of });

/** The score of two briefs when the other one checked in at `checkedInAt`. */
const score = (mine: Partial<Brief>, theirs: Partial<Brief>, checkedInAt = hourAgo) =>
  matchBriefs(brief(mine), { ...brief(theirs), checkedInAt }, now).score;

describe("words", () => {
  test.each([
    ["Looking for FOUNDERS, who like live-jazz!", ["founders", "live", "jazz"]],
    ["I'm here; we'd love café talk", ["café", "talk"]],
    ["ｆｕｌｌｗｉｄｔｈ ﬁne", ["fullwidth", "fine"]],
    ["想聊人工智能和爵士乐", ["聊", "人工", "智能", "爵士", "乐"]],
    ["東京タワーでラーメン", ["東京タワー", "ラーメン"]],
    ["AI爵士 web3", ["ai", "爵士", "web3"]],
    ["the and of 的 了 — 🎷 …", []],
    ["", []],
  ])("of %j", (text, expected) => {
    expect([...meaningfulWords(text)]).toEqual(expected);
  });

  test("are the same for composed and decomposed letters", () => {
    expect(meaningfulWords("cafe\u0301")).toEqual(meaningfulWords("caf\u00e9"));
  });

  test("are split alike whatever stands around them, so that two texts can share them", () => {
    expect(meaningfulWords("see node.js talks")).toContain("node");
    expect(meaningfulWords("node.js 爵士")).toContain("node");
  });
});

describe("match", () => {
  test("gives 30, 45, 60 for one, two, three shared tags, and no more after that", () => {
    const tags = ["ai", "jazz", "food", "tea"];
    const byShared = [0, 1, 2, 3, 4].map((count) => score({ intentTags: tags }, { intentTags: tags.slice(0, count) }));
    expect(byShared).toEqual([0, 30, 45, 60, 60]);
  });

  test("gives 6 for each word of my goal or note that is in their note, up to 30", () => {
    const text = "rust gardens chess sailing poetry ceramics";
    const byShared = [0, 1, 2, 5, 6].map((count) =>
      score({ eventGoal: text }, { introNote: text.split(" ").slice(0, count).join(" ") }),
    );
    expect(byShared).toEqual([0, 6, 12, 30, 30]);
  });

  test("counts Chinese words like English ones", () => {
    expect(score({ eventGoal: "聊聊爵士乐" }, { introNote: "晚上去听爵士乐" })).toBeGreaterThanOrEqual(6);
  });

  test("does not count a word twice, nor words that carry no meaning", () => {
    expect(score({ eventGoal: "chess chess", introNote: "Chess" }, { introNote: "Chess, chess" })).toBe(6);
    expect(score({ eventGoal: "I would like to meet people" }, { introNote: "I would like to meet people" })).toBe(0);
  });

  test("gives 10 for a check-in just now, one less for every 6 minutes, none after an hour", () => {
    const minutes = [0, 5.99, 6, 30, 59.99, 60, 600];
    expect(minutes.map((ago) => score({}, {}, now - ago * 60_000))).toEqual([10, 10, 9, 5, 1, 0, 0]);
  });

  test("reaches 100 and never leaves 0 to 100; is the same for the same data", () => {
    const text = "rust gardens chess sailing poetry ceramics";
    const all = { intentTags: ["a1", "b2", "c3"], introNote: text };
    expect(score(all, all, now)).toBe(100);
    const anyBrief = fc.record({
      intentTags: fc.uniqueArray(fc.string({ unit: "grapheme" }), { maxLength: 10 }),
      eventGoal: fc.option(fc.string({ unit: "grapheme" })),
      introNote: fc.option(fc.string({ unit: "grapheme" })),
    });
    fc.assert(
      fc.property(anyBrief, anyBrief, fc.nat(10_000_000), (mine, theirs, ago) => {
        const first = matchBriefs(mine, { ...theirs, checkedInAt: now - ago }, now);
        expect(Number.isInteger(first.score) && first.score >= 0 && first.score <= 100).toBe(true);
        expect(first.reasons.length).toBeGreaterThan(0);
        expect(matchBriefs(mine, { ...theirs, checkedInAt: now - ago }, now)).toEqual(first);
      }),
    );
  });

  test("one shared tag alone is enough for an unattended client's threshold of 20", () => {
    expect(score({ intentTags: ["ai"] }, { intentTags: ["ai"] })).toBeGreaterThanOrEqual(20);
  });

  test("says why in words", () => {
    const mine = brief({ intentTags: ["ai", "jazz"], eventGoal: "Find chess partners" });
    const theirs = {
      ...brief({ intentTags: ["jazz", "ai"], introNote: "chess, anyone?" }),
      checkedInAt: now - 12 * 60_000,
    };
    expect(matchBriefs(mine, theirs, now)).toMatchObject({
      sharedTags: ["jazz", "ai"],
      reasons: ["You are both here for jazz and ai", "You both mention chess", "Checked in 12 minutes ago"],
    });
    expect(matchBriefs(brief(), { ...brief(), checkedInAt: now }, now).reasons).toEqual(["Checked in just now"]);
    expect(matchBriefs(brief(), { ...brief(), checkedInAt: hourAgo }, now).reasons).toEqual([
      "Is at this event and open to intros",
    ]);
  });
});
