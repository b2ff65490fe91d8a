/**
 * The words by which listings are found. Languages that put spaces between words give their words. Chinese and
 * Japanese, which do not, give each pair of neighbouring characters, so that any part of a text can be found.
 */
import { fold } from "./folding.js";

/** Scripts that are written without spaces between words. */
const unspaced = "\\p{scx=Han}\\p{scx=Hiragana}\\p{scx=Katakana}";
/** A run of one kind: unspaced characters, or letters, marks and digits of any other script. */
const runs = new RegExp(`[${unspaced}]+|(?:(?![${unspaced}])[\\p{L}\\p{M}\\p{N}])+`, "gu");
const isUnspaced = new RegExp(`^[${unspaced}]`, "u");
const wordCharacters = 40;

/** Folded, and without accents, because people rarely type more exactly. */
function plain(text: string): string {
  return fold(text)
    .normalize("NFD")
    .replace(/[\u0300-\u036f]/g, "")
    .normalize("NFC");
}

/** The runs of a text; each as its characters. */
function runsOf(text: string): { characters: string[]; spaced: boolean }[] {
  return (plain(text).match(runs) ?? []).map((run) => ({ characters: [...run], spaced: !isUnspaced.test(run) }));
}

/**
 * The words under which a text is found: for an unspaced run every pair, and the last character alone, so that every
 * character begins one of them.
 */
export function wordsOf(text: string): string[] {
  return runsOf(text).flatMap(({ characters, spaced }) =>
    spaced
      ? [characters.slice(0, wordCharacters).join("")]
      : characters.map((character, index) => character + (characters[index + 1] ?? "")),
  );
}

/** The most words of one listing. The first words of its texts say what it is about. */
const mostWords = 1_000;

/** The words under which a listing with these texts is found. */
export function wordsOfListing(texts: readonly string[]): Set<string> {
  return new Set([...new Set(texts.flatMap(wordsOf))].slice(0, mostWords));
}

/**
 * What a search asks for: each of these must be the beginning of a word of the listing. Empty for a search without
 * words.
 */
export function beginningsOf(search: string): string[] {
  const beginnings = runsOf(search).flatMap(({ characters, spaced }) => {
    if (spaced) return [characters.slice(0, wordCharacters).join("")];
    if (characters.length === 1) return characters;
    return characters.slice(1).map((character, index) => characters[index] + character);
  });
  const different = [...new Set(beginnings)];
  // The beginning of another word adds nothing to the search.
  return different.filter((one) => !different.some((other) => other !== one && other.startsWith(one)));
}
