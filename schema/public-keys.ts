/**
 * Which X25519 keys may be used (people.md section 4). With a point of small order everybody computes the same shared
 * secret, so whatever is sealed to it is open. And a key has a single spelling, or two could pass for one. This needs
 * nothing from Node, because the client uses it too.
 */

const keyBytes = 32;
const base64 = /^[A-Za-z0-9+/]{43}=$/;

/** The points of order 1, 2, 4 and 8 that are below p = 2^255 - 19, as 32 bytes, the lowest first. */
const smallOrder = new Set([
  "0".repeat(64),
  `01${"0".repeat(62)}`,
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  `ec${"f".repeat(60)}7f`,
]);
/** From p on every number is a second spelling of a smaller one: p means 0, p + 1 means 1. */
const notBelowP = /^e[def]f{60}7f$|^f.f{60}7f$/;

/** Whether this is the canonical base64 of a key that may be used. */
export function isUsablePublicKey(text: string): boolean {
  return base64.test(text) && btoa(atob(text)) === text && isUsablePoint(bytesOf(text));
}

/** Whether this point may be used as a key. */
function isUsablePoint(key: Uint8Array): boolean {
  if (key.length !== keyBytes) return false;
  // X25519 ignores the top bit, so a key that differs only there is the same point.
  const hex = [...key].map((byte, index) => (index === keyBytes - 1 ? byte & 0x7f : byte)).map(toHex);
  const point = hex.join("");
  return !smallOrder.has(point) && !notBelowP.test(point);
}

function toHex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
