import { describe, expect, test } from "vitest";
import { parseForwarded } from "../../adapters/caller-address.js";

describe("an entry of X-Forwarded-For", () => {
  test.each([
    ["192.0.2.1", "192.0.2.1"],
    ["  192.0.2.1 ", "192.0.2.1"],
    ["192.0.2.1:40001", "192.0.2.1"],
    ['"192.0.2.1:40001"', "192.0.2.1"],
    ["2001:db8::1", "2001:db8::1"],
    ["2001:0DB8:0:0::0001", "2001:db8::1"],
    ["[2001:db8::1]", "2001:db8::1"],
    ["[2001:db8::1]:40001", "2001:db8::1"],
    ['"[2001:db8::1]:40001"', "2001:db8::1"],
    ["fe80::1%eth0", "fe80::1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["[::ffff:c000:201]:40001", "192.0.2.1"],
  ])("%s is %s", (entry, address) => {
    expect(parseForwarded(entry)).toBe(address);
  });

  test.each([
    "",
    "unknown",
    "_hidden",
    "192.0.2",
    "192.0.2.256",
    "192.0.2.1:",
    "192.0.2.1:400010",
    "[192.0.2.1]:40001",
    "[2001:db8::1",
    "[2001:db8::1]x",
    "example.com:40001",
    "for=192.0.2.1",
    "192.0.2.1 192.0.2.2",
    `${"1".repeat(10_000)}`,
  ])("%s names nobody", (entry) => {
    expect(parseForwarded(entry)).toBeUndefined();
  });
});
