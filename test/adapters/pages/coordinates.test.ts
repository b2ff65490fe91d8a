import { describe, expect, test } from "vitest";
import { parseDegrees, splitPair } from "../../../adapters/pages/coordinates.js";

describe("coordinates as people write them (claw-to-claw.md section 4)", () => {
  test("become numbers, or nothing", () => {
    const readings = {
      " 37.7597 ": 37.7597,
      "-122,4148": -122.4148,
      "−12.5": -12.5,
      "１２．５": 12.5,
      "+3": 3,
      "48°": 48,
      "7.": 7,
    };
    for (const [written, degrees] of Object.entries(readings)) expect(parseDegrees(written)).toBe(degrees);
    for (const none of ["", " ", "-", "abc", "1e2", "0x10", "1,2,3", "12 34", "Infinity", "37°45'"]) {
      expect(parseDegrees(none)).toBeNaN();
    }
  });

  test("are taken apart where a pair was pasted into the first field", () => {
    for (const pair of [
      "37.7597, -122.4148",
      "37.7597,-122.4148",
      "37.7597 -122.4148",
      " 37.7597;-122.4148 ",
      "37.7597，-122.4148",
    ]) {
      expect(splitPair(pair, " ")).toEqual(["37.7597", "-122.4148"]);
    }
    expect(splitPair("37,7597; -122,4148", "")).toEqual(["37,7597", "-122,4148"]);
    expect(splitPair("37,7597 -122,4148", "")).toEqual(["37,7597", "-122,4148"]);
    expect(splitPair("37,7597", "")).toEqual(["37,7597", ""]);
    expect(splitPair("37.7597", "")).toEqual(["37.7597", ""]);
    expect(splitPair("1.5, 2.5", "3")).toEqual(["1.5, 2.5", "3"]);
  });
});
