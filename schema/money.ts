/**
 * Money at the edge: decimal text to integers of 1/10000 of a currency unit and back (clawrent.md section 6.1). Nothing
 * calculates with fractions, so no amount is ever almost right.
 */
import { z } from "zod";

/** One currency unit, as it is stored. */
const unitMinor = 10_000;
const storedDecimals = 4;

/**
 * Plain decimal notation in ASCII digits: no sign, no exponent, no leading zeros, digits on both sides of the point.
 */
const plainDecimal = /^(0|[1-9]\d{0,11})(?:\.(\d+))?$/;

/**
 * The exact integer that a decimal stands for; undefined for anything that is not a decimal. A number counts as its
 * shortest decimal text, which is what its sender wrote.
 */
export function parseAmount(value: string | number, { maxDecimals }: { maxDecimals: number }): number | undefined {
  if (Object.is(value, -0)) return undefined;
  const [, units = "", decimals = ""] = plainDecimal.exec(String(value)) ?? [];
  if (units === "" || decimals.length > Math.min(maxDecimals, storedDecimals)) return undefined;
  const minor = Number(units) * unitMinor + Number(decimals.padEnd(storedDecimals, "0"));
  return Number.isSafeInteger(minor) ? minor : undefined;
}

/** An amount that comes as text or as a number, between two bounds; what a handler gets is the integer. */
function amount(least: string, most: string, maxDecimals: number) {
  const [leastMinor = 0, mostMinor = 0] = [least, most].map((bound) => parseAmount(bound, { maxDecimals }));
  const message = `must be an amount from ${least} to ${most} with at most ${maxDecimals} decimals, such as "5.00"`;
  return z.union([z.string(), z.number()], { error: message }).transform((value, context) => {
    const minor = parseAmount(value, { maxDecimals });
    if (minor !== undefined && minor >= leastMinor && minor <= mostMinor) return minor;
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  });
}

/** The price of an agent, per session, minute or token (clawrent.md section 2.4). */
export const price = amount("0", "1000000", 4);

/** What one top-up may bring (clawrent.md section 2.7). */
export const topUpAmount = amount("0.01", "10000", 2);

/** The most that a session may cost. */
export const maxAmount = amount("0.0001", "1000000000", 4);

/** Wallet amounts and prices: two decimals, and up to four if they are not zero. */
export function printAmount(minor: number): string {
  return printSettled(minor).replace(/0{1,2}$/, "");
}

/** Settlement amounts: always four decimals. */
export function printSettled(minor: number): string {
  const size = Math.abs(minor);
  const decimals = String(size % unitMinor).padStart(storedDecimals, "0");
  return `${minor < 0 ? "-" : ""}${Math.floor(size / unitMinor)}.${decimals}`;
}
