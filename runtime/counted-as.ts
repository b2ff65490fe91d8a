/** Whom a call counts against: an agent, a user with all of their agents, or an address with its networks. */
import type { Caller } from "./context.js";
import type { Rate } from "./limits.js";

/** What a rate counts, under a name. */
export interface Counted {
  rate: Rate;
  who: string;
  /** Whether what does not fail is taken off the count again. It has to be one of the rates that are counted exactly. */
  failuresOnly?: true;
}

/** Whom something is counted against: the agent or user, or for anybody else the address. */
export function countedAs(caller: Caller | undefined, address: string): string {
  if (caller?.kind === "agent") return caller.agentId;
  if (caller?.kind === "user") return caller.agentId ?? caller.userId;
  return addressKey(address);
}

/** Whose turn work is: a user's with all of their agents, an agent's that nobody owns, or for anybody else the address's. */
export function laneOf(caller: Caller | undefined, address: string): string {
  return userOf(caller) ?? countedAs(caller, address);
}

/** The rates of all calls that a call counts against, the caller's own first: what that refuses is not taken of the next. */
export function callRatesOf(caller: Caller | undefined, address: string): { rate: Rate; who: string }[] {
  const own = { rate: "calls" as const, who: countedAs(caller, address) };
  const userId = userOf(caller);
  return userId === null ? [own] : [own, { rate: "userCalls", who: userId }];
}

/** The user who calls, or whose agent does. */
function userOf(caller: Caller | undefined): string | null {
  if (caller?.kind === "user") return caller.userId;
  return caller?.kind === "agent" ? caller.ownerId : null;
}

/** What a /48 of IPv6 may do beside what each of its networks may: the allocation of one site holds 65,536 of those. */
export const wideFactor = 16;

/** The /48 that an address of IPv6 (as `addressKey` writes it) is counted under as well; undefined for any other. */
export function wideAddressKey(key: string): string | undefined {
  return key.endsWith("::/64") ? `${key.split(":").slice(0, 3).join(":")}::/48` : undefined;
}

/** What an address is counted under: itself, or for IPv6 its /64, since one host has all of that. */
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
