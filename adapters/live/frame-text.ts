/**
 * Takes the arguments out of a frame's text before it is parsed. As text they take as much memory as was sent. Parsed
 * they can take twenty times as much, and a live client's queries are held as long as its socket is open.
 */

import { endOfString } from "../json-text.js";

const quote = 0x22;

/** The depths at which objects have a key `args`: in a call's frame, and in the list of a query set's frame. */
const depths: ReadonlySet<number> = new Set([1, 3]);

/** The frame with a number in the place of each `args`: the index of its text in the list `args`. */
export function cutArgs(text: string): { text: string; args: string[] } {
  const args: string[] = [];
  let rest = "";
  let kept = 0;
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (isOpening(code)) depth += 1;
    else if (isClosing(code)) depth -= 1;
    else if (code === quote) {
      const end = endOfString(text, at);
      const start = depths.has(depth) && end - at === 6 && text.startsWith("args", at + 1) ? valueAfter(text, end) : -1;
      if (start < 0) {
        at = end - 1;
        continue;
      }
      const stop = endOfValue(text, start);
      rest += `${text.slice(kept, start)}${args.length}`;
      args.push(text.slice(start, stop));
      kept = stop;
      at = stop - 1;
    }
  }
  return { text: rest + text.slice(kept), args };
}

/**
 * Where the value of a key begins, given the position behind the key's closing quote; -1 where the string is no key.
 */
function valueAfter(text: string, end: number): number {
  const colon = skipSpace(text, end);
  return text[colon] === ":" ? skipSpace(text, colon + 1) : -1;
}

function endOfValue(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) at = endOfString(text, at) - 1;
    else if (isOpening(code)) depth += 1;
    else if (isClosing(code)) {
      // The bracket closes the object around a value that is neither an object nor a list.
      if (depth === 0) return at;
      depth -= 1;
      if (depth === 0) return at + 1;
    } else if (code === 0x2c && depth === 0) return at;
  }
  return text.length;
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (at < text.length && text.charCodeAt(at) <= 0x20) at += 1;
  return at;
}

function isOpening(code: number): boolean {
  return code === 0x7b || code === 0x5b;
}

function isClosing(code: number): boolean {
  return code === 0x7d || code === 0x5d;
}
