/**
 * One spelling for words that read alike: what tags and intents are stored and compared by, and what words are searched
 * by. Where this changes, a migration has to fold anew what was stored (schema/migrations/0016-folded-words.ts).
 */

/** What nobody sees: zero-width characters, soft hyphens, direction marks, variation selectors. */
const invisible = /\p{Default_Ignorable_Code_Point}/gu;

/**
 * Unicode's NFKC_Casefold, as near as JavaScript has it, and the i's of Turkish as the one of everybody else: `ＦＵＬＬ`,
 * `Straße`, `ΟΔΟΣ` and `İzmir` become `full`, `strasse`, `οδοσ` and `izmir`. Accents stay. Folding again changes nothing.
 */
export function fold(text: string): string {
  return (
    text
      // Taken apart, so that what stands under a Greek letter comes behind its accents, as it does once it is a letter.
      .normalize("NFKD")
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
