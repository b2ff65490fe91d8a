/**
 * One spelling for words that read alike: what tags and intents are stored and compared by, and what words are searched
 * by. Where this changes, a migration has to fold anew what was stored (schema/migrations/0016-folded-words.ts).
 */

/** Invisible characters: zero width, soft hyphens, direction marks, variation selectors. */
const invisible = /\p{Default_Ignorable_Code_Point}/gu;

/** More marks on one letter than any language has; Unicode's Stream-Safe Text Format keeps as many. */
const tooManyMarks = /(\p{M}{30})\p{M}+/gu;

/**
 * The text in a normal form, safe for what anybody may send: sorting a run of marks takes the square of its length, ten
 * seconds for 64,000 of them, so only the first 30 of a run are kept.
 */
export function normalize(text: string, form: "NFC" | "NFD" | "NFKC" | "NFKD"): string {
  return text.replace(tooManyMarks, "$1").normalize(form);
}

/**
 * Unicode's NFKC_Casefold, as near as JavaScript has it, with the Turkish i's as the common one: `ＦＵＬＬ`, `Straße`,
 * `ΟΔΟΣ` and `İzmir` become `full`, `strasse`, `οδοσ` and `izmir`. Accents stay. Folding again changes nothing.
 */
export function fold(text: string): string {
  return (
    // Decomposed, so that an iota below a Greek letter comes after its accents, as it does once it is a letter.
    normalize(text, "NFKD")
      .replace(invisible, "")
      // Lower-casing alone keeps ß and ς; upper-casing first would keep ẞ.
      .toLowerCase()
      .toUpperCase()
      .toLowerCase()
      .replaceAll("ς", "σ")
      .replace(/i\u0307+/g, "i")
      .normalize("NFKC")
  );
}
