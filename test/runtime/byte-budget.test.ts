import { describe, expect, test } from "vitest";
import { ByteBudget, callerKey, parsedBytes, Reserve } from "../../runtime/byte-budget.js";
import { heldBytes, keptReplyBytes, parsedArgumentBytes, reserveBytes, sizes } from "../../runtime/limits.js";
import { ManualClock } from "../support/clock.js";

const KiB = 1024;
const bounds = { socket: 100 * KiB, address: 200 * KiB, caller: 300 * KiB, process: 400 * KiB };
const here = { address: "192.0.2.1", caller: undefined };

function budget(byAddress = true) {
  const clock = new ManualClock();
  const reserve = new Reserve(100 * KiB);
  const open = (what: string) => new ByteBudget(what, bounds, clock, byAddress, reserve);
  return { clock, budget: open("things"), other: open("others") };
}

describe("a budget of bytes", () => {
  test("each bound holds at its last byte, and what was refused is not taken", () => {
    const open = budget().budget;
    const one = open.hold(here);
    expect(one.take(bounds.socket)).toBe(true);
    expect(one.take(1)).toBe(false);
    expect(open.hold(here).take(bounds.address - bounds.socket)).toBe(true);
    expect(open.refusal(here)).toMatchObject({ code: "rate_limited", data: { retryAfterMs: 1_000 } });
    const elsewhere = open.hold({ address: "192.0.2.2", caller: "alice" });
    expect(open.hold(here).take(17 * KiB)).toBe(false);
    expect(elsewhere.take(bounds.socket)).toBe(true);
    const atHome = open.hold({ address: "192.0.2.3", caller: "alice" });
    expect(atHome.take(bounds.socket)).toBe(true);
    expect(open.bytes).toBe(bounds.process);
    expect(open.refusal({ address: "192.0.2.2", caller: "bob" })).toMatchObject({ code: "unavailable" });
    one.end();
    one.end();
    expect(open.bytes).toBe(bounds.process - bounds.socket);
    expect(open.refusal({ address: "192.0.2.2", caller: "bob" })).toBeUndefined();
  });

  test("a few who use up a kind's part keep nobody out who holds next to nothing, and all kinds stay within the whole", () => {
    const { budget: open, other } = budget();
    for (const last of [1, 2]) open.hold({ address: `192.0.2.${last}`, caller: undefined }).add(200 * KiB);
    const bob = { address: "192.0.2.4", caller: "bob" };
    expect(open.refusal(here)?.code).toBe("unavailable");
    expect(open.refusal(bob)).toBeUndefined();
    const answer = open.hold(bob);
    expect([answer.hasRoom, answer.take(65 * KiB), answer.take(64 * KiB)]).toEqual([true, false, true]);
    expect(open.refusal(bob)).toMatchObject({ code: "unavailable" });
    answer.end();
    // The reserve is of both kinds together, and no kind can take another's part.
    const newcomers = (count: number, of: ByteBudget) =>
      Array.from({ length: count }, (_, index) =>
        of.hold({ address: `198.51.100.${index}`, caller: undefined }).take(10 * KiB),
      );
    expect(newcomers(6, open)).not.toContain(false);
    for (const last of [1, 2]) other.hold({ address: `192.0.2.${last}`, caller: undefined }).add(200 * KiB);
    expect(other.bytes).toBe(bounds.process);
    expect(newcomers(5, other)).toEqual([true, true, true, true, false]);
    expect(newcomers(1, open)).toEqual([false]);
    expect(open.bytes + other.bytes).toBe(2 * bounds.process + 100 * KiB);
  });

  test("a neighbour who uses up an address's share keeps no small request of it out, nor do many small ones go on for ever", () => {
    const open = budget().budget;
    for (const _half of [1, 2]) open.hold(here).add(100 * KiB);
    expect(open.hold(here).take(17 * KiB)).toBe(false);
    const small = Array.from({ length: 6 }, () => open.hold(here).take(10 * KiB));
    expect(small).toEqual([true, true, true, true, true, false]);
  });

  test("all that the process holds at the same time is no more than 224 MiB", () => {
    const parts = Object.values(heldBytes).map(({ process }) => process);
    const all = parts.reduce((sum, part) => sum + part, reserveBytes + keptReplyBytes.process);
    expect(all).toBeLessThanOrEqual(224 * KiB * KiB);
  });

  test("a caller's bytes count together wherever they come from, an account's agents' with the account's", () => {
    const open = budget().budget;
    for (const last of [1, 2, 3]) open.hold({ address: `192.0.2.${last}`, caller: "alice" }).add(100 * KiB);
    expect(open.refusal({ address: "192.0.2.9", caller: "alice" })?.code).toBe("rate_limited");
    expect(open.refusal({ address: "192.0.2.9", caller: "bob" })).toBeUndefined();
    const credentialId = "hash";
    const agent = { kind: "agent", agentId: "agent", credentialId, owner: null } as const;
    expect(callerKey({ ...agent, ownerId: "user" })).toBe("user");
    expect(callerKey({ ...agent, ownerId: null })).toBe("agent");
    const user = { kind: "user", userId: "user", email: "a@example.com", isAdmin: false, agentId: "agent" } as const;
    expect(callerKey({ ...user, credentialId })).toBe("user");
    expect(callerKey({ kind: "anonymous" })).toBeUndefined();
  });

  test("without bounds by address the others hold", () => {
    const open = budget(false).budget;
    for (let count = 0; count < 4; count += 1) expect(open.hold(here).take(100 * KiB)).toBe(true);
    expect(open.hold(here).take(17 * KiB)).toBe(false);
    // A neighbour who holds a lot keeps no small one out.
    expect(open.hold(here).take(16 * KiB)).toBe(true);
  });

  test("where the process needs room, who was not heard of for longest is given up, and nobody who was", () => {
    const { clock, budget: open } = budget(false);
    const gone: string[] = [];
    const hold = (name: string) => {
      const holding = open.hold({ address: name, caller: undefined }, () => gone.push(name));
      holding.add(100 * KiB);
      return holding;
    };
    const [first] = [hold("first"), hold("second"), hold("third"), hold("fourth")];
    expect(open.hold(here).hasRoom).toBe(false);
    expect(gone).toEqual([]);
    clock.jump(5_000);
    first?.touch();
    let freed = 0;
    open.whenFreed(() => {
      freed += 1;
    });
    expect(open.hold(here).take(20 * KiB)).toBe(true);
    expect([gone, freed]).toEqual([["second"], 1]);
    expect(open.bytes).toBe(320 * KiB);
  });

  test("what parsed JSON takes is told from its text", () => {
    const filled = (piece: string) => `[${piece.repeat(Math.floor(sizes.bodyBytes / piece.length) - 1)}0]`;
    expect(parsedBytes(filled("{},"))).toBeGreaterThan(parsedArgumentBytes);
    expect(parsedBytes(filled("[],"))).toBeGreaterThan(parsedArgumentBytes);
    for (const honest of ["1,", '"a text as people write them",', '{"name":"Ann","tags":["a","b"]},']) {
      expect(parsedBytes(filled(honest))).toBeLessThan(parsedArgumentBytes);
    }
    // The largest payload of a session's message passes, whatever is in it.
    expect(parsedBytes("{},".repeat((256 * KiB) / 3))).toBeLessThan(parsedArgumentBytes);
  });
});
