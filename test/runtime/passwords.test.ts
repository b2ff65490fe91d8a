import { describe, expect, test } from "vitest";
import { Passwords } from "../../runtime/passwords.js";

const cheap = 2 ** 10;
const mostAtOnce = 34;
const home = "192.0.2.1";

describe("passwords (clawrent.md section 1)", () => {
  const passwords = new Passwords(cheap);

  test("only the password matches its hash, and no two hashes of it are the same", async () => {
    const [one, other] = [await passwords.hash("correct horse", home), await passwords.hash("correct horse", home)];
    expect(one).toMatch(/^scrypt\$1024\$[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=$/);
    expect(one).not.toBe(other);
    for (const stored of [one, other]) {
      expect(await passwords.verify("correct horse", stored, home)).toBe(true);
      for (const wrong of ["correct horse ", "Correct horse", "", "correct"]) {
        expect(await passwords.verify(wrong, stored, home)).toBe(false);
      }
    }
  });

  test("a hash keeps its cost, so that a later one can be higher", async () => {
    const stored = await passwords.hash("correct horse", home);
    expect(await new Passwords(2 ** 12).verify("correct horse", stored, home)).toBe(true);
  });

  test("by default a hash is of the cost that is asked for these days", async () => {
    expect(await new Passwords().hash("correct horse", home)).toMatch(/^scrypt\$131072\$/);
  });

  test("the same characters typed on another system are the same password", async () => {
    const stored = await passwords.hash("caf\u00e9 caf\u00e9", home);
    expect(await passwords.verify("cafe\u0301 cafe\u0301", stored, home)).toBe(true);
  });

  test("without a stored hash nothing matches, and it is as much work", async () => {
    expect(await passwords.verify("correct horse", undefined, home)).toBe(false);
    // It takes its turn like any other: a caller who is told apart by not waiting is told apart.
    const waiting = Array.from({ length: mostAtOnce }, () => passwords.verify("correct horse", undefined, home));
    await expect(passwords.verify("correct horse", undefined, home)).rejects.toMatchObject({ code: "rate_limited" });
    expect(new Set(await Promise.all(waiting))).toEqual(new Set([false]));
  });

  test("beyond two at work and a short queue it says when to come back, and then works again", async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 100 }, () => passwords.hash("correct horse", home)));
    const refused = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
    expect(refused).toHaveLength(100 - mostAtOnce);
    for (const reason of refused) {
      expect(reason).toMatchObject({ code: "rate_limited", data: { retryAfterMs: 5_000 } });
    }
    const again = await Promise.all(Array.from({ length: mostAtOnce }, () => passwords.hash("correct horse", home)));
    expect(again).toHaveLength(mostAtOnce);
  });
});
