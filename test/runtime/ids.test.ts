/** What the server hands out as secret (claw-to-claw.md section 2, clawrent.md section 1): its shape, and that all of it is random. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { newCode, newDigits, newSecret } from "../../runtime/ids.js";

const urlSafe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

describe.each([
  ["a secret", "c2c_", () => newSecret("c2c_"), urlSafe, 32],
  ["a code to type", "", newCode, "ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 10],
  ["a code of digits", "", () => newDigits(6), "0123456789", 6],
])("%s", (_what, prefix, make, alphabet, length) => {
  const made = Array.from({ length: 20_000 }, make);

  test("has its prefix, its length and its letters", () => {
    const shape = new RegExp(`^${prefix}[${alphabet}]{${length}}$`);
    for (const one of made) expect(one).toMatch(shape);
  });

  test("has every letter of its alphabet as often as any other, at every place", () => {
    for (let place = prefix.length; place < prefix.length + length; place += 1) {
      const counts = new Map<string, number>();
      for (const one of made) counts.set(one.charAt(place), (counts.get(one.charAt(place)) ?? 0) + 1);
      const expected = made.length / alphabet.length;
      // Seven standard deviations: by chance once in many billions.
      const slack = 7 * Math.sqrt(expected);
      for (const letter of alphabet) expect(Math.abs((counts.get(letter) ?? 0) - expected)).toBeLessThan(slack);
    }
  });
});

test("secrets carry at least 128 random bits, and none comes twice", () => {
  expect(32 * Math.log2(urlSafe.length)).toBeGreaterThanOrEqual(128);
  expect(new Set(Array.from({ length: 50_000 }, () => newSecret(""))).size).toBe(50_000);
});

test("functions draw none of their own", () => {
  const folder = new URL("../../functions/", import.meta.url);
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".ts")) continue;
    expect(readFileSync(new URL(name, folder), "utf8"), name).not.toMatch(/randomBytes|randomInt|randomUUID|nanoid/);
  }
});
