/**
 * Whom a call is counted against: an agent, a user with all their agents, or an address with its networks. The rates
 * themselves are in limits.ts.
 */
import type { Caller } from "./context.js";
import type { Rate } from "./limits.js";

/** A rate, and the name under which it counts a call. */
export interface Counted {
  rate: Rate;
  who: string;
  /**
   * Whether a call that does not fail is taken off again. Works only for rates that are counted exactly
   * (rate-limits.ts).
   */
  failuresOnly?: true;
}

/** The name that a call is counted under: the agent, the user, or without a credential the address. */
function countedAs(caller: Caller | undefined, address: string): string {
  if (caller?.kind === "agent") return caller.agentId;
  if (caller?.kind === "user") return caller.agentId ?? caller.userId;
  return addressKey(address);
}

/**
 * Whose turn the work takes: a user with all their agents, an agent without an owner, or without a credential the
 * address.
 */
export function laneOf(caller: Caller | undefined, address: string): string {
  return userOf(caller) ?? countedAs(caller, address);
}

/**
 * The general rates that a call counts against. The caller's own comes first, so that a call that it refuses does not
 * use up the user's.
 */
export function callRatesOf(caller: Caller | undefined, address: string): { rate: Rate; who: string }[] {
  const own = { rate: "calls" as const, who: countedAs(caller, address) };
  const userId = userOf(caller);
  return userId === null ? [own] : [own, { rate: "userCalls", who: userId }];
}

/** The user who calls, or the owner of the agent that calls. */
function userOf(caller: Caller | undefined): string | null {
  if (caller?.kind === "user") return caller.userId;
  return caller?.kind === "agent" ? caller.ownerId : null;
}

/**
 * A /48 of IPv6 may do this many times what one of its networks may: it is the allocation of one site and holds 65,536
 * of them.
 */
export const wideFactor = 16;

/** The /48 that an IPv6 address (as `addressKey` writes it) is also counted under; undefined for other addresses. */
export function wideAddressKey(key: string): string | undefined {
  return key.endsWith("::/64") ? `${key.split(":").slice(0, 3).join(":")}::/48` : undefined;
}

/** The key that an address is counted by: itself, or for IPv6 its /64, because one host has a whole /64. */
export function addressKey(address: string): string {
  const plain = address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
  if (!plain.includes(":")) return plain;
  const [head = "", tail] = plain.split("::");
  const groups = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const behind = tail === "" ? 0 : tail.split(":").length;
    while (groups.length + behind < 8) groups.push("0");
  }
  return `${groups.slice(0, 4).join(":")}::/64`;
}
