import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { firstMeterAt } from "../../../../functions/model/money/metering.js";
import { chargeFor, requiredToStart, splitFee } from "../../../../functions/model/rules/charge.js";
import type { PricingModel } from "../../../../schema/listings.js";
import { parseAmount, price, printAmount, printSettled, topUpAmount } from "../../../../schema/money.js";
import { amount } from "../../../support/long.js";

/** What a decimal is in 1/10000, by another way than the code's; undefined for anything but a plain one. */
function exact(text: string, maxDecimals: number): number | undefined {
  if ([...text].some((character) => !"0123456789.".includes(character))) return undefined;
  const [units = "", decimals, more] = text.split(".");
  if (units === "" || decimals === "" || more !== undefined) return undefined;
  if (units.length > 1 && units.startsWith("0")) return undefined;
  if ((decimals ?? "").length > maxDecimals) return undefined;
  const minor = BigInt(units) * 10_000n + BigInt(((decimals ?? "") || "0").padEnd(4, "0"));
  return minor <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(minor) : undefined;
}

const refused = [
  "",
  " ",
  ".",
  "1.",
  ".5",
  "1e3",
  "1E3",
  "1e-2",
  "-0",
  "-1",
  "+1",
  " 1",
  "1 ",
  "1\n",
  "\u00a01",
  "٣",
  "１",
  "1.５",
  "一",
  "Ⅷ",
  "0x10",
  "0b1",
  "0o7",
  "1_000",
  "1,000",
  "1,5",
  "1'000",
  "00",
  "01",
  "0.000001",
  "1.00000",
  "1.2.3",
  "1..2",
  "1/2",
  "50%",
  "¥5",
  "5 CNY",
  "NaN",
  "Infinity",
  "-Infinity",
  "null",
  "undefined",
  "true",
  "1n",
  "1f",
  "[1]",
  "9".repeat(40),
  `1.${"0".repeat(40)}`,
  `${"0".repeat(40)}1`,
  "900719925474.0992",
  "999999999999",
  "1\u0000",
  "1\u200b",
  "\u202e1",
];

describe("an amount", () => {
  test.each(refused)("is refused where it is written %j", (text) => {
    expect(parseAmount(text, { maxDecimals: 4 })).toBeUndefined();
    expect(price.safeParse(text).success).toBe(false);
    expect(topUpAmount.safeParse(text).success).toBe(false);
  });

  test.each([Number.NaN, Infinity, -Infinity, -0, -1, -0.5, 1e21, 1e-7, 0.1 + 0.2, 2 ** 53, Number.MIN_VALUE])(
    "is refused where it is the number %d",
    (value) => {
      expect(parseAmount(value, { maxDecimals: 4 })).toBeUndefined();
      expect(price.safeParse(value).success).toBe(false);
    },
  );

  test.each([null, undefined, true, [], ["1"], {}, { toString: () => "1" }, new String("1"), 1n, () => 1])(
    "is refused where it is neither text nor a number: %s",
    (value) => {
      expect(price.safeParse(value).success).toBe(false);
    },
  );

  test.each([
    ["0", 0],
    ["0.0", 0],
    ["0.0001", 1],
    ["0.05", 500],
    ["1", 10_000],
    ["1.5", 15_000],
    ["94.75", 947_500],
    ["1000000.0000", 10_000_000_000],
    ["900719925474.0991", Number.MAX_SAFE_INTEGER],
    [0, 0],
    [0.1, 1_000],
    [19.99, 199_900],
    [0.0001, 1],
    [1_000_000, 10_000_000_000],
  ])("%j is %d", (value, minor) => {
    expect(parseAmount(value, { maxDecimals: 4 })).toBe(minor);
  });

  const written = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.stringMatching(/^[0-9.eE+\- ,_x]{0,24}$/),
    fc.stringMatching(/^[0-9]{1,14}(\.[0-9]{0,6})?$/),
    fc.stringMatching(/^[0-9０-９٠-٩]{1,6}$/),
    fc.constantFrom(...refused),
    fc.double().map(String),
    fc.integer().map(String),
    fc.bigInt().map(String),
  );

  test("of 10,000 strings is the exact integer or refused", () => {
    fc.assert(
      fc.property(written, fc.integer({ min: 0, max: 4 }), (text, maxDecimals) => {
        expect(parseAmount(text, { maxDecimals })).toBe(exact(text, maxDecimals));
      }),
      { numRuns: amount(10_000, 300_000) },
    );
  });

  test("of 10,000 numbers is the integer of their shortest text, or refused", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.double(),
          fc.integer(),
          fc.integer().map((cents) => cents / 100),
        ),
        (value) => {
          expect(parseAmount(value, { maxDecimals: 4 })).toBe(
            Object.is(value, -0) ? undefined : exact(String(value), 4),
          );
        },
      ),
      { numRuns: 10_000 },
    );
  });

  test("is printed as what reads back the same", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (minor) => {
        expect(parseAmount(printAmount(minor), { maxDecimals: 4 })).toBe(minor);
        expect(parseAmount(printSettled(minor), { maxDecimals: 4 })).toBe(minor);
        expect(printAmount(minor)).toMatch(/^\d+\.\d{2}(\d?[1-9])?$/);
        expect(printSettled(minor)).toMatch(/^\d+\.\d{4}$/);
      }),
      { numRuns: 10_000 },
    );
  });

  test.each([
    [0, "0.00", "0.0000"],
    [512, "0.0512", "0.0512"],
    [1_230, "0.123", "0.1230"],
    [50_000, "5.00", "5.0000"],
    [947_500, "94.75", "94.7500"],
    [-5, "-0.0005", "-0.0005"],
  ])("of %d reads %s in a wallet and %s in a settlement", (minor, inWallet, inSettlement) => {
    expect(printAmount(minor)).toBe(inWallet);
    expect(printSettled(minor)).toBe(inSettlement);
  });

  test("of a price and of a top-up has its bounds", () => {
    for (const fits of ["0", "0.0001", "1000000"]) expect(price.safeParse(fits).success).toBe(true);
    for (const not of ["1000000.0001", "1000001"]) expect(price.safeParse(not).success).toBe(false);
    for (const fits of ["0.01", 0.01, "10000", "10000.00", 10_000])
      expect(topUpAmount.safeParse(fits).success).toBe(true);
    for (const not of ["0", "0.00", "0.009", "0.001", "10000.01", 10_001]) {
      expect(topUpAmount.safeParse(not).success).toBe(false);
    }
  });
});

