/**
 * Reads JSON text without parsing it. Parsing a few megabytes would take longer than everything else that is done with
 * them.
 */

const backslash = 0x5c;
const colon = 0x3a;

/** The position behind the closing quote; the end of the text where there is none. */
export function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let escapes = 0;
    while (text.charCodeAt(at - 1 - escapes) === backslash) escapes += 1;
    if (escapes % 2 === 0) return at + 1;
  }
  return text.length;
}

/** Whether `isGood` holds for each field name as it is written. The JSON has no space between its parts. */
export function everyFieldName(json: string, isGood: (name: string) => boolean): boolean {
  let end = 0;
  for (let start = json.indexOf('"'); start >= 0; start = json.indexOf('"', end)) {
    end = endOfString(json, start);
    if (json.charCodeAt(end) === colon && !isGood(json.slice(start + 1, end - 1))) return false;
  }
  return true;
}

/** How deeply objects and arrays stand inside one another. */
export function nestingOf(json: string): number {
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < json.length; at += 1) {
    const code = json.charCodeAt(at);
    if (code === 0x22) at = endOfString(json, at) - 1;
    else if (code === 0x5b || code === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (code === 0x5d || code === 0x7d) depth -= 1;
  }
  return deepest;
}
