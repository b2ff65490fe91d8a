/**
 * Names: texts that stand for somebody or something wherever they are shown. Two names that look the same must be the
 * same, and none may turn or break the line that it is part of, so invisible characters are refused except where a
 * script needs them.
 */
import { text } from "./values.js";

/** Control characters, line ends, what changes the direction of text, and whatever else has no width. */
const hidden = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]/u;

/** Where the scripts of India and Sri Lanka join letters. */
const virama = "[\\u094d\\u09cd\\u0a4d\\u0acd\\u0b4d\\u0bcd\\u0c4d\\u0ccd\\u0d4d\\u0dca]";
const arabicLetter = "[\\p{L}&&\\p{Script=Arabic}]";
const emoji = "[\\p{Extended_Pictographic}\\p{Emoji_Modifier}]";

/** What is part of a letter or an emoji. */
const needed = new RegExp(
  [
    // می‌خواهم: between Arabic letters the non-joiner is spelling, as in Persian.
    `(?<=${arabicLetter}\\p{Mn}{0,8})\\u200c(?=${arabicLetter})`,
    // ශ්‍රී: joiner and non-joiner choose the form of a conjunct.
    `(?<=${virama})[\\u200c\\u200d](?=\\p{L})`,
    // 👩‍👩‍👧, 🏳️‍🌈
    `(?<=${emoji}\\ufe0f?)\\u200d(?=\\p{Extended_Pictographic})`,
    // ❤️ and 1️⃣
    `(?<=${emoji})[\\ufe0e\\ufe0f]`,
    "(?<=[0-9#*])\\ufe0f(?=\\u20e3)",
    // 🏴󠁧󠁢󠁳󠁣󠁴󠁿, spelled in invisible letters
    "(?<=\\u{1f3f4})[\\u{e0030}-\\u{e0039}\\u{e0061}-\\u{e007a}]{3,6}\\u{e007f}",
    // 葛󠄀: which form of a character a name is written in
    "(?<=\\p{Script=Han})[\\ufe00-\\ufe02\\u{e0100}-\\u{e01ef}]",
    "(?<=\\p{Script=Mongolian})[\\u180b-\\u180f]",
  ].join("|"),
  "gv",
);

const names: Readonly<Record<number, string>> = {
  9: "tab",
  10: "line feed",
  13: "carriage return",
  27: "escape",
  127: "delete",
  173: "soft hyphen",
  847: "combining grapheme joiner",
  1564: "Arabic letter mark",
  4447: "Hangul filler",
  4448: "Hangul filler",
  8203: "zero width space",
  8204: "zero width non-joiner",
  8205: "zero width joiner",
  8206: "left-to-right mark",
  8207: "right-to-left mark",
  8232: "line separator",
  8233: "paragraph separator",
  8234: "left-to-right embedding",
  8235: "right-to-left embedding",
  8236: "pop directional formatting",
  8237: "left-to-right override",
  8238: "right-to-left override",
  8288: "word joiner",
  8294: "left-to-right isolate",
  8295: "right-to-left isolate",
  8296: "first strong isolate",
  8297: "pop directional isolate",
  12644: "Hangul filler",
  65279: "zero width no-break space",
  65440: "Hangul filler",
};

/** A hidden character as a person can look it up, such as `U+202E (right-to-left override)`. */
function nameOf(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const kind =
    names[code] ??
    (/\p{Cc}/u.test(character)
      ? "control character"
      : /\p{Variation_Selector}/u.test(character)
        ? "variation selector"
        : "invisible character");
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")} (${kind})`;
}

/** Text of `min` to `max` characters that is shown as a name: all of it can be seen. */
export function shownName(max: number, min = 0) {
  return text(max, min).superRefine((value, issues) => {
    // Refused already: zod runs this check even for a text that is too long.
    if (value.length > 2 * max || !hidden.test(value)) return;
    const [found] = hidden.exec(value.replace(needed, "")) ?? [];
    if (found !== undefined) issues.addIssue({ code: "custom", message: `Cannot hold ${nameOf(found)}` });
  });
}