describe("the price of a session (clawrent.md section 6.2)", () => {
  const used = (pricingModel: PricingModel, priceMinor: number, more: object = {}) => ({
    pricingModel,
    priceMinor,
    startedAt: 1_000_000,
    endedAt: 1_000_000,
    totalTokensProvider: 0,
    servedAt: 1_000_000,
    meterStoppedAt: null,
    ...more,
  });

  test.each([
    ["per_session", 50_000],
    ["fixed", 50_000],
    ["per_minute", 250_000],
    ["per_token", 50_000_000],
  ] as const)("%s at 5.00 needs %d to start", (pricingModel, minor) => {
    expect(requiredToStart({ pricingModel, priceMinor: 50_000 })).toBe(minor);
  });

  test.each(["per_session", "fixed"] as const)("%s is charged once, whatever happened in it", (model) => {
    const long = used(model, 50_000, { endedAt: 999_999_999, totalTokensProvider: 10 ** 9 });
    expect(chargeFor(long)).toEqual({ amountMinor: 50_000, quantity: 1 });
    expect(chargeFor(used(model, 0))).toEqual({ amountMinor: 0, quantity: 1 });
  });

  test.each([
    [0, 1],
    [1, 1],
    [59_999, 1],
    [60_000, 1],
    [60_001, 2],
    [120_000, 2],
    [300_000, 5],
    [300_001, 6],
    [-1, 1],
    [-48 * 3_600_000, 1],
    [48 * 3_600_000, 2_880],
  ])("per_minute after %d ms is %d minutes", (ms, minutes) => {
    const session = used("per_minute", 100, { endedAt: 1_000_000 + ms });
    expect(chargeFor(session)).toEqual({ amountMinor: 100 * minutes, quantity: minutes });
  });

  test.each([
    [0, 0],
    [1, 500],
    [1_000, 500_000],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  ])("per_token at 0.05 with %d tokens is %d", (totalTokensProvider, amountMinor) => {
    const session = used("per_token", 500, { totalTokensProvider });
    expect(chargeFor(session)).toEqual({ amountMinor, quantity: totalTokensProvider });
  });

  test("is never negative, never inexact, and splits into fee and income to the last digit", () => {
    const anything = fc.record({
      pricingModel: fc.constantFrom<PricingModel>("per_session", "fixed", "per_minute", "per_token"),
      priceMinor: fc.integer({ min: 0, max: 10_000_000_000 }),
      startedAt: fc.option(fc.maxSafeNat()),
      endedAt: fc.option(fc.maxSafeNat()),
      totalTokensProvider: fc.maxSafeNat(),
      servedAt: fc.option(fc.maxSafeNat()),
      meterStoppedAt: fc.option(fc.maxSafeNat()),
    });
    fc.assert(
      fc.property(anything, (session) => {
        const { amountMinor } = chargeFor(session);
        expect(Number.isSafeInteger(amountMinor) && amountMinor >= 0).toBe(true);
        const { feeMinor, incomeMinor } = splitFee(amountMinor);
        expect(feeMinor + incomeMinor).toBe(amountMinor);
        expect(feeMinor >= 0 && incomeMinor >= 0).toBe(true);
        // 15 %, to the nearest: off by no more than a half, and never below where it is exactly a half.
        const hundredths = BigInt(feeMinor) * 100n - BigInt(amountMinor) * 15n;
        expect(hundredths > -50n && hundredths <= 50n).toBe(true);
      }),
      { numRuns: 10_000 },
    );
  });

  test.each([
    [50_000, 7_500, 42_500],
    [0, 0, 0],
    [1, 0, 1],
    [3, 0, 3],
    [4, 1, 3],
    [10, 2, 8],
    [30, 5, 25],
  ])("of %d has a fee of %d and leaves %d", (amountMinor, feeMinor, incomeMinor) => {
    expect(splitFee(amountMinor)).toEqual({ feeMinor, incomeMinor });
  });

  test("is metered by the clock for per_minute alone, and only where it costs something", () => {
    expect(firstMeterAt({ pricingModel: "per_minute", priceMinor: 1 }, 1_000)).toBe(301_000);
    expect(firstMeterAt({ pricingModel: "per_minute", priceMinor: 0 }, 1_000)).toBeNull();
    expect(firstMeterAt({ pricingModel: "per_token", priceMinor: 1 }, 1_000)).toBeNull();
  });
});
