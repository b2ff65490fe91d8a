import { convexToJson, jsonToConvex, type Value } from "convex/values";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeArgs, encodeValue, isReadable, WireError } from "../../adapters/wire.js";
import { JsonText } from "../../runtime/call/define.js";

const decode = (text: string) => decodeArgs(JSON.parse(text), text);

const value: fc.Memo<Value> = fc.memo((depth) => {
  const leaf = fc.oneof(
    fc.constant(null),
    fc.boolean(),
    fc.double(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.string({ unit: "grapheme" }),
    fc.uint8Array({ maxLength: 20 }).map((bytes) => new Uint8Array(bytes).buffer as ArrayBuffer),
  );
  const key = fc.stringMatching(/^[a-z_][ -~]{0,6}$/).filter((name) => name !== "__proto__");
  return depth <= 1
    ? leaf
    : fc.oneof(
        leaf,
        fc.array(value(depth - 1), { maxLength: 4 }),
        fc.dictionary(key, value(depth - 1), { maxKeys: 4 }),
      );
});

describe("values on the wire (convex-wire.md section 2)", () => {
  test.each([
    [5n, "BQAAAAAAAAA="],
    [-5n, "+/////////8="],
    [9223372036854775807n, "/////////38="],
  ])("%s is the documented base64", (integer, base64) => {
    expect(encodeValue(integer, "convex_encoded_json")).toBe(`{"$integer":"${base64}"}`);
    expect(encodeValue(integer, "json")).toBe(`"${integer}"`);
  });

  test.each([
    [Number.NaN, "AAAAAAAA+H8=", '"NaN"'],
    [Number.NEGATIVE_INFINITY, "AAAAAAAA8P8=", '"-Infinity"'],
    [-0, "AAAAAAAAAIA=", "0"],
  ])("%s is the documented base64", (float, base64, clean) => {
    expect(encodeValue(float, "convex_encoded_json")).toBe(`{"$float":"${base64}"}`);
    expect(encodeValue(float, "json")).toBe(clean);
  });

  test("what the client encodes is decoded to the same, and the other way round", () => {
    fc.assert(
      fc.property(value(3), (original) => {
        expect(decode(JSON.stringify(convexToJson(original)))).toEqual(original);
        expect(jsonToConvex(JSON.parse(encodeValue(original, "convex_encoded_json")))).toEqual(original);
      }),
      { numRuns: 300 },
    );
  });

  test.each([
    '{"$float":"AAAAAAAA8D8="}',
    '{"$integer":"BQAAAAAAAA=="}',
    '{"$integer":"BQAAAAAAAAA"}',
    '{"$integer":5}',
    '{"$bytes":"#"}',
    '{"$set":[]}',
    '{"\\u0024other":1}',
  ])("%s is refused", (text) => {
    expect(() => decode(text)).toThrow(WireError);
  });

  test("undefined is left out of an object and null as a value", () => {
    expect(encodeValue({ a: undefined, b: 1n }, "json")).toBe('{"b":"1"}');
    expect(encodeValue(undefined, "json")).toBe("null");
  });
});

describe("field names that Convex's clients cannot read", () => {
  const odd = fc.constantFrom(
    "$a",
    "a$",
    'a"b',
    "a\\",
    "\n",
    "é",
    "你",
    "",
    "x".repeat(1_024),
    "x".repeat(1_025),
    ":",
    '":"',
    "\u007f",
  );
  const json = fc.letrec((tie) => ({
    value: fc.oneof(odd, fc.integer(), fc.constant(null), tie("list"), tie("object")),
    list: fc.array(tie("value"), { maxLength: 3 }),
    object: fc.dictionary(fc.oneof(odd, fc.string()), tie("value"), { maxKeys: 3, noNullPrototype: true }),
  })).value;

  test("are found in JSON as it is written just as in what it is parsed to", () => {
    const seen = new Set<boolean>();
    fc.assert(
      fc.property(json, (value) => {
        const text = JSON.stringify(value);
        const expected = isReadable(JSON.parse(text));
        seen.add(expected);
        expect(isReadable(new JsonText(text, "callers'"))).toBe(expected);
      }),
      { numRuns: 500 },
    );
    expect(seen.size).toBe(2);
  });
});
