/** How long one message can keep the gateway, and everybody else with it. */
import { describe, expect, test } from "vitest";
import { type CheckedMessage, checkMessage } from "../../../functions/model/gateway.js";

/** The result, and the milliseconds that it took. */
function timed(message: Partial<CheckedMessage>) {
  const started = performance.now();
  const result = checkMessage({
    type: "instruction.exec",
    payload: {},
    senderSide: "provider",
    grants: {},
    ...message,
  });
  return { result, ms: performance.now() - started };
}

const times = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

describe("a message that was made to keep the gateway busy", () => {
  test("many paths against a long list", () => {
    const deep = times(99, (index) => `/a/b/${"c/".repeat(240)}${index}`);
    const { result, ms } = timed({
      type: "instruction.read_file",
      payload: { paths: times(8_000, () => "/a/b") },
      grants: { "file.read": { granted: true, constraints: { pathWhitelist: [...deep, "/a"] } } },
    });
    expect(result).toBeNull();
    expect(ms).toBeLessThan(2_000);
  });

  test("many addresses against a long list", () => {
    const hosts = times(99, (index) => `host-${index}.example.com`);
    const { result, ms } = timed({
      type: "instruction.http",
      payload: { url: times(4_000, () => "http://a.b") },
      grants: { "network.http": { granted: true, constraints: { networkWhitelist: [...hosts, "a.b:80"] } } },
    });
    expect(result).toBeNull();
    expect(ms).toBeLessThan(2_000);
  });

  test.each([
    ["a long command", { command: "x".repeat(70_000) }],
    ["characters that are many in another spelling", { command: "\ufdfa".repeat(20_000) }],
    ["many short commands", { commands: times(40_000, () => "x") }],
    ["a long path", { path: "/a".repeat(40_000) }],
  ])("%s is refused unread", (_name, payload) => {
    expect(timed({ payload, grants: { "system.exec": { granted: true } } }).result?.category).toBe("unreadable");
  });

  test("what a file is to hold may be long", () => {
    const payload = { path: "/a/b", content: "rm -rf / ".repeat(20_000) };
    const grants = { "file.write": { granted: true } };
    expect(timed({ type: "instruction.write_file", payload, grants }).result).toBeNull();
  });
});
