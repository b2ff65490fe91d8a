/** Text, numbers and JSON that nobody sends on purpose, for tests that generate input. */
import fc from "fast-check";

/** JSON that `JSON.stringify` would not write. */
class Raw {
  constructor(readonly json: string) {}
}

/**
 * A value as JSON text. A `Map` becomes an object, and its keys may be anything, including `__proto__` and repeated
 * ones.
 */
export function toJson(value: unknown): string {
  if (value instanceof Raw) return value.json;
  if (value instanceof Map)
    return `{${[...value].map(([key, item]) => `${JSON.stringify(key)}:${toJson(item)}`).join(",")}}`;
  if (Array.isArray(value)) return `[${value.map(toJson).join(",")}]`;
  if (typeof value === "number" && Object.is(value, -0)) return "-0";
  if (typeof value === "object" && value !== null) {
    return `{${Object.entries(value)
      .map(([key, item]) => `${JSON.stringify(key)}:${toJson(item)}`)
      .join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}

/** Any UTF-16 code units, including halves of surrogate pairs. */
const anyUnits = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 20 })
  .map((units) => String.fromCharCode(...units));

export const nastyText = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary", maxLength: 120 }),
  fc.string({ unit: "grapheme", maxLength: 120 }),
  anyUnits,
  fc.constantFrom(
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "\udc00\ud800",
    "\ufeffbyte order mark",
    "\ufffe\uffff",
    "\u2028\u2029",
    "👩‍👩‍👧‍👦".repeat(20),
    "ß".repeat(100),
    "İ".repeat(60),
    "Z͑ͫ̓a̴l̷g̶o̵",
    "__proto__",
    "constructor",
    "toString",
    "null",
    "'; drop table agents; --",
    '" or 1=1',
    "\\",
    "\\u0000",
    "$ {7*7} {{7*7}}",
    "<script>alert(1)</script>",
    "..%2f..%2f",
    "x".repeat(200),
    "x".repeat(5_000),
    "x".repeat(70_000),
    "é".repeat(6_000),
  ),
);

export const nastyNumber = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.constantFrom<unknown>(
    -0,
    new Raw("1e400"),
    new Raw("-1e400"),
    new Raw("1e-400"),
    new Raw("9007199254740993"),
    new Raw("123456789012345678901234567890"),
    new Raw("0.1e-7"),
    Number.MAX_VALUE,
    8_640_000_000_000_001,
  ),
);

const tagged = fc.constantFrom<unknown>(
  { $integer: "BQAAAAAAAAA=" },
  { $integer: "BQAAAAAAAAA" },
  { $integer: "" },
  { $integer: 5 },
  { $float: "AAAAAAAA+H8=" },
  { $float: "AAAAAAAA8H8=" },
  { $float: "AAAAAAAAAIA=" },
  { $float: "AAAAAAAA8D8=" },
  { $bytes: "" },
  { $bytes: "AAEC" },
  { $bytes: "%%%" },
  { $bytes: null },
  { $set: [] },
  { $integer: "BQAAAAAAAAA=", more: 1 },
  { $: 1 },
  { a: { $gt: "" } },
  { "\\u0024integer": "BQAAAAAAAAA=" },
  new Raw('{"\\u0024integer":"BQAAAAAAAAA="}'),
);

export const nastyKey = fc.oneof(
  fc.constantFrom(
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "hasOwnProperty",
    "then",
    "toJSON",
    "",
    "$",
    "ключ",
    "0",
    "a.b",
    "x".repeat(2_000),
  ),
  fc.string({ maxLength: 10 }),
);

export const nastyValue: fc.Arbitrary<unknown> = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    nastyText,
    nastyNumber,
    fc.constantFrom<unknown>(null, true, false, [], {}),
    tagged,
    fc.array(tie("value"), { maxLength: 4 }),
    fc.array(fc.tuple(nastyKey, tie("value")), { maxLength: 4 }).map((entries) => new Map(entries)),
    fc.integer({ min: 1, max: 200 }).map((depth) => new Raw("[".repeat(depth) + "]".repeat(depth))),
    fc.integer({ min: 1, max: 200 }).map((depth) => new Raw(`${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`)),
  ),
})).value;
