/** Coordinates as people write them, turned into numbers. Whether a number is a latitude is for the function to say. */
import { normalize } from "../../schema/folding.js";

/** One number: Unicode minus signs and a decimal comma are as good as ASCII. NaN where it is none. */
export function parseDegrees(text: string): number {
  // Full-width digits, as Chinese keyboards write them.
  const plain = normalize(text, "NFKC")
    .trim()
    .replace(/^[\u2212\u2012-\u2014]/, "-")
    .replace(/\s*°$/, "")
    .replace(/^([+-]?\d+),(\d+)$/, "$1.$2");
  return /^[+-]?(\d+\.?\d*|\.\d+)$/.test(plain) ? Number(plain) : Number.NaN;
}

/** `37.7597, -122.4148`, the pair that map apps copy, where it was pasted into the first of two fields. */
export function splitPair(first: string, second: string): [string, string] {
  if (second.trim() !== "") return [first, second];
  const text = first.trim();
  const pair = text.split(/\s*[;；]\s*|\s*[,，]\s+|\s+/);
  if (pair.length === 2) return [pair[0] ?? "", pair[1] ?? ""];
  // Without a space, a comma separates two numbers only where both have a decimal point. Otherwise it may be a decimal
  // comma.
  const [lat, lng, ...more] = text.split(/[,，]/);
  return more.length === 0 && lat?.includes(".") && lng?.includes(".") ? [lat, lng] : [first, second];
}
